"""A WebRTC implementation in memory: two connections joined by what their descriptions say, and a path that misbehaves
as it is told. It has what `transport.webrtc.PeerConnection` names and nothing else, so no DTLS transport beside.
"""

# ruff: noqa: N802  # the browsers' names
from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from peer_relay_socket.setting_values import IceServer
from peer_relay_socket.transport.rtc_description import Description


class Air:
    """What lies between all connections of one test."""

    def __init__(self) -> None:
        self.passes: Callable[[bytes], bool] = lambda frame: True
        """Whether a message on an unreliable channel arrives."""
        self.cut = False
        """Nothing arrives any more, and nobody is told."""
        self.made: list[FakeConnection] = []
        self.servers: list[tuple[IceServer, ...]] = []
        self.numbers = count(1)

    def factory(self, servers: Sequence[IceServer]) -> FakeConnection:
        self.servers.append(tuple(servers))
        connection = FakeConnection(self)
        self.made.append(connection)
        return connection


class FakeChannel:
    def __init__(self, connection: FakeConnection, reliable: bool) -> None:
        self.readyState = "connecting"
        self.bufferedAmount = 0
        self.connection = connection
        self.reliable = reliable
        self.listeners: dict[str, Callable[..., object]] = {}

    def on(self, event: str, listener: Callable[..., object], /) -> None:
        self.listeners[event] = listener

    def send(self, data: bytes, /) -> None:
        assert self.readyState == "open"
        air, other = self.connection.air, self.connection.other
        if other is None or air.cut or not (self.reliable or air.passes(data)):
            return
        channel = other.channels[0 if self.reliable else 1]
        asyncio.get_running_loop().call_soon(channel.heard, data)

    def heard(self, data: bytes) -> None:
        if self.readyState == "open":
            self.listeners["message"](data)


class FakeConnection:
    def __init__(self, air: Air) -> None:
        self.air = air
        self.number = next(air.numbers)
        self.connectionState = "new"
        self.localDescription: Description | None = None
        self.other: FakeConnection | None = None
        self.channels: list[FakeChannel] = []
        self.listeners: dict[str, Callable[..., object]] = {}

    def createDataChannel(self, label: str, **options: Any) -> FakeChannel:
        assert options["negotiated"]
        assert options["id"] == len(self.channels)
        self.channels.append(FakeChannel(self, options["ordered"]))
        return self.channels[-1]

    def on(self, event: str, listener: Callable[..., object], /) -> None:
        self.listeners[event] = listener

    def describe(self, kind: str) -> Description:
        candidate = f"a=candidate:1 1 udp 1 203.0.113.9 {self.number} typ host"
        return Description(f"v=0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n{candidate}\r\n", kind)

    async def createOffer(self) -> Description:
        return self.describe("offer")

    async def createAnswer(self) -> Description:
        return self.describe("answer")

    async def setLocalDescription(self, description: Description, /) -> None:
        self.localDescription = description

    async def setRemoteDescription(self, description: Description, /) -> None:
        line = next(line for line in description.sdp.splitlines() if line.startswith("a=candidate:"))
        self.other = self.air.made[int(line.split()[5]) - 1]
        if description.type == "answer":
            loop = asyncio.get_running_loop()
            for connection in (self, self.other):
                loop.call_soon(connection.connect)

    def connect(self) -> None:
        self.connectionState = "connected"
        for channel in self.channels:
            channel.readyState = "open"
            if "open" in channel.listeners:
                channel.listeners["open"]()

    async def close(self) -> None:
        self.connectionState = "closed"
        for channel in self.channels:
            channel.readyState = "closed"
