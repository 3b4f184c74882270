"""Links over WebRTC as npm's peers make them: aiortc at both ends over an address of this machine, candidates apart."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from peer_relay_socket import limits
from peer_relay_socket.scope import Scope
from peer_relay_socket.transport.link import LinkError
from peer_relay_socket.transport.npm_rtc import LegacyRtcLink
from peer_relay_socket.transport.rtc_connection import RtcConnection
from peer_relay_socket.transport.rtc_description import safe_candidate, safe_description
from tests.patience import holds
from tests.transport.links import PATIENCE, Recorder
from tests.transport.rtc_ends import needs_address

HIDDEN = "candidate:1 1 udp 2113937151 5f2a5c5e-0f5c-4f7e-9d3e-3f6f3c1f9a3c.local 51234 typ host generation 0"


class Ends:
    """Both ends of one connection, and the signals between them."""

    def __init__(self) -> None:
        self.caller, self.callee = Recorder(), Recorder()
        self.ended: dict[RtcConnection, str] = {}
        self.outer = LegacyRtcLink(self.caller, self._end, url="webrtc:other", factory=None, ice_servers=())
        self.inner = LegacyRtcLink(self.callee, self._end, url=None, factory=None, ice_servers=())
        self._over = asyncio.Event()

    def _end(self, link: RtcConnection, reason: str) -> None:
        self.ended[link] = reason
        if len(self.ended) == 2:
            self._over.set()

    async def wait_open(self) -> None:
        await self.caller.wait(lambda: bool(self.caller.links))
        await self.callee.wait(lambda: bool(self.callee.links))

    async def over(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self._over.wait()


@contextlib.asynccontextmanager
async def apart() -> AsyncIterator[Ends]:
    ends = Ends()
    try:
        yield ends
    finally:
        ends.outer.abort()
        ends.inner.abort()
        await ends.over()


@contextlib.asynccontextmanager
async def connected() -> AsyncIterator[Ends]:
    async with apart() as ends:
        await ends.outer.accept(await ends.inner.answer(await ends.outer.offer()))
        await ends.wait_open()
        yield ends


def trickled(sdp: str) -> tuple[str, list[str]]:
    """Return a description as simple-peer's, with its candidates apart."""
    lines = sdp.splitlines()
    candidates = [line.removeprefix("a=") for line in lines if line.startswith("a=candidate:")]
    kept = [line for line in lines if not line.startswith(("a=candidate:", "a=end-of-candidates"))]
    return "\r\n".join([*kept, ""]), candidates


@needs_address
async def test_texts_of_every_size_cross_both_ways_and_longer_ones_are_dropped() -> None:
    async with connected() as ends:
        assert not ends.outer.ours
        assert ends.outer.remote_host == ends.inner.remote_host != "0.0.0.0"
        for link, receiver in ((ends.outer, ends.callee), (ends.inner, ends.caller)):
            for size in (1, 4600, limits.NPM_RTC_TEXT):
                link.send_text("x" * size)
                await receiver.wait(lambda size=size, r=receiver: "x" * size in r.texts)  # type: ignore[misc]
            link.send_text("x" * (limits.NPM_RTC_TEXT + 1))
            assert (link.dropped, len(receiver.texts)) == (1, 3)


@needs_address
@pytest.mark.parametrize("arrive", ["before", "after", "never"])
async def test_candidates_may_come_apart_from_descriptions(arrive: str) -> None:
    """At whatever time; and those of one end may be missing, or be names that nobody can look up."""

    async with apart() as ends:
        offer, candidates = trickled(await ends.outer.offer())
        given = [HIDDEN, *candidates] if arrive != "never" else [HIDDEN]
        early, late = (given, []) if arrive == "before" else ([], given)
        for candidate in early:
            await ends.inner.candidate(candidate)
        answer = await ends.inner.answer(offer)
        for candidate in late:
            await ends.inner.candidate(candidate)
        if arrive != "never":
            answer, candidates = trickled(answer)
            for candidate in candidates:
                await ends.outer.candidate(candidate)
        await ends.outer.accept(answer)
        await ends.wait_open()


@needs_address
async def test_a_paused_link_delivers_later_and_ends_when_too_much_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected() as ends:
        ends.inner.pause_reading()
        ends.outer.send_text("first")
        ends.outer.send_text("second")
        await holds(lambda: not ends.outer.backlog)
        assert not ends.callee.texts
        ends.inner.resume_reading()
        await ends.callee.wait(lambda: sorted(ends.callee.texts) == ["first", "second"])
        monkeypatch.setattr(limits, "LINK_BACKLOG_MAX", 1000)
        ends.inner.pause_reading()
        ends.outer.send_text("x" * 900)
        ends.outer.send_text("x" * 900)
        await ends.callee.wait(lambda: ends.callee.reasons == ["more arrived than is read"])
        await ends.caller.wait(lambda: ends.caller.reasons == ["closed by the other end"])


@needs_address
async def test_a_full_link_says_when_it_is_writable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RTC_HIGH_WATER", 4000)
    monkeypatch.setattr(limits, "RTC_LOW_WATER", 1000)

    async with connected() as ends:
        for _ in range(10):
            ends.outer.send_text("x" * 1000)
        assert ends.outer.full
        await ends.caller.wait(lambda: ends.caller.writable == [ends.outer])
        assert not ends.outer.full
        await ends.callee.wait(lambda: len(ends.callee.texts) == 10)


@needs_address
async def test_an_offer_whose_author_is_never_reached_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RTC_ICE_TIME", 0.2)

    async with apart() as ends:
        offer, _ = trickled(await ends.outer.offer())
        ends.outer.abort()
        await ends.inner.answer(offer)
        await ends.over()
        assert ends.ended[ends.inner] == "no direct path was found within 0 s"
        assert not ends.callee.links


@needs_address
async def test_no_more_candidates_are_taken_than_of_a_whole_description() -> None:
    async with apart() as ends:
        offer, _ = trickled(await ends.outer.offer())
        for number in range(limits.RTC_CANDIDATES + 5):
            await ends.inner.candidate(f"candidate:{number} 1 udp 1 198.51.100.{number} 9 typ host")
        await ends.inner.answer(offer)
        assert len(ends.inner.remote_candidates) == limits.RTC_CANDIDATES


def test_what_nobody_should_act_on_is_left_out() -> None:
    good = "candidate:1 1 udp 2130706431 192.168.1.9 5000 typ host"
    allow = Scope.PRIVATE.covers
    assert safe_candidate(good, allow) == safe_candidate("a=" + good, allow) == good
    assert safe_candidate(good, Scope.GLOBAL.covers) is None
    for bad in (
        *("", "candidate:", "nonsense", HIDDEN, good + " " * limits.RTC_CANDIDATE, good + "\N{SNOWMAN}"),
        *(good.replace("udp", "tcp"), good.replace("192.168.1.9", "127.0.0.1"), good.replace("5000", "0")),
    ):
        assert safe_candidate(bad, allow) is None


def test_a_description_whose_candidates_follow_may_have_none() -> None:
    media = "v=0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"
    with pytest.raises(LinkError):
        safe_description(media, Scope.PRIVATE.covers)
    assert safe_description(media + f"a={HIDDEN}\r\na=end-of-candidates\r\n", Scope.PRIVATE.covers, more=True) == media
