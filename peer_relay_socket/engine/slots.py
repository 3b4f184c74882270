"""Slots: where in the network a peer that can be dialled itself has links, besides those nearest its id.

Lives here: which slots are filled, which peers should fill the empty ones, which relay is one too many. May not live
here: dialling and letting go (membership.py), the links nearest our own id (closest.py).

Law: a k-bucket has 2**SLOT_BITS slots, told apart by the bits that follow; one link for every slot that can be filled,
and within a slot chance decides, not nearness.

Why slots and chance (simulated on ideal tables of 2,000 relays among 10,000 peers; links crossed: median, p99; most
links of one relay): the nearest 3 of each bucket 6, 9, 99; any 3 of each bucket 5, 7, 57; any one of each of 4 slots
4, 6, 86, and with at most 64 links accepted 4, 6, 67. What is nearest to us within a far bucket is the same corner of
it that our neighbours chose, so no relay on the path knows another.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from ..address import ID_BITS, PeerId
from ..limits import CLOSEST_LINKS, RELAY_LINKS, SLOT_BITS, SLOT_PATIENCE, SLOT_PATIENCE_MAX
from .xor import slot_of

if TYPE_CHECKING:
    from collections.abc import Container

    from .candidates import Candidate, Candidates
    from .core import Core
    from .gossip import Gossip
    from .link import LinkState
    from .routing import Router

_PROTECTED: Final = 3 * CLOSEST_LINKS
"""So many nearest relays are never let go: to some of them we are among the closest."""


class Slots:
    """The slots of one peer."""

    def __init__(
        self, core: Core, router: Router, candidates: Candidates, gossip: Gossip, blocked: Container[PeerId]
    ) -> None:
        self._core = core
        self._router = router
        self._candidates = candidates
        self._gossip = gossip
        self._blocked = blocked
        self._asked: dict[int, tuple[float, float]] = {}
        """Empty slots, until when they are not asked for again, and how long that was; as many as there are slots."""
        self._changes = 0
        """`Router.changes` when the slots of the linked relays were looked at last."""
        self._slots_of_relays: set[int] = set()

    def link_down(self, link: LinkState) -> None:
        """A neighbour that relays went: its slot may be asked for at once."""
        self._asked.pop(slot_of(link.value ^ self._core.number), None)

    def ask(self) -> None:
        """Ask for a peer in each empty slot, ever less often: most of those left are empty in the whole network."""
        now = self._core.now
        for slot in self._empty():
            until, waited = self._asked.get(slot, (now, 0.0))
            if until <= now:
                wait = min(SLOT_PATIENCE_MAX, max(SLOT_PATIENCE, 2 * waited))
                self._asked[slot] = now + wait, wait
                self._gossip.find(self._id_in(slot))

    def wanted(self, already: list[Candidate]) -> list[Candidate]:
        """Return, for each slot without a neighbour, one sound candidate."""
        filled = self._filled()
        soon = {candidate.slot for candidate in already if not candidate.failures}
        chosen = []
        for slot, group in self._candidates.by_slot.items():
            if slot in filled or slot in soon:
                continue
            sound = [c for c in group if not c.failures and c.urls and c.peer_id not in self._blocked]
            if sound:  # one that is being dialled already stays the choice
                chosen.append(min(sound, key=lambda c: (c.dialling is None, c.luck)))
        return chosen

    def surplus(self) -> LinkState | None:
        """Return the newest relay in the fullest slot, to be let go, past RELAY_LINKS; but none that is near us."""
        router = self._router
        if len(router.relays) <= RELAY_LINKS:
            return None
        by_slot: dict[int, list[LinkState]] = {}
        for link in islice(router.by_distance(self._core.number), _PROTECTED, None):
            if not link.protected:
                by_slot.setdefault(slot_of(link.value ^ self._core.number), []).append(link)
        fullest = max(by_slot.values(), key=len, default=[])
        return max(fullest, key=lambda link: (link.opened_at, link.number), default=None)

    def _all(self) -> range:
        """Return the slots above the one our nearest neighbour is in, each of which may have a peer in it."""
        nearest = next(self._router.by_distance(self._core.number), None)
        if nearest is None:
            return range(0)
        shallow = max((nearest.value ^ self._core.number).bit_length(), SLOT_BITS + 1)
        return range(shallow << SLOT_BITS, ID_BITS + 1 << SLOT_BITS)

    def _filled(self) -> set[int]:
        """Return the slots in which we have a neighbour that relays."""
        if self._changes != self._router.changes:
            self._changes = self._router.changes
            self._slots_of_relays = {slot_of(link.value ^ self._core.number) for link in self._router.relays}
        return self._slots_of_relays

    def _empty(self) -> list[int]:
        filled = self._filled()
        return [slot for slot in self._all() if slot not in filled]

    def _id_in(self, slot: int) -> PeerId:
        """Return a random id in a slot."""
        low = (slot >> SLOT_BITS) - 1 - SLOT_BITS
        top = 1 << SLOT_BITS | slot & (1 << SLOT_BITS) - 1
        distance = top << low | (self._core.random.getrandbits(low) if low else 0)
        return (self._core.number ^ distance).to_bytes(20)
