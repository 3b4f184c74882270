"""Membership: which peers to be linked to.

Lives here: which peers to dial and which to let go, when to look around, what the program wants, peers that ask to be
dialled. May not live here: which peers are known (candidates.py), what peers tell each other (gossip.py), links'
handshakes, routing; nor what makes a relay a good neighbour: it is near our id (closest.py), it fills a slot
(slots.py), it is our home or was drawn by chance (anchors.py).

Law: every peer keeps links to the CLOSEST_LINKS dialable peers nearest its own id (they are how it is found); a peer
that can be dialled itself has one more link in every slot it can fill. URLs learned from others are dialled only if
they reach at least as far as the link they came over: a stranger cannot send us to our own loopback or LAN.
"""

from __future__ import annotations

from enum import Flag, auto
from typing import TYPE_CHECKING, Final

from ..address import ID_BYTES, PeerId, pinned_id
from ..codec import packet as wire
from ..codec.control import Contact
from ..codec.packet import LinkOp
from ..limits import (
    BOOTSTRAP_GRACE,
    CLOSEST_LINKS,
    JOINING_TIME,
    LOOK_SPACING,
    MAX_CANDIDATES,
    MAX_JOINING,
    MAX_REASON,
    ORDINARY_LINKS,
    REFRESH_FIRST,
    REFRESH_MAX,
    ROUND_TRIPS_MEASURED,
    make_room,
)
from ..scope import Scope
from .anchors import Anchors
from .candidates import Candidate, Candidates
from .closest import Closest
from .effects import Dial
from .gossip import Gossip
from .slots import Slots
from .timers import Due

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from .behind import Behind
    from .core import Core
    from .link import LinkState
    from .links import Links
    from .routing import Router
    from .timers import Timer
    from .vain_hosts import VainHosts

_BLOCK: Final = 60.0
"""Seconds during which a peer that said goodbye is not linked to on our account."""
_ASKED_FOR_MORE: Final = 3
"""Places in the network at which dialable peers are asked for: CONTACTS_PER_ANSWER each."""


class Seeker(Flag):
    """The parts of ours that want a link for a while: each may ask more than once, and lets go of its own wish only."""

    DIRECT = auto()
    PATH = auto()
    ROUND_TRIP = auto()
    JOIN = auto()


class Membership:
    """Keeps the links a peer should have."""

    def __init__(self, core: Core, links: Links, router: Router, behind: Behind, vain: VainHosts) -> None:
        self._core = core
        self._links = links
        self._behind = behind
        self._router = router
        self._candidates = Candidates(core, links, vain)
        self.gossip = Gossip(core, links, router, self._candidates, self.review)
        self.anchors = Anchors(core, links, router, self._candidates, self.gossip)
        self._blocked: dict[PeerId, None] = {}
        """Peers to which no link is made on our account, because a program ended the last one; at most
        MAX_CANDIDATES."""
        self._closest = Closest(core, links, router, self._candidates, self._blocked)
        self._slots = Slots(core, router, self._candidates, self.gossip, self._blocked)
        self._eager: dict[PeerId, None] = {}
        """Remembered relays that are dialled though others are nearer, while no link is up; at most REMEMBERED."""
        self._sought: dict[PeerId, Seeker] = {}
        """Wanted for a while, and not by the program, and by which parts of ours; at most MAX_DIRECT_PAIRS, PATH_LINKS,
        ROUND_TRIPS_AT_ONCE and MAX_JOINING together."""
        self._joining: dict[PeerId, None] = {}
        """Peers that we dial because they asked for it, at most MAX_JOINING."""
        self._refresh_wait = REFRESH_FIRST
        self._looked_at = -LOOK_SPACING
        self._refresh: Timer | None = None
        self._review: Timer | None = None

    @property
    def bootstraps(self) -> list[Candidate]:
        """The bootstrap URLs, and what became of them."""
        return self._candidates.bootstraps

    def url_of(self, peer_id: PeerId) -> str | None:
        """Return where `peer_id` may be dialled."""
        candidate = self._candidates.get(peer_id)
        return candidate.urls[0] if candidate is not None and candidate.urls else None

    def blame(self, url: str, reason: str) -> None:
        """Remember why `url`, if it is a bootstrap URL, is of no use now."""
        for bootstrap in self._candidates.bootstraps:
            if reason and url in bootstrap.urls:
                bootstrap.last_error = reason[:MAX_REASON]

    # --- what happened ---------------------------------------------------------------------------------------

    def forgive(self) -> None:
        """What failed until now was this machine's network, and not the peers: dial them at once."""
        self._candidates.forgive()
        self.review()

    def link_up(self, link: LinkState) -> None:
        """A neighbour appeared."""
        self._eager.clear()
        if link.url is not None:
            self._candidates.bootstrap_answers(link.url, link.peer_id)
        if link.serves and link.known_urls:
            self._candidates.consider(Contact(link.peer_id, link.known_urls), link)
        candidate = self._candidates.get(link.peer_id)
        if link.peer_id in self._blocked:
            if link.url is not None and not link.direct:  # dialled before the program changed its mind
                self._part(link)
                return
            self.unblock(link.peer_id)
        if candidate is not None:
            self._candidates.rest(candidate)
            candidate.failures = 0
            candidate.not_before = 0.0
            candidate.lost_at = None
            link.protected = link.protected or candidate.wanted
        self.anchors.choose_home()
        self.gossip.introduce(link)
        if len(self._links.by_id) == 1:
            self.gossip.ask_neighbours(self._refresh_wait == REFRESH_FIRST)
        if link.serves and self._is_close(link):
            self._refresh_soon()
        self.review()

    def link_changed(self, link: LinkState) -> None:
        """A neighbour relays now, or no more, or is to be dialled elsewhere."""
        if link.serves and link.known_urls:
            self._candidates.consider(Contact(link.peer_id, link.known_urls), link)
            self.gossip.introduce(link)
        elif not (link.serves and link.urls):
            candidate = self._candidates.get(link.peer_id)
            if candidate is not None and not candidate.wanted:
                self._candidates.forget(candidate)
        if link.serves and self._is_close(link):
            self._refresh_soon()
        self.review()

    def link_down(self, link: LinkState) -> None:
        """A neighbour went, unless the link was only superseded by another."""
        if link.peer_id in self._links.by_id:
            return
        self.anchors.choose_home()
        if link.ended_by_program:
            self._block(link.peer_id)
        candidate = self._candidates.get(link.peer_id)
        if candidate is not None:
            candidate.lost_at = self._core.now
            if link.dismissed:
                candidate.failures = 1
                candidate.not_before = self._core.now + _BLOCK
        if link.serves and not link.dismissed:
            self._slots.link_down(link)
            self._refresh_soon()
        self.review()

    def bootstrap_up(self, url: str, peer_id: PeerId) -> None:
        """`peer_id`, which is behind us, answers at `url`."""
        self._candidates.bootstrap_answers(url, peer_id)

    def bootstrap_down(self, url: str) -> None:
        """The peer behind us at `url` is gone: not at once again, or two links to it would cross."""
        for bootstrap in self._candidates.bootstraps:
            if url in bootstrap.urls and bootstrap.dialling is None:
                self._candidates.failed(bootstrap)
        self.review()

    def serves_changed(self) -> None:
        """Others can dial us now, or no more: we need other links than before."""
        if self._links.by_id:
            self._refresh_soon()
        self.review()

    def serve(self) -> None:
        """We became the node that our bootstrap URLs name: dial them no more."""
        self._candidates.drop_bootstraps()
        self.review()

    def looked_up(self, place: str, urls: Sequence[str]) -> None:
        """The domain `place` (dns:DOMAIN) names these bootstrap URLs."""
        self._candidates.looked_up(place, urls)
        self.review()

    def dial_failed(self, url: str, answered: PeerId = b"") -> None:
        """No usable peer answered at `url`, or `answered` did, which we are linked to already."""
        if answered in self._links.by_id:
            for bootstrap in self._candidates.bootstraps:
                if url in bootstrap.urls:
                    bootstrap.peer_id = answered
        candidate = self._candidates.at(url)
        if candidate is not None:
            self._candidates.failed(candidate)
        self.review()

    def wrong_peer_at(self, url: str) -> None:
        """Another peer than expected answers at `url`: what we heard of it is out of date."""
        candidate = self._candidates.at(url)
        if candidate is not None and not candidate.bootstrap:
            self._candidates.rest(candidate)
            candidate.urls = tuple(other for other in candidate.urls if other != url)
            if not candidate.urls and not candidate.wanted:
                self._candidates.forget(candidate)

    # --- the program's wishes --------------------------------------------------------------------------------

    def want(self, peer_id: PeerId) -> bool:
        """Link to `peer_id` and stay linked; return whether we know where to dial it."""
        self.unblock(peer_id)
        self._sought.pop(peer_id, None)
        return self._keep(peer_id)

    def _keep(self, peer_id: PeerId) -> bool:
        link = self._links.by_id.get(peer_id)
        if link is not None:
            link.protected = True
            return True
        candidate = self._candidates.get(peer_id)
        if candidate is None:
            candidate = self._candidates.remember(peer_id, (), Scope.GLOBAL)
        self._candidates.want(candidate, True)
        if candidate.urls:
            if not candidate.failures:  # at most dismissed before
                candidate.not_before = 0.0
            self.review()
            return True
        self.gossip.find(peer_id)
        return False

    def seek(self, peer_id: PeerId, seeker: Seeker) -> bool:
        """Link to `peer_id` if it can be dialled, until `unseek`; return whether we know where."""
        candidate = self._candidates.get(peer_id)
        full = candidate is None and len(self._candidates) >= MAX_CANDIDATES
        if self.is_blocked(peer_id) or (full and not self._candidates.make_room()):
            return False
        if peer_id in self._sought or candidate is None or not candidate.wanted:
            self._sought[peer_id] = self._sought.get(peer_id, seeker) | seeker
        return self._keep(peer_id)

    def unseek(self, peer_id: PeerId, seeker: Seeker) -> None:
        """Undo `seek`; what the program wanted stays wanted."""
        if peer_id not in self._sought:
            return
        self._sought[peer_id] &= ~seeker
        if self._sought[peer_id]:
            return
        del self._sought[peer_id]
        candidate = self._candidates.get(peer_id)
        if candidate is not None:
            self._candidates.want(candidate, False)
            if not candidate.urls:
                self._candidates.forget(candidate)
        link = self._links.by_id.get(peer_id)
        if link is not None:
            link.protected = link.direct

    def unlinked(self, count: int, known: Container[PeerId]) -> list[PeerId]:
        """Return `count` dialable peers by chance, that are not in `known` and we are not linked to; fewer where we
        heard of no more."""
        return self._candidates.by_chance(count, known)

    def look_for_more(self) -> None:
        """Ask for dialable peers anywhere, if we heard of few."""
        if len(self._candidates) < 2 * ROUND_TRIPS_MEASURED:
            for _ in range(_ASKED_FOR_MORE):
                self.gossip.find(self._core.entropy(ID_BYTES))

    def join_heard(self, peer_id: PeerId) -> None:
        """`peer_id`, which the program may not even know, asks us to dial it: a few at a time, and for a while."""
        core = self._core
        if peer_id in self._joining or peer_id in self._links.by_id:
            return
        if len(self._joining) >= MAX_JOINING:
            core.counters["refused: too many ask to be dialled"] += 1
            return
        self._joining[peer_id] = None
        self.seek(peer_id, Seeker.JOIN)
        core.timers.at(Due.JOINING_OVER, core.now + JOINING_TIME, self._join_over, peer_id)

    def _join_over(self, peer_id: PeerId) -> None:
        if peer_id in self._links.by_id:  # it came to be: look again later
            self._core.timers.at(Due.JOINING_OVER, self._core.now + JOINING_TIME, self._join_over, peer_id)
        else:
            del self._joining[peer_id]
            self.unseek(peer_id, Seeker.JOIN)

    def suggest(self, peer_id: PeerId, url: str, scope: Scope) -> None:
        """Something beside our neighbours says that `peer_id` can be dialled at `url`, on a wire of this machine."""
        if self._candidates.suggest(peer_id, url, scope, nearby=True):
            self.review()

    def try_remembered(self, peer_id: PeerId, url: str, scope: Scope, nearby: bool) -> None:
        """Dial a relay that worked in an earlier run, in the next review that finds no link up."""
        if self._candidates.suggest(peer_id, url, scope, nearby):
            self._eager[peer_id] = None

    def recall_chance(self, peer_id: PeerId, url: str, scope: Scope, nearby: bool) -> None:
        """Dial the relay that was drawn by chance in an earlier run, beside whatever links are up."""
        if self._candidates.suggest(peer_id, url, scope, nearby):
            self.anchors.recall(peer_id)
            self.review()

    def place_of(self, link: LinkState) -> tuple[Scope, bool] | None:
        """Return the scope of the place where a neighbour was dialled, and whether that may be nearby; None where
        nothing but the program's traffic with it made us link to it."""
        candidate = self._candidates.get(link.peer_id)
        if candidate is None:
            return link.scope, link.nearby
        if candidate.wanted and not self._is_close(link):
            return None
        return candidate.scope, candidate.nearby

    def refuse(self, peer_id: PeerId) -> None:
        """Drop the link to `peer_id`; make no new one until a program asks for it, this one or the peer's."""
        self._block(peer_id)
        link = self._links.by_id.get(peer_id)
        if link is not None:
            self._part(link)

    def _part(self, link: LinkState) -> None:
        self._links.tell(link, LinkOp.GOODBYE, wire.BY_PROGRAM)
        self._links.drop(link, "disconnected by the program")

    def _block(self, peer_id: PeerId) -> None:
        make_room(self._blocked, MAX_CANDIDATES)
        self._blocked[peer_id] = None
        candidate = self._candidates.get(peer_id)
        if candidate is not None:
            self._candidates.forget(candidate)

    def unblock(self, peer_id: PeerId) -> None:
        """A program asks for a link to `peer_id`: undo `refuse`."""
        self._blocked.pop(peer_id, None)

    def _is_close(self, link: LinkState) -> bool:
        """Return whether `link` leads to one of the CLOSEST_LINKS relays nearest to us."""
        return link in self._router.nearest(self._core.number, CLOSEST_LINKS)

    # --- choosing --------------------------------------------------------------------------------------------

    def _refresh_soon(self) -> None:
        """Look around again soon: something changed."""
        core = self._core
        self._refresh_wait = REFRESH_FIRST
        due = max(core.now, self._looked_at + LOOK_SPACING) + 0.05 + 0.2 * core.random.random()
        if self._refresh is None or self._refresh.when > due or not self._refresh.pending:
            if self._refresh is not None:
                self._refresh.cancel()
            self._refresh = core.timers.at(Due.LOOK_AROUND, due, self._look_around)

    def _look_around(self) -> None:
        core = self._core
        self._looked_at = core.now
        if self._links.by_id:
            self.anchors.review()
            self.gossip.ask_neighbours(self._refresh_wait == REFRESH_FIRST)
            if core.config.serves:
                self._slots.ask()
        self._refresh_wait = min(REFRESH_MAX, 2 * self._refresh_wait)
        due = core.now + self._refresh_wait * (0.5 + core.random.random())
        self._refresh = core.timers.at(Due.LOOK_AROUND, due, self._look_around)
        self.review()

    def _wanted(self) -> list[Candidate]:
        """Return the known peers that we should dial, in order of importance."""
        wanted = [candidate for candidate in self._candidates.wanted.values() if candidate.urls]
        wanted += self._closest.wanted() + self.anchors.wanted()
        if self._eager:
            wanted += filter(None, map(self._candidates.get, self._eager))
        if self._core.config.serves:
            wanted += self._slots.wanted(wanted)
        by_id = self._links.by_id
        return [candidate for candidate in dict.fromkeys(wanted) if candidate.peer_id not in by_id]

    def is_blocked(self, peer_id: PeerId) -> bool:
        """Return whether a program ended the link to `peer_id` and none has asked for another since."""
        return peer_id in self._blocked

    def review(self) -> None:
        """Dial the peers that we lack, drop those that we no longer need, and come back when the next wait is over."""
        core = self._core
        due = self._wanted()
        if len(self._router.relays) < CLOSEST_LINKS:
            served = (self._links.by_id, self._behind.neighbours, self._blocked)
            lacking = [b for b in self._candidates.bootstraps if not any(b.peer_id in table for table in served)]
            due = [b for b in lacking if not (b.is_lookup and self._links.by_id)] + due
        waits = []
        for candidate in due:
            if candidate.dialling is not None:
                continue
            if candidate.not_before > core.now:
                waits.append(candidate.not_before)
            elif self._candidates.dial(candidate):
                core.effects.append(Dial(candidate.urls[0], candidate.scope, candidate.nearby))
        waits += self._shed()
        if self._review is not None:
            self._review.cancel()
        self._review = core.timers.at(Due.REVIEW, min(waits), self.review) if waits else None

    def _shed(self) -> list[float]:
        """Let go of one relay that others need more; return when to look at the next."""
        core = self._core
        if core.config.serves:
            surplus = self._slots.surplus()
            if surplus is not None:
                self._dismiss(surplus)
            return []
        relays = self._router.relays
        if len(relays) <= CLOSEST_LINKS:
            return []
        spare = [link for link in self._closest.farther() if not (link.protected or self.anchors.keeps(link))]
        crowded = len(relays) > ORDINARY_LINKS
        for link in reversed(spare):
            if crowded or link.opened_at + BOOTSTRAP_GRACE <= core.now:
                self._dismiss(link)
                return []
        return [min(link.opened_at for link in spare) + BOOTSTRAP_GRACE] if spare else []

    def _dismiss(self, link: LinkState) -> None:
        candidate = self._candidates.get(link.peer_id)
        if candidate is not None:
            candidate.not_before = self._core.now + _BLOCK
        self._links.part(link, "others need us more, or are nearer")

    def expected(self, url: str) -> PeerId | None:
        """Return the peer that must answer at `url`: a known contact, or one that the program named with the URL."""
        dialled = self._candidates.at(url)
        return pinned_id(url) if dialled is None or dialled.bootstrap else dialled.peer_id
