"""Anchors: the two links of an ordinary peer that nearness of ids does not choose.

Lives here: *home*, the nearest relay by round trip, by which most of what a peer sends leaves; and the relay chosen by
*chance*, the way out and in when all others are an attacker's. May not live here: the links to the relays nearest by
id, which are how a peer is found (closest.py).

Law: no stranger steers the choice by chance. It is drawn once, of an answer to a question for an id made up here, that
went out by a bootstrap node where one is linked; it outlives restarts (memory.py), and is given up only after it failed
to answer ANCHOR_FAILURES times, never for one that is nearer, newer or named more often. Home is chosen among relays
that are linked anyway, at each look around and when links change: of those that are not crowded, the nearest.

A peer that relays has neither: it fills its slots by chance, and knows the round trips of all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..address import ID_BYTES, PeerId
from ..limits import ANCHOR_FAILURES, CROWDED_TIMES, NEVER_CROWDED

if TYPE_CHECKING:
    from .candidates import Candidate, Candidates
    from .core import Core
    from .gossip import Gossip
    from .link import LinkState
    from .links import Links
    from .routing import Router


class Anchors:
    """Those of one peer."""

    def __init__(self, core: Core, links: Links, router: Router, candidates: Candidates, gossip: Gossip) -> None:
        self._core = core
        self._links = links
        self._router = router
        self._candidates = candidates
        self._gossip = gossip
        self.home: PeerId | None = None
        self.chance: PeerId | None = None

    def role(self, peer_id: PeerId) -> str | None:
        """Return what a neighbour is to us: "home", "chance", or None."""
        if peer_id == self.home:
            return "home"
        return "chance" if peer_id == self.chance else None

    def keeps(self, link: LinkState) -> bool:
        """Return whether `link` stays though others are nearer by id."""
        return not self._core.config.serves and link.peer_id in (self.home, self.chance)

    def wanted(self) -> list[Candidate]:
        """Return the relay chosen by chance, if it can be dialled."""
        candidate = None if self.chance is None else self._candidates.get(self.chance)
        return [candidate] if candidate is not None and candidate.urls and not self._core.config.serves else []

    def recall(self, peer_id: PeerId) -> None:
        """This relay, a candidate, was drawn by chance in an earlier run: it stays the choice."""
        self.chance = self._candidates.kept = peer_id
        self._note()

    def review(self) -> None:
        """Look whether home is the best still. Ask for a relay by chance, if there is none, or the one there was has
        failed."""
        self.choose_home()
        candidate = None if self.chance is None else self._candidates.get(self.chance)
        if self.chance in self._links.by_id or self._core.config.serves:
            return
        if candidate is not None and candidate.failures < ANCHOR_FAILURES:
            return
        self.chance = self._candidates.kept = None
        self._note()
        relays = [link for link in self._links.by_id.values() if link.serves and not link.direct]
        if relays:
            first = min(relays, key=lambda link: (not self._is_bootstrap(link.peer_id), self._core.random.random()))
            self._gossip.find_by(first, self._core.entropy(ID_BYTES), self._found)

    def _found(self, named: list[PeerId]) -> None:
        """Relays around a made-up id are known: take one of them."""
        known = [each for each in map(self._candidates.get, named) if each is not None and each.urls]
        if self.chance is None and known:
            self.recall(min(known, key=lambda candidate: candidate.luck).peer_id)

    def _is_bootstrap(self, peer_id: PeerId) -> bool:
        return any(place.peer_id == peer_id for place in self._candidates.bootstraps)

    def choose_home(self) -> None:
        """Take the nearest of the linked relays that are not crowded. All newcomers meet the few relays that bootstrap
        nodes are linked to, which would else be home to most."""
        if self._core.config.serves:
            return
        near = [link for link in self._router.relays if self._may_be_home(link)]
        counts = sorted(link.ordinary for link in near)
        most = max(NEVER_CROWDED, CROWDED_TIMES * counts[len(counts) // 2]) if near else 0
        order = sorted(near, key=lambda link: (link.ordinary > most, link.rtt or 0.0, link.number))
        home = order[0].peer_id if order else None
        if home != self.home:
            self.home = home
            self._note()

    def _note(self) -> None:
        self._router.retry_by(self.chance, self.home)

    def _may_be_home(self, link: LinkState) -> bool:
        """Bootstrap nodes are left to newcomers."""
        return link.serves and not link.direct and link.rtt is not None and not self._is_bootstrap(link.peer_id)
