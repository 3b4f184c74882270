"""Hostile links: python benchmarks/flooders.py KIND URL [COUNT [SOURCE...]]. Prints "flooding", floods until SIGTERM,
and then prints what it got rid of: bytes, connections, seconds, its own processor seconds.

Lives here: what a flooder does, one coroutine per kind and link. May not live here: what is measured (flood.py).

Law: a flooder heeds nothing that it is told; it stops only where TCP makes it. Run it against relays of your own.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from urllib.parse import urlsplit

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

from peer_relay_socket.codec import control
from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.broadcast import Broadcast, BroadcastBody, broadcast_body, broadcast_content
from peer_relay_socket.codec.control import Contact, Hello, SearchBody
from peer_relay_socket.codec.packet import Kind, LinkOp
from peer_relay_socket.engine.core import EngineConfig
from peer_relay_socket.engine.engine import Engine
from peer_relay_socket.identity import Identity

CHUNK = 64 * 1024


class Flooder:
    """One connection to the relay, and an engine for as long as good manners last."""

    def __init__(self, url: str, source: str | None) -> None:
        self.url = url
        self.source = source
        self.engine = Engine(Identity.generate(), EngineConfig(), random=random.Random(), entropy=os.urandom, now=0.0)
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def connect(self) -> None:
        """Open a TCP connection."""
        parts = urlsplit(self.url)
        self.reader, self.writer = await asyncio.open_connection(
            parts.hostname, parts.port, local_addr=None if self.source is None else (self.source, 0)
        )
        done["connections"] += 1

    async def upgrade(self) -> ClientProtocol:
        """Make a WebSocket of it."""
        core = ClientProtocol(parse_uri(self.url), subprotocols=["peer-relay.3"], max_size=None)
        core.send_request(core.connect())
        self.writer.write(b"".join(core.data_to_send()))
        while core.state is not core.state.OPEN:
            data = await self.reader.read(CHUNK)
            if not data:
                raise ConnectionError("refused")
            core.receive_data(data)  # the relay's first message may come with its answer
        return core

    async def link(self) -> None:
        """Make an authenticated link of it."""
        await self.connect()
        core = await self.upgrade()
        self.engine.link_opened(1, url=self.url, remote_host="8.8.8.8", now=0.0)
        while True:
            for event in core.events_received():
                if isinstance(event, Frame):
                    self.engine.receive(1, bytes(event.data), 0.0)
            for _, chunks in self.engine.take_bundles():
                self.writer.write(frame(b"".join(chunks)))
            if self.engine.neighbours:
                break
            data = await self.reader.read(CHUNK)
            if not data:
                raise ConnectionError("refused")
            core.receive_data(data)

    def bundle(self, packets: bytes) -> bytes:
        """Return the WebSocket message of one bundle, as this end of the link vouches for it."""
        (link,) = self.engine._links.all.values()
        assert link.tagging is not None
        return frame(packets + link.tagging.tag(wire.covered(packets, len(packets))))

    async def pour(self, *chunks: Callable[[], bytes]) -> None:
        """Write what each makes, for ever, and throw away what comes back."""
        sink = asyncio.ensure_future(self.discard())
        try:
            while True:
                for make in chunks:
                    chunk = make()
                    self.writer.write(chunk)
                    await self.writer.drain()
                    done["bytes"] += len(chunk)
                    await asyncio.sleep(0)
                    if sink.done():
                        raise ConnectionError("dropped")
        finally:
            sink.cancel()

    async def discard(self) -> None:
        """Read until the end."""
        while await self.reader.read(CHUNK):
            pass


def frame(payload: bytes, opcode: Opcode = Opcode.BINARY) -> bytes:
    """Return one WebSocket message of a client."""
    return Frame(opcode, payload).serialize(mask=True)


async def bulk(flooder: Flooder) -> None:
    """Full packets, to another flooder: the relay's bandwidth."""
    await flooder.link()
    to = others(flooder)
    packet = wire.packet(Kind.SEALED, to, flooder.engine.peer_id, os.urandom(60_000))
    await flooder.pour(lambda: flooder.bundle(packet))


async def small(flooder: Flooder) -> None:
    """The smallest packets, each in a message of its own: the relay's processor."""
    await flooder.link()
    to = others(flooder)
    packet = wire.packet(Kind.SEALED, to, flooder.engine.peer_id, b"")
    await flooder.pour(lambda: b"".join(flooder.bundle(packet) for _ in range(500)))


async def questions(flooder: Flooder) -> None:
    """Searches, questions and handshakes: packets that make others think."""
    await flooder.link()
    me = flooder.engine.peer_id
    kinds = {Kind.HANDSHAKE: 60, Kind.RESOLVE: 5, Kind.FIND: 4, Kind.DISCOVER: 5, Kind.NO_ROUTE: 20}
    chunks = []
    for kind, size in kinds.items():
        packets = [wire.packet(kind, os.urandom(20), me, os.urandom(size - 1) + b"\xa0") for _ in range(200)]
        chunks.append(partial(flooder.bundle, b"".join(packets)))
    await flooder.pour(*chunks)


async def link_packets(flooder: Flooder) -> None:
    """What neighbours tell each other: dialable peers that are none, pings, and hellos that change."""
    await flooder.link()
    (link,) = flooder.engine._links.all.values()
    network = ipaddress.IPv4Network("100.64.0.0/10")

    def told(operation: LinkOp, operand: bytes) -> bytes:
        assert link.sealing is not None
        body = link.sealing.seal(bytes((operation,)) + operand)
        return frame(wire.packet(Kind.LINK, link.peer_id, flooder.engine.peer_id, body, hop_limit=1))

    def make() -> bytes:
        peers = [Contact(os.urandom(20), (f"ws://{os.urandom(3).hex()}.invalid:80",)) for _ in range(16)]
        serves = random.random() < 0.5
        hello = control.hello(Hello(serves, network, ("ws://6.6.6.6:80",) if serves else ()))
        several = (told(LinkOp.NEIGHBOURS, control.contacts(peers)), told(LinkOp.HELLO, hello), told(LinkOp.PING, b""))
        return b"".join(several)

    await flooder.pour(make)


async def searches(flooder: Flooder) -> None:
    """Searches that are signed, each of which floods."""
    await flooder.link()
    identity = flooder.engine._core.identity

    def make() -> bytes:
        target = os.urandom(20)
        question = SearchBody(os.urandom(4), 160, time.time_ns() // 1000, identity.public_key)
        question = question._replace(signature=identity.sign(question.signed(target)))
        body = control.search_body(question)
        return flooder.bundle(wire.packet(Kind.DISCOVER, target, identity.peer_id, body, hop_limit=8))

    await flooder.pour(make)


async def broadcasts(flooder: Flooder) -> None:
    """Broadcasts that are signed."""
    await flooder.link()
    identity = flooder.engine._core.identity

    def make() -> bytes:
        content = broadcast_content(Broadcast(4, 9, 9, "239.1.1.1", bytes(1000)))
        value = BroadcastBody(identity.public_key, time.time_ns() // 1000, bytes(12), b"", content)
        body = broadcast_body(value._replace(signature=identity.sign(value.signed)))
        return flooder.bundle(wire.packet(Kind.BROADCAST, bytes(20), flooder.engine.peer_id, body, hop_limit=2))

    await flooder.pour(make)


async def empty(flooder: Flooder) -> None:
    """Messages with nothing in them."""
    await flooder.link()
    chunk = frame(b"") * 5000
    await flooder.pour(lambda: chunk)


async def pings(flooder: Flooder) -> None:
    """WebSocket pings, which must be answered."""
    await flooder.link()
    chunk = frame(bytes(100), Opcode.PING) * 500
    await flooder.pour(lambda: chunk)


async def garbage(flooder: Flooder) -> None:
    """Links that break the rules as soon as they are up, and come again."""
    await flooder.link()
    flooder.writer.write(frame(os.urandom(50_000)))
    await flooder.reader.read(CHUNK)


async def half_open(flooder: Flooder) -> None:
    """Links whose handshake is given up at once, and that come again."""
    await flooder.connect()
    await flooder.upgrade()
    flooder.writer.transport.abort()


async def churn(flooder: Flooder) -> None:
    """TCP connections that end as they begin."""
    await flooder.connect()
    flooder.writer.transport.abort()


async def slow(flooder: Flooder) -> None:
    """Slow loris: fifty connections whose request comes a byte a second."""
    every = [Flooder(flooder.url, flooder.source) for _ in range(50)]
    await asyncio.gather(*(each.connect() for each in every))
    for byte in b"GET / HTTP/1.1\r\n" * 100:
        for each in every:
            each.writer.write(bytes((byte,)))
        await asyncio.sleep(1)


async def unread(flooder: Flooder) -> None:
    """Asks for much and reads nothing: what waits for it fills the relay's memory."""
    await flooder.link()
    flooder.writer.transport.pause_reading()  # type: ignore[attr-defined]
    to = others(flooder)
    packet = wire.packet(Kind.SEALED, to, flooder.engine.peer_id, os.urandom(60_000))
    while True:
        chunk = flooder.bundle(packet)
        flooder.writer.write(chunk)
        await flooder.writer.drain()
        done["bytes"] += len(chunk)
        await asyncio.sleep(0)


KINDS: dict[str, Callable[[Flooder], object]] = {
    function.__name__: function
    for function in (
        bulk,
        small,
        questions,
        link_packets,
        searches,
        broadcasts,
        empty,
        pings,
        garbage,
        half_open,
        churn,
        slow,
        unread,
    )
}
_linked: list[Flooder] = []
done = {"bytes": 0, "connections": 0}


def others(flooder: Flooder) -> bytes:
    """Return the id of the flooder that linked last before this one, or its own."""
    _linked.append(flooder)
    return _linked[max(0, len(_linked) - 2)].engine.peer_id


async def again(kind: str, url: str, source: str | None) -> None:
    """Flood; when the relay ends it, come again at once."""
    while True:
        flooder = Flooder(url, source)
        with contextlib.suppress(OSError, EOFError, AssertionError):
            await KINDS[kind](flooder)  # type: ignore[misc]
        with contextlib.suppress(AttributeError):
            flooder.writer.transport.abort()
        await asyncio.sleep(0)


async def main(kind: str, url: str, count: int, sources: list[str]) -> None:
    kinds = list(KINDS) if kind == "mixed" else [kind]
    print("flooding", flush=True)
    began = time.monotonic()
    floods = asyncio.gather(
        *(
            again(kinds[number % len(kinds)], url, sources[number % len(sources)] if sources else None)
            for number in range(count)
        )
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, floods.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await floods
    used = time.process_time()
    print(json.dumps([done["bytes"], done["connections"], time.monotonic() - began, used]), flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 10, sys.argv[4:]))
