"""Links that are read past asyncio: whoever reads, what comes is delivered once, in order, and not while paused."""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from websockets.frames import Frame, Opcode

from peer_relay_socket import limits
from peer_relay_socket.system import select as system_select
from peer_relay_socket.transport.connection import Connection
from peer_relay_socket.transport.frames import binary_frame
from peer_relay_socket.transport.readers import Readers, Source
from peer_relay_socket.transport.websocket import Link
from tests.interruption import interrupted
from tests.transport import links
from tests.transport.links import RawClient, Reading, Recorder, pair, raw_client, serving

pytestmark = pytest.mark.skipif(not hasattr(system_select, "epoll"), reason="where there is no epoll, asyncio reads")


@pytest.fixture(autouse=True)
def _readers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "reading", Reading.READERS)


class Fussy(Recorder):
    """Takes lone messages when `takes` says so, and notes what comes in the order in which it came."""

    def __init__(self, takes: Callable[[], bool] = lambda: True) -> None:
        super().__init__()
        self.takes = takes
        self.log: list[bytes | str] = []
        self.paused = False

    def bundles_received(self, link: Link, bundles: list[bytes]) -> None:
        assert not self.paused
        self.log += bundles
        super().bundles_received(link, bundles)

    def fast_received(self, link: Link, bundle: bytes, taken: Callable[[], object]) -> bool:
        assert not self.paused
        if not self.takes():
            return False
        taken()
        self.alone.append(bundle)
        self.bundles_received(link, [bundle])
        asyncio.get_running_loop().call_soon_threadsafe(self._happened)
        return True

    def text_received(self, link: Link, text: str) -> None:
        assert not self.paused
        self.log.append(text)
        super().text_received(link, text)


def waiting(readers: Readers, timeout: float) -> list[Source]:
    """What is to be read."""
    return [readers.sources[fd] for fd, _ in readers.poll(timeout)]


def readable(link: Connection) -> None:
    """Wait until there is something to read; the loop, which could read it, does not run meanwhile."""
    poll = select.poll()
    poll.register(link._fd, select.POLLIN)
    assert poll.poll(links.PATIENCE * 1000), "nothing comes"


def put(client: RawClient, data: bytes) -> None:
    """Send at once, past asyncio."""
    assert os.write(client.sock.fileno(), data) == len(data)


def message(data: bytes) -> bytes:
    return binary_frame(data, masked=True)


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@asynccontextmanager
async def calm(server: Fussy) -> AsyncIterator[tuple[RawClient, Connection]]:
    """A client as bare bytes, and its link, over which one small message has come."""
    async with serving(server) as listener, raw_client(listener.port) as raw:
        await raw.upgrade()
        raw.write(message(b"first"))
        await server.wait(lambda: server.log == [b"first"])
        server.log.clear()
        (link,) = server.links
        assert isinstance(link, Connection)
        yield raw, link
        if not server.closed:
            raw.reset()
            await server.wait(lambda: bool(server.closed))
        assert len(server.closed) == 1


def left_unread(server: Fussy, raw: RawClient, link: Connection, data: bytes) -> None:
    """Let `data` come, and be read by somebody who cannot take it."""
    put(raw, data)
    readable(link)
    server.takes = lambda: False
    assert not link.read_fast()
    server.takes = lambda: True


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


def odd(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True)


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


@pytest.mark.parametrize("ending", ["close", "abort"])
async def test_what_comes_after_an_ending_is_not_delivered(ending: str) -> None:
    server = Fussy()
    async with calm(server) as (raw, link):
        put(raw, message(b"xx"))
        readable(link)
        getattr(link, ending)()
        for _ in range(3):
            assert not link.read_fast()
            await turns()
            if not server.closed:
                put(raw, message(b"yy"))
        if ending == "close":
            raw.frame(Opcode.CLOSE, b"\x03\xe8")
        await server.wait(lambda: bool(server.closed))
        assert server.log == []


async def test_a_link_that_is_closing_reads_no_more_once_both_said_goodbye() -> None:
    server = Fussy()
    async with calm(server) as (raw, link):
        raw.writer.transport.pause_reading()  # type: ignore[attr-defined]
        while not link.backlog:
            link.send(bytes(60_000))
        put(raw, odd(Opcode.CLOSE, b"\x03\xe8"))
        readable(link)
        await turns()
        assert not link._open
        put(raw, bytes(1000))
        await turns()
        readable(link)
        assert link._readers is not None
        assert not link._readers.reads(link._fd)
        assert not link.read_fast()
        readable(link)


@pytest.mark.parametrize("ending", ["close", "abort"])
async def test_what_was_read_and_not_taken_is_not_delivered_after_an_ending(ending: str) -> None:
    server = Fussy()
    async with calm(server) as (raw, link):
        left_unread(server, raw, link, message(b"xx"))
        asyncio.get_running_loop().call_soon(link.read)
        getattr(link, ending)()
        assert not link.read_fast()
        put(raw, message(b"yy"))
        if ending == "close":
            (goodbye,) = await raw.read_frames(1)
            raw.frame(Opcode.CLOSE, goodbye.data)
        await server.wait(lambda: bool(server.closed))
        assert server.log == []
        assert not link.read_fast()
        link.read()
        assert server.reasons == ["closed here: 1000" if ending == "close" else "aborted here"]


async def test_a_goodbye_that_was_read_and_not_taken_ends_the_link() -> None:
    server = Fussy()
    async with calm(server) as (raw, link):
        left_unread(server, raw, link, Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=True))
        link.close(4001)
        await server.wait(lambda: bool(server.closed))
        assert server.reasons == ["closed here: 4001"]


@pytest.mark.parametrize("who", ["somebody", "the loop"])
@pytest.mark.parametrize("ending", ["end of stream", "reset", "goodbye"])
@pytest.mark.parametrize("unread", [False, True])
async def test_the_end_of_a_calm_link_is_told_as_of_any_other(who: str, ending: str, unread: bool) -> None:
    server = Fussy()
    async with calm(server) as (raw, link):
        if unread:
            left_unread(server, raw, link, message(b"last words"))
        if ending == "reset":
            raw.reset()
            await asyncio.sleep(0)  # the socket is closed in the next turn
        elif ending == "goodbye":
            put(raw, odd(Opcode.CLOSE, b"\x03\xe8"))
        else:
            raw.sock.shutdown(socket.SHUT_WR)
        if who == "somebody":
            readable(link)
            assert not link.read_fast()
        if unread or who == "somebody":
            asyncio.get_running_loop().call_soon(link.read)
        await server.wait(lambda: bool(server.closed))
        assert server.log == ([b"last words"] if unread else [])
        assert server.reasons == [
            {
                "end of stream": "connection ended without a goodbye",
                "reset": "connection lost: [Errno 104] Connection reset by peer",
                "goodbye": "closed by the other end: 1000 (OK)",
            }[ending]
        ]
        assert not link._calm, "its descriptor may be another's by now"
        link.read()


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


async def test_what_a_signal_handler_raises_while_a_message_is_read_costs_that_one_at_most() -> None:
    server = Fussy()
    async with calm(server) as (raw, link):
        for instruction in range(1, 500):
            while not link._calm:  # two came at once
                put(raw, message(b"calm"))
                await server.wait(lambda: server.log[-1:] == [b"calm"])
                server.log.clear()
            put(raw, message(b"perhaps"))
            readable(link)
            done = False
            with interrupted(instruction):
                assert link.read_fast()
                done = True
            if not done:
                asyncio.get_running_loop().call_soon(link.read)
            put(raw, message(b"%d" % instruction))
            await server.wait(lambda last=b"%d" % instruction: server.log[-1:] == [last])
            assert server.log in ([b"perhaps", b"%d" % instruction], [b"%d" % instruction])
            server.log.clear()
            if done:
                assert instruction > 30, "it was over before it began"
                return
        raise AssertionError("always interrupted")


@pytest.mark.parametrize("again", [False, True])
async def test_a_message_that_the_loop_takes_amid_another_reading_is_delivered_in_order(again: bool) -> None:
    """As when who has borrowed the turn is held up, and the loop takes it back."""

    server = Fussy(lambda: False)  # who takes it has to see by itself whether it is a repetition
    async with calm(server) as (raw, link):
        for instruction in range(1, 500):
            put(raw, message(b"perhaps"))
            readable(link)
            amid: list[None] = []

            def act(amid: list[None] = amid) -> None:
                amid.append(None)
                for _ in range(1 + again):
                    link.read()

            with interrupted(instruction, act):
                if not link.read_fast():
                    asyncio.get_running_loop().call_soon(link.read)
            put(raw, message(b"%d" % instruction))
            await server.wait(lambda last=b"%d" % instruction: server.log[-1:] == [last])
            assert server.log == [b"perhaps", b"%d" % instruction]
            server.log.clear()
            if not amid:
                assert instruction > 30, "it was over before it began"
                return
        raise AssertionError("always interrupted")


def scattered(dice: Random) -> tuple[list[bytes | str], bytes]:
    """Messages of all kinds, and their bytes on the wire."""
    expected: list[bytes | str] = []
    stream = b""
    for number in range(dice.randint(20, 60)):
        kind = dice.choice("mmmmmmmmtfpl")
        data = number.to_bytes(2) + bytes(dice.choice((0, 0, 100, 123, 124, 125, 1200)))
        if kind == "p":
            stream += Frame(Opcode.PING, b"?").serialize(mask=True)
        elif kind == "t":
            expected.append(f"text {number}")
            stream += Frame(Opcode.TEXT, f"text {number}".encode()).serialize(mask=True)
        elif kind == "f":
            expected.append(data)
            at = dice.randint(0, len(data))
            stream += Frame(Opcode.BINARY, data[:at], fin=False).serialize(mask=True)
            stream += Frame(Opcode.CONT, data[at:]).serialize(mask=True)
        else:
            data += bytes(30_000) if kind == "l" else b""
            expected.append(data)
            stream += message(data)
    return expected, stream


def pieces(dice: Random, stream: bytes) -> Iterator[bytes]:
    """Cut it, mostly between frames."""
    edges = [0]
    while edges[-1] < len(stream):
        head = stream[edges[-1] + 1] & 127
        size = head if head < 126 else int.from_bytes(stream[edges[-1] + 2 : edges[-1] + 4]) + 2
        end = edges[-1] + 6 + size
        edges.append(end if dice.random() < 0.9 else dice.randint(edges[-1] + 1, end))
        if edges[-1] != end:
            edges.append(end)
    for start, end in pairwise(edges):
        yield stream[start:end]


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_comes_whoever_reads_and_whenever_it_is_paused_is_delivered_once_in_order(seed: int) -> None:
    dice = Random(seed)
    server = Fussy(lambda: dice.random() < 0.7)
    expected, stream = scattered(dice)
    async with calm(server) as (raw, link):
        for piece in pieces(dice, stream):
            put(raw, piece)
            readable(link)
            if dice.random() < (0.5 if server.paused else 0.1):
                if server.paused:
                    server.paused = False
                    link.resume_reading()
                else:
                    server.paused = True
                    link.pause_reading()
            if dice.random() < 0.4 and not link.read_fast():
                asyncio.get_running_loop().call_soon(link.read)
            if dice.random() < 0.5:
                await turns(dice.randint(1, 3))
        server.paused = False
        link.resume_reading()
        await server.wait(lambda: len(server.log) == len(expected))
        assert server.log == expected


# --- the poll set ----------------------------------------------------------------------------------------------


class Silent:
    def read_fast(self) -> bool:
        return True

    def read(self) -> None:
        pass


def test_readers_find_what_is_to_be_read_again_and_again_until_it_is() -> None:
    readers = Readers()
    one, two = socket.socketpair()
    three, four = socket.socketpair()
    with one, two, three, four:
        first, second = Silent(), Silent()
        readers.add(one.fileno(), first)
        readers.add(one.fileno(), second)  # it is read already
        readers.add(three.fileno(), second)
        assert waiting(readers, 0) == []
        two.send(b"x")
        assert waiting(readers, links.PATIENCE) == [first]
        assert waiting(readers, links.PATIENCE) == [first]
        four.send(b"x")
        assert sorted(map(id, waiting(readers, links.PATIENCE))) == sorted(map(id, (first, second)))
        assert sorted(readers.fds()) == sorted((readers.fd, one.fileno(), three.fileno()))
        readers.remove(one.fileno())
        readers.remove(one.fileno())
        assert not readers.reads(one.fileno())
        assert readers.reads(three.fileno())
        assert waiting(readers, links.PATIENCE) == [second]
        three.recv(1)
        assert waiting(readers, 0) == []


def test_one_read_of_something_else_does_not_end_reads_past_the_loop_and_two_do() -> None:
    readers = Readers()
    readers.fast_reads = 1000
    assert readers.missed()
    readers.fast_reads += 1
    assert not readers.missed()
    readers.fast_reads += limits.LEADER_AFTER
    assert not readers.missed()
    assert readers.fast_reads == 0 or not readers.missed()
