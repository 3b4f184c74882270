"""Ping and trace: questions to the network, and what their answers mean.

Lives here: the order of the questions, waiting for answers with a limit, the end state in words. May not live here: how
a question travels (engine/probes.py), who asks (observe, cli).

Law: every probe ends within PROBE_TIME seconds unless it is answered, and always in exactly one state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypedDict

from ..address import Destination, PeerId, Prefix, UnprovedId
from ..codec.packet import ECHO_TOKEN, TRACE_TOKEN
from ..engine.effects import EchoAsked, Echoed, Found, Traced
from ..limits import (
    HOP_LIMIT,
    MAX_PROBES,
    PING_ANSWER,
    PING_INTERVAL,
    PROBE_GIVE_UP,
    PROBE_JOIN_TIME,
    PROBE_REFUSAL,
    PROBE_TIME,
    TRACE_ANSWER,
    TRACE_SILENT,
)
from ..originals import os
from .dialler import EMBEDDED_URL
from .status import spell

if TYPE_CHECKING:
    from ..engine.direct import Path
    from ..engine.engine import Engine
    from .events import Owner

NOWHERE: Final = "no other program of this user is on the network here, and no bootstrap URL is set"

State = Literal[
    "answered",
    "no relay linked",
    "nobody has this address",
    "found, does not answer",
    "refuses us",
    "port refused",
    "answers no pings",
]


class Pong(TypedDict):
    """One answer, or (`rtt_s` is None) none."""

    seq: int
    rtt_s: float | None
    path: str | None
    """"relayed", or "direct, websocket", "direct, webrtc"; "own" for this very peer."""
    via: str | None
    """The relay that takes the first hop."""
    lane: bool
    """Whether small packets go there by the link's datagram lane, by UDP."""


class PingEnd(TypedDict):
    """What became of a ping."""

    sent: int
    received: int
    min_s: float | None
    avg_s: float | None
    max_s: float | None
    id: str | None
    """The peer, once it is found."""
    found_by: str | None
    """The neighbour that named it; None where it was known, is a neighbour or named itself."""
    state: State
    why: str | None
    why_not_direct: str | None
    """Of the path of the last answer."""


class Hop(TypedDict):
    """One relay on the way, or the peer at its end; `id` is None for one that does not answer."""

    id: str | None
    url: str | None
    rtt_s: float | None
    lane: bool
    """Of the first: whether small packets go there by the link's datagram lane; how relays go on, nobody sees."""


class Trace(TypedDict):
    """The way to a peer."""

    hops: list[Hop]
    id: str | None
    state: State
    why: str | None
    why_not_direct: str | None


class NoAnswerError(Exception):
    """A probe ends without an answer."""

    def __init__(self, state: State, why: str, peer_id: PeerId | None = None) -> None:
        super().__init__(why)
        self.state: State = state
        self.peer_id = peer_id


class Prober(Protocol):
    """The driver, as probes need it."""

    @property
    def engine(self) -> Engine:
        """The engine of a peer that has started."""

    def pump(self) -> None:
        """Send what is to be sent, perform what the engine asks for."""

    def is_cut_off(self) -> bool:
        """Return whether there is no link and no hope of one."""

    async def path(self, destination: Destination) -> Path:
        """Return how a peer is reached."""


class Probes:
    """Those of one peer that are under way, and others' that it answers. Loop thread only."""

    def __init__(self, driver: Prober, host: Owner, loop: asyncio.AbstractEventLoop) -> None:
        self._driver = driver
        self._host = host
        self._loop = loop
        self._waiting: dict[bytes, asyncio.Future[Found | Echoed | Traced]] = {}
        """By token; at most MAX_PROBES."""

    # --- what the engine tells -------------------------------------------------------------------------------

    def answered(self, effect: Found | Echoed | Traced) -> None:
        """An answer came."""
        waiting = self._waiting.get(effect.token)
        if waiting is not None and not waiting.done():
            waiting.set_result(effect)

    def asked(self, effect: EchoAsked) -> None:
        """Another peer wants to know whether we are there."""
        refused = effect.port != 0 and not self._host.receiver.hears(effect.port)
        self._driver.engine.probes.answer(effect.token, effect.peer_id, refused, self._loop.time())

    async def _ask(
        self, question: Callable[[bytes, float], object], *, size: int = ECHO_TOKEN, limit: float
    ) -> tuple[Found | Echoed | Traced | None, float]:
        """Ask the engine one thing, with a token and the time.

        Returns: the answer, None if it did not come within `limit` seconds, and how long it took.
        """
        if len(self._waiting) >= MAX_PROBES:
            raise NoAnswerError(
                "no relay linked", f"{MAX_PROBES} pings and traces of this process are under way already"
            )
        token = os.urandom(size)
        answer = self._waiting[token] = self._loop.create_future()
        began = self._loop.time()
        try:
            question(token, began)
            self._driver.pump()
            return await asyncio.wait_for(answer, limit), self._loop.time() - began
        except TimeoutError:
            return None, limit
        finally:
            del self._waiting[token]

    # --- finding ---------------------------------------------------------------------------------------------

    async def _find(self, destination: Destination, end: float) -> Found:
        """Return what was found: `peer_id` is never None."""
        own = self._host.peer_id
        if destination == own or (isinstance(destination, Prefix) and destination.matches(own)):
            return Found(b"", own)
        await self._linked()
        began = self._loop.time()
        probes, limit = self._driver.engine.probes, end - began

        def find(token: bytes, now: float) -> None:
            probes.find(token, destination, now)

        found, _ = await self._ask(find, limit=min(limit, PROBE_REFUSAL))
        if found is None:
            self._named(destination, began, refused=True)
            found, _ = await self._ask(find, limit=max(0.1, end - self._loop.time()))
        if isinstance(found, Found) and found.peer_id is not None:
            return found
        self._named(destination, began)
        if not self._host.linked.is_set():
            raise NoAnswerError("no relay linked", self._why_not_linked())
        relays = sum(link.relays for link in self._driver.engine.status(self._loop.time()).links)
        name = spell(self._host.spelling, destination)
        text = f"we are linked to {relays} relay{'s' * (relays != 1)}, but nobody has {name}, or several claim it"
        raise NoAnswerError("nobody has this address", text)

    def _named(self, destination: Destination, began: float, *, refused: bool = False) -> None:
        """Raise for a peer that relays named for `destination`, lately as of `began`, and that proved no key.

        Args: refused: only for one that refuses us.
        """
        for each in self._driver.engine.status(self._loop.time()).sessions:
            if isinstance(each.destination, Prefix) or not (
                each.destination == destination
                or (isinstance(destination, Prefix) and destination.matches(each.destination))
            ):
                continue
            fresh = each.since >= began - 2 * PROBE_TIME
            if each.state == "refused" and fresh:
                raise self._refused(each.destination)
            if refused:
                continue
            if each.state == "handshaking" or (each.state == "unreachable" and each.found and fresh):
                raise self._silent(each.destination)

    async def _linked(self) -> None:
        """Wait until there is a link."""
        began = self._loop.time()
        while not self._host.linked.is_set():
            spent = self._loop.time() - began
            if spent >= PROBE_JOIN_TIME or (spent >= PROBE_GIVE_UP and self._is_hopeless()):
                raise NoAnswerError("no relay linked", self._why_not_linked())
            await asyncio.sleep(0.02)

    def _is_hopeless(self) -> bool:
        """Whether every bootstrap URL has failed, or refused us, more than once."""
        places = self._driver.engine.status(self._loop.time()).bootstraps
        return self._driver.is_cut_off() or (bool(places) and all(place.failures > 1 for place in places))

    def _why_not_linked(self) -> str:
        places = self._driver.engine.status(self._loop.time()).bootstraps
        if [place.url for place in places] == [EMBEDDED_URL]:
            return NOWHERE
        told = [f"{place.url}: {place.last_error or 'no answer so far'}" for place in places]
        return "; ".join(told) or "no bootstrap URL is set: PEER_RELAY_BOOTSTRAP, --bootstrap"

    @staticmethod
    def _refused(peer_id: PeerId) -> NoAnswerError:
        text = f"{peer_id.hex()[:8]} refuses us: its lists (allow_datagrams, deny_datagrams) do not admit us"
        return NoAnswerError("refuses us", text, peer_id)

    @staticmethod
    def _silent(peer_id: PeerId) -> NoAnswerError:
        text = f"{peer_id.hex()[:8]} is known to the network, but does not answer"
        return NoAnswerError("found, does not answer", text, peer_id)

    def _why_silent(self, peer_id: PeerId) -> NoAnswerError:
        for each in self._driver.engine.status(self._loop.time()).sessions:
            if each.destination == peer_id and each.state == "refused":
                return self._refused(peer_id)
        if not self._host.linked.is_set():
            return NoAnswerError("no relay linked", self._why_not_linked(), peer_id)
        return self._silent(peer_id)

    # --- ping ------------------------------------------------------------------------------------------------

    async def ping(self, destination: Destination, port: int, count: int, emit: Callable[[Pong], object]) -> PingEnd:
        """Ping a peer `count` times, PING_INTERVAL apart, and call `emit` at each answer and each that did not come.

        Args: port: which must be bound; 0 = none.
        """
        result = PingEnd(
            sent=0,
            received=0,
            min_s=None,
            avg_s=None,
            max_s=None,
            id=None,
            found_by=None,
            state="answered",
            why=None,
            why_not_direct=None,
        )
        times: list[float] = []
        end = self._loop.time() + PROBE_TIME
        try:
            found = await self._find(destination, end)
            peer_id = found.peer_id
            assert peer_id is not None
            result["id"] = peer_id.hex()
            result["found_by"] = None if found.found_by is None else found.found_by.hex()
            if isinstance(peer_id, UnprovedId):
                raise NoAnswerError("answers no pings", "it is a peer of npm peer-relay")
            for seq in range(1, count + 1):
                await self._ping_once(peer_id, port, seq, end, times, result, emit)
                if seq < count:
                    await asyncio.sleep(max(0.0, PING_INTERVAL - (times[-1] if times else 0.0)))
        except NoAnswerError as failure:
            result["state"], result["why"] = failure.state, str(failure)
            result["id"] = result["id"] if failure.peer_id is None else failure.peer_id.hex()
        result["received"] = len(times)
        if times:
            result["min_s"], result["max_s"] = min(times), max(times)
            result["avg_s"] = round(sum(times) / len(times), 6)
        return result

    async def _ping_once(
        self,
        peer_id: PeerId,
        port: int,
        seq: int,
        end: float,
        times: list[float],
        result: PingEnd,
        emit: Callable[[Pong], object],
    ) -> None:
        limit = max(PING_ANSWER, end - self._loop.time()) if seq == 1 else PING_ANSWER
        result["sent"] += 1
        answer: object
        if peer_id == self._host.peer_id:
            answer, rtt = Echoed(b"", peer_id, port != 0 and not self._host.receiver.hears(port)), 0.0
        else:
            probes = self._driver.engine.probes
            answer, rtt = await self._ask(lambda token, now: probes.echo(token, peer_id, port, now), limit=limit)
        if not isinstance(answer, Echoed):
            emit(Pong(seq=seq, rtt_s=None, path=None, via=None, lane=False))
            if not times:
                raise self._why_silent(peer_id)
            return
        path = await self._driver.path(peer_id)
        result["why_not_direct"] = path.why_not_direct
        if answer.refused:
            raise NoAnswerError(
                "port refused", f"{peer_id.hex()[:8]} answers, but nothing there is bound to port {port}"
            )
        times.append(round(rtt, 6))
        reached = f"direct, {path.transport}" if path.reached == "direct" else path.reached
        via = None if path.via is None else path.via.hex()
        emit(Pong(seq=seq, rtt_s=times[-1], path=reached, via=via, lane=self._has_lane(path.via)))

    def _has_lane(self, neighbour: PeerId | None) -> bool:
        return neighbour is not None and self._driver.engine.lanes.is_live(neighbour)

    # --- trace -----------------------------------------------------------------------------------------------

    async def trace(self, destination: Destination, emit: Callable[[Hop], object]) -> Trace:
        """Find every relay on the way to a peer, and call `emit` at each."""
        result = Trace(hops=[], id=None, state="answered", why=None, why_not_direct=None)
        try:
            peer_id = (await self._find(destination, self._loop.time() + PROBE_TIME)).peer_id
            assert peer_id is not None
            result["id"] = peer_id.hex()
            await self._trace(peer_id, result, emit)
            result["why_not_direct"] = (await self._driver.path(peer_id)).why_not_direct
        except NoAnswerError as failure:
            result["state"], result["why"] = failure.state, str(failure)
            result["id"] = result["id"] if failure.peer_id is None else failure.peer_id.hex()
        return result

    def _trace_hop(self, peer_id: PeerId, hops: int, token: bytes, now: float) -> None:
        self._driver.engine.probes.trace(token, peer_id, hops, now)

    async def _trace(self, peer_id: PeerId, result: Trace, emit: Callable[[Hop], object]) -> None:
        if peer_id == self._host.peer_id:
            return
        silent = 0
        for number in range(1, HOP_LIMIT + 1):
            answer, rtt = await self._ask(
                partial(self._trace_hop, peer_id, number), size=TRACE_TOKEN, limit=TRACE_ANSWER
            )
            if isinstance(answer, Traced):
                silent = 0
                url, lane = self._driver.engine.url_of(answer.peer_id), number == 1 and self._has_lane(answer.peer_id)
                hop = Hop(id=answer.peer_id.hex(), url=url, rtt_s=round(rtt, 6), lane=lane)
            else:
                silent += 1
                hop = Hop(id=None, url=None, rtt_s=None, lane=False)
            result["hops"].append(hop)
            emit(hop)
            if isinstance(answer, Traced) and answer.peer_id == peer_id:
                return
            if silent >= TRACE_SILENT:
                break
        raise self._why_silent(peer_id)
