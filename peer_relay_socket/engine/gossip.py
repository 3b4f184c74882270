"""Gossip: what peers tell each other about dialable peers.

Lives here: NEIGHBOURS, FIND and FOUND, and which peer hears what. May not live here: what is made of it
(membership.py).

Law: no URL is passed on over a link that reaches farther than the URL; what was not asked for is dropped, but for a
neighbour's NEIGHBOURS; and none of it is believed before its key is proved.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Final

from ..address import ID_BITS, PeerId
from ..codec import control
from ..codec import packet as wire
from ..codec.control import Contact
from ..codec.packet import HEADER_BYTES, Header, Kind, LinkOp
from ..limits import (
    CLOSEST_LINKS,
    CONTACTS_PER_ANSWER,
    FIND_PADDING,
    HOP_LIMIT,
    MAX_INTRODUCTION,
    MAX_REFLECTION,
    make_room,
)
from ..scope import Scope, reach

if TYPE_CHECKING:
    from .candidates import Candidates
    from .core import Core
    from .link import LinkState
    from .links import Links
    from .routing import Router

_SLACK_BITS: Final = 2
"""Relays may lie four times thinner elsewhere than around us and still hear of a newcomer."""

_INTRODUCERS: Final = 2
"""So many of a peer's relays tell it of a newcomer, the nearest to it: when all did, a fifth of what a joining network
sent was such news, eight times over. Each peer finds out by looking around, too."""


class Gossip:
    """Asks, answers and introduces."""

    def __init__(
        self, core: Core, links: Links, router: Router, candidates: Candidates, on_news: Callable[[], None]
    ) -> None:
        self._core = core
        self._links = links
        self._router = router
        self._candidates = candidates
        self._on_news = on_news
        self._asked: dict[bytes, Callable[[list[PeerId]], None]] = {}
        """Tokens of FINDs under way, and what is told of the ids that the answer names; at most 64."""

    # --- telling ---------------------------------------------------------------------------------------------

    def _contact(self, link: LinkState, scope: Scope) -> bytes:
        """Return the contact of the relay at the end of `link` for links of `scope`, b"" if they may not hear of it."""
        contact = link.contacts.get(scope)
        if contact is None:
            urls = tuple(url for url in link.known_urls if reach(url) >= scope)
            contact = link.contacts[scope] = control.contact(Contact(link.peer_id, urls)) if urls else b""
        return contact

    def _own_contact(self, scope: Scope) -> bytes:
        config = self._core.config
        urls = tuple(url for url in config.urls if "*" not in url and reach(url) >= scope)
        return control.contact(Contact(self._core.peer_id, urls)) if config.serves and urls else b""

    def _contacts_near(self, target: int, scope: Scope, without: PeerId, most: int) -> bytes:
        """Return dialable neighbours nearest to `target`, ourselves among them, that `scope` lets us tell about, in
        `most` bytes."""
        core, router = self._core, self._router
        nearest = router.nearest(target, CONTACTS_PER_ANSWER + 1)
        links = [link for link in nearest if link.peer_id != without and self._contact(link, scope)]
        if len(links) < CONTACTS_PER_ANSWER and len(nearest) < len(router.relays):  # past those not to be named
            others = (o for o in router.by_distance(target) if o.peer_id != without and self._contact(o, scope))
            links = list(islice(others, CONTACTS_PER_ANSWER))
        found = [self._contact(link, scope) for link in links]
        own = self._own_contact(scope)
        if own and core.peer_id != without:
            mine = core.number ^ target
            found.insert(sum(link.value ^ target < mine for link in links), own)
        del found[CONTACTS_PER_ANSWER:]
        sizes = accumulate((len(contact) for contact in found), initial=1)
        short = [contact for contact, size in zip(found, islice(sizes, 1, None), strict=True) if size <= most]
        return control.joined_contacts(short)

    def introduce(self, link: LinkState) -> None:
        """Tell a new neighbour of the relays near it, and the peers near a new relay of that relay."""
        core = self._core
        near = self._contacts_near(link.value, link.scope, link.peer_id, MAX_INTRODUCTION)
        if near[0]:
            self._links.tell(link, LinkOp.NEIGHBOURS, near)
        if not (link.serves and link.known_urls and core.config.serves):
            return
        near_bits = self._near_bits()
        if (link.value ^ core.number) >> near_bits:
            return
        for other in list(self._links.by_id.values()):
            if (other.value ^ link.value) >> near_bits or other is link:
                continue
            nearest = self._router.nearest(other.value, CLOSEST_LINKS + other.serves)
            mine = core.number ^ other.value
            nearer = sum(relay.value ^ other.value < mine for relay in nearest if relay not in (link, other))
            if link in nearest and nearer < _INTRODUCERS:
                contact = self._contact(link, other.scope)
                if contact:
                    self._links.tell(other, LinkOp.NEIGHBOURS, control.joined_contacts([contact]))

    def _near_bits(self) -> int:
        """Return how many bits the distance of two peers has at most where one may be among the other's nearest relays.

        Relays lie about as thick everywhere, and how thick we know around ourselves. In a far bucket we know so few
        that a newcomer there seems to be among the nearest of each; those have nearer ones that tell them.
        """
        nearest = self._router.nearest(self._core.number, CLOSEST_LINKS)
        if len(nearest) < CLOSEST_LINKS:
            return ID_BITS
        return (nearest[-1].value ^ self._core.number).bit_length() + _SLACK_BITS

    def neighbours_heard(self, link: LinkState, data: bytes) -> None:
        """A neighbour named others.

        Raises: PacketError.
        """
        self._take_contacts(control.read_contacts(data)[: 2 * CONTACTS_PER_ANSWER], link)

    def _take_contacts(self, contacts: list[Contact], link: LinkState) -> None:
        news = [self._candidates.consider(contact, link) for contact in contacts]
        if any(news):
            self._on_news()

    # --- FIND ------------------------------------------------------------------------------------------------

    def find(self, target: PeerId) -> None:
        """Ask the network for dialable peers near `target`, unless no relay is nearer than we are."""
        if self._router.is_nearest(int.from_bytes(target)):
            return
        data = wire.packet(Kind.FIND, target, self._core.peer_id, self._question())
        self._router.send(data, target, 0)

    def find_by(self, link: LinkState, target: PeerId, then: Callable[[list[PeerId]], None]) -> None:
        """Ask for the dialable peers nearest to `target`, by `link`, and tell `then` their ids."""
        self._links.emit(link, wire.packet(Kind.FIND, target, self._core.peer_id, self._question(then)))

    def find_heard(self, bundle: bytes, offset: int, header: Header, arrived: LinkState) -> None:
        """Answer a FIND if we alone are asked (hop limit 1) or no relay is nearer, else pass it on.

        It goes to the nearest relay, never to the target itself, which may be the peer that asks.
        """
        core = self._core
        target = int.from_bytes(header.to)
        onward = None
        if core.config.serves and header.hop_limit > 1 and header.to != core.peer_id:
            others = self._router.nearest(target, 2)
            onward = next((link for link in others if link.peer_id != header.sender), None)
        if onward is not None and onward is not arrived and onward.value ^ target < core.number ^ target:
            self._router.pass_on(onward, bundle, offset, header)
            return
        token, _ = wire.split(bundle[header.body : header.end], 4)
        most = MAX_REFLECTION * (header.end - offset) - HEADER_BYTES - len(token)
        body = token + self._contacts_near(target, arrived.scope, header.sender, most)
        self._router.send(wire.packet(Kind.FOUND, header.sender, core.peer_id, body), header.sender, 0)

    def found_heard(self, body: bytes, arrived: LinkState) -> None:
        """Take the answer to a FIND.

        Raises: PacketError.
        """
        token, rest = wire.split(body, 4)
        then = self._asked.pop(token, None)
        if then is None:
            self._core.counters["dropped: unasked answer"] += 1
            return
        contacts = control.read_contacts(rest)[: 2 * CONTACTS_PER_ANSWER]
        self._take_contacts(contacts, arrived)
        then([contact.peer_id for contact in contacts])

    def _question(self, then: Callable[[list[PeerId]], None] = lambda _named: None) -> bytes:
        """Return the body of a new FIND, as long as it must be for a whole answer."""
        token = self._core.token()
        make_room(self._asked, 64)
        self._asked[token] = then
        return token + bytes(FIND_PADDING)

    def ask_neighbours(self, changed: bool) -> None:
        """Ask the relay nearest to us, wherever that is, and after a change each of our own nearest relays, too."""
        core = self._core
        for number, link in enumerate(self._router.nearest(core.number, CLOSEST_LINKS)):
            if changed or not number:
                hops = 1 if number else HOP_LIMIT
                body = self._question()
                self._links.emit(link, wire.packet(Kind.FIND, core.peer_id, core.peer_id, body, hop_limit=hops))
