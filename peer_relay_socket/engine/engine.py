"""The overlay of one peer as a pure state machine: what happened goes in, with the time; what is to be done comes out.

Lives here: the inputs and outputs, and which part handles which packet. May not live here: I/O, clocks, logging,
threads, any randomness but what was handed in.

Law: no input raises on bytes a peer controls, each does bounded work, and the same inputs give the same outputs.

How to drive it (the real driver and the simulator do the same)::

    engine.<input>(..., now)             link_opened, link_closed, dial_failed, receive, send, ..., handle_timer
    for link, chunks in engine.take_bundles(): join the chunks and write them to that link
    for effect in engine.take_effects(): perform it
    arm one timer for engine.next_timer()
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from ..address import Destination, PeerId, Prefix
from ..codec import control
from ..codec import packet as wire
from ..codec.control import Broadcast
from ..codec.packet import Header, Kind, LinkOp, Record
from ..errors import HandshakeError, WireError
from ..identity import Identity
from . import status
from .address_claims import AddressClaims
from .authentication import Handshake
from .behind import Behind
from .broadcasts import Broadcasts
from .core import Chance, Core, EngineConfig
from .direct import Direct, Path
from .effects import Deliver, Effect, Message, PeerUp
from .fast_path import FastPath
from .link import LinkState
from .link_failures import LinkFailures
from .links import Links
from .membership import Membership
from .own_address import OwnAddress
from .probes import Probes
from .reachability import Reachability
from .resolver import Resolver
from .routing import Router
from .searches import Searches
from .session_table import SessionTable
from .sessions import Sessions
from .status import EngineStatus
from .unresolved import Unresolved
from .xor import SECOND_ID

_INFO: Final = 20
CONTROL_PRICE: Final[dict[int, float]] = {Kind.HANDSHAKE: 2.5, Kind.RESOLVE: 2.5, Kind.FIND: 2.5, Kind.DISCOVER: 50.0}
"""What a packet counts for against CONTROL_PER_LEAF and CONTROL_PER_RELAY, where it is not 1: by the work it makes."""


class Engine:
    """One peer of the overlay."""

    def __init__(
        self,
        identity: Identity,
        config: EngineConfig,
        *,
        random: Chance,
        entropy: Callable[[int], bytes],
        now: float,
        handshake: type[Handshake] = Handshake,
    ) -> None:
        core = self._core = Core(identity, config, random, entropy, now, handshake)
        behind = self._make_behind(core)
        claims = self._claims = AddressClaims(core)
        self._links = Links(core, self)
        self._router = Router(core, self._links, behind)
        self._searches = Searches(core, self._links, self._router, behind)
        self._table = SessionTable(core, self._router, self._searches, claims)
        self._sessions = Sessions(core, self._router, self._table, self)
        self._resolver = Resolver(core, self._links, self._router, self._searches, self._sessions, claims, behind)
        self._unresolved = Unresolved(core, self._resolver, self._router, self._send_found)
        self._own_address = OwnAddress(core, self._resolver, claims)
        self._membership = Membership(core, self._links, self._router, behind)
        self._link_failures = LinkFailures(core, self._links, self._membership)
        self._reachability = Reachability(core, self._links, self._serves_changed)
        self._direct = Direct(core, self._links, self._router, self._table, self._sessions, self._membership)
        self.probes = Probes(core, self._router, self._resolver, self._table, self._sessions)
        """Questions that people ask of the network; its inputs are the engine's."""
        self.fast_path = FastPath(core, self._links, self._router, self._resolver, self._table, self._direct)
        """The short way for one packet, in and out."""
        self._broadcasts = Broadcasts(core, self._links, claims)
        self.peer_id: PeerId = core.peer_id

    def _make_behind(self, _core: Core) -> Behind:
        """Return what is behind this peer; called once, before any part is made that asks."""
        return Behind()

    # --- outputs ---------------------------------------------------------------------------------------------

    def take_effects(self) -> list[Effect]:
        """Return what is to be done, in order, and forget it."""
        self._links.throttle()
        effects = self._core.effects
        if effects:
            self._core.effects = []
        return effects

    def take_bundles(self) -> list[tuple[int, list[bytes | memoryview]]]:
        """Return (link, chunks that make one bundle) for all that is to be sent, in order, and forget it."""
        self._sessions.flush()
        return self._links.take_bundles() if self._links.dirty else []

    def take_texts(self) -> list[tuple[int, str]]:
        """Return (link, text) for all texts that are to be sent: none, on the overlay's own wire."""
        return []

    def next_timer(self) -> float | None:
        """Return when `handle_timer` wants to be called."""
        return self._core.timers.next()

    @property
    def counters(self) -> dict[str, int]:
        """Drops and refusals by reason."""
        return dict(self._core.counters)

    @property
    def idle(self) -> bool:
        """Whether nothing that was sent still waits inside for an address, a handshake or an acknowledgement's room."""
        return self._unresolved.idle and self._sessions.idle and self._broadcasts.idle

    @property
    def advertised(self) -> tuple[str, ...]:
        """URLs that neighbours are told to dial us at."""
        return self._reachability.advertised()

    def url_of(self, peer_id: PeerId) -> str | None:
        """Return where `peer_id` was, or may be, dialled, as far as is known."""
        link = self._links.by_id.get(peer_id)
        return self._membership.url_of(peer_id) if link is None or link.url is None else link.url

    @property
    def neighbours(self) -> list[PeerId]:
        """Ids of the peers we are linked to."""
        return list(self._links.by_id)

    # --- inputs: life ----------------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """Begin to take part."""
        self._core.now = now
        self._reachability.start()
        self._membership.start()
        if self._core.config.serves and not self._core.config.bootstrap:
            self._own_address.assume()

    def serve(self, urls: tuple[str, ...], now: float) -> None:
        """We took the place that our bootstrap URLs name (the embedded node): others dial us now."""
        core = self._core
        core.now = now
        core.config.serves = True
        core.config.urls = urls
        self._membership.serve()
        self._router.links_changed()
        self._links.announce()
        self._broadcasts.give_up()
        self._own_address.assume()

    def recheck(self, now: float) -> None:
        """What `may_link` and `may_talk` answer has changed: part from those whom they refuse now."""
        self._core.now = now
        self._links.recheck()
        self._sessions.recheck()

    def leave(self, now: float) -> None:
        """Say goodbye to every neighbour."""
        self._core.now = now
        self._links.goodbye()

    def handle_timer(self, now: float) -> None:
        """Do what was due at `now`."""
        self._core.now = now
        self._core.timers.run(now)

    # --- inputs: links ---------------------------------------------------------------------------------------

    def link_opened(
        self,
        link: int,
        *,
        url: str | None,
        remote_host: str,
        now: float,
        peer_id: PeerId | None = None,
        unit: int | None = None,
        native: bool = True,
    ) -> None:
        """A connection stands. `link` names it from now on; `url` is what we dialled, None when they dialled us.

        Args: peer_id: the peer that must be there, and unit: how many bytes it carries at once; both of WebRTC links
            only. native: False where the other end is known not to speak our wire.
        """
        self._core.now = now
        if not native:
            self._links.refuse(link, "speaks another wire")
            return
        if peer_id is None and url is not None:
            peer_id = self._membership.expected(url)
        self._links.opened(link, url, remote_host, peer_id, unit)

    def link_closed(self, link: int, now: float, reason: str = "") -> None:
        """A connection is gone. `reason`: what the other end said of it, which is for people to read."""
        self._core.now = now
        self._links.closed(link, reason)

    def link_full(self, link: int, full: bool, now: float) -> None:
        """A connection takes no more for now, or takes it again; `room` of the peers reached over it follows."""
        self._core.now = now
        state = self._links.all.get(link)
        if state is not None:
            state.full = full
            if not full:
                self._table.unblock()

    def dial_failed(self, url: str, now: float, reason: str = "") -> None:
        """A Dial effect came to nothing."""
        self._core.now = now
        self._membership.blame(url, reason)
        self._membership.dial_failed(url)

    def described(self, attempt: int, sdp: str, now: float) -> None:
        """The description that a Describe effect asked for."""
        self._core.now = now
        self._direct.described(attempt, sdp, now)

    def direct_failed(self, attempt: int, reason: str, now: float) -> None:
        """The attempt that a Describe effect began has ended."""
        self._core.now = now
        self._direct.failed(attempt, reason, now)

    def known(self, destination: Destination) -> PeerId | None:
        """Return the peer that `destination` means, as far as that is known without asking the network."""
        if not isinstance(destination, Prefix):
            return destination
        own = self._core.peer_id
        if destination.matches(own):
            return own
        known = dict.fromkeys((*self._links.by_id, *self._table.by_id))
        matching = [peer_id for peer_id in known if destination.matches(peer_id)]
        return self._resolver.known(destination) or (matching[0] if len(matching) == 1 else None)

    def path(self, peer_id: PeerId) -> tuple[Path, int]:
        """Return how `peer_id` is reached (`since` in the engine's time), and the number of the first link, or 0."""
        return self._direct.path(peer_id)

    def status(self, now: float) -> EngineStatus:
        """Return what there is to know about this peer, as it is now."""
        self._core.now = now
        parts = (self._core, self._links, self._router, self._table, self._direct)
        tables = (self._membership.bootstraps, self._reachability.verdicts, self._unresolved.prefixes)
        return status.collect(*parts, *tables)

    def link_text(self, link: int, _text: str, now: float) -> None:
        """A neighbour sent one text, which the overlay's own wire has none of."""
        self._core.now = now
        state = self._links.all.get(link)
        if state is not None:
            hint = self._core.config.text_hint
            self._link_failed(state, f"speaks text, another wire{hint}" if state.untouched else "text out of turn")

    def receive(self, link: int, bundle: bytes, now: float) -> None:
        """A neighbour sent one bundle."""
        core = self._core
        core.now = now
        state = self._links.all.get(link)
        if state is None:  # we dropped it, and what was under way still arrives
            return
        state.received_at = now
        state.rx_bytes += len(bundle)
        try:
            if state.opening is None:
                state.rx_packets += 1
                nonce = control.read_proof(bundle) if state.url is None else None
                if nonce is None:
                    self._links.greet(state, bundle)
                else:
                    self._links.drop(state, "thank you")
                    self._reachability.proved(nonce)
            else:
                self._unpack(state, bundle)
        except WireError as error:
            if state.opening is None:
                self._link_failed(state, str(error))
            else:
                core.counters["link dropped: bad bytes"] += 1
                self._links.drop(state, str(error))

    def _link_failed(self, link: LinkState, reason: str) -> None:
        reason = self._link_failures.refused(link, reason)
        link.handshake = None
        self._links.drop(link, reason)

    def _unpack(self, link: LinkState, bundle: bytes) -> None:
        me = self._core.peer_id
        forward = self._router.forward
        offset, size, packets, own = 0, len(bundle), 1, 0
        leaf = b"" if link.serves else link.peer_id  # a peer that does not relay speaks only for itself
        while offset < size:
            header = wire.read_header(bundle, offset)
            packets += 1
            kind = header.kind
            if kind == Kind.LINK:
                self._links.heard(link, bundle, header)
                if link.number not in self._links.all:
                    return
            elif not link.up:
                raise HandshakeError("spoke before READY")
            elif leaf and header.sender != leaf and not _is_second_id(kind, header.sender, leaf):
                self._core.counters["dropped: forged source"] += 1
            elif kind == Kind.SEALED:
                if header.to == me:
                    own += header.end - offset
                    self._sealed(bundle, header, link)
                else:
                    forward(bundle, offset, header, link)
            else:
                self._control(link, bundle, offset, header)
            offset = header.end
        traffic = link.traffic
        traffic.bytes.level -= size - 0.75 * own
        traffic.packets.level -= packets
        link.rx_packets += packets - 1
        if traffic.bytes.level < 0.0 or traffic.packets.level < 0.0:
            self._links.overdrawn(link)

    def _sealed(self, bundle: bytes, header: Header, link: LinkState) -> None:
        try:
            self._sessions.sealed_heard(bundle, header, link)
        except WireError:  # not the neighbour's fault: it only carried this
            self._core.counters["dropped: did not open"] += 1

    def _control(self, link: LinkState, bundle: bytes, offset: int, header: Header) -> None:
        """Take or pass on any packet but LINK and SEALED."""
        core = self._core
        if header.sender == core.peer_id:
            core.counters["dropped: our own packet came back"] += 1
            return
        kind = header.kind
        if kind == Kind.BROADCAST:  # it has limits of its own
            try:
                self._broadcasts.heard(bundle, offset, header, link)
            except WireError:
                core.counters["dropped: malformed broadcast"] += 1
            return
        if kind == Kind.LEGACY:  # the program's traffic, as SEALED is
            self._legacy(link, bundle, offset, header)
            return
        if not link.control.take(core.now, CONTROL_PRICE.get(kind, 1.0)):
            core.counters["dropped: too much control traffic"] += 1
            return
        if header.sender not in self._links.by_id and kind not in (Kind.DISCOVER, Kind.DISCOVERED):
            self._router.learn(header.sender, link)
        try:
            if kind == Kind.FIND:
                self._membership.gossip.find_heard(bundle, offset, header, link)
            elif kind == Kind.RESOLVE:
                self._resolver.resolve_heard(bundle, offset, header, link)
            elif kind == Kind.DISCOVER:
                self._searches.discover_heard(bundle, offset, header, link)
            elif kind == Kind.TRACE:
                self.probes.trace_heard(bundle, offset, header, link)
            elif kind == Kind.DISCOVERED:
                self._discovered(header.sender, self._searches.discovered_heard(bundle, offset, header, link), link)
            elif header.to != core.peer_id:
                self._router.forward(bundle, offset, header, link)
            else:
                self._addressed(link, header, bundle[header.body : header.end])
        except WireError:
            core.counters["dropped: malformed control packet"] += 1

    def _discovered(self, peer_id: PeerId, behind: bool | None, link: LinkState) -> None:
        """A search was answered: None = not one of ours; by the peer itself, or by the relay that it is behind."""
        if behind is False:
            self._resolver.discovered(peer_id, link)
            self._sessions.discovered(peer_id)

    def _legacy(self, link: LinkState, bundle: bytes, offset: int, header: Header) -> None:
        """Pass on an envelope of the legacy network, which this peer does not speak."""
        if header.to == self._core.peer_id:
            self._core.counters["refused: a legacy envelope"] += 1
        else:
            self._router.forward_behind(bundle, offset, header, link)

    def _addressed(self, link: LinkState, header: Header, body: bytes) -> None:
        kind = header.kind
        if kind == Kind.HANDSHAKE:
            self._sessions.handshake_heard(header, body, link)
        elif kind == Kind.NO_SESSION:
            self._sessions.keys_lost(header.sender, body)
        elif kind == Kind.NO_ROUTE:
            self._sessions.no_route(body)
        elif kind == Kind.RESOLVED:
            self._resolver.resolved_heard(body, link)
        elif kind == Kind.FOUND:
            self._membership.gossip.found_heard(body, link)
        elif kind == Kind.TRACED:
            self.probes.traced_heard(header.sender, body)
        elif kind == Kind.DENIED:
            self._sessions.denied(header.sender, body)
        else:
            self._core.counters["dropped: unknown kind"] += 1

    # --- what the links and the sessions report (LinkEvents, SessionEvents) --------------------------------------

    def hello_for(self, link: LinkState) -> tuple[bool, tuple[str, ...]]:
        """Return whether we relay, and where a neighbour may say that we can be dialled."""
        return self._reachability.hello_for(link)

    def link_up(self, link: LinkState) -> None:
        """A neighbour is there."""
        self._router.link_up(link)
        self._membership.link_up(link)
        self._resolver.link_up()
        self._direct.link_up(link)
        self._reachability.link_up(link)
        self._link_failures.link_up(link)
        where = f"at {link.remote_host}" if link.url is None else link.url
        self._core.note(_INFO, f"link up: {link.peer_id.hex()[:8]} {where}")
        self._sessions.link_up()
        self._broadcasts.link_up()
        self._own_address.link_up()

    def link_down(self, link: LinkState) -> None:
        """A neighbour is gone."""
        spent, carried = self._core.now - link.opened_at, f"{link.rx_bytes} bytes in, {link.tx_bytes} out"
        name = f"{link.peer_id.hex()[:8]} at {link.remote_host}"
        self._core.note(_INFO, f"link down: {name} after {spent:.0f} s, {carried}: {link.reason or 'no goodbye'}")
        self._router.link_down(link)
        self._searches.link_down(link)
        self._membership.link_down(link)
        self._direct.link_down(link)
        self._reachability.link_down(link)
        self._broadcasts.link_down(link)
        self._table.unblock()  # flows waited because this link was full

    def link_failed(self, link: LinkState) -> None:
        """A link that we dialled never came up."""
        # With a network key the dialler has done its part and waits; where another link stands, that was kept instead.
        self._link_failures.ended(link, link.opening is not None and link.peer_id not in self._links.by_id)
        if link.url is not None:
            self._membership.dial_failed(link.url, link.peer_id)

    def link_changed(self, link: LinkState) -> None:
        """A neighbour serves now, or no more."""
        self._router.link_changed(link)
        self._membership.link_changed(link)

    def _serves_changed(self) -> None:
        self._router.links_changed()
        self._membership.serves_changed()

    def link_told(self, link: LinkState, operation: int, operand: bytes) -> None:
        """A neighbour told something."""
        if operation == LinkOp.NEIGHBOURS:
            self._membership.gossip.neighbours_heard(link, operand)
        elif operation == LinkOp.DIAL_BACK:
            self._reachability.asked(link, operand)
        elif operation == LinkOp.DIALLING:
            self._reachability.answered(link, operand)
        elif operation == LinkOp.LIMITS and not link.limited:
            link.limited = True
            packets, size = control.read_link_limits(operand)
            self._core.counters["links that read no faster (see the log)"] += 1
            name = link.peer_id.hex()[:8]
            self._core.note(_INFO, f"{name} reads at most {packets} packets/s and {size} bytes/s from us")

    def peer_proved(self, peer_id: PeerId) -> None:
        """`peer_id` has shown its key, on a link or in a session."""
        self._resolver.peer_proved(peer_id)
        owner = self._claims.owner(peer_id)
        if owner != peer_id and not self._sessions.is_proved(owner):
            self._sessions.prove(owner)  # if it is no more, the address is free

    def peer_unreachable(self, peer_id: PeerId) -> None:
        """`peer_id` did not answer our handshake."""
        self._resolver.peer_unreachable(peer_id)
        self._table.peer_unreachable(peer_id)

    def packet_leaves(self, peer_id: PeerId, size: int) -> None:
        """A packet of records is about to leave for `peer_id`."""
        self._direct.traffic(peer_id, size)

    def signal_heard(self, peer_id: PeerId, content: bytes) -> None:
        """`peer_id` sent a SIGNAL record. Raises: PacketError."""
        self._direct.signal_heard(peer_id, content)

    def probe_heard(self, peer_id: PeerId, kind: int, content: bytes) -> None:
        """`peer_id` sent an ECHO or ECHOED record. Raises: PacketError."""
        self.probes.record_heard(peer_id, kind, content)

    def connect_heard(self, peer_id: PeerId, token: bytes) -> None:
        """The program of `peer_id` asks for a link."""
        self._direct.asked_for(peer_id, token)

    def surrendered(self, peer_id: PeerId) -> None:
        """A gateway takes over what waited for `peer_id`, which has no key."""
        self._direct.surrendered(peer_id)

    def join_heard(self, peer_id: PeerId) -> None:
        """`peer_id` asks us to dial it."""
        self._membership.join_heard(peer_id)

    # --- inputs: the program ---------------------------------------------------------------------------------

    def room(self, destination: Destination) -> int:
        """Return how many bytes `send` takes for `destination` now; when not above 0, a Writable effect will come."""
        peer_id = self._unresolved.whole(destination)
        if peer_id is not None:
            return self._sessions.room(peer_id)
        assert isinstance(destination, Prefix)
        return self._unresolved.room(destination)

    def send(
        self, destination: Destination, form: int, source_port: int, port: int, datagrams: Sequence[bytes], now: float
    ) -> None:
        """Send a run of datagrams (at most about PACKET_TARGET bytes, or a single one of any size)."""
        self._core.now = now
        if destination == self.peer_id:
            self._core.effects.append(Deliver(self.peer_id, source_port, port, form, list(datagrams)))
            return
        self._send_record(destination, wire.datagrams_record(form, source_port, port, datagrams))

    def broadcast(
        self, group: str, relays: int, form: int, source_port: int, port: int, datagrams: Sequence[bytes], now: float
    ) -> None:
        """Send datagrams to every peer that hears `group`, past at most `relays` relays, and past no more than the
        setting says. This peer's own sockets are not among them.

        Args: form: 4 or 6, the IP version of `group`.
        """
        self._core.now = now
        for data in datagrams:
            self._broadcasts.send(Broadcast(form, source_port, port, group, data), relays)

    def clock(self, wall: float, now: float) -> None:
        """The wall clock says `wall` (seconds since 1970)."""
        self._core.now = now
        self._core.ahead = wall - now

    def send_message(self, destination: Destination, data: bytes, now: float) -> None:
        """Send JSON text."""
        self._core.now = now
        if destination == self.peer_id:
            self._core.effects.append(Message(self.peer_id, data))
            return
        self._send_record(destination, wire.record(Record.MESSAGE, data))

    def refuse(self, source: PeerId, port: int, source_port: int, now: float) -> None:
        """Tell `source` that nothing is bound to `port`, to which its `source_port` sent."""
        self._core.now = now
        if self._router.allow_notice():
            self._sessions.send(source, wire.record(Record.REFUSED, port.to_bytes(2) + source_port.to_bytes(2)))

    def connect(self, peer_id: PeerId, now: float) -> None:
        """Link to `peer_id`: dial it, have it dial us, or connect by WebRTC."""
        self._core.now = now
        if peer_id == self.peer_id:
            return
        if peer_id in self._links.by_id:
            self._core.effects.append(PeerUp(peer_id))
        self._direct.want(peer_id)

    def disconnect(self, peer_id: PeerId, now: float) -> None:
        """Drop the link to `peer_id`, which stays reachable through others; it stays ended until a program asks."""
        self._core.now = now
        self._direct.unwant(peer_id)
        self._membership.refuse(peer_id)

    def _send_record(self, destination: Destination, record: bytes) -> None:
        peer_id = self._unresolved.whole(destination)
        if peer_id is not None:
            self._send_whole(peer_id, record)
        elif isinstance(destination, Prefix):
            self._unresolved.add(destination, record)

    def _send_whole(self, peer_id: PeerId, record: bytes) -> None:
        self._sessions.send(peer_id, record)
        self._sessions.solicit(peer_id)

    def _send_found(self, peer_id: PeerId, record: bytes) -> None:
        self._send_whole(peer_id, record)
        self._sessions.found(peer_id)


def _is_second_id(kind: int, sender: PeerId, leaf: PeerId) -> bool:
    """Return whether a peer that does not relay may send this: under its second id, for a peer behind it."""
    return kind == Kind.LEGACY and int.from_bytes(sender) ^ int.from_bytes(leaf) == SECOND_ID
