"""Membership: whom to be linked to.

Lives here: bootstrap, candidates, the choice of neighbours, what neighbours tell each other about dialable peers.
May not live here: links' handshakes, routing.

Law: every peer keeps links to the CLOSEST_LINKS dialable peers nearest its own id (they are how it is found). A peer
that can be dialled itself keeps one more in every *slot* it can fill: a k-bucket has 2**SLOT_BITS slots, told apart by
the bits that follow, and within a slot chance decides, not nearness. URLs learned from others are dialled only if they
reach at least as far as the link they came over: a stranger cannot send us to our own loopback or LAN.

Why slots and chance (simulated on ideal tables of 2,000 relays among 10,000 peers; links crossed: median, p99; most
links of one relay): the nearest 3 of each bucket 6, 9, 99; any 3 of each bucket 5, 7, 57; any one of each of 4 slots
4, 6, 86, and with at most 64 links accepted 4, 6, 67. What is nearest to us within a far bucket is the same corner of
it that our neighbours chose, so nobody on the way knows another.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from itertools import islice
from typing import TYPE_CHECKING, Final

from ..address import ID_BITS, PeerId
from ..codec import packet as wire
from ..codec.packet import Contact, Header, Kind, LinkOp
from ..limits import (
    BOOTSTRAP_GRACE,
    CLOSEST_LINKS,
    CONTACTS_PER_ANSWER,
    HOP_LIMIT,
    LOOK_SPACING,
    LOST_TIME,
    MAX_CANDIDATES,
    ORDINARY_LINKS,
    REDIAL_FIRST,
    REDIAL_LOCAL_MAX,
    REDIAL_MAX,
    REFRESH_FIRST,
    REFRESH_MAX,
    RELAY_LINKS,
    SLOT_BITS,
    SLOT_PATIENCE,
)
from ..scope import Scope, reach
from .effects import Dial
from .nearness import bucket_of

if TYPE_CHECKING:
    from collections.abc import Container

    from .core import Core
    from .links import Links, LinkState
    from .routing import Router
    from .timers import Timer

_GROWTH: Final = 1.7
_FORGET_AFTER: Final = 5
"""Failed dials after which a candidate that was only heard of is forgotten."""
_BLOCK: Final = 60.0
"""Seconds during which a peer that the program disconnected, or that said goodbye, is not linked to on our account."""
_PROTECTED: Final = 3 * CLOSEST_LINKS
"""So many nearest relays are never let go: to some of them we are among the closest."""


def _slot(distance: int) -> int:
    """Return the slot of a peer: its bucket, and the SLOT_BITS bits after the first that differs."""
    length = distance.bit_length()
    return length << SLOT_BITS | (distance >> max(0, length - 1 - SLOT_BITS) & (1 << SLOT_BITS) - 1)


class Candidate:
    """A place to dial: a bootstrap URL (whose id is not known yet) or a contact."""

    __slots__ = (
        "bootstrap",
        "dialling",
        "distance",
        "failures",
        "kept",
        "lost_at",
        "luck",
        "not_before",
        "peer_id",
        "scope",
        "slot",
        "urls",
    )

    def __init__(
        self,
        peer_id: PeerId,
        urls: tuple[str, ...],
        scope: Scope,
        *,
        bootstrap: bool = False,
        distance: int = 0,
        slot: int = 0,
        luck: float = 0.0,
    ) -> None:
        self.peer_id = peer_id
        self.urls = urls
        self.scope = scope
        self.bootstrap = bootstrap
        self.distance = distance
        self.slot = slot
        self.luck = luck
        """Drawn once; of several that would do, the one with the least is taken."""
        self.failures = 0
        self.not_before = 0.0
        self.lost_at: float | None = None
        """When a link to it ended; None while it stands, or when there never was one."""
        self.dialling: str | None = None
        """The URL being dialled."""
        self.kept = False
        """Wanted by the program (Peer.connect)."""


class Membership:
    """Keeps the links a peer should have."""

    def __init__(self, core: Core, links: Links, router: Router) -> None:
        self._core = core
        self._links = links
        self._router = router
        self._bootstraps = [Candidate(b"", (url,), Scope.LOOPBACK, bootstrap=True) for url in core.config.bootstrap]
        self._candidates: dict[PeerId, Candidate] = {}
        """At most MAX_CANDIDATES."""
        self._near: list[tuple[int, PeerId]] = []
        """The same as (distance, id), nearest first."""
        self._blocked: dict[PeerId, float] = {}
        self._sought: dict[PeerId, None] = {}
        """Wanted for a while, and not by the program; at most as many as Direct has pairs."""
        self._asked: dict[bytes, PeerId] = {}
        """Tokens of FINDs under way, and their targets."""
        self.elsewhere: Container[PeerId] = ()
        """Npm peers that we are linked to: their bootstrap URLs need no dialling."""
        self._refresh_wait = REFRESH_FIRST
        self._looked_at = -LOOK_SPACING
        self._slots_asked: dict[int, float] = {}
        """Empty slots, and until when they are not asked for again; at most as many as there are slots."""
        self._refresh: Timer | None = None
        self._review: Timer | None = None

    # --- what happened ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to dial."""
        self.review()

    def link_up(self, link: LinkState) -> None:
        """A neighbour appeared."""
        for bootstrap in self._bootstraps:
            if link.url is not None and link.url in bootstrap.urls:
                bootstrap.peer_id = link.peer_id
                bootstrap.dialling = None
                bootstrap.failures = 0
        if link.serves and link.urls:
            self._consider(Contact(link.peer_id, link.urls), link.scope)
        candidate = self._candidates.get(link.peer_id)
        if candidate is not None:
            candidate.dialling = None
            candidate.failures = 0
            candidate.not_before = 0.0
            candidate.lost_at = None
            link.kept = link.kept or candidate.kept
        self._introduce(link)
        if len(self._links.by_id) == 1:
            self._ask_neighbours()
        if link.serves and link in self._router.nearest(self._core.number, CLOSEST_LINKS):
            self._hurry()
        self.review()

    def link_down(self, link: LinkState) -> None:
        """A neighbour went, unless the link was only superseded by another."""
        if link.peer_id in self._links.by_id:
            return
        candidate = self._candidates.get(link.peer_id)
        if candidate is not None:
            candidate.lost_at = self._core.now
            if link.dismissed:
                candidate.failures = 1
                candidate.not_before = self._core.now + _BLOCK
        if link.serves and not link.dismissed:
            self._slots_asked.pop(_slot(link.value ^ self._core.number), None)
            self._hurry()
        self.review()

    def npm_up(self, url: str, peer_id: PeerId) -> None:
        """An npm peer answers at `url`."""
        for bootstrap in self._bootstraps:
            if url in bootstrap.urls:
                bootstrap.peer_id = peer_id
                bootstrap.dialling = None
                bootstrap.failures = 0

    def npm_down(self, url: str) -> None:
        """The npm peer at `url` is gone: not at once again, or two links to it would cross."""
        for bootstrap in self._bootstraps:
            if url in bootstrap.urls and bootstrap.dialling is None:
                self._failed(bootstrap)
        self.review()

    def serve(self) -> None:
        """We became the node that our bootstrap URLs name: dial them no more."""
        self._bootstraps.clear()
        self.review()

    def dial_failed(self, url: str, answered: PeerId = b"") -> None:
        """Nobody usable answered at `url`, or `answered` did, to whom we are linked already."""
        if answered in self._links.by_id:
            for bootstrap in self._bootstraps:
                if url in bootstrap.urls:
                    bootstrap.peer_id = answered
        for candidate in [*self._bootstraps, *self._candidates.values()]:
            if candidate.dialling == url:
                self._failed(candidate)
        self.review()

    def disappointed(self, url: str) -> None:
        """Somebody else than expected answers at `url`: what we heard of it is out of date."""
        for candidate in [*self._candidates.values()]:
            if candidate.dialling == url:
                candidate.urls = tuple(other for other in candidate.urls if other != url)
                candidate.dialling = None
                if not candidate.urls and not candidate.kept:
                    self._forget(candidate)

    def _failed(self, candidate: Candidate) -> None:
        core = self._core
        url, candidate.dialling = candidate.dialling, None
        if candidate.peer_id in self._links.by_id:
            return  # our dials crossed, and theirs was kept
        candidate.failures += 1
        if url in candidate.urls:  # next time, the next URL
            at = candidate.urls.index(url) + 1
            candidate.urls = candidate.urls[at:] + candidate.urls[:at]
        if self._hopeless(candidate):
            self._forget(candidate)
            return
        local = candidate.bootstrap and reach(candidate.urls[0]) is Scope.LOOPBACK
        longest = REDIAL_LOCAL_MAX if local else REDIAL_MAX
        wait = min(longest, REDIAL_FIRST * _GROWTH ** min(candidate.failures - 1, 30))
        candidate.not_before = core.now + wait * (0.5 + 0.5 * core.random.random())

    def _hopeless(self, candidate: Candidate) -> bool:
        """Whether to forget it: soon if only heard of, after LOST_TIME if we were linked (a partition ends)."""
        if candidate.bootstrap or candidate.kept or candidate.failures < _FORGET_AFTER:
            return False
        return candidate.lost_at is None or self._core.now > candidate.lost_at + LOST_TIME

    def _forget(self, candidate: Candidate) -> None:
        if self._candidates.pop(candidate.peer_id, None) is not None:
            del self._near[bisect_left(self._near, (candidate.distance, candidate.peer_id))]

    def _remember(self, peer_id: PeerId, urls: tuple[str, ...], scope: Scope) -> Candidate:
        core = self._core
        distance = int.from_bytes(peer_id) ^ core.number
        candidate = Candidate(peer_id, urls, scope, distance=distance, slot=_slot(distance), luck=core.random.random())
        self._candidates[peer_id] = candidate
        insort(self._near, (distance, peer_id))
        return candidate

    # --- the program's wishes --------------------------------------------------------------------------------

    def want(self, peer_id: PeerId) -> bool:
        """Link to `peer_id` and stay linked; return whether we know where to dial it."""
        self._blocked.pop(peer_id, None)
        self._sought.pop(peer_id, None)
        return self._keep(peer_id)

    def _keep(self, peer_id: PeerId) -> bool:
        link = self._links.by_id.get(peer_id)
        if link is not None:
            link.kept = True
            return True
        candidate = self._candidates.get(peer_id)
        if candidate is None:
            candidate = self._remember(peer_id, (), Scope.GLOBAL)
        candidate.kept = True
        if candidate.urls:
            self.review()
            return True
        self.find(peer_id)
        return False

    def seek(self, peer_id: PeerId) -> bool:
        """Link to `peer_id` if it can be dialled, until `unseek`; return whether we know where."""
        candidate = self._candidates.get(peer_id)
        full = candidate is None and len(self._candidates) >= MAX_CANDIDATES
        if self.is_blocked(peer_id) or (full and not self._make_room()):
            return False
        if candidate is None or not candidate.kept:
            self._sought[peer_id] = None
        return self._keep(peer_id)

    def unseek(self, peer_id: PeerId) -> None:
        """Undo `seek`; what the program wanted stays wanted."""
        if peer_id not in self._sought:
            return
        del self._sought[peer_id]
        candidate = self._candidates.get(peer_id)
        if candidate is not None:
            candidate.kept = False
            if not candidate.urls:
                self._forget(candidate)
        link = self._links.by_id.get(peer_id)
        if link is not None:
            link.kept = link.direct

    def refuse(self, peer_id: PeerId) -> None:
        """Drop the link to `peer_id` and do not make a new one by ourselves for a while."""
        self._blocked[peer_id] = self._core.now + _BLOCK
        while len(self._blocked) > MAX_CANDIDATES:
            del self._blocked[next(iter(self._blocked))]
        candidate = self._candidates.get(peer_id)
        if candidate is not None:
            self._forget(candidate)
        link = self._links.by_id.get(peer_id)
        if link is not None:
            self._links.tell(link, LinkOp.GOODBYE)
            self._links.drop(link, "disconnected by the program")

    # --- hearing of others -----------------------------------------------------------------------------------

    def _consider(self, contact: Contact, scope: Scope) -> bool:
        """Remember where a peer can be dialled; return whether that is news."""
        peer_id = contact.peer_id
        known = self._candidates.get(peer_id)
        if known is not None and known.urls == contact.urls and known.scope == scope:
            return False
        urls = tuple(url for url in contact.urls if reach(url) >= scope)
        if not urls or peer_id == self._core.peer_id:
            return False
        if known is not None:
            changed = known.dialling is None and set(urls) != set(known.urls)
            if changed:
                known.urls = urls
            known.scope = min(known.scope, scope) if known.urls == urls else scope
            return changed
        if len(self._candidates) >= MAX_CANDIDATES and not self._make_room():
            return False
        self._remember(peer_id, urls, scope)
        return True

    def _make_room(self) -> bool:
        """Forget one candidate that we can do without; return whether there was one."""
        by_id = self._links.by_id
        unlinked = [c for c in self._candidates.values() if not (c.kept or c.dialling or c.peer_id in by_id)]
        if not unlinked:
            return False
        # The farthest of those that failed, else anybody, lest far buckets lose all of theirs.
        self._forget(max(unlinked, key=lambda c: (c.failures > 0, c.distance if c.failures else c.luck)))
        return True

    def _contacts_near(self, target: int, scope: Scope, without: PeerId) -> list[Contact]:
        """Return dialable neighbours nearest to `target`, ourselves among them, that `scope` lets us tell about."""
        core = self._core
        mine = core.number ^ target
        own = tuple(u for u in core.config.urls if "*" not in u and reach(u) >= scope)
        us = Contact(core.peer_id, own) if core.config.serves and own and core.peer_id != without else None
        found: list[Contact] = []
        for link in self._router.by_distance(target):
            if us is not None and mine < link.value ^ target:
                found.append(us)
                us = None
            if len(found) >= CONTACTS_PER_ANSWER:
                break
            urls = tuple(url for url in link.urls if reach(url) >= scope)
            if urls and link.peer_id != without:
                found.append(Contact(link.peer_id, urls))
        if us is not None:
            found.append(us)
        return found[:CONTACTS_PER_ANSWER]

    def _introduce(self, link: LinkState) -> None:
        """Tell a new neighbour who is near it, and those near a new relay about it."""
        near = self._contacts_near(link.value, link.scope, link.peer_id)
        if near:
            self._links.tell(link, LinkOp.NEIGHBOURS, wire.contacts(near))
        if not (link.serves and link.urls and self._core.config.serves):
            return
        # Who shares exactly b leading bits with the newcomer has all our relays that do so nearer than it: where these
        # are enough, nobody need hear of it. So only few are looked at.
        counts: dict[int, int] = {}
        for value in (*(relay.value for relay in self._router.relays), self._core.number):
            bucket = bucket_of(value ^ link.value, ID_BITS)
            counts[bucket] = counts.get(bucket, 0) + 1
        for other in list(self._links.by_id.values()):
            if other is link or counts.get(bucket_of(other.value ^ link.value, ID_BITS), 0) > CLOSEST_LINKS:
                continue
            urls = tuple(url for url in link.urls if reach(url) >= other.scope)
            nearest = self._router.nearest(other.value, CLOSEST_LINKS + other.serves)
            if urls and link in nearest:
                self._links.tell(other, LinkOp.NEIGHBOURS, wire.contacts([Contact(link.peer_id, urls)]))

    def neighbours_heard(self, link: LinkState, data: bytes) -> None:
        """A neighbour told of others.

        Raises: PacketError.
        """
        self._take_contacts(wire.read_contacts(data)[: 2 * CONTACTS_PER_ANSWER], link.scope)

    def _take_contacts(self, contacts: list[Contact], scope: Scope) -> None:
        news = [self._consider(contact, scope) for contact in contacts]
        if any(news):
            self.review()

    # --- FIND ------------------------------------------------------------------------------------------------

    def find(self, target: PeerId) -> None:
        """Ask the network for dialable peers near `target`, unless nobody is nearer than we."""
        if self._router.is_nearest(int.from_bytes(target)):
            return
        data = wire.packet(Kind.FIND, target, self._core.peer_id, self._question(target))
        self._router.send(data, target, 0)

    def _question(self, target: PeerId) -> bytes:
        """Return the token of a new FIND."""
        token = self._core.token()
        while len(self._asked) >= 64:
            del self._asked[next(iter(self._asked))]
        self._asked[token] = target
        return token

    def find_heard(self, bundle: bytes, offset: int, header: Header, arrived: LinkState) -> None:
        """Answer a FIND if we alone are asked (hop limit 1) or nobody nearer relays, else pass it on.

        It goes to the nearest relay, never to the target itself, which may be who asks.
        """
        core = self._core
        target = int.from_bytes(header.to)
        onward = None
        if core.config.serves and header.hop_limit > 1 and header.to != core.peer_id:
            others = (link for link in self._router.by_distance(target) if link.peer_id != header.sender)
            onward = next(others, None)
        if onward is not None and onward is not arrived and onward.value ^ target < core.number ^ target:
            self._router.pass_on(onward, bundle, offset, header)
            return
        token, _ = wire.split(bundle[header.body : header.end], 4)
        near = self._contacts_near(target, arrived.scope, header.sender)
        body = token + wire.contacts(near)
        self._router.send(wire.packet(Kind.FOUND, header.sender, core.peer_id, body), header.sender, 0)

    def found_heard(self, body: bytes, arrived: LinkState) -> None:
        """Take the answer to a FIND.

        Raises: PacketError.
        """
        token, rest = wire.split(body, 4)
        if self._asked.pop(token, None) is None:
            self._core.counters["dropped: unasked answer"] += 1
            return
        self._take_contacts(wire.read_contacts(rest)[: 2 * CONTACTS_PER_ANSWER], arrived.scope)

    # --- choosing --------------------------------------------------------------------------------------------

    def _hurry(self) -> None:
        """Look around again soon: something changed."""
        core = self._core
        self._refresh_wait = REFRESH_FIRST
        due = max(core.now, self._looked_at + LOOK_SPACING) + 0.05 + 0.2 * core.random.random()
        if self._refresh is None or self._refresh.when > due or not self._refresh.pending:
            if self._refresh is not None:
                self._refresh.cancel()
            self._refresh = core.timers.at(due, self._look_around)

    def _look_around(self) -> None:
        core = self._core
        self._looked_at = core.now
        if self._links.by_id:
            self._ask_neighbours()
            if core.config.serves:
                self._ask_for_slots()
        self._refresh_wait = min(REFRESH_MAX, 2 * self._refresh_wait)
        due = core.now + self._refresh_wait * (0.5 + core.random.random())
        self._refresh = core.timers.at(due, self._look_around)
        self.review()

    def _ask_neighbours(self) -> None:
        """Ask whoever is nearest to us, wherever that is, and after a change each of our nearest relays too."""
        core = self._core
        changed = self._refresh_wait == REFRESH_FIRST
        for number, link in enumerate(self._router.nearest(core.number, CLOSEST_LINKS)):
            if changed or not number:
                hops = 1 if number else HOP_LIMIT
                token = self._question(core.peer_id)
                self._links.emit(link, wire.packet(Kind.FIND, core.peer_id, core.peer_id, token, hop_limit=hops))

    def _ask_for_slots(self) -> None:
        """Ask for somebody in each empty slot, but not soon again: most of those left are empty for everybody."""
        now = self._core.now
        self._slots_asked = {slot: until for slot, until in self._slots_asked.items() if until > now}
        for slot in self._empty_slots():
            if slot not in self._slots_asked:
                self._slots_asked[slot] = now + SLOT_PATIENCE
                self.find(self._in_slot(slot))

    def _slots(self) -> range:
        """Return the slots above the one our nearest neighbour is in, which may all have somebody."""
        nearest = next(self._router.by_distance(self._core.number), None)
        if nearest is None:
            return range(0)
        shallow = max((nearest.value ^ self._core.number).bit_length(), SLOT_BITS + 1)
        return range(shallow << SLOT_BITS, ID_BITS + 1 << SLOT_BITS)

    def _filled(self) -> set[int]:
        """Return the slots in which we have a neighbour."""
        known = self._candidates
        number = self._core.number
        return {
            known[link.peer_id].slot if link.peer_id in known else _slot(link.value ^ number)
            for link in self._router.relays
        }

    def _empty_slots(self) -> list[int]:
        filled = self._filled()
        return [slot for slot in self._slots() if slot not in filled]

    def _in_slot(self, slot: int) -> PeerId:
        """Return a random id in a slot."""
        low = (slot >> SLOT_BITS) - 1 - SLOT_BITS
        top = 1 << SLOT_BITS | slot & (1 << SLOT_BITS) - 1
        distance = top << low | (self._core.random.getrandbits(low) if low else 0)
        return (self._core.number ^ distance).to_bytes(20)

    def _wanted(self) -> list[Candidate]:
        """Return whom we should dial, of those known, in order of importance."""
        wanted = [c for c in self._candidates.values() if c.kept and c.urls]
        wanted += self._nearest_wanted()
        if self._core.config.serves:
            wanted += self._slots_wanted(wanted)
        by_id = self._links.by_id
        return [candidate for candidate in dict.fromkeys(wanted) if candidate.peer_id not in by_id]

    def _nearest_wanted(self) -> list[Candidate]:
        """Return the nearest candidates until CLOSEST_LINKS of them are, or may soon be, our neighbours.

        Those on the way that fail are among them: they are tried again when their wait is over.
        """
        wanted = []
        sound = 0
        for _, peer_id in islice(self._near, 4 * CLOSEST_LINKS):
            candidate = self._candidates[peer_id]
            if not candidate.urls or self.is_blocked(peer_id):
                continue
            wanted.append(candidate)
            sound += peer_id in self._links.by_id or not candidate.failures
            if sound == CLOSEST_LINKS:
                break
        return wanted

    def _slots_wanted(self, already: list[Candidate]) -> list[Candidate]:
        """Return, for each slot without a neighbour, one sound candidate."""
        filled = self._filled()
        filled.update(candidate.slot for candidate in already if not candidate.failures)
        chosen: dict[int, Candidate] = {}
        for candidate in self._candidates.values():
            slot = candidate.slot
            if slot in filled or candidate.failures or not candidate.urls or self.is_blocked(candidate.peer_id):
                continue
            best = chosen.get(slot)
            # Whom we are dialling already stays the choice.
            if best is None or (candidate.dialling is None, candidate.luck) < (best.dialling is None, best.luck):
                chosen[slot] = candidate
        return list(chosen.values())

    def is_blocked(self, peer_id: PeerId) -> bool:
        """Return whether the program let go of `peer_id` a short while ago."""
        return self._blocked.get(peer_id, 0.0) > self._core.now

    def review(self) -> None:
        """Dial whom we lack, drop whom we no longer need, and come back when the next wait is over."""
        core = self._core
        due = self._wanted()
        if len(self._router.relays) < CLOSEST_LINKS:
            known = (self._links.by_id, self.elsewhere)
            due = [b for b in self._bootstraps if not any(b.peer_id in table for table in known)] + due
        waits = []
        dialling = {candidate.dialling for candidate in (*self._bootstraps, *self._candidates.values())}
        for candidate in due:
            if candidate.dialling is not None:
                continue
            if candidate.not_before > core.now:
                waits.append(candidate.not_before)
                continue
            if candidate.urls[0] in dialling:
                continue
            candidate.dialling = candidate.urls[0]
            dialling.add(candidate.dialling)
            core.effects.append(Dial(candidate.dialling, candidate.scope))
        waits += self._shed_as_relay() if core.config.serves else self._shed()
        if self._review is not None:
            self._review.cancel()
        self._review = core.timers.at(min(waits), self.review) if waits else None

    def _shed(self) -> list[float]:
        """Let go of one relay that others need more; return when to look at the next."""
        core = self._core
        relays = self._router.relays
        if len(relays) <= CLOSEST_LINKS:
            return []
        spare = [link for link in islice(self._router.by_distance(core.number), CLOSEST_LINKS, None) if not link.kept]
        crowded = len(relays) > ORDINARY_LINKS
        for link in reversed(spare):
            if crowded or link.opened_at + BOOTSTRAP_GRACE <= core.now:
                self._dismiss(link)
                return []
        return [min(link.opened_at for link in spare) + BOOTSTRAP_GRACE] if spare else []

    def _shed_as_relay(self) -> list[float]:
        """Past RELAY_LINKS, let go of the newest relay in the fullest slot, but of none that is near us."""
        core = self._core
        router = self._router
        if len(router.relays) <= RELAY_LINKS:
            return []
        by_slot: dict[int, list[LinkState]] = {}
        for link in islice(router.by_distance(core.number), _PROTECTED, None):
            if not link.kept:
                by_slot.setdefault(_slot(link.value ^ core.number), []).append(link)
        fullest = max(by_slot.values(), key=len, default=[])
        if fullest:
            self._dismiss(max(fullest, key=lambda link: (link.opened_at, link.number)))
        return []

    def _dismiss(self, link: LinkState) -> None:
        candidate = self._candidates.get(link.peer_id)
        if candidate is not None:
            candidate.not_before = self._core.now + _BLOCK
        self._links.tell(link, LinkOp.GOODBYE)
        self._links.drop(link, "others need us more, or are nearer")

    def expected(self, url: str) -> PeerId | None:
        """Return who should answer at `url`, when we dial a known contact."""
        if any(bootstrap.dialling == url for bootstrap in self._bootstraps):
            return None
        for candidate in self._candidates.values():
            if candidate.dialling == url:
                return candidate.peer_id
        return None
