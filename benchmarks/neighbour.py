"""A bare neighbour of a relay: one blocking TCP socket, a link that is up, and packets made by hand.

Lives here: the WebSocket upgrade, the link handshake (by a real engine), frames in and out. May not live here: what is
measured with it.
"""

from __future__ import annotations

import base64
import contextlib
import os
import random
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from peer_relay_socket.address import PeerId
from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.packet import Kind
from peer_relay_socket.engine.core import EngineConfig
from peer_relay_socket.engine.engine import Engine
from peer_relay_socket.identity import Identity
from peer_relay_socket.limits import LANE_FRAME_MOST, LINK_READ_SIZE, MAX_BUNDLE
from peer_relay_socket.transport.frames import FrameReader, binary_frame
from peer_relay_socket.transport.websocket import SUBPROTOCOL

SECONDS = 20.0
LINK = 1
"""Every neighbour has one link."""


class Neighbour:
    """A leaf that is linked to one relay."""

    def __init__(self, url: str, *, source: str = "") -> None:
        """Args: source: where its link begins, and a datagram lane beside it; "" = no matter, and no lane."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        clock = time.monotonic
        config = EngineConfig(lane=source != "")
        self.engine = Engine(Identity.generate(), config, random=random.Random(), entropy=os.urandom, now=clock())
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM) if source else None
        if self.udp is not None:
            self.udp.bind((source, 0))
            self.udp.setblocking(False)
        self.sock = socket.create_connection((parts.hostname, parts.port), SECONDS, (source, 0) if source else None)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = base64.b64encode(os.urandom(16)).decode()
        head = f"GET / HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        head += (
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
        )
        self.sock.sendall(head.encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self.sock.recv(4096)
        self._reader = FrameReader(masked=False, max_size=MAX_BUNDLE)
        self.engine.start(clock())
        self.engine.link_opened(LINK, url=url, remote_host=parts.hostname, now=clock())
        self.take(memoryview(answer.partition(b"\r\n\r\n")[2]))
        while not self.engine.neighbours:
            self.read()

    @property
    def peer_id(self) -> PeerId:
        return self.engine.peer_id

    def read(self) -> None:
        """Read once, and let the engine have it."""
        data = self.sock.recv(LINK_READ_SIZE)
        if not data:
            raise EOFError("the relay closed the link")
        self.take(memoryview(data))

    def take(self, data: memoryview) -> None:
        """Let the engine have what was read, and send what it answers."""
        for bundle in self._reader.feed(data)[0]:
            self.engine.receive(LINK, bundle, time.monotonic())
        self.pump()

    def bodies(self, data: memoryview) -> Iterator[bytes]:
        """Yield the bodies of the routed packets that `data`, the next bytes read, completes."""
        for bundle in self._reader.feed(data)[0]:
            end = len(bundle) - wire.BUNDLE_TAG if wire.is_tagged(bundle) else 0
            offset, rest = 0, not end
            while offset < end:
                header = wire.read_header(bundle, offset)
                if header.kind == Kind.SEALED:
                    yield bundle[header.body : header.end]
                rest = rest or header.kind != Kind.SEALED
                offset = header.end
            if rest:  # the relay asks whether we live
                self.engine.receive(LINK, bundle, time.monotonic())
                self.pump()

    def pump(self) -> None:
        """Send what the engine wants sent."""
        due = self.engine.next_timer()
        if due is not None and due <= time.monotonic():
            self.engine.handle_timer(time.monotonic())
        for _, chunks in self.engine.take_bundles():
            self.sock.sendall(binary_frame(b"".join(chunks), masked=True))
        for place, frame in self.engine.lanes.take_frames():
            assert self.udp is not None
            self.udp.sendto(frame, place)
        self.engine.take_effects()

    def hear(self) -> None:
        """Read frames of the lane, and let the engine have them."""
        assert self.udp is not None
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, place = self.udp.recvfrom(LANE_FRAME_MOST)
                self.engine.lane_heard(frame, *place, time.monotonic())
        self.pump()

    def send(self, to: PeerId, body: bytes) -> None:
        """Send one packet to `to`, by the lane if that is live."""
        self.engine._links.emit(self.engine._links.all[LINK], wire.packet(Kind.SEALED, to, self.peer_id, body))
        self.pump()

    def frame(self, to: PeerId, body: bytes) -> bytes:
        """Return the WebSocket frame of one packet to `to`, as this neighbour sends it."""
        packet = wire.packet(Kind.SEALED, to, self.peer_id, body)
        link = self.engine._links.all[LINK]
        assert link.tagging is not None
        return binary_frame(packet + link.tagging.tag(wire.covered(packet, len(packet))), masked=True)
