"""The overlay of one peer as a pure state machine: what happened goes in, with the time; what is to be done comes out.

Lives here: the inputs and outputs, and who handles which packet. May not live here: I/O, clocks, logging, threads, any
randomness but what was handed in.

Law: no input raises on bytes a peer controls, each does bounded work, and the same inputs give the same outputs.

How to drive it (the real driver and the simulator do the same)::

    engine.<input>(..., now)             link_opened, link_closed, dial_failed, receive, send, ..., handle_timer
    for link, chunks in engine.take_bundles(): join the chunks and write them to that link
    for effect in engine.take_effects(): perform it
    arm one timer for engine.next_timer()
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from ..address import Destination, PeerId, Prefix
from ..codec import packet as wire
from ..codec.packet import Cast, Header, Kind, LinkOp, Record
from ..errors import HandshakeError, WireError
from ..identity import Identity
from ..limits import JOINING_TIME, MAX_JOINING, OWN_ADDRESS_AGAIN, PENDING_BYTES, PENDING_TIME
from . import status
from .authentication import Handshake
from .broadcasts import Broadcasts
from .core import Chance, Core, EngineConfig
from .direct import Direct, Path
from .effects import Deliver, Effect, Message, PeerUp, Settled, Writable
from .fast_path import FastPath
from .link import LinkState
from .links import Links
from .membership import Membership
from .npm.names import is_next_to
from .reachability import Reachability
from .resolver import Resolver
from .routing import Router
from .sessions import Sessions
from .timers import Timer

if TYPE_CHECKING:
    from .npm.gateway import Npm
    from .status import EngineStatus

_DEBUG, _INFO, _WARNING = 10, 20, 30
CONTROL_PRICE: Final[dict[int, float]] = {Kind.HANDSHAKE: 2.5, Kind.RESOLVE: 2.5, Kind.FIND: 2.5, Kind.DISCOVER: 50.0}
"""What a packet counts for against CONTROL_PER_LEAF and CONTROL_PER_RELAY, where it is not 1: by the work it makes."""


class _Unresolved:
    """Records that wait until a short address has an owner."""

    __slots__ = ("blocked", "records", "size", "timer")

    def __init__(self) -> None:
        self.timer: Timer | None = None
        self.records: list[bytes] = []
        self.size = 0
        self.blocked = False


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
        self._links = Links(core, self)
        self._router = Router(core, self._links)
        self._resolver = Resolver(core, self._links, self._router)
        self._sessions = Sessions(core, self._router, self._join_heard)
        self._resolver.claims = self._sessions.address_claims.claims
        self._sessions.address_claims.pinned = self._resolver.known
        self._membership = Membership(core, self._links, self._router)
        self._reachability = Reachability(core, self._links, self._serves_changed)
        self._direct = Direct(core, self._links, self._router, self._sessions, self._membership)
        self._sessions.on_traffic = self._direct.traffic
        self._sessions.on_signal = self._direct.signal_heard
        self._sessions.on_connect = self._direct.asked_for
        self._sessions.on_surrender = self._direct.surrendered
        self._npm: Npm | None = None
        if config.npm_peers and config.may_link is None and config.may_talk is None:
            # With a list of who is allowed, an id that anybody can claim is no one's.
            from .npm.gateway import Npm  # only here: 4 ms, and few need it

            parts = (core, self._links, self._router, self._resolver, self._sessions, self._membership)
            self._npm = Npm(*parts, lambda: self._settle(None))
        has_key = None if self._npm is None else self._npm.has_key
        fast_parts = (core, self._links, self._router, self._resolver, self._sessions, self._direct)
        self.fast_path = FastPath(*fast_parts, has_key)
        """The short way for one packet, in and out."""
        self._broadcasts = Broadcasts(core, self._links)
        self._broadcasts.address_conflict = self._sessions.address_claims.is_anothers
        self._unresolved: dict[Prefix, _Unresolved] = {}
        self._settled = False
        self._joining: dict[PeerId, None] = {}
        """Those whom we dial because they asked for it, at most MAX_JOINING."""
        self._told: dict[tuple[str, str], None] = {}
        """(bootstrap URL, reason) of failures already noted: as many as there are URLs and texts."""
        self._shut_out: dict[str, None] = {}
        """Bootstrap URLs whose last link ended during its handshake."""
        self.peer_id: PeerId = core.peer_id

    # --- outputs ---------------------------------------------------------------------------------------------

    def take_effects(self) -> list[Effect]:
        """Return what is to be done, in order, and forget it."""
        self._links.settle()
        effects = self._core.effects
        if effects:
            self._core.effects = []
        return effects

    def take_bundles(self) -> list[tuple[int, list[bytes | memoryview]]]:
        """Return (link, chunks that make one bundle) for all that is to be sent, in order, and forget it."""
        self._sessions.flush()
        return self._links.take_bundles() if self._links.dirty else []

    def take_texts(self) -> list[tuple[int, str]]:
        """Return (link, text) for all texts that are to be sent to npm peers, in order, and forget them."""
        npm = self._npm
        if npm is None or not npm.links.texts:
            return []
        texts, npm.links.texts = npm.links.texts, []
        return texts

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
        return not self._unresolved and self._sessions.idle and self._broadcasts.idle

    @property
    def advertised(self) -> tuple[str, ...]:
        """URLs that neighbours are told to dial us at."""
        return self._reachability.advertised()

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
            self._settle(None)  # the first of a network: nobody to ask

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
        self._settle(None)

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
        ours: bool = True,
    ) -> None:
        """A connection stands. `link` names it from now on; `url` is what we dialled, None when they dialled us.

        Args: peer_id: who must be there, and unit: how many bytes it carries at once; both of WebRTC links only.
            ours: False where the other end is known not to speak our wire.
        """
        self._core.now = now
        if not ours and self._npm is not None:
            self._npm.opened(link, url, remote_host, peer_id)
            return
        if peer_id is None and url is not None:
            peer_id = self._membership.expected(url)
        self._links.opened(link, url, remote_host, peer_id, unit)

    def link_closed(self, link: int, now: float) -> None:
        """A connection is gone."""
        self._core.now = now
        self._links.closed(link)
        if self._npm is not None:
            self._npm.links.closed(link)

    def link_full(self, link: int, full: bool, now: float) -> None:
        """A connection takes no more for now, or takes it again; `room` of who is reached over it follows."""
        self._core.now = now
        state = self._links.all.get(link)
        if state is not None:
            state.full = full
            if not full:
                self._sessions.relieved()
        if self._npm is not None:
            self._npm.link_full(link, full)

    def dial_failed(self, url: str, now: float, reason: str = "") -> None:
        """A Dial effect came to nothing."""
        self._core.now = now
        self._membership.blame(url, reason)
        if self._npm is not None:
            self._npm.neighbours.dialled(url)
        self._membership.dial_failed(url)

    def described(self, attempt: int, sdp: str, now: float) -> None:
        """The description that a Describe effect asked for."""
        self._core.now = now
        if self._npm is None or not self._npm.neighbours.rtc.described(attempt, sdp):
            self._direct.described(attempt, sdp, now)

    def direct_failed(self, attempt: int, reason: str, now: float) -> None:
        """The attempt that a Describe effect began has ended."""
        self._core.now = now
        if self._npm is None or not self._npm.neighbours.rtc.failed(attempt, reason):
            self._direct.failed(attempt, reason, now)

    def path(self, peer_id: PeerId) -> tuple[Path, int]:
        """Return how `peer_id` is reached (`since` in the engine's time), and the number of the first link, or 0."""
        path = None if self._npm is None else self._npm.path(peer_id)
        return (path, 0) if path is not None else self._direct.path(peer_id)

    def status(self, now: float) -> EngineStatus:
        """Return what there is to know about this peer, as it is now."""
        self._core.now = now
        parts = (self._core, self._links, self._router, self._sessions, self._direct)
        tables = (self._membership.bootstraps, self._reachability.verdicts, self._unresolved)
        return status.collect(*parts, *tables)

    def link_text(self, link: int, text: str, now: float) -> None:
        """A neighbour sent one text: it speaks the wire of npm peer-relay, and so it must from its first word on."""
        self._core.now = now
        npm = self._npm
        state = self._links.all.get(link)
        if state is not None:
            first = state.url is not None and state.opening is None and state.received_at == state.opened_at
            if npm is None or not first:
                why = "speaks npm peer-relay's wire, which npm_peers turns on" if first else "text out of turn"
                self._link_failed(state, why)
                return
            self._links.release(link)
            npm.opened(link, state.url, state.remote_host)
        if npm is not None and link in npm.links.all:
            npm.text_heard(npm.links.all[link], text)

    def receive(self, link: int, bundle: bytes, now: float) -> None:
        """A neighbour sent one bundle."""
        core = self._core
        core.now = now
        state = self._links.all.get(link)
        if state is None:  # we dropped it, and what was under way still arrives; or npm's wire in binary frames
            if self._npm is not None and link in self._npm.links.all:
                self.link_text(link, bundle.decode("utf-8", "replace"), now)
            return
        state.received_at = now
        state.rx_bytes += len(bundle)
        try:
            if state.opening is None:
                state.rx_packets += 1
                nonce = wire.read_proof(bundle) if state.url is None else None
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
        """Somebody answered, but not as they should: say so once if the program named the place, and drop it."""
        self._core.counters["link failed"] += 1
        if link.url is not None:
            hint = "" if link.handshake is None else "; have both sides the same network key, or none?"
            self._tell_once(link.url, reason + hint)
            self._membership.disappointed(link.url)
        else:
            self._core.note(_DEBUG, f"link from {link.remote_host} failed: {reason}")
        link.handshake = None
        self._links.drop(link, reason)

    def _tell_once(self, url: str, reason: str) -> None:
        """Note why a link to `url` failed: for the operator, once, if the program named that place."""
        core = self._core
        level = _DEBUG
        self._membership.blame(url, reason)
        named = url in core.config.bootstrap and self._membership.expected(url) is None
        if named and (url, reason) not in self._told:
            self._told[url, reason] = None
            level = _WARNING
        core.note(level, f"link to {url} failed: {reason}")

    def _unpack(self, link: LinkState, bundle: bytes) -> None:
        me = self._core.peer_id
        forward = self._router.forward
        offset, size, packets, own = 0, len(bundle), 1, 0
        leaf = b"" if link.serves else link.peer_id  # who does not relay speaks only for itself
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
            elif leaf and header.sender != leaf and not (kind == Kind.NPM and is_next_to(header.sender, leaf)):
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
        if kind == Kind.NPM:  # the program's traffic, as SEALED is
            self._npm_packet(link, bundle, offset, header)
            return
        if not link.control.take(core.now, CONTROL_PRICE.get(kind, 1.0)):
            core.counters["dropped: too much control traffic"] += 1
            return
        if header.sender not in self._links.by_id and kind != Kind.DISCOVERED:
            self._router.learn(header.sender, link)
        try:
            if kind == Kind.FIND:
                self._membership.gossip.find_heard(bundle, offset, header, link)
            elif kind == Kind.RESOLVE:
                self._resolver.resolve_heard(bundle, offset, header, link)
            elif kind == Kind.DISCOVER:
                self._router.discover_heard(bundle, offset, header, link)
            elif kind == Kind.DISCOVERED:
                self._discovered(header.sender, self._router.discovered_heard(bundle, offset, header, link))
            elif header.to != core.peer_id:
                self._router.forward(bundle, offset, header, link)
            else:
                self._addressed(link, header, bundle[header.body : header.end])
        except WireError:
            core.counters["dropped: malformed control packet"] += 1

    def _discovered(self, peer_id: PeerId, npm: bool | None) -> None:
        """A search of ours (`npm` is None: somebody else's) was answered, by the peer itself or by a relay (`npm`)."""
        if npm is False:
            self._resolver.discovered(peer_id)
            self._sessions.discovered(peer_id)
        if npm is not None and self._npm is not None:
            self._npm.discovered(peer_id, npm)

    def _npm_packet(self, link: LinkState, bundle: bytes, offset: int, header: Header) -> None:
        npm, to = self._npm, header.to
        if npm is not None and (npm.names.is_us(to) or npm.reaches(to)):
            try:
                npm.packet_heard(to, header.sender, bundle[header.body : header.end], link)
            except WireError:
                self._core.counters["dropped: malformed npm message"] += 1
        elif to == self._core.peer_id:
            self._core.counters["refused: an npm peer's envelope"] += 1
        else:
            self._router.forward_npm(bundle, offset, header, link)

    def _addressed(self, link: LinkState, header: Header, body: bytes) -> None:
        kind = header.kind
        if kind == Kind.HANDSHAKE:
            self._sessions.handshakes.heard(header, body, link)
        elif kind == Kind.NO_SESSION:
            self._sessions.handshakes.lost(header.sender, body)
        elif kind == Kind.NO_ROUTE:
            self._sessions.no_route(body)
        elif kind == Kind.RESOLVED:
            self._resolver.resolved_heard(body)
        elif kind == Kind.FOUND:
            self._membership.gossip.found_heard(body, link)
        else:
            self._core.counters["dropped: unknown kind"] += 1

    # --- what the links tell (LinkEvents) --------------------------------------------------------------------

    def link_up(self, link: LinkState) -> None:
        """A neighbour is there."""
        self._router.link_up(link)
        self._membership.link_up(link)
        self._resolver.link_up()
        self._direct.link_up(link)
        self._reachability.link_up(link)
        if link.url is not None:
            self._shut_out.pop(link.url, None)
        self._sessions.link_up()
        self._broadcasts.link_up()
        if self._npm is not None and len(self._links.by_id) == 1:
            self._npm.look_for_wanted()
        if not self._settled:
            self._ask_for_own_address(self._own_address_answered)

    def link_down(self, link: LinkState) -> None:
        """A neighbour is gone."""
        self._router.link_down(link)
        self._membership.link_down(link)
        self._direct.link_down(link)
        self._reachability.link_down(link)
        self._broadcasts.link_down(link)
        self._sessions.relieved()  # who waited because this link was full
        if self._npm is not None:
            self._npm.relieved()

    def link_failed(self, link: LinkState) -> None:
        """A link that we dialled never came up."""
        # With a network key the dialler has done its part and waits; where another link stands, that was kept instead.
        waits = link.opening is not None and link.peer_id not in self._links.by_id
        if (link.handshake is not None or waits) and link.url is not None:
            why = "they closed it during the handshake"
            if link.url in self._shut_out:  # once is how a node looks that is just ending
                self._tell_once(link.url, why + "; have both sides the same network key?")
            else:
                self._core.note(_DEBUG, f"link to {link.url} failed: {why}")
            if link.url in self._core.config.bootstrap:
                self._shut_out[link.url] = None
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
            packets, size = wire.read_link_limits(operand)
            self._core.counters["links that read no faster (see the log)"] += 1
            name = link.peer_id.hex()[:8]
            self._core.note(_INFO, f"{name} reads at most {packets} packets/s and {size} bytes/s from us")

    def _ask_for_own_address(self, answer: Callable[[PeerId | None], None]) -> None:
        core = self._core
        self._resolver.resolve(Prefix.of(core.peer_id, core.spelling.ipv4_bits), answer, once=True)

    def _own_address_answered(self, other: PeerId | None) -> None:
        self._settle(other)
        if other is None:
            # Two that join at once are not yet linked to those who would know of them. Whoever asks again once both are
            # finds the other.
            self._core.timers.at(self._core.now + OWN_ADDRESS_AGAIN, self._ask_for_own_address, self._confirmed)

    def _confirmed(self, other: PeerId | None) -> None:
        if other is not None:
            self._core.effects.append(Settled(other))

    def _settle(self, collision: PeerId | None) -> None:
        if not self._settled:
            self._settled = True
            self._core.effects.append(Settled(collision))

    # --- inputs: the program ---------------------------------------------------------------------------------

    def room(self, destination: Destination) -> int:
        """Return how many bytes `send` takes for `destination` now; when not above 0, a Writable effect will come."""
        peer_id = self._whole(destination)
        if peer_id is not None:
            npm = self._npm
            return npm.room(peer_id) if npm is not None and npm.speaks(peer_id) else self._sessions.room(peer_id)
        assert isinstance(destination, Prefix)
        waiting = self._unresolved.get(destination)
        if waiting is None:
            return PENDING_BYTES
        waiting.blocked = waiting.size >= PENDING_BYTES
        return PENDING_BYTES - waiting.size

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
        """Send datagrams to everybody who hears `group`, past at most `relays` relays, and past no more than the
        setting says. This peer's own sockets are not among them.

        Args: form: 4 or 6, the IP version of `group`.
        """
        self._core.now = now
        for data in datagrams:
            self._broadcasts.send(Cast(form, source_port, port, group, data), relays)

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
        elif self._npm is not None:
            self._npm.connect(peer_id)
        if self._npm is None or not self._npm.speaks(peer_id):
            self._direct.want(peer_id)
            if self._npm is not None and not self._npm.has_key(peer_id):
                self._npm.tried(peer_id)
        else:
            self._membership.want(peer_id)

    def disconnect(self, peer_id: PeerId, now: float) -> None:
        """Drop the link to `peer_id`, which stays reachable through others; it stays ended until a program asks."""
        self._core.now = now
        self._direct.unwant(peer_id)
        self._membership.refuse(peer_id)
        if self._npm is not None:
            self._npm.disconnect(peer_id)

    def _join_heard(self, peer_id: PeerId) -> None:
        """Somebody asks us to dial it, whom the program may not even know: a few at a time, and not for ever."""
        if peer_id in self._joining or peer_id in self._links.by_id:
            return
        if len(self._joining) >= MAX_JOINING:
            self._core.counters["refused: too many ask to be dialled"] += 1
            return
        self._joining[peer_id] = None
        self._membership.seek(peer_id)
        self._core.timers.at(self._core.now + JOINING_TIME, self._join_over, peer_id)

    def _join_over(self, peer_id: PeerId) -> None:
        if peer_id in self._links.by_id:  # it came to be: look again later
            self._core.timers.at(self._core.now + JOINING_TIME, self._join_over, peer_id)
        else:
            del self._joining[peer_id]
            self._membership.unseek(peer_id)

    def _whole(self, destination: Destination) -> PeerId | None:
        if isinstance(destination, Prefix):
            return self._resolver.known(destination)
        return destination

    def _send_record(self, destination: Destination, record: bytes) -> None:
        peer_id = self._whole(destination)
        if peer_id is not None:
            self._send_whole(peer_id, record)
            return
        assert isinstance(destination, Prefix)
        waiting = self._unresolved.get(destination)
        if waiting is not None:
            if waiting.size > 2 * PENDING_BYTES:
                self._core.counters["dropped: too much waits for this peer"] += 1
                return
            waiting.records.append(record)
            waiting.size += len(record)
            return
        waiting = self._unresolved[destination] = _Unresolved()
        waiting.records.append(record)
        waiting.size = len(record)
        waiting.timer = self._core.timers.at(self._core.now + PENDING_TIME, self._found, destination, None)
        self._resolver.resolve(destination, lambda peer_id: self._found(destination, peer_id))

    def _send_whole(self, peer_id: PeerId, record: bytes) -> None:
        npm = self._npm
        if npm is None or npm.has_key(peer_id):
            self._sessions.send(peer_id, record)
        elif npm.speaks(peer_id):
            npm.send(peer_id, record)
            return
        else:
            self._sessions.send(peer_id, record)
            npm.tried(peer_id)
        self._sessions.solicit(peer_id)

    def _found(self, destination: Prefix, peer_id: PeerId | None) -> None:
        waiting = self._unresolved.pop(destination, None)
        if waiting is None:
            return
        if waiting.timer is not None:
            waiting.timer.cancel()
        core = self._core
        if peer_id is None:
            core.counters["dropped: nobody has this address"] += len(waiting.records)
            core.give_up(destination, self._router.why_unknown())
        else:
            self._sessions.found(peer_id)
            for record in waiting.records:
                self._send_whole(peer_id, record)
        if waiting.blocked:
            core.effects.append(Writable(destination))
