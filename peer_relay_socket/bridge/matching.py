"""Linux's rules of which socket a port, an address and a datagram belong to.

Lives here: conflicts between binds, how well an endpoint fits a datagram, which address a socket sends from. May not
live here: the table of ports (ports.py).

Law: pure functions of what endpoints are bound and connected to (net/ipv4/udp.c: compute_score, udp_lib_lport_inuse).
"""

from __future__ import annotations

import _socket
from collections.abc import Iterable
from typing import Final

from ..address import AF_PEER, Prefix
from .binding import OWN, WILDCARD, Binding, Place

_AF_INET: Final = int(_socket.AF_INET)
NO_SCORE: Final = -1
_INTERFACE: Final = (int(_socket.IPPROTO_IP), 32)
"""IP_MULTICAST_IF."""


def speaks(place: Place) -> bool:
    """Return whether a socket bound to `place` sends from it: neither the wildcard nor a group is a source."""
    return place == OWN or (isinstance(place, str) and (place.startswith("127.") or place == "::1"))


def source_for(place: Place, form: int) -> str:
    """Return the local address that a socket which chose none sends from, when it sends to `place`."""
    if place != OWN and speaks(place):
        return "::1" if form == 6 else "127.0.0.1"
    return OWN


def group_source(endpoint: Binding, group: str) -> str:
    """Return the local address that a socket which chose none sends to `group` from: loopback's if IP_MULTICAST_IF, or
    the group itself, says loopback."""
    interface = endpoint.options.get(_INTERFACE)
    inside = group.startswith("127.") or (
        isinstance(interface, bytes) and interface[:1] == b"\x7f" and ":" not in group
    )
    return "127.0.0.1" if inside else OWN


def forms(endpoint: Binding) -> Iterable[int]:
    """Return the IP versions that `endpoint` hears."""
    if endpoint.family == _AF_INET:
        return (4,)
    if endpoint.family == AF_PEER:
        return (4, 6)
    if endpoint.mapped:
        return (4,)
    if endpoint.local != WILDCARD:
        return (6,)
    return (6,) if endpoint.v6only else (4, 6)


def conflict(one: Binding, other: Binding) -> bool:
    """Return whether two endpoints cannot share a port (udp_lib_lport_inuse, inet_rcv_saddr_equal)."""
    if (one.reuse_addr and other.reuse_addr) or (one.reuse_port and other.reuse_port):
        return False
    if AF_PEER in (one.family, other.family) or _narrow(one) == _narrow(other):
        return WILDCARD in (one.local, other.local) or one.local == other.local
    narrow, wide = (one, other) if _narrow(one) else (other, one)
    if wide.v6only:
        return False
    return wide.local == WILDCARD or (narrow.family == _AF_INET and narrow.local == WILDCARD)


def _narrow(endpoint: Binding) -> bool:
    """Return whether `endpoint` is bound to IPv4."""
    return endpoint.family == _AF_INET or endpoint.mapped


def same(pattern: Place | None, place: Place) -> bool:
    """Return whether a connected socket's `pattern` means `place`."""
    if pattern == place:
        return True
    return isinstance(pattern, Prefix) and isinstance(place, bytes) and pattern.matches(place)


def score(endpoint: Binding, place: Place, form: int, source: Place, source_port: int) -> int:
    """Return how well `endpoint` fits a datagram (compute_score, the address before all else), -1 for not at all."""
    score = 0
    if endpoint.family == AF_PEER:
        place = OWN
        if isinstance(source, str):
            source = OWN
    if endpoint.local != WILDCARD:
        if endpoint.local != place and not (form == 0 and isinstance(endpoint.local, str)):
            return NO_SCORE
        score += 32
    if endpoint.peer is not None:
        if endpoint.peer_port != source_port or not same(endpoint.peer_place, source):
            return NO_SCORE
        score += 8
    if form in forms(endpoint):
        score += 2
        score += endpoint.family == _AF_INET
    elif place != OWN or (form == 4 and endpoint.v6only):
        return NO_SCORE
    return score
