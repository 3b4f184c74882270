"""A handler that remembers what links told it, and how to wait for that. Real sockets on loopback, no sleeping."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from enum import Enum
from typing import Any

from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, Protocol

from peer_relay_socket.bridge.inline_io import LendingSelector, LoopLock
from peer_relay_socket.transport.readers import readers_of
from peer_relay_socket.transport.websocket import Link, LinkHandler, Listener, dial, listen
from tests.patience import to_its_end

PATIENCE = 10.0
"""Seconds before a wait fails; on a passing run none comes near."""


def filled(size: int) -> bytes:
    """Return so many bytes, the same each time."""
    return random.Random(size).randbytes(size)


class Reading(Enum):
    """How plain links are read in `run`."""

    ASYNCIO = "asyncio"
    """As any connection."""
    READERS = "readers"
    """By way of `Readers`, as bridge/runtime.py has it, by a handler that takes no lone message."""
    FAST = "lone"
    """The same, by one that takes them all."""


reading = Reading.ASYNCIO
"""What holds now; the fixture of that name changes it."""


class Recorder(LinkHandler):
    """Remembers every call. `wait` returns once a condition over what it remembers holds."""

    def __init__(self) -> None:
        self.links: list[Link] = []
        self.batches: list[list[bytes]] = []
        self.alone: list[bytes] = []
        """Those of the bundles that were taken past the loop."""
        self.texts: list[str] = []
        self.writable: list[Link] = []
        self.closed: list[tuple[Link, str]] = []
        self._waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    @property
    def bundles(self) -> list[bytes]:
        return [bundle for batch in self.batches for bundle in batch]

    @property
    def reasons(self) -> list[str]:
        return [reason for _, reason in self.closed]

    def link_opened(self, link: Link) -> None:
        self.links.append(link)
        self._happened()

    def bundles_received(self, link: Link, bundles: list[bytes]) -> None:
        self.batches.append(bundles)
        self._happened()

    def fast_received(self, link: Link, bundle: bytes, taken: Callable[[], object]) -> bool:
        if reading is not Reading.FAST:
            return False
        taken()
        self.alone.append(bundle)
        self.bundles_received(link, [bundle])
        asyncio.get_running_loop().call_soon_threadsafe(self._happened)  # the loop sleeps: wake who waits
        return True

    def text_received(self, link: Link, text: str) -> None:
        self.texts.append(text)
        self._happened()

    def link_writable(self, link: Link) -> None:
        self.writable.append(link)
        self._happened()

    def link_closed(self, link: Link, reason: str) -> None:
        self.closed.append((link, reason))
        self._happened()

    def _happened(self) -> None:
        for condition, future in self._waiters:
            if not future.done() and condition():
                future.set_result(None)

    async def wait(self, condition: Callable[[], bool]) -> None:
        if condition():
            return
        future = asyncio.get_running_loop().create_future()
        waiter = (condition, future)
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(PATIENCE):
                await future
        finally:
            self._waiters.remove(waiter)


class Echo(Recorder):
    """Sends back what it receives."""

    def bundles_received(self, link: Link, bundles: list[bytes]) -> None:
        super().bundles_received(link, bundles)
        for bundle in bundles:
            link.send(bundle)

    def text_received(self, link: Link, text: str) -> None:
        super().text_received(link, text)
        link.send_text(text)


def anywhere(host: str) -> bool:
    return True


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """Run a scenario to its end; it fails if a link that is gone is still read."""
    with asyncio.Runner(loop_factory=_make_loop) as runner:
        runner.run(to_its_end(scenario))
        readers = readers_of(runner.get_loop())
        assert readers is None or readers.fds() == [readers.fd]


def _make_loop() -> asyncio.AbstractEventLoop:
    if reading is Reading.ASYNCIO:
        return asyncio.new_event_loop()
    loop_lock = LoopLock()
    loop_lock.take()
    sleep = LendingSelector(loop_lock)
    loop = asyncio.SelectorEventLoop(sleep)
    sleep.serve(loop)
    return loop


class RawClient:
    """The other end as bare bytes: a TCP connection that does exactly what the test says."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int, host: str = "127.0.0.1", **options: Any) -> RawClient:
        return cls(*await asyncio.open_connection(host, port, limit=2**22, **options))

    @property
    def sock(self) -> socket.socket:
        sock: socket.socket = self.writer.get_extra_info("socket")
        return sock

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    def frame(self, opcode: Opcode, data: bytes, *, fin: bool = True, mask: bool = True) -> None:
        self.writer.write(Frame(opcode, data, fin).serialize(mask=mask))

    async def upgrade(self, *headers: str) -> bytes:
        """Ask for a WebSocket; the server's answer up to the empty line."""
        self.write(upgrade_request(*headers))
        return await self.reader.readuntil(b"\r\n\r\n")

    async def read_frames(self, count: int) -> list[Frame]:
        core = Protocol(CLIENT, max_size=2**24)
        frames: list[Frame] = []
        while len(frames) < count:
            data = await self.reader.read(65_536)
            assert data, f"the server closed after {frames}"
            core.receive_data(data)
            frames += [event for event in core.events_received() if isinstance(event, Frame)]
        return frames

    async def read_all(self) -> bytes:
        """Everything up to the end of the stream; a reset is an end."""
        with contextlib.suppress(ConnectionError):
            return await self.reader.read()
        return b""

    def reset(self) -> None:
        """Vanish as a killed machine does: RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


def upgrade_request(*headers: str) -> bytes:
    lines = [
        "GET / HTTP/1.1",
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


@contextlib.asynccontextmanager
async def serving(handler: LinkHandler, **options: Any) -> AsyncIterator[Listener]:
    """A listener on loopback."""
    listener = await listen(handler, options.pop("host", "127.0.0.1"), 0, **options)
    try:
        yield listener
    finally:
        await listener.close()


@contextlib.asynccontextmanager
async def raw_client(port: int, **options: Any) -> AsyncIterator[RawClient]:
    client = await RawClient.connect(port, **options)
    try:
        yield client
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def raw_server(talk: Callable[[RawClient], Coroutine[Any, Any, None]], **options: Any) -> AsyncIterator[int]:
    """A server that does what the test says to each connection. Gives its port."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(client: RawClient) -> None:
        try:
            await talk(client)
        finally:
            await client.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(serve(RawClient(reader, writer))))

    server = await asyncio.start_server(accept, "127.0.0.1", 0, **options)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert outcome is None or isinstance(outcome, asyncio.CancelledError | asyncio.IncompleteReadError), outcome


@contextlib.asynccontextmanager
async def pair(server: Recorder, client: Recorder, **options: Any) -> AsyncIterator[tuple[Link, Link]]:
    """Two ends of one link: the one that accepted, the one that dialled."""
    async with serving(server, **options) as listener:
        outer = await dial(client, f"ws://127.0.0.1:{listener.port}/", timeout=PATIENCE, allow=anywhere)
        await server.wait(lambda: bool(server.links))
        inner = server.links[-1]
        try:
            yield inner, outer
        finally:
            outer.abort()
            await server.wait(lambda: any(link is inner for link, _ in server.closed))
            await client.wait(lambda: any(link is outer for link, _ in client.closed))
