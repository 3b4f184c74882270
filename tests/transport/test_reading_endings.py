"""Links that are read past asyncio and end: nothing comes after the end, and the end is told once."""

from __future__ import annotations

import asyncio
import socket

import pytest
from websockets.frames import Frame, Opcode

from tests.transport.fast_reads import PAST_ASYNCIO, Fussy, calm, left_unread, message, odd, put, readable, turns

pytestmark = PAST_ASYNCIO


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
