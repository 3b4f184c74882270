"""Links over WebRTC, by an implementation in memory that loses what it is told to."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from peer_relay_socket import limits
from peer_relay_socket.codec.packet import LINK_HANDSHAKE
from peer_relay_socket.setting_values import IceServer
from peer_relay_socket.transport.link import LinkError
from peer_relay_socket.transport.rtc_description import safe_description
from peer_relay_socket.transport.rtc_frames import PING
from tests.patience import holds
from tests.transport.links import PATIENCE
from tests.transport.rtc_ends import READY, Ends, connected, drained, sealed
from tests.transport.rtc_fakes import Air

HANDSHAKE = bytes((LINK_HANDSHAKE,)) + b"noise"


# --- opening ----------------------------------------------------------------------------------------------------


async def test_the_factory_is_given_the_ice_servers_and_no_others() -> None:
    air = Air()
    server = IceServer("turn:relay.example:3478", "me", "secret")
    ends = Ends(air.factory, [server])
    await ends.opened()
    assert air.servers == [(server,), (server,)]
    ends.outer.abort()
    ends.inner.abort()
    await ends.over()


async def test_the_path_shows_what_it_carries_before_the_link_opens() -> None:
    air = Air()
    air.passes = lambda frame: False
    ends = Ends(air.factory)
    await ends.negotiate()
    for _ in range(20):
        await asyncio.sleep(0)
    assert not ends.caller.links
    air.passes = lambda frame: True
    await ends.caller.wait(lambda: bool(ends.caller.links))
    assert ends.outer.unit == limits.RTC_UNIT_SMALL
    ends.outer.abort()
    ends.inner.abort()
    await ends.over()


@pytest.mark.parametrize(
    ("sdp", "why"),
    [
        ("", "named no address"),
        ("v=0\r\nm=audio 9 RTP/AVP 0\r\n", "not that of a data channel"),
        ("v=0\r\nm=application 9 x y\r\nm=video 9 x y\r\n", "not that of a data channel"),
        ("x" * (limits.RTC_DESCRIPTION + 1), "too long"),
        ("v=0\r\nm=application 9 x y\r\na=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n", "named no address"),
        ("v=0\r\nm=application 9 x y\r\na=candidate:1 1 udp 1 ::ffff:127.0.0.1 9 typ host\r\n", "named no address"),
        ("v=0\r\nm=application 9 x y\r\na=candidate:1 1 udp 1 abc.local 9 typ host\r\n", "named no address"),
        ("v=0\r\nm=application 9 x y\r\na=candidate:1 1 tcp 1 203.0.113.1 9 typ host\r\n", "named no address"),
        ("v=0\r\nm=application 9 x y\r\na=candidate:1\r\n", "named no address"),
    ],
)
async def test_a_description_that_is_of_no_use_is_refused_with_a_reason(sdp: str, why: str) -> None:
    ends = Ends(Air().factory)
    with pytest.raises(LinkError, match=why):
        await ends.inner.answer(sdp)
    ends.outer.abort()
    await ends.over()
    assert why in ends.why(ends.inner)


def test_of_many_candidates_only_the_first_are_tried() -> None:
    lines = [f"a=candidate:{n} 1 udp 1 203.0.113.{n} 9 typ host" for n in range(1, 100)]
    safe = safe_description("\r\n".join(["v=0", "m=application 9 x y", *lines, ""]), lambda _host: True)
    kept = [line for line in safe.splitlines() if line.startswith("a=candidate")]
    assert kept == lines[: limits.RTC_CANDIDATES]
    assert safe.endswith("\r\na=end-of-candidates\r\n")


async def test_a_machine_without_an_address_says_so() -> None:
    class Homeless(Air):
        def factory(self, servers: Sequence[IceServer]) -> Any:
            connection = super().factory(servers)
            describe = connection.describe

            def without(kind: str) -> Any:
                description = describe(kind)
                return type(description)(description.sdp.partition("a=candidate")[0], kind)

            connection.describe = without  # type: ignore[method-assign]
            return connection

    ends = Ends(Homeless().factory)
    with pytest.raises(LinkError, match="no address"):
        await ends.outer.offer()
    ends.inner.abort()
    await ends.over()


# --- what the path does ---------------------------------------------------------------------------------------------


async def test_what_must_arrive_arrives_where_every_frame_is_lost() -> None:
    air = Air()
    async with connected(air.factory, ready=False) as ends:
        air.passes = lambda frame: frame[0] in (0xB2, 0xB3)
        ends.inner.send(HANDSHAKE)
        ends.outer.send(sealed(1))
        ends.outer.send(READY)
        await ends.caller.wait(lambda: ends.caller.bundles == [HANDSHAKE])
        await ends.callee.wait(lambda: ends.callee.bundles == [READY])


async def test_a_bundle_that_overtakes_the_end_of_the_handshake_waits_for_it() -> None:
    async with connected(Air().factory, ready=False) as ends:
        ends.outer.send(HANDSHAKE)
        ends.outer.send(sealed(1))
        await ends.callee.wait(lambda: ends.callee.bundles == [HANDSHAKE])
        for _ in range(20):
            await asyncio.sleep(0)
        assert ends.callee.bundles == [HANDSHAKE]
        ends.outer.send(READY)
        await ends.callee.wait(lambda: len(ends.callee.bundles) == 3)
        assert ends.callee.bundles == [HANDSHAKE, READY, sealed(1)]


@pytest.mark.parametrize("bundle", [b"", b"x"])
async def test_bundles_that_overtake_the_handshake_are_bounded_however_small(bundle: bytes) -> None:
    async with connected(Air().factory, ready=False) as ends:
        ends.outer.send(HANDSHAKE)
        for _ in range(5000):
            ends.outer.send(bundle)
        await drained(ends.outer)
        ends.outer.send(READY)
        await ends.callee.wait(lambda: READY in ends.callee.bundles)
        await asyncio.sleep(0)
        assert 100 < len(ends.callee.bundles) < limits.MAX_BUNDLE // 100


async def test_a_bundle_arrives_whole_or_not_at_all() -> None:
    air = Air()
    dice = random.Random(7)
    async with connected(air.factory) as ends:
        air.passes = lambda frame: dice.random() > 0.05
        sent = [sealed(number, 5_000) for number in range(40)]
        for bundle in sent:
            ends.outer.send(bundle)
        await drained(ends.outer)
        air.passes = lambda frame: True
        ends.outer.send(sealed(99))
        await ends.callee.wait(lambda: sealed(99) in ends.callee.bundles)
        arrived = ends.callee.bundles[:-1]
        assert 0 < len(arrived) < 40
        assert all(bundle in sent for bundle in arrived)


@pytest.mark.slow
async def test_a_dead_path_is_noticed_by_both_ends_within_seconds() -> None:
    air = Air()
    async with connected(air.factory) as ends:
        air.cut = True
        loop = asyncio.get_running_loop()
        start = loop.time()
        await ends.caller.wait(lambda: bool(ends.caller.closed))
        await ends.callee.wait(lambda: bool(ends.callee.closed))
        assert 1.5 < loop.time() - start < 10  # some 2, on a machine that does nothing else
        assert "nothing heard" in ends.caller.reasons[0]
        assert "nothing heard" in ends.callee.reasons[0]


async def test_an_idle_link_stays_open_while_pings_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RTC_TICK", 0.01)

    air = Air()
    pings = 0

    def passes(frame: bytes) -> bool:
        nonlocal pings
        pings += frame[0] == 0xB2
        return True

    air.passes = passes
    async with connected(air.factory) as ends:
        await holds(lambda: pings >= 30)
        assert not ends.ended


async def test_the_round_trip_time_is_measured_anew_under_traffic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RTC_TICK", 0.02)
    monkeypatch.setattr(limits, "RTC_RTT_TICKS", 3)

    pings = 0

    def passes(frame: bytes) -> bool:
        nonlocal pings
        pings += frame[0] == PING
        return True

    air = Air()
    air.passes = passes
    async with connected(air.factory) as ends:
        ends.outer.rtt = None
        before = number = pings
        async with asyncio.timeout(PATIENCE):
            while ends.outer.rtt is None or pings < before + 10:
                number += 1
                for link, receiver in ((ends.inner, ends.caller), (ends.outer, ends.callee)):
                    link.send(sealed(number))
                    await receiver.wait(lambda r=receiver: len(r.bundles) > 0)  # type: ignore[misc]
                    receiver.batches.clear()


async def test_a_queue_that_fills_says_full_then_writable() -> None:
    async with connected(Air().factory) as ends:
        count = 0
        while not ends.outer.full:
            ends.outer.send(sealed(count, 60_000))
            count += 1
        assert limits.RTC_HIGH_WATER < ends.outer.backlog <= limits.RTC_HIGH_WATER + 61_000
        await ends.caller.wait(lambda: ends.caller.writable == [ends.outer])
        assert not ends.outer.full
        await ends.callee.wait(lambda: len(ends.callee.bundles) == count)
        ends.outer.send(bytes(limits.MAX_BUNDLE + 1))
        assert ends.outer.dropped == 1


async def test_a_paused_link_delivers_nothing_until_it_is_resumed() -> None:
    async with connected(Air().factory) as ends:
        ends.inner.pause_reading()
        ends.outer.send(sealed(1))
        await drained(ends.outer)
        for _ in range(20):
            await asyncio.sleep(0)
        assert ends.callee.bundles == []
        ends.inner.resume_reading()
        await ends.callee.wait(lambda: ends.callee.bundles == [sealed(1)])


async def test_a_handler_that_fails_costs_its_link_only() -> None:
    ends = Ends(Air().factory)
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))

    def broken(link: Any, bundles: Any) -> None:
        raise RuntimeError("broken")

    ends.callee.bundles_received = broken  # type: ignore[method-assign]
    await ends.opened()
    ends.outer.send(READY)
    await ends.over()
    assert "broken" in ends.why(ends.inner)
    assert [str(context["exception"]) for context in reported] == ["broken"]


async def test_abort_while_descriptions_are_made_ends_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    air = Air()
    gate = asyncio.Event()

    def slow(servers: Sequence[IceServer]) -> Any:
        connection = air.factory(servers)
        make: Callable[[], Any] = connection.createOffer

        async def wait() -> Any:
            await gate.wait()
            return await make()

        connection.createOffer = wait  # type: ignore[method-assign]
        return connection

    ends = Ends(slow)
    making = asyncio.ensure_future(ends.outer.offer())
    await asyncio.sleep(0)
    ends.outer.abort()
    ends.outer.abort()
    ends.inner.abort()
    gate.set()
    await asyncio.wait([making])
    await ends.over()
    with pytest.raises(LinkError):
        await ends.outer.accept("anything")
    assert len(ends.ended) == 2
