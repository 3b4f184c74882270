"""Links over aiortc itself, over an address of this machine: negotiation, STUN, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import ifaddr
import pytest

from peer_relay_socket import limits
from peer_relay_socket.setting_values import IceServer
from tests.transport.rtc_ends import READY, Ends, connected, needs_address, sealed


@needs_address
async def test_bundles_of_every_size_cross_beside_sctp_both_ways() -> None:
    async with connected(None) as ends:
        sizes = [0, 1, 1290, limits.RTC_UNIT, 65_507, limits.MAX_BUNDLE - 5]
        for sender, link, receiver in (("a", ends.outer, ends.callee), ("b", ends.inner, ends.caller)):
            for number, size in enumerate(sizes):
                bundle = sealed(number, size)
                link.send(bundle)
                await receiver.wait(lambda bundle=bundle, r=receiver: bundle in r.bundles)  # type: ignore[misc]
            assert len(receiver.bundles) == len(sizes), sender
        assert ends.outer.unit == limits.RTC_UNIT
        assert ends.outer.remote_host == ends.inner.remote_host != "0.0.0.0"
        assert ends.outer.rtt is not None
        assert 0 < ends.outer.rtt < 1


@needs_address
async def test_an_aiortc_link_closes_at_both_ends_when_one_closes_it() -> None:
    ends = Ends(None)
    await ends.opened()
    ends.outer.send(READY)
    ends.outer.close(1000, "enough")
    await ends.over()
    assert ends.callee.bundles == [READY]
    assert ends.why(ends.outer) == "enough"
    assert ends.caller.reasons == ["enough"]
    assert ends.why(ends.inner) == "closed by the other end"


@needs_address
async def test_an_answerer_that_is_never_reached_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RTC_ICE_TIME", 0.2)

    ends = Ends(None)
    await ends.inner.answer(await ends.outer.offer())
    ends.outer.abort()
    await ends.over()
    assert ends.why(ends.inner) == "no direct path was found within 0 s"
    assert not ends.callee.links


class SilentServer(asyncio.DatagramProtocol):
    """Takes requests and never answers."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.asked.set()


@contextlib.asynccontextmanager
async def silent_server() -> AsyncIterator[tuple[SilentServer, IceServer]]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(SilentServer, local_addr=("0.0.0.0", 0))
    address = next(a for adapter in ifaddr.get_adapters() for a in adapter.ips if a.is_IPv4 and a.ip != "127.0.0.1")
    try:
        yield server, IceServer(f"stun:{address.ip}:{transport.get_extra_info('sockname')[1]}")
    finally:
        transport.close()


@needs_address
@pytest.mark.alone
async def test_a_stun_server_that_does_not_answer_holds_up_for_its_time_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RTC_STUN_TIME", 0.1)

    async with silent_server() as (server, ice):
        ends = Ends(None, [ice])
        start = asyncio.get_running_loop().time()
        await ends.opened()
        assert server.asked.is_set()
        assert asyncio.get_running_loop().time() - start < 4
        ends.outer.abort()
        ends.inner.abort()
        await ends.over()


@needs_address
async def test_a_link_that_is_dropped_while_stun_is_asked_leaves_nothing_behind() -> None:
    async with silent_server() as (server, ice):
        ends = Ends(None, [ice])
        making = asyncio.ensure_future(ends.outer.offer())
        await server.asked.wait()
        ends.outer.abort()
        ends.inner.abort()
        await ends.over()
        await asyncio.wait([making])
        await asyncio.sleep(0.6)  # when aioice would ask again


def test_importing_the_transport_does_not_import_aiortc() -> None:
    root = Path(__file__).parents[2]
    code = "import sys, peer_relay_socket.transport.webrtc; sys.exit('aiortc' in sys.modules or 'av' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


@needs_address
async def test_garbage_that_aiortc_chokes_on_is_a_link_error() -> None:
    ends = Ends(None)
    offer = await ends.outer.offer()
    with pytest.raises(OSError, match="WebRTC failed"):
        await ends.inner.answer(offer.replace("a=fingerprint:sha-256 ", "a=fingerprint:"))
    ends.outer.abort()
    await ends.over()
