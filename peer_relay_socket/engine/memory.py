"""Memory: the relays that worked, for the time when every place to join through is gone.

Lives here: which relays are worth remembering, how those remembered from earlier runs are tried. May not live here:
files (the driver keeps them), whom to be linked to (membership.py).

Law: only a relay that we dialled ourselves and that proved its key is remembered, at the URL where it did; one that we
are linked to only because the program talked to it is not. What is remembered is a hint: another peer that answers
there costs one dial and is forgotten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..address import PeerId
from ..limits import RECALL_AGAIN, RECALL_AT_ONCE, RECALL_EVERY, REMEMBERED, make_room
from ..scope import Scope
from .timers import Due

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .core import Core
    from .link import LinkState
    from .links import Links
    from .membership import Membership
    from .timers import Timer


class Remembered(NamedTuple):
    """A relay that worked."""

    peer_id: PeerId
    url: str
    scope: Scope
    """How far an address must reach to be dialled for it."""
    nearby: bool
    """Whether this machine's own addresses, and those on its wires, may be dialled for it."""
    seen: int
    """When it last worked, in seconds since 1970."""
    by_chance: bool = False
    """Whether it was the relay drawn by chance (anchors.py): the next run keeps it."""


class Memory:
    """What one peer remembers."""

    def __init__(self, core: Core, links: Links, membership: Membership) -> None:
        self._core = core
        self._links = links
        self._membership = membership
        self._known: dict[PeerId, Remembered] = {}
        """At most REMEMBERED, the one that worked last at the end."""
        self._false: dict[PeerId, int] = {}
        """Where another peer answered, and when; at most REMEMBERED."""
        self._untried: list[PeerId] = []
        self._given = frozenset(core.config.bootstrap)
        """Where the program has us join: dialled in any case. What a domain names is remembered, in case it is gone."""
        self._timer: Timer | None = None
        self._active = False

    # --- what is handed in and out -------------------------------------------------------------------------------

    def recall(self, relays: Iterable[Remembered]) -> None:
        """These worked in earlier runs: try them while no link is up, RECALL_AT_ONCE at a time."""
        self._active = True
        known = {relay.peer_id: relay for relay in sorted(relays, key=lambda relay: relay.seen)}
        for relay in known.values():
            if relay.by_chance:  # of several, the one that worked last
                self._membership.recall_chance(relay.peer_id, relay.url, relay.scope, relay.nearby)
        for relay in [*known.values(), *self._known.values()]:
            self._note(relay)
        self._begin()

    def remembered(self) -> list[Remembered]:
        """Return what is worth remembering, the one that worked last at the end."""
        for link in self._links.by_id.values():
            known = self._known.get(link.peer_id)
            if known is not None and link.url is not None and known.url == link.url.partition("#")[0]:
                self._note(known._replace(seen=self._seconds))
        chance = self._membership.anchors.chance
        return [relay._replace(by_chance=relay.peer_id == chance) for relay in self._known.values()]

    @property
    def disproved(self) -> dict[PeerId, int]:
        """Relays in whose place another peer answered, and when (seconds since 1970)."""
        return dict(self._false)

    # --- what happened -------------------------------------------------------------------------------------------

    def link_up(self, link: LinkState) -> None:
        """A neighbour has proved its key."""
        url = link.url
        if url is None or link.direct or not link.serves or url in self._given:
            return
        place = self._membership.place_of(link)
        if place is not None:
            self._note(Remembered(link.peer_id, url.partition("#")[0], *place, self._seconds))
            self._false.pop(link.peer_id, None)

    def link_down(self) -> None:
        """A neighbour is gone."""
        if self._active and not self._links.by_id and (self._timer is None or not self._timer.pending):
            self._begin()

    def refused(self, url: str | None) -> None:
        """Another peer than expected answered at `url`, or what answered is no peer of this network."""
        for relay in [relay for relay in self._known.values() if relay.url == url]:
            del self._known[relay.peer_id]
            make_room(self._false, REMEMBERED)
            self._false[relay.peer_id] = self._seconds

    # --- trying --------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._untried = list(self._known)
        self._try_more()

    def _try_more(self) -> None:
        if self._links.by_id:
            self._untried.clear()
            return
        tried, self._untried = self._untried[-RECALL_AT_ONCE:], self._untried[:-RECALL_AT_ONCE]
        for peer_id in reversed(tried):
            relay = self._known.get(peer_id)
            if relay is not None:
                self._membership.try_remembered(peer_id, relay.url, relay.scope, relay.nearby)
        if tried:
            self._membership.review()
        wait, then = (RECALL_EVERY, self._try_more) if self._untried else (RECALL_AGAIN, self._begin)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._core.timers.at(Due.RECALL, self._core.now + wait, then) if self._known else None

    def _note(self, relay: Remembered) -> None:
        self._known.pop(relay.peer_id, None)
        make_room(self._known, REMEMBERED)
        self._known[relay.peer_id] = relay

    @property
    def _seconds(self) -> int:
        return self._core.wall // 1_000_000
