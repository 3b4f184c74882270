"""How far relays are: the round trips that this peer measured.

Lives here: which relays are measured, and for how long that is believed. May not live here: what follows from it
(paths.py, membership.py).

Law: only what we measured ourselves is in here. A relay can pretend to be farther than it is, never nearer. Nothing is
measured while no pair has traffic, and never more than ROUND_TRIPS_AT_ONCE relays at a time.

Which relays: those that we are linked to, and others by chance among the candidates, as many of each neighbour that
named them, so that none decides by being near, by id or by round trip, or by naming many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..limits import (
    MAX_PATHS,
    MAX_ROUND_TRIPS_KNOWN,
    ROUND_TRIP_AGE,
    ROUND_TRIP_BATCHES,
    ROUND_TRIP_TIME,
    ROUND_TRIPS_AT_ONCE,
    ROUND_TRIPS_MEASURED,
    make_room,
)
from .membership import Seeker
from .timers import Due

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..address import PeerId
    from .core import Core
    from .link import LinkState
    from .links import Links
    from .membership import Membership
    from .timers import Timer


class RoundTrips:
    """Those of one peer."""

    def __init__(self, core: Core, links: Links, membership: Membership) -> None:
        self._core = core
        self._links = links
        self._membership = membership
        self._known: dict[PeerId, tuple[float, float]] = {}
        """Seconds, and when they were measured, of relays that are linked no more; at most MAX_ROUND_TRIPS_KNOWN."""
        self._waiting: list[PeerId] = []
        """To be measured, after those under way; at most ROUND_TRIPS_MEASURED, and as many as are known that others
        offered."""
        self._under_way: dict[PeerId, None] = {}
        """Being dialled, and linked to for that; at most ROUND_TRIPS_AT_ONCE."""
        self._batches = 0
        """How many batches may still be filled with relays that chance names."""
        self._then: dict[PeerId, Callable[[], None]] = {}
        """By the peer for whose pair it is; at most MAX_PATHS."""
        self._timer: Timer | None = None

    def of(self, peer_id: PeerId) -> float | None:
        """Return the seconds to the relay `peer_id` and back, as measured last; None: not, or too long ago."""
        link = self._links.by_id.get(peer_id)
        if link is not None and link.rtt is not None:
            return link.rtt if link.serves else None
        seconds, when = self._known.get(peer_id, (None, 0.0))
        return seconds if self._core.now <= when + ROUND_TRIP_AGE else None

    def nearest(self, count: int) -> list[tuple[PeerId, float]]:
        """Return the `count` nearest relays that are known, nearest first. A bootstrap node, which all peers know, is
        left to newcomers where there are others enough: it would be the best that most pairs have in common."""
        known = self._all()
        bootstraps = {place.peer_id for place in self._membership.bootstraps}
        others = {peer_id: seconds for peer_id, seconds in known.items() if peer_id not in bootstraps}
        if len(others) >= ROUND_TRIPS_MEASURED // 2:
            known = others
        return sorted(known.items(), key=lambda item: item[1])[:count]

    def _all(self) -> dict[PeerId, float]:
        linked = (link.peer_id for link in self._links.by_id.values())
        each = ((peer_id, self.of(peer_id)) for peer_id in dict.fromkeys((*linked, *self._known)))
        return {peer_id: seconds for peer_id, seconds in each if seconds is not None}

    # --- measuring -------------------------------------------------------------------------------------------

    def measure(self, pair: PeerId, then: Callable[[], None], only: Iterable[PeerId] | None = None) -> None:
        """Measure `only` these, or as many relays as a peer with traffic should know, for the pair with `pair`;
        call `then` when that is done, once however often it was asked. Where too many wait, the rest is not measured.
        A peer that relays has links enough as it is, and dials no others for that."""
        if pair not in self._then:
            make_room(self._then, MAX_PATHS)
        self._then[pair] = then
        if only is not None:
            pending = (*self._under_way, *self._waiting)
            lacking = [each for each in only if each not in pending and self.of(each) is None]
            self._waiting += lacking[: max(0, MAX_ROUND_TRIPS_KNOWN - len(self._waiting))]
        elif not self._core.config.serves:
            self._batches = ROUND_TRIP_BATCHES
            if self._lacking() > 0:
                self._membership.look_for_more()
        if self._timer is None:
            self._timer = self._core.timers.at(Due.ROUND_TRIPS, self._core.now, self._next_batch)

    def _lacking(self) -> int:
        return ROUND_TRIPS_MEASURED - len(self._all())

    def _next_batch(self) -> None:
        """Let go of those that were measured, or cannot be; go on with the next."""
        core = self._core
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for peer_id in list(self._under_way):
            self._note(peer_id)
        lacking = min(self._lacking(), ROUND_TRIPS_AT_ONCE - len(self._waiting))
        if self._batches and lacking > 0:
            self._batches -= 1
            self._waiting += self._membership.unlinked(lacking, self._all())
        batch, self._waiting = self._waiting[:ROUND_TRIPS_AT_ONCE], self._waiting[ROUND_TRIPS_AT_ONCE:]
        for peer_id in batch:
            self._under_way[peer_id] = None
            self._membership.seek(peer_id, Seeker.ROUND_TRIP)
        if batch:
            self._timer = core.timers.at(Due.ROUND_TRIPS, core.now + ROUND_TRIP_TIME, self._next_batch)
            return
        self._batches = 0
        done, self._then = self._then, {}
        for then in done.values():
            then()
        self._membership.review()

    def _note(self, peer_id: PeerId) -> None:
        link = self._links.by_id.get(peer_id)
        if link is not None:
            self._remember(link)
        del self._under_way[peer_id]
        self._membership.unseek(peer_id, Seeker.ROUND_TRIP)

    def _remember(self, link: LinkState) -> None:
        if link.serves and link.rtt is not None:
            self._known.pop(link.peer_id, None)
            make_room(self._known, MAX_ROUND_TRIPS_KNOWN)
            self._known[link.peer_id] = link.rtt, self._core.now

    # --- what happened ---------------------------------------------------------------------------------------

    def link_up(self, link: LinkState) -> None:
        """A relay that is being measured may have been reached."""
        if link.peer_id in self._under_way and all(peer_id in self._links.by_id for peer_id in self._under_way):
            assert self._timer is not None
            self._timer.cancel()
            self._timer = self._core.timers.at(Due.ROUND_TRIPS, self._core.now, self._next_batch)

    def link_down(self, link: LinkState) -> None:
        """Remember how far the neighbour was, unless it fell silent."""
        self._remember(link)
