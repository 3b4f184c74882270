"""Routing: which neighbour brings a packet nearer to its peer.

Lives here: next hops, routes learned and found. May not live here: the search that finds them (searches.py), what
packets mean to their receiver, which links exist (membership.py).

Law: forwarding reads the header and nothing else, and one packet in is at most one packet out. No route towards a peer
that has not proved its key outlives the answer it was learned for.

Order of choice for a packet to X::

    the link to X, if there is one
    the relay chosen for the pair (paths.py), alternate 0 only
    a found route (X signed the answer to a search, or proved its key in a session), alternate 0 only
    of the relays nearest to X by XOR, and nearer than we are, the one that promises the shortest way; alternate v takes
        the v-th nearest of the others instead (disjoint retry), of a peer that has anchors first the one drawn by
        chance, then home: of the rest one attacker may have ground all
    an answer to a control packet: the link over which X seemed to send one, within ANSWER_TIME
    past the nearest relay: the next ones outward, at most MAX_SCAN of them (X may not yet know that we are nearer)
    all else: as answers, but last, for any peer can pretend to be X
    nothing: NO_ROUTE to the sender

A LEGACY packet goes to the link to X, else where a relay answered for X, else to the nearest relay; never elsewhere.
The answers of relays that stand in for peers behind them move nothing but LEGACY packets: they cannot draw away what is
sealed.

Greedy steps come strictly nearer and scan steps go strictly outward, so neither can circle; routes can, and the hop
limit ends that.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from ..address import ID_BITS, ID_BYTES, PeerId, Prefix
from ..codec import packet as wire
from ..codec.packet import Header, Kind
from ..limits import (
    ANSWER_TIME,
    CLOSEST_LINKS,
    COMPARED_HOPS,
    CONTROL_RATE,
    HOP_LIMIT,
    MAX_LEARNED_ROUTES,
    MAX_ROUTE_CACHE,
    NO_ROUTE_PRICE,
    SLOT_BITS,
    make_room,
)
from ..rate import TokenBucket
from .xor import by_distance, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .behind import Behind
    from .core import Core
    from .link import LinkState
    from .links import Links


class _Heads(dict[int, list[bytes]]):
    """The first two header bytes by kind and hop limit, made when the first packet of a kind is forwarded (all of them
    take 10 ms and 3 MB)."""

    def __missing__(self, kind: int) -> list[bytes]:
        heads = self[kind] = [bytes((kind, min(hop, HOP_LIMIT - 1))) for hop in range(256)]
        return heads


HEADS: Final = _Heads()
"""Forwarding writes these and copies the rest."""
_NOTICED: Final = frozenset((Kind.HANDSHAKE, Kind.SEALED))
"""Kinds whose sender wants to know that there is no route."""
_ANSWERS: Final = frozenset((Kind.RESOLVED, Kind.FOUND, Kind.NO_ROUTE, Kind.NO_SESSION, Kind.DENIED, Kind.TRACED))
"""Kinds that go back where a control packet seemed to come from."""


def _value(link: LinkState) -> int:
    return link.value


class Router:
    """The forwarding table of one peer."""

    def __init__(self, core: Core, links: Links, behind: Behind) -> None:
        self._core = core
        self._links = links
        self._behind = behind
        self.relays: list[LinkState] = []
        """Links to peers that relay, by ascending id; `links_changed` sees to it."""
        self._values: list[int] = []
        """Their ids as integers."""
        self.changes = 0
        """How often `relays` changed."""
        self._all_values: list[int] = []
        """Ids of all linked peers as integers, ascending."""
        self._depth = 0
        """Leading bits that the CLOSEST_LINKS relays nearest to us share with us."""
        self._usual = 0.0
        """Seconds that half of the links to relays take at most."""
        self.direct: dict[PeerId, LinkState] = {}
        """WebRTC links that are up, by peer."""
        self.linked = False
        """Whether any link is up."""
        self.hops: tuple[dict[PeerId, LinkState], ...] = tuple({} for _ in range(wire.ALTERNATES + 1))
        """What `next_hop` decided, by alternate; forgotten when anything changes. Others only look."""
        self._learned: dict[PeerId, tuple[LinkState, float]] = {}
        """Links over which control packets of a sender came, and until when answers go there; at most
        MAX_LEARNED_ROUTES, as the tables below."""
        self._found: dict[PeerId, LinkState] = {}
        """Routes to peers that proved their keys over them."""
        self._chosen: dict[PeerId, LinkState] = {}
        """Links to the relays that our traffic to these peers takes; at most MAX_PATHS."""
        self._stand_ins: dict[PeerId, LinkState] = {}
        """Towards relays that have a peer behind them, by that peer; for LEGACY packets only."""
        self._anchors: tuple[PeerId, ...] = ()
        """Neighbours by which a retry goes before others (anchors.py)."""
        self._notices = TokenBucket(CONTROL_RATE, core.now)

    # --- tables ----------------------------------------------------------------------------------------------

    def links_changed(self) -> None:
        """Links came or went: forget what was decided by them."""
        self.linked = bool(self._links.by_id)
        self.direct = {link.peer_id: link for link in self._links.by_id.values() if link.direct}
        self._all_values = sorted(link.value for link in self._links.by_id.values())
        self.relays = sorted((link for link in self._links.by_id.values() if link.serves), key=_value)
        self._values = [link.value for link in self.relays]
        self._count_ordinary()
        self._relays_changed()

    def _count_ordinary(self) -> None:
        # While a link to a relay is replaced, both are among the relays, and one value.
        self._core.ordinary = max(0, len(self._all_values) - len(self.relays))

    def _relays_changed(self) -> None:
        self.changes += 1
        ours = self._core.number
        around = [ID_BITS - (link.value ^ ours).bit_length() for link in self.nearest(ours, CLOSEST_LINKS)]
        self._depth = around[-1] if around else 0
        ways = sorted(link.rtt for link in self.relays if link.rtt is not None)
        self._usual = ways[len(ways) // 2] / 2 if ways else 0.0
        for cache in self.hops:
            cache.clear()

    def link_up(self, link: LinkState) -> None:
        """`link` is up."""
        self.linked = True
        at = bisect_left(self._all_values, link.value)
        if self._all_values[at : at + 1] != [link.value]:
            self._all_values.insert(at, link.value)
        self._forget_leaf(link)
        if link.direct:
            self.direct[link.peer_id] = link
        if link.serves:
            at = bisect_left(self._values, link.value)
            self.relays.insert(at, link)
            self._values.insert(at, link.value)
            self._relays_changed()
        self._count_ordinary()

    def link_down(self, link: LinkState) -> None:
        """Forget routes over `link`."""
        self.linked = bool(self._links.by_id)
        at = bisect_left(self._all_values, link.value)
        if link.peer_id not in self._links.by_id and self._all_values[at : at + 1] == [link.value]:
            del self._all_values[at]
        self._forget_leaf(link)
        if link.serves:
            self._forget_routes(link)
            at = bisect_left(self._values, link.value)
            if self._values[at : at + 1] == [link.value]:
                del self._values[at], self.relays[at]
            self._count_ordinary()
            self._relays_changed()
            return
        self._count_ordinary()
        for table in (self._found, self._stand_ins):
            if table.get(link.peer_id) is link:
                del table[link.peer_id]

    def link_changed(self, link: LinkState) -> None:
        """The peer at the end of `link` relays now, or no more."""
        if not link.serves:
            self._forget_routes(link)
        self.links_changed()

    def _forget_leaf(self, link: LinkState) -> None:
        """Forget what was decided by a link to a peer that does not relay: it leads to that peer only."""
        if self._links.by_id.get(link.peer_id) in (link, None):
            self.direct.pop(link.peer_id, None)
        for cache in self.hops:
            cache.pop(link.peer_id, None)

    def _forget_routes(self, link: LinkState) -> None:
        for table in (self._chosen, self._found, self._stand_ins):
            for peer_id in [peer_id for peer_id, via in table.items() if via is link]:
                del table[peer_id]

    def learn(self, sender: PeerId, link: LinkState) -> None:
        """A control packet came over `link` that says it is from `sender`: its answer goes back there."""
        self._learned.pop(sender, None)
        make_room(self._learned, MAX_LEARNED_ROUTES)
        self._learned[sender] = link, self._core.now + ANSWER_TIME

    @staticmethod
    def _remember(table: dict[PeerId, LinkState], peer_id: PeerId, link: LinkState) -> None:
        make_room(table, MAX_LEARNED_ROUTES)
        table[peer_id] = link

    # --- next hops -------------------------------------------------------------------------------------------

    def by_distance(self, target: int) -> Iterator[LinkState]:
        """Yield the linked relays, nearest to `target` first."""
        relays = self.relays
        return (relays[position] for position in by_distance(self._values, target))

    def nearest(self, target: int, count: int) -> list[LinkState]:
        """Return the `count` linked relays nearest to `target`, nearest first."""
        relays = self.relays
        return [relays[position] for position in nearest(self._values, target, count)]

    def matching(self, prefix: Prefix, most: int) -> list[LinkState]:
        """Return the links, `most` at most, to peers whose ids begin with `prefix`. Costs the same however many links
        there are."""
        shift = ID_BITS - prefix.bits
        first = int.from_bytes(prefix.value) >> shift << shift
        low = bisect_left(self._all_values, first)
        high = bisect_left(self._all_values, first + (1 << shift), low)
        found = (value.to_bytes(ID_BYTES) for value in self._all_values[low : min(high, low + most)])
        return [self._links.by_id[peer_id] for peer_id in found if peer_id in self._links.by_id]

    def is_nearest(self, target: int) -> bool:
        """Return whether no linked relay is nearer to `target` than we are, provided that we relay."""
        if not self._core.config.serves:
            return False
        first = self.nearest(target, 1)
        return not first or self._core.number ^ target <= first[0].value ^ target

    def greedy(self, target: int, alternate: int) -> LinkState | None:
        """Return the linked relay that promises the shortest way to `target`, of those nearest to it and nearer than
        we; or the `alternate`-th of the others, the nearest first."""
        core = self._core
        # A peer that does not relay is no step towards another: to it any relay is nearer than itself.
        limit = core.number ^ target if core.config.serves else 1 << ID_BITS
        near = [link for link in self.nearest(target, COMPARED_HOPS) if link.value ^ target < limit]
        if not near:
            return None
        best = min(near, key=lambda link: self._promises(link, target))
        if not alternate:
            return best
        others = [link for link in near if link is not best]
        if not core.config.serves:
            linked = (self._links.by_id.get(peer_id) for peer_id in self._anchors)
            anchors = [link for link in linked if link is not None and link.serves and link is not best]
            others = list(dict.fromkeys((*anchors, *others)))
        return others[min(alternate, len(others)) - 1] if others else best

    def retry_by(self, *anchors: PeerId | None) -> None:
        """Let retries of a peer that does not relay go by these neighbours before others."""
        self._anchors = tuple(anchor for anchor in anchors if anchor is not None)
        for cache in self.hops[1:]:
            cache.clear()

    def _promises(self, link: LinkState, target: int) -> float:
        """Return about how many seconds the way to `target` takes by `link`: to its end, and a link of the usual length
        for each step from there to a relay that is as near to the target as our own nearest relays are to us."""
        missing = self._depth + SLOT_BITS - (ID_BITS - (link.value ^ target).bit_length())
        way = self._usual if link.rtt is None else link.rtt / 2
        return way + self._usual * max(0, missing) / (SLOT_BITS + 1)

    def next_hop(self, to: PeerId, alternate: int) -> LinkState | None:
        """Return the link a packet to `to` leaves by (scan steps apart), or None."""
        cache = self.hops[alternate]
        link = cache.get(to)
        if link is not None:
            return link
        link = self._links.by_id.get(to)
        if link is None and not alternate:
            link = self._chosen.get(to) or self._found.get(to)
        if link is None:
            link = self.greedy(int.from_bytes(to), alternate)
        if link is not None:
            if len(cache) >= MAX_ROUTE_CACHE:
                cache.clear()
            cache[to] = link
        return link

    def _answer_hop(self, to: PeerId, arrived: LinkState | None) -> LinkState | None:
        """Return the link over which `to` seemed to ask just now, or None."""
        link, until = self._learned.get(to, (None, 0.0))
        return link if link is not None and link.up and link is not arrived and until >= self._core.now else None

    def _scan_hop(self, to: PeerId, arrived: LinkState | None) -> LinkState | None:
        target = int.from_bytes(to)
        mine = self._core.number ^ target
        for link in self.by_distance(target):
            if link.value ^ target > mine and link is not arrived:
                return link
        return None

    def why_unknown(self) -> str:
        """Return why a peer is not found."""
        if not self.linked:
            return "no relay is linked"
        relays = "1 relay" if len(self.relays) == 1 else f"{len(self.relays)} relays"
        return f"nobody has this address in the network of the {relays} we are linked to"

    # --- sending and forwarding ------------------------------------------------------------------------------

    def send(self, data: bytes, to: PeerId, alternate: int) -> bool:
        """Send a packet of our own (made with `alternate` as its flags); False when there is no route."""
        link = self.next_hop(to, alternate)
        if link is None and data[0] in _ANSWERS:
            link = self._answer_hop(to, None)
        if link is None:
            link = self._scan_hop(to, None)
            if link is None:
                self._core.counters["no route: own packet"] += 1
                return False
            data = data[:2] + bytes((alternate | 1 << 2,)) + data[3:]
        self._links.emit(link, data)
        return True

    def send_by(self, link: LinkState, data: bytes, to: PeerId) -> None:
        """Send a packet of our own by `link`, by which `to` reached us, if a relay or `to` itself is at its end."""
        if link.up and (link.serves or link.peer_id == to):
            self._links.emit(link, data)
        else:
            self.send(data, to, 0)

    def forward(self, bundle: bytes, offset: int, header: Header, arrived: LinkState) -> None:
        """Pass on the packet at `offset`."""
        core = self._core
        if header.hop_limit <= 1:
            core.counters["dropped: hop limit"] += 1
            return
        if not core.config.serves:
            core.counters["dropped: not a relay"] += 1
            return
        flags = header.flags
        link = None
        if not flags & 0b1100:
            link = self.hops[flags & 3].get(header.to)
            if link is None:
                arrived.charge(NO_ROUTE_PRICE)
                link = self.next_hop(header.to, flags & 3)
            if link is arrived:  # a stale route points back: do as if it were not there
                link = self._links.by_id.get(header.to)
        else:
            link = self._links.by_id.get(header.to)
        if (link is None or link is arrived) and header.kind in _ANSWERS:
            link = self._answer_hop(header.to, arrived)
        if link is not None and link is not arrived:
            self.pass_on(link, bundle, offset, header, arrived)
            return
        scanned = flags >> 2 & 3
        link = self._scan_hop(header.to, arrived) if scanned < wire.MAX_SCAN else None
        if link is not None:
            left = min(header.hop_limit, HOP_LIMIT) - 1
            head = bytes((header.kind, left, flags & ~0b1100 | (scanned + 1) << 2))
            self._count(offset, header)
            self._links.emit(link, head, memoryview(bundle)[offset + 3 : header.end], arrived)
            return
        link = self._answer_hop(header.to, arrived)
        if link is not None:
            self.pass_on(link, bundle, offset, header, arrived)
            return
        core.counters["dropped: no route"] += 1
        if header.kind in _NOTICED and header.sender != core.peer_id and self._notices.take(core.now):
            notice = wire.packet(Kind.NO_ROUTE, header.sender, core.peer_id, header.to)
            self.send(notice, header.sender, 0)

    def pass_on(
        self, link: LinkState, bundle: bytes, offset: int, header: Header, arrived: LinkState | None = None
    ) -> None:
        """Send a packet on over `link`, one hop older."""
        self._count(offset, header)
        head = HEADS[header.kind][header.hop_limit - 1]
        self._links.emit(link, head, memoryview(bundle)[offset + 2 : header.end], arrived)

    def _count(self, offset: int, header: Header) -> None:
        self._core.forwarded_packets += 1
        self._core.forwarded_bytes += header.end - offset

    # --- peers behind relays -------------------------------------------------------------------------------------

    def hop_behind(self, to: PeerId) -> LinkState | None:
        """Return the link that a LEGACY packet to `to` leaves by, or None."""
        return self._links.by_id.get(to) or self._stand_ins.get(to) or self.greedy(int.from_bytes(to), 0)

    def send_behind(self, data: bytes, to: PeerId) -> bool:
        """Send a LEGACY packet of our own; False when there is no route."""
        link = self.hop_behind(to)
        if link is None:
            self._core.counters["no route: own packet"] += 1
            return False
        self._links.emit(link, data)
        return True

    def forward_behind(self, bundle: bytes, offset: int, header: Header, arrived: LinkState) -> None:
        """Pass on the LEGACY packet at `offset`, and remember how its sender is reached."""
        core = self._core
        arrived.charge(NO_ROUTE_PRICE)
        self.learn_behind(header.sender, arrived)
        link = self.hop_behind(header.to)
        if link is None or link is arrived or header.hop_limit <= 1 or not core.config.serves:
            core.counters["dropped: no route for a legacy envelope"] += 1
            return
        self.pass_on(link, bundle, offset, header, arrived)

    def learn_behind(self, sender: PeerId, link: LinkState) -> None:
        """A LEGACY packet from `sender` came over `link`."""
        if sender not in self._links.by_id and self._stand_ins.get(sender) is not link:
            self._stand_ins.pop(sender, None)
            self._remember(self._stand_ins, sender, link)

    def allow_notice(self) -> bool:
        """Return whether one more unasked-for notice is within CONTROL_RATE."""
        return self._notices.take(self._core.now)

    def is_chosen(self, peer_id: PeerId) -> bool:
        """Return whether what is for `peer_id` goes by a relay that was chosen for it."""
        return peer_id in self._chosen

    def choose(self, peer_id: PeerId, link: LinkState | None) -> None:
        """Send what is for `peer_id` by `link` from now on, a relay's; None: as if nothing had been chosen."""
        if self._chosen.get(peer_id) is link:
            return
        if link is None:
            del self._chosen[peer_id]
        else:
            self._chosen[peer_id] = link
        self.hops[0].pop(peer_id, None)

    # --- found routes ----------------------------------------------------------------------------------------

    def adopt(self, peer_id: PeerId, link: LinkState) -> None:
        """`peer_id` proved its key over `link`, by a signature or in a session: prefer that route in alternate 0."""
        if peer_id == self._core.peer_id or peer_id in self._links.by_id or not link.up:
            return
        self._found.pop(peer_id, None)
        self._remember(self._found, peer_id, link)
        for cache in self.hops:
            cache.pop(peer_id, None)
