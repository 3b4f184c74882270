"""Peers of npm peer-relay, which have no keys: what is sent to them and heard from them, and by which wire.

Lives here: the choice between the sealed wire and theirs, what envelopes mean. May not live here: which ids may lack a
key (trust.py), connections (links.py), how they come to be (neighbours.py, rtc.py), the ids by which npm peers know us
(names.py), routes (routes.py), the engine's inputs (engine.py), JSON (codec).

Law: trust.py's. Nothing that an npm peer says changes where a peer with a key is found, or how it is spoken to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...address import PeerId, UnprovedId
from ...codec import npm as wire
from ...codec import packet
from ...codec.npm import Datagram, Envelope
from ...codec.packet import Record
from ...errors import HandshakeError, PacketError
from ...limits import (
    NPM_ANSWER,
    NPM_CANDIDATES,
    NPM_GRACE,
    NPM_LINKS,
    NPM_SEEK_TIME,
    NPM_WAY_TIME,
    PACKET_TARGET,
    make_room,
)
from ...scope import Scope
from ..direct import Path
from ..effects import Deliver, Message, NoRoom, Writable
from ..timers import Due
from .links import WEBRTC, NpmLink, NpmLinks
from .neighbours import NpmNeighbours
from .routes import NpmRoutes

if TYPE_CHECKING:
    from ..core import Core
    from ..link import LinkState
    from ..links import Links
    from ..membership import Membership
    from ..resolver import Resolver
    from ..routing import Router
    from ..searches import Searches
    from ..sessions import Sessions
    from .peers import NpmPeers


class Gateway:
    """Between the overlay and the npm peers around us."""

    def __init__(
        self,
        core: Core,
        peers: NpmPeers,
        overlay: Links,
        router: Router,
        searches: Searches,
        resolver: Resolver,
        sessions: Sessions,
        membership: Membership,
        on_linked: Callable[[], None],
    ) -> None:
        """Args: on_linked: called when an npm peer is the first neighbour of any kind."""
        self._core = core
        self._peers = peers
        self._router = router
        self._searches = searches
        self._resolver = resolver
        self._sessions = sessions
        self._membership = membership
        self._on_linked = on_linked
        self._names = peers.names
        self._trust = peers.trust
        self.links = NpmLinks(core, self, peers.neighbours)
        self._routes = NpmRoutes(core, self.links, overlay, router, searches, peers.heard_over)
        self.neighbours = NpmNeighbours(core, self.links, peers, self._say)
        self._wanted: dict[PeerId, None] = {}
        """Peers that the program wants links to, while relays are asked what they are; at most NPM_CANDIDATES."""
        self._full: dict[PeerId, None] = {}
        """Nodes that had no room for us; at most NPM_LINKS."""
        self._blocked: dict[PeerId, None] = {}
        """Peers to which there was no room; each of them has waiting flows of the program's."""

    # --- trust -----------------------------------------------------------------------------------------------

    def proved(self, peer_id: PeerId) -> None:
        """`peer_id` has shown its key: whatever was done in its name without one ends."""
        if self._trust.prove(peer_id):
            self.neighbours.forget(peer_id)
            self._routes.forget(peer_id)
            link = self._peers.neighbours.get(peer_id)
            if link is not None:
                self.links.drop(link, "this id belongs to a peer that has its key")
            self._resolver.unpin_keyless(peer_id)

    def tried(self, peer_id: PeerId) -> None:
        """Something sealed waits for `peer_id`, of which we know no key: if it may be npm's, its time runs."""
        npm_only = not self._router.linked and bool(self._peers.neighbours)
        if npm_only or peer_id in self._peers.candidates or peer_id in self._peers.heard_over:
            self._doubt(peer_id)

    def _doubt(self, peer_id: PeerId) -> None:
        if self._sessions.waits(peer_id):
            self._trust.doubt(peer_id, self._fall_back)

    def _fall_back(self, peer_id: PeerId) -> None:
        if self._trust.fall_back(peer_id):
            for record in self._sessions.surrender(peer_id):
                self.send(peer_id, record)

    # --- what is known ----------------------------------------------------------------------------------------

    def discovered(self, peer_id: PeerId, npm: bool) -> None:
        """A search of ours was answered; `npm`: by a relay, for an npm peer."""
        self._routes.found(peer_id)
        if npm:
            self._resolver.discovered_behind(peer_id)
            self._doubt(peer_id)
        if npm and peer_id in self._wanted:  # if it has a key after all, it answers too
            self._core.timers.at(Due.LEGACY_GRACE, self._core.now + NPM_GRACE, self._connect_found, peer_id)
        elif not npm:
            self._wanted.pop(peer_id, None)

    def path(self, peer_id: PeerId) -> Path | None:
        """Return how an npm peer is reached; None for a peer that is not known to be one."""
        link = self._peers.neighbours.get(peer_id)
        if link is not None:
            return Path("direct", link.carrier, None, link.opened_at, None, None)
        via = self._peers.heard_over.get(peer_id) or self._router.hop_behind(peer_id)
        if via is None or not self._peers.speaks(peer_id):
            return None
        return Path("relayed", via.carrier, via.peer_id, via.opened_at, None, "links to npm peers come by Peer.connect")

    def ask_neighbours(self) -> None:
        """Ask the npm neighbours nearest to what is looked for."""
        sought, self._peers.sought = self._peers.sought, {}
        for prefix in sought:
            target = int.from_bytes(prefix.value)
            nearest = sorted(self._peers.neighbours.values(), key=lambda link: link.value ^ target)[:2]
            for link in nearest:
                self._say(link.peer_id, wire.FIND_PEERS, prefix.value)

    # --- links (NpmLinkEvents) -------------------------------------------------------------------------------

    def opened(self, number: int, url: str | None, remote_host: str, peer_id: PeerId | None = None) -> None:
        """A connection stands whose other end speaks, or waits for, npm's wire; `peer_id`: the peer, by WebRTC."""
        if peer_id is not None:
            self.neighbours.rtc_opened(peer_id)
            self.links.rtc_opened(number, remote_host, peer_id)
        else:
            self.links.opened(number, url, remote_host, None if url is None else self.neighbours.dialled(url))

    def npm_refusal(self, peer_id: PeerId) -> str | None:
        """Return why a link to us as `peer_id` is refused, or None."""
        if self._names.is_us(peer_id):
            return "this is our own id"
        if peer_id in self._peers.neighbours:
            return "already linked"
        return None if self._trust.may_lack_a_key(peer_id) else "this id belongs to a peer that has its key"

    def npm_name(self, peer_id: PeerId) -> PeerId:
        """Return the id by which `peer_id` knows us."""
        return self._names.for_peer(peer_id)

    def npm_greeted(self, link: NpmLink) -> None:
        """The ids are exchanged."""
        self._ask(link)

    def npm_link_idle(self, link: NpmLink) -> None:
        """They answer this, so we see that they live."""
        self._ask(link)

    def _ask(self, link: NpmLink) -> None:
        me = self._names.for_peer(link.peer_id)
        path = (self._core.peer_id,)
        envelope = Envelope(link.peer_id, me, path, self._nonce(), wire.FIND_PEERS, me)
        self._routes.fresh(envelope)
        self.links.send(link, envelope)

    def npm_link_up(self, link: NpmLink) -> None:
        """A neighbour is there."""
        peer_id = link.peer_id
        self.neighbours.link_up(peer_id)
        self._peers.heard_over.pop(peer_id, None)
        if link.url is not None:
            self._membership.bootstrap_up(link.url, peer_id)
        elif link.carrier != WEBRTC:
            self._names.mended(peer_id)
        for waiting in self._sessions.waiting():
            if waiting == peer_id:
                self._fall_back(waiting)
            elif not self._router.linked:
                self._doubt(waiting)
        self._resolver.behind_changed()
        self.look_for_wanted()
        self.wake_blocked()
        if not self._router.linked:
            self._on_linked()

    def npm_link_down(self, link: NpmLink) -> None:
        """A neighbour is gone."""
        if link.carrier == WEBRTC:
            self._names.channel_lost(link.peer_id)
        self._routes.link_down(link)
        self.wake_blocked()
        self._resolver.unpin(link.peer_id)
        if link.url is not None:
            self._membership.bootstrap_down(link.url)

    def npm_link_failed(self, link: NpmLink, reason: str) -> None:
        """A link that we dialled never came up."""
        assert link.url is not None
        self._core.note(20, f"npm peer at {link.url}: {reason}")
        self._membership.dial_failed(link.url)

    def npm_full(self, link: NpmLink) -> None:
        """A node has no room for us: one effect for each, if we are alone without it."""
        alone = not self._peers.neighbours and not self._router.linked
        if link.url is not None and alone and link.peer_id not in self._full and len(self._full) < NPM_LINKS:
            self._full[link.peer_id] = None
            self._core.effects.append(NoRoom(link.peer_id, link.url))

    def link_full(self, number: int, full: bool) -> None:
        """A connection, to an npm peer or to one of us, takes no more for now, or takes it again."""
        link = self.links.all.get(number)
        if link is not None:
            link.full = full
        if not full:
            self.wake_blocked()

    def wake_blocked(self) -> None:
        """Some link takes more again: every flow that waits for room may look again."""
        blocked, self._blocked = self._blocked, {}
        self._core.effects += [Writable(peer_id) for peer_id in blocked]

    # --- envelopes in ----------------------------------------------------------------------------------------

    def text_heard(self, number: int, text: str) -> None:
        """A neighbour sent one text. Bad ones are counted: it may only have carried them."""
        core = self._core
        link = self.links.all.get(number)
        if link is None:
            return
        try:
            envelope = self.links.heard(link, text)
        except HandshakeError as error:
            core.counters["link failed"] += 1
            self.links.drop(link, str(error))
            return
        except PacketError:
            core.counters["dropped: malformed npm message"] += 1
            return
        if envelope is None or not self._is_new(envelope):
            return
        sender = envelope.sender
        if sender == link.peer_id and (envelope.kind == wire.SIGNAL or _offers_rtc(envelope)):
            link.rtc = True
        if sender not in self._peers.neighbours and not self._trust.has_key(sender):
            self._routes.learn(sender, link)
        if self._names.is_us(envelope.to):
            self._take(envelope, link.scope)
        else:
            self._routes.forward(envelope)

    def packet_heard(self, to: PeerId, sender: PeerId, body: bytes, link: LinkState) -> None:
        """An NPM packet came over the overlay for us, or for an npm peer on this side.

        Raises: PacketError.
        """
        envelope = wire.unpack(to, sender, body)
        if not self._is_new(envelope):
            return
        self._router.learn_behind(sender, link)
        self._routes.found(sender)
        if self._names.is_us(to):
            self.neighbours.consider(sender)
            self._take(envelope, link.scope)
        else:
            self._routes.forward(envelope, overlay=False)

    def _is_new(self, envelope: Envelope) -> bool:
        core = self._core
        if self._names.is_us(envelope.sender) or core.peer_id in envelope.path:
            core.counters["dropped: our own packet came back"] += 1
            return False
        return self._routes.fresh(envelope)

    def _take(self, envelope: Envelope, scope: Scope) -> None:
        """An envelope for us."""
        core = self._core
        sender, kind, data = envelope.sender, envelope.kind, envelope.data
        if not self._trust.may_lack_a_key(sender):
            core.counters["refused: without its key, from an id that has one"] += 1
            return
        if kind == wire.USER:
            self._user(UnprovedId(sender), data)
        elif kind == wire.FIND_PEERS:
            self._say(sender, wire.FOUND_PEERS, self._near(data, sender))
        elif kind == wire.FOUND_PEERS and sender in self._peers.neighbours:
            self.neighbours.found(data)
            self._resolver.behind_changed()
        elif kind == wire.OFFER:
            self.neighbours.offered(sender, scope)
        elif kind == wire.ANSWER:
            self.neighbours.answered(sender, data, scope)
        elif kind == wire.SIGNAL:
            self.neighbours.signalled(sender, data, scope)

    def _user(self, sender: UnprovedId, data: Any) -> None:
        core = self._core
        if not isinstance(data, Datagram):
            core.effects.append(Message(sender, wire.write_json(data).encode()))
        elif not self._resolver.is_taken(sender):
            # npm's sockets may have port 0, to which no answer could go; the port is not in the answer anyhow.
            core.effects.append(Deliver(sender, data.port or 1, 0, 0, [data.data]))
        else:
            core.counters["refused: the short address of an id that has a key"] += 1

    def _near(self, target: PeerId, asker: PeerId) -> list[PeerId]:
        known = dict.fromkeys([self._core.peer_id, *self._peers.neighbours, *self._peers.candidates])
        known.pop(asker, None)
        goal = int.from_bytes(target)
        return sorted(known, key=lambda each: int.from_bytes(each) ^ goal)[:NPM_ANSWER]

    # --- the program's wishes --------------------------------------------------------------------------------

    def connect(self, peer_id: PeerId) -> None:
        """Link to `peer_id`, if it is an npm peer that can be dialled, can dial us, or does WebRTC as we do."""
        if not self._trust.may_lack_a_key(peer_id) or peer_id in self._peers.neighbours:
            return
        if self._peers.neighbours or self._peers.speaks(peer_id):
            self._wanted.pop(peer_id, None)
            self.neighbours.wish(peer_id)
            return
        self._wanted.pop(peer_id, None)
        make_room(self._wanted, NPM_CANDIDATES)
        self._wanted[peer_id] = None
        self._look_again(peer_id, NPM_SEEK_TIME / 4)

    def _look_again(self, peer_id: PeerId, wait: float) -> None:
        """Ask relays for a peer that the program wants, a few times more: it may be about to join."""
        if peer_id in self._wanted and self._router.linked:
            self._searches.discover(peer_id)
            if wait <= NPM_WAY_TIME:
                self._core.timers.at(Due.LEGACY_SEARCH, self._core.now + wait, self._look_again, peer_id, 2 * wait)

    def look_for_wanted(self) -> None:
        """The first link is up: look for the peers that the program wants to be linked to."""
        for peer_id in list(self._wanted):
            self.connect(peer_id)

    def _connect_found(self, peer_id: PeerId) -> None:
        if self._wanted.pop(peer_id, b"") is None and self._trust.may_lack_a_key(peer_id):
            self.neighbours.wish(peer_id)

    def disconnect(self, peer_id: PeerId) -> None:
        """Drop the link to `peer_id`, and make no new one by ourselves for a while."""
        self._wanted.pop(peer_id, None)
        self.neighbours.unwish(peer_id)
        link = self._peers.neighbours.get(peer_id)
        if link is not None:
            self.links.drop(link, "disconnected by the program")

    def room(self, peer_id: PeerId) -> int:
        """Return how many bytes may be sent to `peer_id` now; when none, a Writable effect will come."""
        if not self._routes.full(peer_id):
            return PACKET_TARGET
        self._blocked[peer_id] = None
        return 0

    def send(self, peer_id: PeerId, record: bytes) -> None:
        """Send one record of the sealed wire as envelopes."""
        for kind, start, end in packet.read_records(record):
            if kind == Record.DATAGRAMS:
                run = packet.read_datagrams(record, start, end)
                for data in run.datagrams:
                    self._say(peer_id, wire.USER, Datagram(run.source_port, data))
            elif kind == Record.MESSAGE:
                self._say_json(peer_id, record[start:end])

    def _say_json(self, peer_id: PeerId, text: bytes) -> None:
        try:
            data = wire.read_json(text.decode())
        except PacketError:
            data = None
        if data is None:  # null ends a node process that has a PeerRelay.Socket
            self._core.counters["dropped: does not fit npm's wire"] += 1
        else:
            self._say(peer_id, wire.USER, data)

    def _say(self, peer_id: PeerId, kind: str, data: Any) -> None:
        me, path = self._names.for_peer(peer_id), (self._core.peer_id,)
        self._routes.send(Envelope(peer_id, me, path, self._nonce(), kind, data))

    def _nonce(self) -> str:
        return str(int.from_bytes(self._core.entropy(6)))


def _offers_rtc(envelope: Envelope) -> bool:
    return envelope.kind == wire.ANSWER and bool(envelope.data.wrtc)
