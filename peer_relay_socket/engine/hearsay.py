"""Hearsay: what peers tell each other about dialable peers.

Lives here: NEIGHBOURS, FIND and FOUND, and who is told what. May not live here: what is made of it (membership).

Law: nobody is told of a URL that reaches less far than the link it is told over; what was not asked for is dropped, but
for a neighbour's NEIGHBOURS; and none of it is believed before its key is proved.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..address import ID_BITS, PeerId
from ..codec import packet as wire
from ..codec.packet import Contact, Header, Kind, LinkOp
from ..limits import CLOSEST_LINKS, CONTACTS_PER_ANSWER, HOP_LIMIT
from ..scope import Scope, reach
from .nearness import bucket_of

if TYPE_CHECKING:
    from .candidates import Candidates
    from .core import Core
    from .links import Links, LinkState
    from .routing import Router


class Hearsay:
    """Asks, answers and introduces."""

    def __init__(
        self, core: Core, links: Links, router: Router, candidates: Candidates, on_news: Callable[[], None]
    ) -> None:
        self._core = core
        self._links = links
        self._router = router
        self._candidates = candidates
        self._on_news = on_news
        self._asked: dict[bytes, PeerId] = {}
        """Tokens of FINDs under way, and their targets."""

    # --- telling ---------------------------------------------------------------------------------------------

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

    def introduce(self, link: LinkState) -> None:
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
        news = [self._candidates.consider(contact, scope) for contact in contacts]
        if any(news):
            self._on_news()

    # --- FIND ------------------------------------------------------------------------------------------------

    def find(self, target: PeerId) -> None:
        """Ask the network for dialable peers near `target`, unless nobody is nearer than we."""
        if self._router.is_nearest(int.from_bytes(target)):
            return
        data = wire.packet(Kind.FIND, target, self._core.peer_id, self._question(target))
        self._router.send(data, target, 0)

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

    def _question(self, target: PeerId) -> bytes:
        """Return the token of a new FIND."""
        token = self._core.token()
        while len(self._asked) >= 64:
            del self._asked[next(iter(self._asked))]
        self._asked[token] = target
        return token

    def ask_neighbours(self, changed: bool) -> None:
        """Ask whoever is nearest to us, wherever that is, and after a change each of our nearest relays too."""
        core = self._core
        for number, link in enumerate(self._router.nearest(core.number, CLOSEST_LINKS)):
            if changed or not number:
                hops = 1 if number else HOP_LIMIT
                token = self._question(core.peer_id)
                self._links.emit(link, wire.packet(Kind.FIND, core.peer_id, core.peer_id, token, hop_limit=hops))
