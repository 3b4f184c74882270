"""Links that are read past asyncio: what is taken at once, what waits for the loop, and nothing while paused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.frames import Opcode

from peer_relay_socket import limits
from peer_relay_socket.transport.websocket import Link
from tests.transport.fast_reads import PAST_ASYNCIO, Fussy, calm, left_unread, message, odd, put, readable, turns
from tests.transport.links import Recorder, pair

pytestmark = PAST_ASYNCIO


async def test_small_messages_are_taken_past_the_loop_and_others_are_not() -> None:
    server = Fussy()
    async with calm(server) as (raw, _):
        small = limits.LINK_READ_SMALL - 8  # with its head
        sent: list[bytes | str] = []
        for size in (2, 125, 126, 1200, small, small + 1, 5, 1, 9):
            sent.append(bytes((size % 251,)) * size)
            raw.write(message(sent[-1]))
            await server.wait(lambda: server.log == sent)
        assert [len(bundle) for bundle in server.alone] == [2, 125, 126, 1200, small, 5, 1, 9]


async def test_small_messages_are_taken_past_the_loop_at_either_end() -> None:
    server, client = Fussy(), Fussy()
    async with pair(server, client) as (inner, outer):
        for link, other in ((inner, client), (outer, server)):
            sent = [bytes((size % 251,)) * size for size in (3, 2, 125, 126, 1200, 15_000, 5)]
            for count, data in enumerate(sent, 1):
                link.send(data)
                await other.wait(lambda other=other, count=count: len(other.log) == count)
            assert other.log == sent
            assert other.alone == sent[1:], "the first shows that they are few and small"


@pytest.mark.parametrize("refused", [None, 0, 1, 2])
async def test_a_few_small_messages_in_one_read_are_taken_one_by_one(refused: int | None) -> None:
    asked: list[None] = []

    def takes() -> bool:
        asked.append(None)
        return len(asked) - 1 != refused

    server = Fussy(takes)
    async with calm(server) as (raw, link):
        asked.clear()
        put(raw, message(b"one") + message(b"two") + message(b"three"))
        readable(link)
        assert link.read_fast() is (refused is None)
        assert server.alone == [b"one", b"two", b"three"][:refused]
        if refused is not None:
            link.read()
        assert server.log == [b"one", b"two", b"three"]


_TWO = message(b"two")
_INNER = message(b"inner")
_OUTER = b"\x82" + bytes((0x80 | (2 + len(_INNER)),)) + bytes(4) + b"is" + _INNER
"""A message, masked with zeros, that another seems to follow where it is cut."""
NOT_FAST: dict[str, tuple[list[bytes], list[bytes | str]]] = {
    "ping": ([odd(Opcode.PING, b"?")], []),
    "text": ([odd(Opcode.TEXT, b"text")], ["text"]),
    "fragments": ([odd(Opcode.BINARY, b"frag", fin=False), odd(Opcode.CONT, b"ment")], [b"fragment"]),
    "halves": ([_TWO[:7], _TWO[7:]], [b"two"]),
    "two": ([message(b"one") + message(b"two")], [b"one", b"two"]),
    "one and a half": ([message(b"one") + _TWO[:3], _TWO[3:]], [b"one", b"two"]),
    "what looks like one": ([_OUTER[:8], _OUTER[8:]], [b"is" + _INNER]),
    "nothing": ([b"\x82\xfe\0\0abcd"], [b""]),
}
"""Reads, and what is delivered of them."""


@pytest.mark.parametrize("kind", NOT_FAST)
async def test_what_is_no_lone_message_is_read_on_the_loop(kind: str) -> None:
    pieces, expected = NOT_FAST[kind]

    server = Fussy()
    async with calm(server) as (raw, _):
        for piece in pieces:
            put(raw, piece)
            await turns()
        put(raw, message(b"after"))
        await server.wait(lambda: server.log[-1:] == [b"after"])
        assert server.log == [*expected, b"after"]
        if kind == "ping":
            (pong,) = await raw.read_frames(1)
            assert (pong.opcode, pong.data) == (Opcode.PONG, b"?")


async def test_a_message_amid_another_is_refused() -> None:
    server = Fussy()
    async with calm(server) as (raw, _):
        put(raw, odd(Opcode.BINARY, b"frag", fin=False))
        await turns()
        put(raw, message(b"amid"))
        (goodbye,) = await raw.read_frames(1)
        assert (goodbye.opcode, goodbye.data[:2]) == (Opcode.CLOSE, (1002).to_bytes(2))
        assert server.log == []


async def test_what_was_read_before_a_pause_is_delivered_after_it_though_nothing_follows() -> None:
    server = Fussy()
    async with calm(server) as (raw, link):
        left_unread(server, raw, link, message(b"xx"))
        link.pause_reading()
        link.read()
        assert server.log == []
        link.resume_reading()
        assert server.log == [], "not from inside a call of ours"
        await server.wait(lambda: server.log == [b"xx"])


async def test_nothing_is_delivered_while_paused_though_it_was_read_before() -> None:
    server = Fussy()
    async with calm(server) as (raw, link):
        left_unread(server, raw, link, message(b"read"))
        link.pause_reading()
        server.paused = True
        put(raw, message(b"not read"))
        asyncio.get_running_loop().call_soon(link.read)  # as who could not take it arranged
        await turns()
        assert not link.read_fast()
        assert server.log == []
        server.paused = False
        link.resume_reading()
        link.resume_reading()
        await server.wait(lambda: server.log == [b"read", b"not read"])
        put(raw, message(b"later"))
        await server.wait(lambda: server.log == [b"read", b"not read", b"later"])


async def test_a_link_that_is_paused_is_not_read_at_all() -> None:
    server = Fussy()
    async with calm(server) as (raw, link):
        link.pause_reading()
        put(raw, message(b"xx"))
        readable(link)
        assert not link.read_fast()
        link.read()
        assert link._unread == []
        readable(link)
        link.resume_reading()
        await server.wait(lambda: server.log == [b"xx"])


@pytest.mark.parametrize("unread", [False, True])
async def test_who_pauses_on_a_message_gets_no_other(unread: bool) -> None:
    class Pausing(Fussy):
        def bundles_received(self, link: Link, bundles: list[bytes]) -> None:
            super().bundles_received(link, bundles)
            if bundles == [b"pause"]:
                link.pause_reading()
                self.paused = True

    server = Pausing()
    async with calm(server) as (raw, link):
        if unread:
            left_unread(server, raw, link, message(b"pause"))
            put(raw, message(b"after"))
            link.read()
            assert server.paused
        else:
            put(raw, message(b"pause"))
            await server.wait(lambda: server.paused)
            put(raw, message(b"after"))
        await turns()
        assert server.log == [b"pause"]
        server.paused = False
        link.resume_reading()
        await server.wait(lambda: server.log == [b"pause", b"after"])


async def test_a_read_of_nothing_changes_nothing() -> None:
    server = Fussy()
    async with calm(server) as (raw, link):
        assert link.read_fast()
        link.read()
        put(raw, message(b"xx"))
        readable(link)
        assert link.read_fast()
        assert server.log == server.alone == [b"xx"]


async def test_a_handler_that_fails_before_it_took_a_message_is_reported_and_gets_it_on_the_loop() -> None:
    reported: list[dict[str, Any]] = []

    def fail() -> bool:
        raise RuntimeError("not now")

    server = Fussy(fail)
    async with calm(server) as (raw, _):
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context))
        raw.write(message(b"xx"))
        await server.wait(lambda: server.log == [b"xx"])
        assert [str(context["exception"]) for context in reported] == ["not now"]


async def test_a_link_that_is_held_for_its_odd_frames_is_not_read_by_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ODD_FRAMES_RATE", 20.0)

    server = Fussy()
    async with calm(server) as (raw, link):
        put(raw, odd(Opcode.PING, b"") * 25)
        await raw.read_frames(25)
        put(raw, message(b"xx"))
        readable(link)
        assert not link.read_fast()
        link.read()
        link.resume_reading()
        link.read()
        await turns()
        assert server.log == link._unread == []
        await server.wait(lambda: server.log == [b"xx"])


async def test_several_links_are_read_at_once() -> None:
    server, client = Recorder(), Recorder()
    async with pair(server, client) as (_, one), pair(server, client) as (_, two):
        for number in range(50):
            one.send(b"one %d" % number)
            two.send(b"two %d" % number)
            await server.wait(lambda count=2 * number + 2: len(server.bundles) == count)
        for name in (b"one", b"two"):
            of_it = [bundle for bundle in server.bundles if bundle.startswith(name)]
            assert of_it == [name + b" %d" % number for number in range(50)]


@pytest.mark.parametrize(
    "flood",
    [
        odd(Opcode.PING, b"") * (limits.ODD_FRAMES_AT_ONCE + 1),
        odd(Opcode.TEXT, b"") * (limits.TEXTS_AT_ONCE + 1),
        message(b"") * (limits.LINK_READ_MOST + 1),
    ],
)
async def test_a_read_full_of_pings_or_empty_messages_ends_the_link_before_any_is_taken(flood: bytes) -> None:
    server = Fussy()
    async with calm(server) as (raw, link):
        link._frame_bytes(memoryview(flood))
        assert server.log == []
        (goodbye,) = await raw.read_frames(1)
        assert (goodbye.opcode, goodbye.data[:2]) == (Opcode.CLOSE, (1008).to_bytes(2))
        link._frame_bytes(memoryview(flood))  # a link that says goodbye is not read for long, either
        await server.wait(lambda: link._transport is None)


async def test_a_read_full_of_an_npm_peers_messages_is_taken() -> None:
    server = Fussy()
    async with calm(server) as (_raw, link):
        link._frame_bytes(memoryview(odd(Opcode.TEXT, b"x" * 160) * (limits.LINK_READ_SIZE // 168)))
        assert len(server.log) == limits.LINK_READ_SIZE // 168
        assert link._open
        link.abort()
