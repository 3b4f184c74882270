"""Both ends of a WebRTC link in one process."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import ifaddr
import pytest

from peer_relay_socket.codec.packet import Kind
from peer_relay_socket.setting_values import IceServer
from peer_relay_socket.transport.rtc_implementation import Factory
from peer_relay_socket.transport.webrtc import RtcLink
from tests.patience import holds
from tests.transport.links import PATIENCE, Recorder

READY = bytes((Kind.LINK,)) + b"ready"


def sealed(number: int, size: int = 64) -> bytes:
    """Something that the path may lose."""
    return bytes((Kind.SEALED,)) + number.to_bytes(4) + random.Random(number).randbytes(size)


def _has_address() -> bool:
    addresses = [str(ip.ip) for adapter in ifaddr.get_adapters() for ip in adapter.ips if ip.is_IPv4]
    return any(not address.startswith(("127.", "169.254.")) for address in addresses)


needs_address = pytest.mark.skipif(not _has_address(), reason="needs address: aioice offers no loopback candidates")


class Ends:
    """Both ends of one connection."""

    def __init__(self, factory: Factory | None, servers: Sequence[IceServer] = ()) -> None:
        self.caller, self.callee = Recorder(), Recorder()
        self.ended: list[tuple[RtcLink, str]] = []
        options: dict[str, Any] = {"factory": factory, "ice_servers": servers}
        self.outer = RtcLink(self.caller, self._end, url="webrtc:other", **options)
        self.inner = RtcLink(self.callee, self._end, url=None, **options)
        self._over = asyncio.Event()

    def _end(self, link: RtcLink, reason: str) -> None:
        self.ended.append((link, reason))
        if len(self.ended) == 2:
            self._over.set()

    async def negotiate(self) -> None:
        await self.outer.accept(await self.inner.answer(await self.outer.offer()))

    async def opened(self) -> None:
        await self.negotiate()
        await self.caller.wait(lambda: bool(self.caller.links))
        await self.callee.wait(lambda: bool(self.callee.links))

    async def over(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self._over.wait()

    def why(self, link: RtcLink) -> str:
        return next(reason for ended, reason in self.ended if ended is link)


@contextlib.asynccontextmanager
async def connected(factory: Factory | None, *, ready: bool = True) -> AsyncIterator[Ends]:
    ends = Ends(factory)
    try:
        await ends.opened()
        if ready:
            ends.outer.send(READY)
            await ends.callee.wait(lambda: READY in ends.callee.bundles)
            ends.callee.batches.clear()
        yield ends
    finally:
        ends.outer.abort()
        ends.inner.abort()
        await ends.over()


async def drained(link: RtcLink) -> None:
    """Wait until everything has left."""
    await holds(lambda: not link.backlog)
