"""WebRTC connections to npm peers that are being made: which end offers, what is signalled, how long anything may take.

Lives here: attempts, from the answer to a handshake-offer until the data channel is open. May not live here: which
peers to link to, and how else (neighbours.py), connections (transport).

Law: only a peer that said that it does WebRTC, or signalled first, is sent a signal: it ends a node process that does
not. No signal is heeded but of peers that we offered, or answered, a link; at most one attempt per peer and
MAX_DIRECT_ATTEMPTS in all, those of signalling.py included, each of bounded time. Nothing is signalled once a channel
is open.

    they answered our offer    Describe -> described -> signal {"type": "offer"} -> theirs, {"type": "answer"} -> Accept
    they signal first          what candidates come wait for their offer -> Describe -> described -> signal "answer"
    either                     their later candidates -> AddCandidate; ours are all in the description
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from ...address import PeerId
from ...limits import (
    DIRECT_OFFER_RATE,
    NPM_CANDIDATES,
    NPM_CROSSED,
    NPM_OFFER_AGAIN,
    NPM_OFFER_TIME,
    RTC_CANDIDATES,
    make_room,
)
from ...rate import TokenBucket
from ...scope import Scope
from ..effects import Abandon, Accept, AddCandidate, Describe
from ..timers import Due

if TYPE_CHECKING:
    from ..core import Core
    from ..timers import Timer


class _Stage(IntEnum):
    EXPECTING = 0
    """Candidates of theirs came; their offer did not yet."""
    DESCRIBING = 1
    SIGNALLED = 2
    CONNECTING = 3


class _Attempt:
    """One connection that may come to be."""

    __slots__ = ("early", "handle", "offering", "peer_id", "stage", "timer")

    def __init__(self, handle: int, peer_id: PeerId, offering: bool) -> None:
        self.handle = handle
        self.peer_id = peer_id
        self.offering = offering
        self.stage = _Stage.DESCRIBING if offering else _Stage.EXPECTING
        self.early: list[str] = []
        """At most RTC_CANDIDATES."""
        self.timer: Timer | None = None
        """Runs while the other side is waited for; while the driver is, it says when it is over."""


class NpmRtc:
    """All attempts of one peer."""

    def __init__(
        self, core: Core, signal: Callable[[PeerId, dict[str, str]], None], failed: Callable[[PeerId], None]
    ) -> None:
        """Args: signal: send a signal. failed: an attempt has come to nothing."""
        self._core = core
        self._signal = signal
        self._on_failed = failed
        self._attempts: dict[int, _Attempt] = {}
        self._by_id: dict[PeerId, _Attempt] = {}
        self._not_before: dict[PeerId, float] = {}
        """Peers with whom it failed, and until when it is not tried again; at most NPM_CANDIDATES."""
        self._unable_until = 0.0
        """When this machine could not even describe a connection: until when it is not asked to."""
        self._rate = TokenBucket(DIRECT_OFFER_RATE, core.now)

    def able(self, peer_id: PeerId) -> bool:
        """Return whether a connection to `peer_id` can be tried now."""
        now = self._core.now
        return (
            self._core.config.webrtc
            and self._unable_until <= now
            and self._not_before.get(peer_id, 0.0) <= now
            and self._core.may_attempt
        )

    def under_way(self, peer_id: PeerId) -> bool:
        """Return whether there is an attempt."""
        return peer_id in self._by_id

    # --- signalling ------------------------------------------------------------------------------------------

    def offer(self, peer_id: PeerId, scope: Scope) -> None:
        """`peer_id` does WebRTC, and is to be linked to: begin, if that is not under way. Its addresses must reach as
        far as `scope`."""
        if not self.under_way(peer_id) and self.able(peer_id):
            attempt = self._begin(peer_id, offering=True)
            self._core.effects.append(Describe(attempt.handle, peer_id, None, scope, legacy=True))

    def _begin(self, peer_id: PeerId, *, offering: bool) -> _Attempt:
        attempt = _Attempt(self._core.attempt(), peer_id, offering)
        self._attempts[attempt.handle] = self._by_id[peer_id] = attempt
        return attempt

    def heard(self, peer_id: PeerId, signal: dict[str, Any], scope: Scope, welcome: bool) -> None:
        """Take a signal of `peer_id`, whose addresses must reach as far as `scope`; `welcome`: it was offered, or
        answered, a link."""
        core = self._core
        attempt = self._by_id.get(peer_id)
        if attempt is None and welcome and self.able(peer_id) and self._rate.take(core.now):
            attempt = self._begin(peer_id, offering=False)
            self._wait(attempt)
        if attempt is None:
            core.counters["refused: a signal that was not asked for"] += 1
            return
        if "candidate" in signal:
            self._candidate(attempt, signal["candidate"]["candidate"])
            return
        kind, sdp = signal["type"], signal["sdp"]
        if kind == "offer" and attempt.offering:
            attempt = self._crossed(attempt, scope)
        if kind == "offer" and attempt.stage is _Stage.EXPECTING:
            self._stop_waiting(attempt, _Stage.DESCRIBING)
            core.effects.append(Describe(attempt.handle, peer_id, sdp, scope, legacy=True))
            core.effects += [AddCandidate(attempt.handle, each) for each in attempt.early]
        elif kind == "answer" and attempt.stage is _Stage.SIGNALLED:
            self._stop_waiting(attempt, _Stage.CONNECTING)
            core.effects.append(Accept(attempt.handle, sdp))
        else:
            core.counters["dropped: a signal out of turn"] += 1

    def _crossed(self, attempt: _Attempt, scope: Scope) -> _Attempt:
        """They offer as well. Returns: what takes their offer, if that can be.

        An npm peer that offered gives up when it hears an offer, and tries no more; later it answers one.
        """
        peer_id = attempt.peer_id
        self.forget(peer_id)
        if attempt.stage is _Stage.DESCRIBING:  # they have not heard of ours
            return self._begin(peer_id, offering=False)
        self._core.timers.at(Due.LEGACY_OFFER, self._core.now + NPM_CROSSED, self.offer, peer_id, scope)
        return attempt

    def _candidate(self, attempt: _Attempt, candidate: str) -> None:
        if attempt.stage is not _Stage.EXPECTING:
            self._core.effects.append(AddCandidate(attempt.handle, candidate))
        elif len(attempt.early) < RTC_CANDIDATES:
            attempt.early.append(candidate)

    def _wait(self, attempt: _Attempt) -> None:
        core = self._core
        attempt.timer = core.timers.at(
            Due.LEGACY_OFFER_OVER, core.now + NPM_OFFER_TIME, self._fail, attempt, "the other side said no more"
        )

    def _stop_waiting(self, attempt: _Attempt, stage: _Stage) -> None:
        attempt.stage = stage
        if attempt.timer is not None:
            attempt.timer.cancel()

    # --- what comes of it ------------------------------------------------------------------------------------

    def described(self, handle: int, sdp: str) -> bool:
        """The driver made a description. Returns: whether the attempt is ours."""
        attempt = self._attempts.get(handle)
        if attempt is None:
            return False
        if attempt.offering:
            attempt.stage = _Stage.SIGNALLED
            self._wait(attempt)
        else:
            attempt.stage = _Stage.CONNECTING
        self._signal(attempt.peer_id, {"type": "offer" if attempt.offering else "answer", "sdp": sdp})
        return True

    def failed(self, handle: int, reason: str) -> bool:
        """The driver says that an attempt has ended. Returns: whether it is ours, and had not become a link."""
        attempt = self._attempts.get(handle)
        if attempt is None:
            return False
        if attempt.offering and attempt.stage is _Stage.DESCRIBING:  # no other peer had a part in it
            self._unable_until = self._core.now + NPM_OFFER_AGAIN
        self._fail(attempt, reason)
        return True

    def _fail(self, attempt: _Attempt, reason: str) -> None:
        core = self._core
        peer_id = attempt.peer_id
        self.forget(peer_id)
        core.counters["WebRTC with npm peers failed"] += 1
        core.note(10, f"no WebRTC link to npm peer {peer_id.hex()[:8]}: {reason}")
        make_room(self._not_before, NPM_CANDIDATES)
        self._not_before[peer_id] = core.now + NPM_OFFER_AGAIN
        self._on_failed(peer_id)

    def opened(self, peer_id: PeerId) -> None:
        """The data channel is open: what is signalled from now on comes too late."""
        attempt = self._by_id.pop(peer_id, None)
        if attempt is not None:
            del self._attempts[attempt.handle]
            self._core.attempt_ended()

    def forget(self, peer_id: PeerId) -> None:
        """No link to `peer_id` is wanted any more."""
        attempt = self._by_id.get(peer_id)
        if attempt is not None:
            self.opened(peer_id)
            self._stop_waiting(attempt, attempt.stage)
            self._core.effects.append(Abandon(attempt.handle))
