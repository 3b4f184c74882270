"""The parts of one peer, and which of them handles what a neighbour sends or a part reports.

Lives here: making the parts, dispatch of packets and of what links and sessions report. May not live here: the inputs
and outputs that a driver uses (engine.py), what any packet means (the parts).

Law: parts know those that are made before them; what they report upwards goes through LinkEvents and SessionEvents.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..address import PeerId
from ..codec import control
from ..codec import packet as wire
from ..codec.packet import Header, Kind, LinkOp
from ..errors import HandshakeError, PacketError, WireError
from ..identity import Identity
from ..limits import LINK_PACKET_PRICE
from .address_claims import AddressClaims
from .answering import Answering
from .authentication import Handshake
from .behind import Behind
from .broadcasts import Broadcasts
from .claimed_urls import ClaimedUrls
from .core import Chance, Core, EngineConfig
from .direct import Direct
from .fast_path import FastPath
from .lanes import Lanes
from .link import LinkState
from .link_failures import LinkFailures
from .links import Links
from .membership import Membership
from .memory import Memory
from .own_address import OwnAddress
from .paths import Paths
from .probes import Probes
from .reachability import Reachability
from .resolver import Resolver
from .round_trips import RoundTrips
from .routing import Router
from .searches import Searches
from .seniority import Seniority
from .session import Session
from .session_table import SessionTable
from .sessions import Sessions
from .sight import Sight
from .throttling import Throttling
from .unresolved import Unresolved
from .vain_hosts import VainHosts
from .xor import SECOND_ID

_INFO: Final = 20


class Overlay:
    """The parts of one peer."""

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
        self._throttling = Throttling(core, self._links)
        self.lanes = Lanes(core, self._links, self._unpack)
        """Datagram lanes beside links; what they send is the driver's to take."""
        self._router = Router(core, self._links, behind)
        self._searches = Searches(core, self._links, self._router, behind)
        self._table = SessionTable(core, self._router, self._searches, claims)
        self._sessions = Sessions(core, self._router, self._table, self)
        self._seniority = Seniority(core, self._links, self._router)
        parts = (core, self._links, self._router, self._searches, self._sessions, self._table, claims)
        self._resolver = Resolver(*parts, self._seniority, behind)
        self._answering = Answering(core, self._router, self._seniority, behind)
        self._unresolved = Unresolved(core, self._resolver, self._router, self._send_found)
        self._own_address = OwnAddress(core, self._resolver, claims)
        vain = VainHosts(core)
        self._membership = Membership(core, self._links, self._router, behind, vain)
        self._sight = Sight(core, self._links)
        self._memory = Memory(core, self._links, self._membership)
        self._link_failures = LinkFailures(core, self._links, self._membership)
        self._reachability = Reachability(core, self._links, self._serves_changed)
        self._claimed_urls = ClaimedUrls(core, self._links, vain, self._url_proved)
        self._direct = Direct(core, self._links, self._router, self._table, self._sessions, self._membership)
        self._round_trips = RoundTrips(core, self._links, self._membership)
        ways = (self._links, self._router, self._table, self._membership, self._round_trips)
        self._paths = Paths(core, *ways)
        self.probes = Probes(core, self._router, self._resolver, self._table, self._sessions)
        """Questions that people ask of the network; its inputs are the engine's."""
        self.fast_path = FastPath(core, self._links, self._router, self._resolver, self._table, self._direct)
        """The short way for one packet, in and out."""
        self._broadcasts = Broadcasts(core, self._links, claims)
        self.peer_id: PeerId = core.peer_id
        self._complete()

    def _make_behind(self, _core: Core) -> Behind:
        """Return what is behind this peer; called once, before any part is made that asks."""
        return Behind()

    def _complete(self) -> None:
        """Make what needs all parts; called once, when they are there."""

    # --- what a neighbour sends ----------------------------------------------------------------------------------

    def _link_failed(self, link: LinkState, reason: str) -> None:
        reason = self._link_failures.refused(link, reason)
        self._memory.refused(link.url)
        link.handshake = None
        self._links.drop(link, reason)

    def _bundle(self, link: LinkState, bundle: bytes) -> None:
        """Take a bundle on a link whose handshake is over. Raises: WireError."""
        plain = self._links.bundles.authentic(link, bundle)
        if plain is None:
            self._charge(link, len(bundle), 1)
            return
        link.received_at = self._core.now
        if wire.is_tagged(bundle):
            self._unpack(link, bundle)
        else:
            link.rx_packets += 1
            self._charge(link, len(bundle), LINK_PACKET_PRICE)
            self._links.heard(link, plain)

    def _unpack(self, link: LinkState, bundle: bytes) -> None:
        me = self._core.peer_id
        forward = self._router.forward
        offset, size, packets, own = 0, len(bundle) - wire.BUNDLE_TAG, 1, 0
        leaf = b"" if link.serves else link.peer_id  # a peer that does not relay speaks only for itself
        while offset < size:
            header = wire.read_header(bundle, offset)
            packets += 1
            kind = header.kind
            if not link.up and not link.parting:
                raise HandshakeError("spoke before READY")
            if kind == Kind.LINK:
                raise PacketError("a link packet among others")
            if leaf and header.sender != leaf and not _is_second_id(kind, header.sender, leaf):
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
        link.rx_packets += packets - 1
        self._charge(link, len(bundle) - 0.75 * own, packets)

    def _charge(self, link: LinkState, size: float, packets: int) -> None:
        """Count what a neighbour sent against its rates."""
        traffic = link.traffic
        traffic.bytes.level -= size
        traffic.packets.level -= packets
        link.pool.level -= packets
        if traffic.bytes.level < 0.0 or traffic.packets.level < 0.0 or link.pool.level < 0.0:
            self._throttling.overdrawn(link, packets)

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
        if not core.work.allows(link, kind, header.end - header.body, core.now):
            core.counters["dropped: too much control traffic"] += 1
            return
        if header.sender not in self._links.by_id and kind not in (Kind.DISCOVER, Kind.DISCOVERED):
            self._router.learn(header.sender, link)
        try:
            if kind == Kind.FIND:
                self._membership.gossip.find_heard(bundle, offset, header, link)
            elif kind == Kind.RESOLVE:
                self._answering.resolve_heard(bundle, offset, header, link)
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
        self._seniority.link_up(link)
        self._sight.link_up(link)
        self._membership.link_up(link)
        self._memory.link_up(link)
        self.lanes.link_up(link)
        self._resolver.link_up()
        self._direct.link_up(link)
        self._round_trips.link_up(link)
        self._reachability.link_up(link)
        self._claimed_urls.look(link)
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
        self._seniority.link_down(link)
        self._membership.link_down(link)
        self._memory.link_down()
        self._sight.link_down(link)
        self.lanes.link_down(link)
        self._direct.link_down(link)
        self._round_trips.link_down(link)
        self._paths.link_down(link)
        self._reachability.link_down(link)
        self._broadcasts.link_down(link)
        self._table.unblock()  # flows waited because this link was full

    def link_turned_away(self, link: LinkState, reason: str) -> None:
        """`link` was one too many."""
        if link.url is None:
            self._link_failures.turned_away(link, reason)
        else:
            self.link_failed(link)

    def link_failed(self, link: LinkState) -> None:
        """A link that we dialled never came up."""
        # With a network key the dialler has done its part and waits; where another link stands, that one stays.
        self._link_failures.ended(link, link.opening is not None and link.peer_id not in self._links.by_id)
        if link.url is not None:
            self._membership.dial_failed(link.url, link.peer_id)

    def link_changed(self, link: LinkState) -> None:
        """A neighbour serves now, or no more."""
        self._router.link_changed(link)
        self._membership.link_changed(link)
        self._claimed_urls.look(link)

    def _url_proved(self, link: LinkState) -> None:
        """A neighbour was reached where it says that it can be."""
        link.set_allowances(self._core)
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
        elif operation == LinkOp.CHECKING:
            self._claimed_urls.checking_heard(link, operand)
        elif operation == LinkOp.CHECKED:
            self._claimed_urls.checked_heard(link, operand)
        elif operation == LinkOp.NEAR:
            self._direct.signalling.near_asked(link, operand)
        elif operation == LinkOp.NEARNESS:
            self._direct.signalling.near_answered(link, operand)
        elif operation == LinkOp.LANE:
            self.lanes.told(link, operand)
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
        self._direct.signalling.signal_heard(peer_id, content)

    def probe_heard(self, peer_id: PeerId, kind: int, content: bytes) -> None:
        """`peer_id` sent an ECHO or ECHOED record. Raises: PacketError."""
        self.probes.record_heard(peer_id, kind, content)

    def traffic(self, session: Session) -> None:
        """Something was sent in `session`."""
        self._paths.traffic(session)

    def silent(self, session: Session) -> None:
        """The way that `session` takes went silent."""
        self._paths.silent(session)

    def path_heard(self, session: Session, kind: int, content: bytes, arrived: LinkState) -> None:
        """A record about relays between us came. Raises: PacketError."""
        self._paths.heard(session, kind, content, arrived)

    def connect_heard(self, peer_id: PeerId, token: bytes) -> None:
        """The program of `peer_id` asks for a link."""
        self._direct.asked_for(peer_id, token)

    def surrendered(self, peer_id: PeerId) -> None:
        """A gateway takes over what waited for `peer_id`, which has no key."""
        self._direct.surrendered(peer_id)

    def join_heard(self, peer_id: PeerId) -> None:
        """`peer_id` asks us to dial it."""
        self._membership.join_heard(peer_id)

    # --- sending ---------------------------------------------------------------------------------------------

    def _send_whole(self, peer_id: PeerId, record: bytes) -> None:
        self._sessions.send(peer_id, record)
        self._sessions.solicit(peer_id)

    def _send_found(self, peer_id: PeerId, record: bytes) -> None:
        self._send_whole(peer_id, record)
        self._sessions.found(peer_id)


def _is_second_id(kind: int, sender: PeerId, leaf: PeerId) -> bool:
    """Return whether a peer that does not relay may send this: under its second id, for a peer behind it."""
    return kind == Kind.LEGACY and int.from_bytes(sender) ^ int.from_bytes(leaf) == SECOND_ID
