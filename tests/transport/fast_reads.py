"""A link that is read past asyncio, as a bare client sees it, and the calls by which a caller's thread reads it."""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from websockets.frames import Frame, Opcode

from peer_relay_socket.system import select as system_select
from peer_relay_socket.transport.connection import Connection
from peer_relay_socket.transport.frames import binary_frame
from peer_relay_socket.transport.websocket import Link
from tests.patience import LIMIT
from tests.transport.links import RawClient, Recorder, raw_client, serving

PAST_ASYNCIO = [
    pytest.mark.skipif(not hasattr(system_select, "epoll"), reason="where there is no epoll, asyncio reads"),
    pytest.mark.usefixtures("past_asyncio"),
]
"""Marks for modules of such tests."""


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


def readable(link: Connection) -> None:
    """Wait until there is something to read; the loop, which could read it, does not run meanwhile."""
    poll = select.poll()
    poll.register(link._fd, select.POLLIN)
    assert poll.poll(LIMIT * 1000), "nothing comes"


def put(client: RawClient, data: bytes) -> None:
    """Send at once, past asyncio."""
    assert os.write(client.sock.fileno(), data) == len(data)


def message(data: bytes) -> bytes:
    return binary_frame(data, masked=True)


def odd(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True)


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
