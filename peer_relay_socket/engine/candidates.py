"""Candidates: the dialable peers that are known, linked or not.

Lives here: bootstrap URLs and contacts, what becomes of those that do not answer, which to forget. May not live
here: which peers to be linked to (membership.py).

Law: at most MAX_CANDIDATES besides the bootstrap URLs, however many are named; a peer that we were linked to is
remembered for LOST_TIME, one that was only heard of until it failed a few times.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from typing import TYPE_CHECKING, Final

from ..address import PeerId
from ..codec.control import Contact
from ..limits import (
    CLAIM_TRIES,
    LOOKUP_AGAIN,
    LOST_TIME,
    MAX_CANDIDATES,
    REDIAL_FIRST,
    REDIAL_LOCAL_MAX,
    REDIAL_MAX,
)
from ..scope import Scope, is_learnable, reach
from .xor import slot_of

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from .core import Core
    from .link import LinkState
    from .links import Links
    from .vain_hosts import VainHosts

_GROWTH: Final = 1.7


class Candidate:
    """A place to dial: a bootstrap URL (whose id is not known yet) or a contact."""

    __slots__ = (
        "bootstrap",
        "dialling",
        "distance",
        "failures",
        "last_error",
        "lost_at",
        "luck",
        "named_by",
        "nearby",
        "not_before",
        "peer_id",
        "scope",
        "slot",
        "source",
        "urls",
        "wanted",
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
        self.nearby = bootstrap
        """Whether this machine's own addresses, and those on its wires, may be dialled for it."""
        self.bootstrap = bootstrap
        self.distance = distance
        self.slot = slot
        self.luck = luck
        """Drawn once; of several that would do, the one with the least is taken."""
        self.source: PeerId = b""
        """The neighbour that named it."""
        self.failures = 0
        self.last_error: str | None = None
        """Of a bootstrap URL: why it was of no use; None once it answers."""
        self.not_before = 0.0
        self.lost_at: float | None = None
        """When a link to it ended; None while it stands, or when there never was one."""
        self.dialling: str | None = None
        """The URL being dialled."""
        self.wanted = False
        """Wanted by the program (Peer.connect)."""
        self.named_by: str | None = None
        """The domain (dns:DOMAIN) that named this bootstrap URL; None where the program did."""

    @property
    def is_lookup(self) -> bool:
        """Whether it is no relay, but a domain that names some."""
        return self.bootstrap and self.urls[0].startswith("dns:")


class Candidates:
    """All that are known."""

    def __init__(self, core: Core, links: Links, vain: VainHosts) -> None:
        self._core = core
        self._links = links
        self._vain = vain
        self.bootstraps = [Candidate(b"", (url,), Scope.LOOPBACK, bootstrap=True) for url in core.config.bootstrap]
        self._by_id: dict[PeerId, Candidate] = {}
        """At most MAX_CANDIDATES."""
        self.near: list[tuple[int, PeerId]] = []
        """The same as (distance, id), nearest first."""
        self.by_slot: dict[int, list[Candidate]] = {}
        """The same by slot, in the order in which they were heard of."""
        self.wanted: dict[PeerId, Candidate] = {}
        """Those among them that the program wants."""
        self.kept: PeerId | None = None
        """The relay drawn by chance (anchors.py): whatever neighbours name, it stays known."""
        self._dialled: dict[str, Candidate] = {}
        """The candidates being dialled, by URL."""

    def __len__(self) -> int:
        return len(self._by_id)

    def __getitem__(self, peer_id: PeerId) -> Candidate:
        return self._by_id[peer_id]

    def get(self, peer_id: PeerId) -> Candidate | None:
        """Return what is known of `peer_id`, if it is a candidate."""
        return self._by_id.get(peer_id)

    def at(self, url: str) -> Candidate | None:
        """Return the candidate that is being dialled at `url`."""
        return self._dialled.get(url)

    def dial(self, candidate: Candidate) -> bool:
        """Note that `candidate` is dialled; False if its URL is being dialled already."""
        url = candidate.urls[0]
        if url in self._dialled:
            return False
        candidate.dialling = url
        self._dialled[url] = candidate
        return True

    def rest(self, candidate: Candidate) -> str | None:
        """Note that `candidate` is dialled no more; return the URL at which it was."""
        url, candidate.dialling = candidate.dialling, None
        if url is not None:
            del self._dialled[url]
        return url

    def want(self, candidate: Candidate, wanted: bool) -> None:
        """Note whether the program wants `candidate`."""
        candidate.wanted = wanted
        if wanted:
            self.wanted[candidate.peer_id] = candidate
        else:
            self.wanted.pop(candidate.peer_id, None)

    def looked_up(self, place: str, urls: Sequence[str]) -> None:
        """A domain names these relays: they are bootstrap URLs now, and those that it named before are no more."""
        core = self._core
        for bootstrap in list(self.bootstraps):
            if bootstrap.urls[0] == place:
                self.rest(bootstrap)
                bootstrap.failures, bootstrap.last_error = 0, None
                bootstrap.not_before = core.now + LOOKUP_AGAIN
            elif bootstrap.named_by == place and bootstrap.urls[0] not in urls:
                self.rest(bootstrap)
                self.bootstraps.remove(bootstrap)
        known = {bootstrap.urls[0] for bootstrap in self.bootstraps}
        for url in urls:
            if url not in known:
                named = Candidate(b"", (url,), Scope.LOOPBACK, bootstrap=True)
                named.named_by = place
                self.bootstraps.append(named)
        core.config.bootstrap = tuple(bootstrap.urls[0] for bootstrap in self.bootstraps)

    def drop_bootstraps(self) -> None:
        """Forget the bootstrap URLs."""
        for bootstrap in self.bootstraps:
            self.rest(bootstrap)
        self.bootstraps.clear()

    def bootstrap_answers(self, url: str, peer_id: PeerId) -> None:
        """`url` leads to `peer_id`, if that is one of our bootstrap URLs."""
        for bootstrap in self.bootstraps:
            if url in bootstrap.urls:
                bootstrap.peer_id = peer_id
                self.rest(bootstrap)
                bootstrap.failures = 0
                bootstrap.last_error = None

    def consider(self, contact: Contact, link: LinkState) -> bool:
        """Remember where a peer can be dialled, as the neighbour at `link` has it; return whether that is news."""
        peer_id, scope = contact.peer_id, link.scope
        known = self._by_id.get(peer_id)
        if known is not None and known.urls == contact.urls and known.scope == scope:
            return False
        urls = tuple(url for url in contact.urls if is_learnable(url) and reach(url) >= scope)
        if known is None:
            urls = tuple(url for url in urls if not self._vain.is_spent(url))
        if not urls or peer_id == self._core.peer_id:
            return False
        if known is not None:
            changed = known.dialling is None and set(urls) != set(known.urls)
            if changed:
                known.urls = urls
            known.nearby = link.nearby or (known.nearby and known.urls == urls)
            known.scope = min(known.scope, scope) if known.urls == urls else scope
            return changed
        if len(self._by_id) >= MAX_CANDIDATES and not self.make_room():
            return False
        candidate = self.remember(peer_id, urls, scope)
        candidate.nearby, candidate.source = link.nearby, link.peer_id
        return True

    def suggest(self, peer_id: PeerId, url: str, scope: Scope, nearby: bool) -> bool:
        """Remember that a peer may be dialled at `url`, from another source than a neighbour; return whether it is a
        candidate now."""
        known = self._by_id.get(peer_id)
        if known is None:
            if peer_id == self._core.peer_id or (len(self._by_id) >= MAX_CANDIDATES and not self.make_room()):
                return False
            self.remember(peer_id, (url,), scope).nearby = nearby
        elif not known.urls or (known.failures and known.dialling is None and url not in known.urls):
            known.urls, known.scope, known.nearby, known.not_before = (url,), scope, nearby, 0.0
        return True

    def by_chance(self, count: int, without: Container[PeerId]) -> list[PeerId]:
        """Return `count` that can be dialled, as far as is known, and are not linked: of each neighbour that named some
        one in turn, by chance. One that names hundreds has no more turns than another."""
        by_id = self._links.by_id
        sound = [c for c in self._by_id.values() if c.urls and not c.failures and c.peer_id not in by_id]
        sound = [candidate for candidate in sound if candidate.peer_id not in without]
        turns: Counter[PeerId] = Counter()
        order = []
        for candidate in sorted(sound, key=lambda c: c.luck):
            order.append((turns[candidate.source], candidate.luck, candidate.peer_id))
            turns[candidate.source] += 1
        return [peer_id for _, _, peer_id in sorted(order)[:count]]

    def make_room(self) -> bool:
        """Forget some candidates that we can do without; return whether there were any."""
        by_id = self._links.by_id
        known = (c for c in self._by_id.values() if c.peer_id != self.kept)
        unlinked = [c for c in known if not (c.wanted or c.dialling or c.peer_id in by_id)]
        # The farthest of those that failed, else a random one of the neighbour that named most: far buckets do not lose
        # all of theirs, and what others named stays, however much one neighbour names.
        named = Counter(candidate.source for candidate in unlinked)
        unlinked.sort(key=lambda c: (c.failures == 0, -c.distance if c.failures else -named[c.source], -c.luck))
        for candidate in unlinked[: 1 + len(unlinked) // 16]:  # to choose one costs as much as to choose several
            self.forget(candidate)
        return bool(unlinked)

    def remember(self, peer_id: PeerId, urls: tuple[str, ...], scope: Scope) -> Candidate:
        """Add a candidate; the caller made room."""
        core = self._core
        distance = int.from_bytes(peer_id) ^ core.number
        candidate = Candidate(
            peer_id, urls, scope, distance=distance, slot=slot_of(distance), luck=core.random.random()
        )
        self._by_id[peer_id] = candidate
        insort(self.near, (distance, peer_id))
        self.by_slot.setdefault(candidate.slot, []).append(candidate)
        return candidate

    def forget(self, candidate: Candidate) -> None:
        """Remove a candidate."""
        if self._by_id.pop(candidate.peer_id, None) is None:
            return
        self.rest(candidate)
        self.wanted.pop(candidate.peer_id, None)
        del self.near[bisect_left(self.near, (candidate.distance, candidate.peer_id))]
        group = self.by_slot[candidate.slot]
        group.remove(candidate)
        if not group:
            del self.by_slot[candidate.slot]

    def forgive(self) -> None:
        """Forget failures, and dials under way."""
        for candidate in (*self.bootstraps, *self._by_id.values()):
            self.rest(candidate)
            if candidate.failures:
                candidate.failures, candidate.not_before = 0, 0.0

    def failed(self, candidate: Candidate) -> None:
        """No usable peer answered where `candidate` was dialled: wait, or forget it."""
        core = self._core
        url = self.rest(candidate)
        if candidate.peer_id in self._links.by_id:
            return  # our dials crossed, and theirs became the link
        candidate.failures += 1
        hearsay = candidate.lost_at is None and not (candidate.bootstrap or candidate.wanted)
        if hearsay and url is not None:
            self._vain.note(url)
        if url in candidate.urls:  # next time, the next URL
            at = candidate.urls.index(url) + 1
            candidate.urls = candidate.urls[at:] + candidate.urls[:at]
        if self._hopeless(candidate):
            self.forget(candidate)
            return
        local = candidate.bootstrap and reach(candidate.urls[0]) is Scope.LOOPBACK
        longest = REDIAL_LOCAL_MAX if local else REDIAL_MAX
        wait = min(longest, REDIAL_FIRST * _GROWTH ** min(candidate.failures - 1, 30))
        candidate.not_before = core.now + wait * (0.5 + 0.5 * core.random.random())

    def _hopeless(self, candidate: Candidate) -> bool:
        """Whether to forget it: soon if only heard of, after LOST_TIME if we were linked (a partition ends)."""
        if candidate.bootstrap or candidate.wanted:
            return False
        if candidate.lost_at is None:
            return self._vain.is_spent(candidate.urls[0]) or candidate.failures >= CLAIM_TRIES * len(candidate.urls)
        return self._core.now > candidate.lost_at + LOST_TIME
