"""What there is to know about one peer's engine, as a record.

Lives here: reading the engine's tables. May not live here: what of it is shown, and how (bridge/status.py, observe).

Law: reading changes nothing. Times are the engine's; ids and URLs are whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..address import Destination, PeerId, Prefix
from ..scope import Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .anchors import Anchors
    from .candidates import Candidate
    from .core import Core
    from .direct import Direct
    from .lane import Lane
    from .links import Links
    from .routing import Router
    from .session import Session
    from .session_table import SessionTable


class LaneStatus(NamedTuple):
    """The datagram lane of a link."""

    live: bool
    """Whether packets take it; else it is being asked for, or probed."""
    rtt: float | None
    lost: float
    """The share of what we sent that the other end missed, when that was last counted."""
    rate: float
    """Bytes a second that we may send by it."""


class LinkStatus(NamedTuple):
    """A link that is up."""

    number: int
    peer_id: PeerId
    url: str | None
    """What we dialled; None when they dialled us."""
    host: str
    scope: Scope
    carrier: str
    relays: bool
    rtt: float | None
    opened_at: float
    rx_bytes: int
    tx_bytes: int
    rx_packets: int
    tx_packets: int
    throttled: bool
    full: bool
    role: str | None
    """"home", "chance" (anchors.py) or None."""
    lane: LaneStatus | None = None


class BootstrapStatus(NamedTuple):
    """A place that we were told to join through."""

    url: str
    state: str
    """"linked", "dialling", "waiting" (for the next try) or "idle" (other links are enough)."""
    failures: int
    last_error: str | None
    next_try: float | None


class ReachStatus(NamedTuple):
    """Whether others reach us in one scope; `reachable` None = not known yet."""

    scope: Scope
    reachable: bool | None
    urls: tuple[str, ...]
    asked: int
    """Neighbours that were asked."""


class SessionStatus(NamedTuple):
    """A peer that something is, or was lately, exchanged with."""

    destination: Destination
    state: str
    """"looking", "handshaking", "relayed", "direct", "refused" or "unreachable"."""
    via: PeerId | None
    link: int
    """The number of the first link on the way; 0 for none."""
    rtt: float | None
    since: float
    why_not_direct: str | None
    why: str | None
    """Why it cannot be reached, or could not the last time."""
    chosen: bool = False
    """Whether `via` was chosen by round trips (paths.py)."""
    found: bool = False
    """Whether a relay, or the peer itself, said that it is there."""


class EngineStatus(NamedTuple):
    """The whole record."""

    links: list[LinkStatus]
    bootstraps: list[BootstrapStatus]
    reach: list[ReachStatus]
    sessions: list[SessionStatus]
    counters: dict[str, int]
    handshakes: dict[str, int]
    forwarded_bytes: int
    forwarded_packets: int
    serves: bool


def collect(
    core: Core,
    links: Links,
    router: Router,
    table: SessionTable,
    direct: Direct,
    anchors: Anchors,
    bootstraps: list[Candidate],
    verdicts: Callable[[], Iterable[tuple[Scope, bool | None, tuple[str, ...], int]]],
    unresolved: Iterable[Prefix],
) -> EngineStatus:
    """Return the record of one engine."""
    return EngineStatus(
        links=_links(links, anchors),
        bootstraps=[_bootstrap(core, links, each) for each in bootstraps],
        reach=[ReachStatus(*verdict) for verdict in verdicts()],
        sessions=_sessions(core, router, table, direct, unresolved),
        counters=dict(core.counters),
        handshakes=dict(core.handshakes),
        forwarded_bytes=core.forwarded_bytes,
        forwarded_packets=core.forwarded_packets,
        serves=core.config.serves,
    )


def _links(links: Links, anchors: Anchors) -> list[LinkStatus]:
    return [
        LinkStatus(
            link.number,
            link.peer_id,
            link.url,
            link.remote_host,
            link.scope,
            link.carrier,
            link.serves,
            link.rtt,
            link.opened_at,
            link.rx_bytes,
            link.tx_bytes,
            link.rx_packets,
            link.tx_packets,
            link.throttled or link.limited,
            link.full,
            anchors.role(link.peer_id),
            _lane(link.lane),
        )
        for link in links.by_id.values()
    ]


def _lane(lane: Lane | None) -> LaneStatus | None:
    if lane is None or not lane.local:
        return None
    return LaneStatus(lane.live, lane.pace.rtt, lane.pace.lost, lane.pace.rate)


def _bootstrap(core: Core, links: Links, place: Candidate) -> BootstrapStatus:
    linked = place.peer_id in links.by_id
    waiting = not linked and place.dialling is None and place.not_before > core.now
    if linked:
        state = "linked"
    elif place.dialling is not None:
        state = "dialling"
    else:
        state = "waiting" if waiting else "idle"
    return BootstrapStatus(
        place.urls[0], state, place.failures, place.last_error, place.not_before if waiting else None
    )


def _sessions(
    core: Core, router: Router, table: SessionTable, direct: Direct, unresolved: Iterable[Prefix]
) -> list[SessionStatus]:
    found = [_session(router, direct, session, _before(core, session.peer_id)) for session in table.by_id.values()]
    found += [
        SessionStatus(prefix, "looking", None, 0, None, core.now, None, _before(core, prefix)) for prefix in unresolved
    ]
    known = {each.destination for each in found}
    for destination, ending in core.endings.items():
        if destination not in known:
            found.append(
                SessionStatus(destination, ending.state, None, 0, None, ending.at, None, ending.why, found=ending.found)
            )
    return found


def _before(core: Core, destination: Destination) -> str | None:
    """Return why a peer that is looked for, again, was given up the last time."""
    ending = core.endings.get(destination)
    return None if ending is None else f"given up before: {ending.why}"


def _session(router: Router, direct: Direct, session: Session, before: str | None) -> SessionStatus:
    path, number = direct.path(session.peer_id)
    if session.keys is not None and path.reached in ("direct", "relayed"):
        since = session.keys.made_at if path.since is None else path.since
        return SessionStatus(
            session.peer_id,
            path.reached,
            path.via,
            number,
            path.rtt,
            since,
            path.why_not_direct,
            None,
            router.is_chosen(session.peer_id),
        )
    began = session.idle_since if session.attempt is None else session.attempt.began
    if session.denied:
        return SessionStatus(session.peer_id, "refused", None, 0, None, began, path.why_not_direct, "it refuses us")
    if session.attempt is None and session.keys is not None:  # until the program sends again
        return SessionStatus(
            session.peer_id, "unreachable", None, 0, None, began, None, before or "no link of ours leads to it"
        )
    state = "handshaking" if session.found or path.reached == "direct" else "looking"
    return SessionStatus(session.peer_id, state, None, 0, None, began, None, before)
