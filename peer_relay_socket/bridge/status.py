"""The record of one peer: what a running host can say of itself.

Lives here: the record's shape and how it is put together. May not live here: who is shown it (observe), what the engine
knows (engine/status.py).

Law: every key is always there, and a value that is not known is None. Names ending in `_s` are seconds, in `_bytes`
bytes; other times are seconds since 1970. Keys are a contract: scripts read them.
"""

from __future__ import annotations

import sys
from pathlib import PurePath
from typing import TYPE_CHECKING, Protocol, TypedDict

from ..address import Destination, PeerId, Prefix, Spelling
from ..originals import os, time
from .binding import Binding
from .ports import PortTable

if TYPE_CHECKING:
    from ..engine.status import LaneStatus, LinkStatus, SessionStatus
    from .link_status import DriverStatus


class LaneRecord(TypedDict):
    """The datagram lane of a link: packets that fit one UDP datagram take it, the rest the WebSocket."""

    state: str
    """"live", or "probing" while it is not known whether UDP comes through."""
    rtt_s: float | None
    lost: float
    """The share of what this end sent by it that was lost, when that was last counted."""
    rate_bytes: float
    """How many bytes a second this end may send by it."""


class LinkRecord(TypedDict):
    """A link to a neighbour."""

    id: str
    url: str | None
    """What this peer dialled; None where the neighbour dialled."""
    host: str
    """IP address of the neighbour; "" where a proxy hides it."""
    scope: str
    """How far its address reaches: "loopback", "link", "private", "global"."""
    carrier: str
    """"websocket" or "webrtc"."""
    relays: bool
    role: str | None
    """"home" (the nearest relay, by which most of what it sends leaves), "chance" (one that no stranger chose) or
    None."""
    rtt_s: float | None
    up_s: float
    rx_bytes: int
    tx_bytes: int
    rx_packets: int
    tx_packets: int
    throttled: bool
    """Whether one end reads no faster than its limits, and has said so."""
    full: bool
    """Whether it takes no more at the moment."""
    lane: LaneRecord | None
    """None where there is none."""


class BootstrapRecord(TypedDict):
    """A URL that this peer joins through."""

    url: str
    state: str
    """"linked", "dialling", "waiting" (for the next try) or "idle" (there are links enough)."""
    failures: int
    """Failed tries in a row."""
    last_error: str | None
    next_try_s: float | None


class SocketRecord(TypedDict):
    """A bound socket."""

    address: str
    port: int
    waiting_bytes: int
    """What the program has not read."""
    lost: int
    """Datagrams that found no room."""


class SessionRecord(TypedDict):
    """A peer with which something is, or was lately, exchanged."""

    id: str
    """40 hex digits; an address while its peer is looked for."""
    state: str
    """"looking", "handshaking", "relayed", "direct", "refused" or "unreachable"."""
    via: str | None
    """The relay that takes the first hop."""
    chosen: bool
    """Whether that relay was chosen for the pair, by round trips."""
    rtt_s: float | None
    since: float
    why_not_direct: str | None
    why: str | None
    """Of one that is refused or unreachable: why; of one that is looked for again: why it was given up before."""


class ReachRecord(TypedDict):
    """Whether others can dial this peer, in one scope."""

    scope: str
    reachable: bool | None
    urls: list[str]
    witnesses: int
    """Neighbours that were asked."""


class PeerStatus(TypedDict):
    """The record."""

    id: str
    ipv4: str
    ipv6: str
    pid: int
    program: str
    uptime_s: float
    relays: bool
    """Whether it passes on what is not for itself."""
    clock_skew_s: float | None
    """By how much this clock is ahead of the clocks of peers that it dialled, to a second or so."""
    certificate_expires: float | None
    """When the certificate that it serves with ends."""
    forwarded_bytes: int
    forwarded_packets: int
    links: list[LinkRecord]
    bootstrap: list[BootstrapRecord]
    reachability: list[ReachRecord]
    advertised: list[str]
    listens: list[str]
    """Where it serves links, as it was told: `*` is every address of the machine."""
    sockets: list[SocketRecord]
    sessions: list[SessionRecord]
    counters: dict[str, int]
    handshakes: dict[str, int]
    """"link agreed", "link failed", "session agreed", "session unanswered", "session refused"."""


class Subject(Protocol):
    """A host, as its record needs it."""

    @property
    def peer_id(self) -> PeerId: ...
    @property
    def spelling(self) -> Spelling: ...
    @property
    def ports(self) -> PortTable: ...
    @property
    def began(self) -> float: ...
    def counters(self) -> dict[str, int]: ...


def status(host: Subject, driver: DriverStatus | None) -> PeerStatus:
    """Return the record of `host`; `driver` is None while it takes no part in the network. Any thread."""
    peer_id, spelling = host.peer_id, host.spelling
    engine = None if driver is None else driver.engine
    return PeerStatus(
        id=peer_id.hex(),
        ipv4=spelling.ipv4(peer_id),
        ipv6=spelling.ipv6(peer_id),
        pid=os.getpid(),
        program=program(),
        uptime_s=_rounded(time.monotonic() - host.began),
        relays=engine is not None and engine.serves,
        clock_skew_s=None if driver is None or driver.clock_skew is None else round(driver.clock_skew, 1),
        certificate_expires=None if driver is None else driver.certificate_expires,
        forwarded_bytes=0 if engine is None else engine.forwarded_bytes,
        forwarded_packets=0 if engine is None else engine.forwarded_packets,
        links=[] if driver is None else [_link(driver, link) for link in driver.engine.links],
        bootstrap=[] if driver is None else _bootstraps(driver),
        reachability=[
            ReachRecord(
                scope=reach.scope.name.lower(), reachable=reach.reachable, urls=[*reach.urls], witnesses=reach.asked
            )
            for reach in (() if engine is None else engine.reach)
        ],
        advertised=[] if driver is None else list(driver.advertised),
        listens=[] if driver is None else list(driver.listens),
        sockets=[_socket(host, each) for each in host.ports.sockets() if each.port],
        sessions=[] if driver is None else [_session(driver, spelling, each) for each in driver.engine.sessions],
        counters=host.counters(),
        handshakes={} if engine is None else engine.handshakes,
    )


def program() -> str:
    """Return the name of the program of this process."""
    name = sys.argv[0] if sys.argv else ""
    return PurePath(name).name or PurePath(sys.executable).name or "python"


def _rounded(seconds: float) -> float:
    return round(seconds, 6)


def _link(driver: DriverStatus, link: LinkStatus) -> LinkRecord:
    rtt = driver.rtts.get(link.number, link.rtt)
    return LinkRecord(
        id=link.peer_id.hex(),
        url=link.url,
        host=link.host,
        scope=link.scope.name.lower(),
        carrier=link.carrier,
        relays=link.relays,
        role=link.role,
        rtt_s=None if rtt is None else _rounded(rtt),
        up_s=_rounded(driver.now - link.opened_at),
        rx_bytes=link.rx_bytes,
        tx_bytes=link.tx_bytes,
        rx_packets=link.rx_packets,
        tx_packets=link.tx_packets,
        throttled=link.throttled,
        full=link.full,
        lane=None if link.lane is None else _lane(link.lane),
    )


def _lane(lane: LaneStatus) -> LaneRecord:
    return LaneRecord(
        state="live" if lane.live else "probing",
        rtt_s=None if lane.rtt is None else _rounded(lane.rtt),
        lost=round(lane.lost, 4),
        rate_bytes=round(lane.rate),
    )


def _bootstraps(driver: DriverStatus) -> list[BootstrapRecord]:
    return [
        BootstrapRecord(
            url=place.url,
            state=place.state,
            failures=place.failures,
            last_error=place.last_error,
            next_try_s=None if place.next_try is None else _rounded(max(0.0, place.next_try - driver.now)),
        )
        for place in driver.engine.bootstraps
    ]


def _session(driver: DriverStatus, spelling: Spelling, session: SessionStatus) -> SessionRecord:
    rtt = session.rtt
    if session.state == "direct":
        rtt = driver.rtts.get(session.link, rtt)
    return SessionRecord(
        id=spell(spelling, session.destination),
        state=session.state,
        via=None if session.via is None else session.via.hex(),
        chosen=session.chosen and session.state == "relayed",
        rtt_s=None if rtt is None else _rounded(rtt),
        since=round(session.since + driver.ahead, 3),
        why_not_direct=session.why_not_direct,
        why=session.why,
    )


def _socket(host: Subject, endpoint: Binding) -> SocketRecord:
    place = host.ports.spell(endpoint, endpoint.local, endpoint.port, mapped=endpoint.mapped)
    return SocketRecord(
        address=str(place[0]),
        port=endpoint.port,
        waiting_bytes=sum(len(item[0]) for item in endpoint.inbox.ready.copy()),
        lost=endpoint.inbox.dropped,
    )


def spell(spelling: Spelling, destination: Destination) -> str:
    """Return the 40 hex digits of an id, or the address that a prefix was made of."""
    if not isinstance(destination, Prefix):
        return destination.hex()
    return (spelling.ipv6 if destination.bits > 32 else spelling.ipv4)(destination.value)
