"""Membership: whom to be linked to.

Lives here: bootstrap, candidates, the choice of neighbours, what neighbours tell each other about dialable peers.
May not live here: links' handshakes, routing.

Law: every peer keeps links to the CLOSEST_LINKS dialable peers nearest its own id (they are how it is found); a peer
that can be dialled itself keeps BUCKET_LINKS more into every k-bucket it can fill. URLs learned from others are dialled
only if they reach at least as far as the link they came over: a stranger cannot send us to our own loopback or LAN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..address import ID_BITS, PeerId
from ..codec import packet as wire
from ..codec.packet import Contact, Header, Kind, LinkOp
from ..limits import (
    BOOTSTRAP_GRACE,
    BUCKET_LINKS,
    CLOSEST_LINKS,
    CONTACTS_PER_ANSWER,
    MAX_CANDIDATES,
    REDIAL_FIRST,
    REDIAL_LOCAL_MAX,
    REDIAL_MAX,
    REFRESH_FIRST,
    REFRESH_MAX,
)
from .effects import Dial, Scope
from .links import reach

if TYPE_CHECKING:
    from .core import Core
    from .links import Links, LinkState
    from .routing import Router
    from .timers import Timer

_GROWTH: Final = 1.7
_FORGET_AFTER: Final = 5
"""Failed dials after which a candidate that was only heard of is forgotten."""
_BLOCK: Final = 60.0
"""Seconds during which a peer that the program disconnected is not linked to on our own account."""


class Candidate:
    """A place to dial: a bootstrap URL (whose id is not known yet) or a contact."""

    __slots__ = ("bootstrap", "dialling", "failures", "kept", "not_before", "peer_id", "scope", "urls")

    def __init__(self, peer_id: PeerId, urls: tuple[str, ...], scope: Scope, *, bootstrap: bool = False) -> None:
        self.peer_id = peer_id
        self.urls = urls
        self.scope = scope
        self.bootstrap = bootstrap
        self.failures = 0
        self.not_before = 0.0
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
        self._blocked: dict[PeerId, float] = {}
        self._asked: dict[bytes, PeerId] = {}
        """Tokens of FINDs under way, and their targets."""
        self._refresh_wait = REFRESH_FIRST
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
        candidate = self._candidates.get(link.peer_id)
        if candidate is not None:
            candidate.dialling = None
            candidate.failures = 0
            link.kept = link.kept or candidate.kept
        if link.serves and link.urls:
            self._consider(Contact(link.peer_id, link.urls), link.scope)
        self._introduce(link)
        self._hurry()
        self.review()

    def link_down(self, link: LinkState) -> None:
        """A neighbour went."""
        self._hurry()
        self.review()

    def serve(self) -> None:
        """We became the node that our bootstrap URLs name: dial them no more."""
        self._bootstraps.clear()
        self.review()

    def dial_failed(self, url: str) -> None:
        """Nobody usable answered at `url`."""
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
                    del self._candidates[candidate.peer_id]

    def _failed(self, candidate: Candidate) -> None:
        core = self._core
        url, candidate.dialling = candidate.dialling, None
        candidate.failures += 1
        if url in candidate.urls:  # next time, the next URL
            at = candidate.urls.index(url) + 1
            candidate.urls = candidate.urls[at:] + candidate.urls[:at]
        if candidate.failures >= _FORGET_AFTER and not (candidate.bootstrap or candidate.kept):
            self._candidates.pop(candidate.peer_id, None)
            return
        local = candidate.bootstrap and reach(candidate.urls[0]) is Scope.LOOPBACK
        longest = REDIAL_LOCAL_MAX if local else REDIAL_MAX
        wait = min(longest, REDIAL_FIRST * _GROWTH ** min(candidate.failures - 1, 30))
        candidate.not_before = core.now + wait * (0.5 + 0.5 * core.random.random())

    # --- the program's wishes --------------------------------------------------------------------------------

    def want(self, peer_id: PeerId) -> bool:
        """Link to `peer_id` and stay linked; return whether we know where to dial it."""
        self._blocked.pop(peer_id, None)
        link = self._links.by_id.get(peer_id)
        if link is not None:
            link.kept = True
            return True
        candidate = self._candidates.get(peer_id)
        if candidate is None:
            candidate = self._candidates[peer_id] = Candidate(peer_id, (), Scope.GLOBAL)
        candidate.kept = True
        if candidate.urls:
            self.review()
            return True
        self.find(peer_id)
        return False

    def refuse(self, peer_id: PeerId) -> None:
        """Drop the link to `peer_id` and do not make a new one by ourselves for a while."""
        self._blocked[peer_id] = self._core.now + _BLOCK
        while len(self._blocked) > MAX_CANDIDATES:
            del self._blocked[next(iter(self._blocked))]
        self._candidates.pop(peer_id, None)
        link = self._links.by_id.get(peer_id)
        if link is not None:
            self._links.tell(link, LinkOp.GOODBYE)
            self._links.drop(link, "disconnected by the program")

    # --- hearing of others -----------------------------------------------------------------------------------

    def _consider(self, contact: Contact, scope: Scope) -> None:
        peer_id = contact.peer_id
        urls = tuple(url for url in contact.urls if reach(url) >= scope)
        if not urls or peer_id == self._core.peer_id:
            return
        known = self._candidates.get(peer_id)
        if known is not None:
            if known.dialling is None and set(urls) != set(known.urls):
                known.urls = urls
            known.scope = min(known.scope, scope) if known.urls == urls else scope
            return
        if len(self._candidates) >= MAX_CANDIDATES:
            unlinked = [c for c in self._candidates.values() if not c.kept and c.peer_id not in self._links.by_id]
            if not unlinked:
                return
            farthest = max(unlinked, key=lambda c: int.from_bytes(c.peer_id) ^ self._core.number)
            del self._candidates[farthest.peer_id]
        self._candidates[peer_id] = Candidate(peer_id, urls, scope)

    def _contacts_near(self, target: int, scope: Scope, without: PeerId) -> list[Contact]:
        """Return dialable neighbours nearest to `target`, ourselves among them, that `scope` lets us tell about."""
        core = self._core
        found = [
            Contact(link.peer_id, tuple(url for url in link.urls if reach(url) >= scope))
            for link in self._router.relays
            if link.peer_id != without
        ]
        if core.config.serves and core.peer_id != without:
            found.append(
                Contact(core.peer_id, tuple(u for u in core.config.urls if "*" not in u and reach(u) >= scope))
            )
        found = [contact for contact in found if contact.urls]
        found.sort(key=lambda contact: int.from_bytes(contact.peer_id) ^ target)
        return found[:CONTACTS_PER_ANSWER]

    def _introduce(self, link: LinkState) -> None:
        """Tell a new neighbour who is near it, and those near a new relay about it."""
        near = self._contacts_near(link.value, link.scope, link.peer_id)
        if near:
            self._links.tell(link, LinkOp.NEIGHBOURS, wire.contacts(near))
        if not (link.serves and link.urls and self._core.config.serves):
            return
        relays = [*(relay.value for relay in self._router.relays), self._core.number]
        for other in list(self._links.by_id.values()):
            if other is link:
                continue
            urls = tuple(url for url in link.urls if reach(url) >= other.scope)
            mine = link.value ^ other.value
            if urls and sum(value ^ other.value < mine for value in relays if value != other.value) < CLOSEST_LINKS:
                self._links.tell(other, LinkOp.NEIGHBOURS, wire.contacts([Contact(link.peer_id, urls)]))

    def neighbours_heard(self, link: LinkState, data: bytes) -> None:
        """A neighbour told of others.

        Raises: PacketError.
        """
        self._take_contacts(wire.read_contacts(data)[: 2 * CONTACTS_PER_ANSWER], link.scope)

    def _take_contacts(self, contacts: list[Contact], scope: Scope) -> None:
        for contact in contacts:
            self._consider(contact, scope)
        self.review()

    # --- FIND ------------------------------------------------------------------------------------------------

    def find(self, target: PeerId) -> None:
        """Ask the network for dialable peers near `target`."""
        core = self._core
        token = core.token()
        while len(self._asked) >= 64:
            del self._asked[next(iter(self._asked))]
        self._asked[token] = target
        self._router.send(wire.packet(Kind.FIND, target, core.peer_id, token), target, 0)

    def find_heard(self, bundle: bytes, offset: int, header: Header, arrived: LinkState) -> None:
        """Answer a FIND if nobody nearer can, else pass it on."""
        core = self._core
        target = int.from_bytes(header.to)
        at_end = header.to == core.peer_id or self._router.is_nearest(target)
        linked = self._links.by_id.get(header.to)
        if not (at_end or (linked is not None and linked.serves)):
            self._router.forward(bundle, offset, header, arrived)
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
        self._refresh_wait = REFRESH_FIRST
        if self._refresh is not None:
            self._refresh.cancel()
        core = self._core
        self._refresh = core.timers.at(core.now + 0.05 + 0.2 * core.random.random(), self._look_around)

    def _look_around(self) -> None:
        core = self._core
        if self._links.by_id:
            self.find(core.peer_id)
            if core.config.serves:
                for bucket in self._thin_buckets():
                    self.find(self._in_bucket(bucket))
        self._refresh_wait = min(REFRESH_MAX, 2 * self._refresh_wait)
        due = core.now + self._refresh_wait * (0.5 + core.random.random())
        self._refresh = core.timers.at(due, self._look_around)
        self.review()

    def _thin_buckets(self) -> list[int]:
        """Return the buckets with too few links, down to the one our nearest neighbour is in."""
        counts: dict[int, int] = {}
        for link in self._router.relays:
            bucket = ID_BITS - (link.value ^ self._core.number).bit_length()
            counts[bucket] = counts.get(bucket, 0) + 1
        deepest = max(counts, default=0)
        return [bucket for bucket in range(deepest + 1) if counts.get(bucket, 0) < BUCKET_LINKS]

    def _in_bucket(self, bucket: int) -> PeerId:
        """Return a random id that shares exactly `bucket` leading bits with ours."""
        low = ID_BITS - bucket - 1
        number = (self._core.number >> low ^ 1) << low | (self._core.random.getrandbits(low) if low else 0)
        return number.to_bytes(20)

    def _desired(self) -> list[Candidate]:
        """Return whom we should be linked to, dialled or not, among those known, in order of importance."""
        core = self._core
        mine = core.number
        usable = [c for c in self._candidates.values() if c.urls and not self._is_blocked(c.peer_id)]
        chosen = [c for c in usable if c.kept]
        usable.sort(key=lambda c: int.from_bytes(c.peer_id) ^ mine)
        chosen += usable[:CLOSEST_LINKS]
        if core.config.serves:
            counts: dict[int, int] = {}
            for candidate in usable:  # nearest first; linked ones first within a bucket keeps links long-lived
                bucket = ID_BITS - (int.from_bytes(candidate.peer_id) ^ mine).bit_length()
                linked = candidate.peer_id in self._links.by_id
                if linked or counts.get(bucket, 0) < BUCKET_LINKS:
                    counts[bucket] = counts.get(bucket, 0) + 1
                    chosen.append(candidate)
        return list(dict.fromkeys(chosen))

    def _is_blocked(self, peer_id: PeerId) -> bool:
        return self._blocked.get(peer_id, 0.0) > self._core.now

    def review(self) -> None:
        """Dial whom we lack, drop whom we no longer need, and come back when the next wait is over."""
        core = self._core
        due = [candidate for candidate in self._desired() if candidate.peer_id not in self._links.by_id]
        if len(self._router.relays) < CLOSEST_LINKS:
            due = [b for b in self._bootstraps if b.peer_id not in self._links.by_id] + due
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
        self._shed()
        if self._review is not None:
            self._review.cancel()
        self._review = core.timers.at(min(waits), self.review) if waits else None

    def _shed(self) -> None:
        """Let go of neighbours that others need more (ordinary peers only; relays keep what they have)."""
        core = self._core
        relays = self._router.relays
        if core.config.serves or len(relays) <= CLOSEST_LINKS:
            return
        nearest = {id(link) for link in self._router.nearest(core.number, CLOSEST_LINKS)}
        for link in relays:
            settled = link.opened_at + BOOTSTRAP_GRACE <= core.now
            if link.url is not None and not link.kept and settled and id(link) not in nearest:
                self._links.tell(link, LinkOp.GOODBYE)
                self._links.drop(link, "others are nearer")
                return

    def expected(self, url: str) -> PeerId | None:
        """Return who should answer at `url`, when we dial a known contact."""
        if any(bootstrap.dialling == url for bootstrap in self._bootstraps):
            return None
        for candidate in self._candidates.values():
            if candidate.dialling == url:
                return candidate.peer_id
        return None
