"""Searches: the flood that finds a peer where greedy routing finds none.

Lives here: DISCOVER and DISCOVERED, asked, passed on and answered. May not live here: what a route is used for
(routing.py), what is done with an answer (resolver.py, sessions.py).

Law: a route is taken from a search only towards a peer that signed. The origin signs the question, the peer that is
found the answer. A question is passed on once, FLOOD_HOPS far at most, to FLOOD_FANOUT relays: half of them nearest to
what is looked for, half by chance. No link may use up what is left for others. A question that carries no valid
signature ends here.

An origin's stamps only grow, so a question that is replayed moves no route where it, or a later one, was seen, and none
anywhere once it is SEARCH_AGE old. An answer is taken once for each question and peer, over the link that was first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..address import ID_BITS, PeerId, Prefix
from ..codec import control
from ..codec import packet as wire
from ..codec.control import FoundBody, SearchBody
from ..codec.packet import Header, Kind
from ..identity import peer_id_of, verify
from ..limits import (
    FLOOD_FANOUT,
    FLOOD_HOPS,
    FLOOD_PER_CALLER,
    FLOOD_PER_LEAF,
    FLOOD_PER_RELAY,
    FLOOD_RATE,
    MAX_FLOOD_ANSWERS,
    MAX_FLOODS,
    MIN_PREFIX_BITS,
    SEARCH_AGE,
    make_room,
)
from ..rate import TokenBucket
from .xor import slot_of

if TYPE_CHECKING:
    from .behind import Behind
    from .core import Core
    from .link import LinkState
    from .links import Links
    from .routing import Router

_BURST: Final = 4.0
"""Seconds' worth of a link's floods that it may send at once."""


class _Flood:
    """One question that passed here."""

    __slots__ = ("answered", "link", "moves")

    def __init__(self, link: LinkState | None, moves: bool) -> None:
        self.link = link
        """Where it came from; None for one of our own."""
        self.moves = moves
        """Whether its origin may be routed to over that link: signed, and newer than all before it."""
        self.answered: dict[PeerId, None] = {}
        """Peers that answered; at most MAX_FLOOD_ANSWERS."""


class Searches:
    """The questions of one peer, and those that pass it."""

    def __init__(self, core: Core, links: Links, router: Router, behind: Behind) -> None:
        self._core = core
        self._links = links
        self._router = router
        self._behind = behind
        self._floods: dict[tuple[PeerId, bytes], _Flood] = {}
        """By origin and token; at most MAX_FLOODS."""
        self._stamps: dict[PeerId, int] = {}
        """The last stamp of each origin; at most MAX_FLOODS."""
        self._stamp = 0
        """The last of our own."""
        self._rates: dict[int, TokenBucket] = {}
        """Questions that a link may have passed on; as many as there are links."""
        self._rate = TokenBucket(FLOOD_RATE, core.now)
        self._own = TokenBucket(FLOOD_PER_LEAF, core.now, burst=FLOOD_PER_LEAF * _BURST)
        """Questions of our own, of which a peer that relays has more: relays drop what is beyond, and charge for it."""

    def link_down(self, link: LinkState) -> None:
        """Forget what `link` may send."""
        self._rates.pop(link.number, None)

    # --- asking ----------------------------------------------------------------------------------------------

    def discover(self, target: PeerId, bits: int = ID_BITS) -> None:
        """Flood a search for the peer whose id begins with `bits` of `target`."""
        core = self._core
        if not self._own.take(core.now, FLOOD_PER_LEAF / FLOOD_PER_RELAY if core.config.serves else 1.0):
            core.counters["held back: searches of our own"] += 1
            return
        token = core.token()
        self._stamp = max(self._stamp + 1, core.wall)
        question = SearchBody(token, bits, self._stamp, core.identity.public_key)
        question = question._replace(signature=core.identity.sign(question.signed(target)))
        self._note((core.peer_id, token), None, False)
        body = control.search_body(question)
        data = wire.packet(Kind.DISCOVER, target, core.peer_id, body, hop_limit=FLOOD_HOPS)
        few = len(self._router.relays) <= FLOOD_FANOUT
        near = self._router.nearest(int.from_bytes(target), FLOOD_FANOUT if few else FLOOD_FANOUT // 2)
        for link in near + self._by_chance(near):
            self._links.emit(link, data)

    def _note(self, key: tuple[PeerId, bytes], link: LinkState | None, moves: bool) -> None:
        make_room(self._floods, MAX_FLOODS)
        self._floods[key] = _Flood(link, moves)

    # --- passing on and answering ----------------------------------------------------------------------------

    def discover_heard(self, bundle: bytes, offset: int, header: Header, arrived: LinkState) -> None:
        """Answer a DISCOVER, or pass it on.

        Raises: PacketError.
        """
        core = self._core
        question = control.read_search_body(bundle[header.body : header.end])
        key = (header.sender, question.token)
        if not MIN_PREFIX_BITS <= question.bits <= ID_BITS or key in self._floods:
            return
        if not self._may_send(arrived):
            core.counters["dropped: too many searches"] += 1
            return
        if peer_id_of(question.public_key) != header.sender or not verify(
            question.public_key, question.signature, question.signed(header.to)
        ):
            core.counters["dropped: forged search"] += 1
            return
        self._note(key, arrived, self._is_newest(header.sender, question.stamp))
        wanted = Prefix(question.bits, header.to)
        if wanted.matches(core.peer_id):
            self._answer(header.sender, question.token, arrived)
            return
        behind = self._behind.stand_in(wanted)
        if behind is not None and behind != header.sender:
            # Its owner, if there is one with a key, still gets to answer: the search goes on.
            body = control.found_body(FoundBody(question.token, True))
            self._links.emit(arrived, wire.packet(Kind.DISCOVERED, header.sender, behind, body))
        if core.config.serves and header.hop_limit > 1:
            self._pass_on(bundle, offset, header, wanted, arrived)

    def _may_send(self, link: LinkState) -> bool:
        """Return whether one more question of a link is within its rate."""
        bucket = self._rates.get(link.number)
        if bucket is None:
            rate = FLOOD_PER_LEAF
            if link.serves:
                rate = FLOOD_PER_CALLER if link.url is None else FLOOD_PER_RELAY
            bucket = self._rates[link.number] = TokenBucket(rate, self._core.now, burst=rate * _BURST)
        return bucket.take(self._core.now)

    def _is_newest(self, origin: PeerId, stamp: int) -> bool:
        """Return whether a question is fresh, and newer than all of its origin that were seen before."""
        if abs(stamp - self._core.wall) > SEARCH_AGE * 1e6 or stamp <= self._stamps.get(origin, 0):
            return False
        self._stamps.pop(origin, None)
        make_room(self._stamps, MAX_FLOODS)
        self._stamps[origin] = stamp
        return True

    def _answer(self, origin: PeerId, token: bytes, arrived: LinkState) -> None:
        core = self._core
        if self._floods[origin, token].moves:
            self._router.adopt(origin, arrived)
        answer = FoundBody(token, False, core.identity.public_key)
        answer = answer._replace(signature=core.identity.sign(answer.signed(origin)))
        self._links.emit(arrived, wire.packet(Kind.DISCOVERED, origin, core.peer_id, control.found_body(answer)))

    def _pass_on(self, bundle: bytes, offset: int, header: Header, wanted: Prefix, arrived: LinkState) -> None:
        if not self._rate.take(self._core.now):
            self._core.counters["dropped: too many searches"] += 1
            return
        left = min(header.hop_limit, FLOOD_HOPS) - 1
        data = bytes((header.kind, left)) + bundle[offset + 2 : header.end]
        onward = self._router.matching(wanted, FLOOD_FANOUT)
        near = self._router.nearest(int.from_bytes(header.to), FLOOD_FANOUT // 2)
        for link in dict.fromkeys(onward + near + self._by_chance(near)):
            if link is not arrived:
                self._links.emit(link, data)

    def _by_chance(self, near: list[LinkState]) -> list[LinkState]:
        """Return relays for the other half of FLOOD_FANOUT, each of another slot where there are so many: those nearest
        to a peer that is surrounded are all its attacker's, and so may be most in one slot of ours."""
        core = self._core
        slots: dict[int, list[LinkState]] = {}
        for link in self._router.relays:
            if link not in near:
                slots.setdefault(slot_of(link.value ^ core.number), []).append(link)
        chosen = sorted((core.random.random(), slot) for slot in slots)[: FLOOD_FANOUT - len(near)]
        return [slots[slot][int(core.random.random() * len(slots[slot]))] for _, slot in chosen]

    def discovered_heard(self, bundle: bytes, offset: int, header: Header, arrived: LinkState) -> bool | None:
        """Note the route that a DISCOVERED shows, and pass it on.

        Returns: None unless it answers a search of ours; then whether a relay answered for a peer behind it.
        Raises: PacketError.
        """
        core, router = self._core, self._router
        answer = control.read_found_body(bundle[header.body : header.end])
        flood = self._floods.get((header.to, answer.token))
        if flood is None or header.sender in flood.answered or len(flood.answered) >= MAX_FLOOD_ANSWERS:
            core.counters["dropped: unasked answer"] += 1
            return None
        if answer.behind:
            router.learn_behind(header.sender, arrived)
        elif peer_id_of(answer.public_key) != header.sender or not verify(
            answer.public_key, answer.signature, answer.signed(header.to)
        ):
            core.counters["dropped: forged answer to a search"] += 1
            return None
        else:
            flood.answered[header.sender] = None
            router.adopt(header.sender, arrived)
        if header.to == core.peer_id:
            return answer.behind
        back = flood.link
        if back is not None and back.up and header.hop_limit > 1:
            if flood.moves:
                router.adopt(header.to, back)
            router.pass_on(back, bundle, offset, header)
        return None
