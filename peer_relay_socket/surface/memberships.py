"""The options that join and leave multicast groups, from all sources or from some.

Lives here: their structures (ip_mreq, ip_mreqn, ip_mreq_source, ipv6_mreq, group_req, group_source_req) and what Linux
does with them (ip_mc_source, ip6_mc_source). May not live here: which socket hears what (bridge/ports.py).

Law: the overlay has one interface; whichever of the machine's a program names, that is meant.
"""

from __future__ import annotations

import _socket
import errno
import struct
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, TypeAlias

from ..bridge.binding import Membership
from ..bridge.endpoint import Endpoint
from ..bridge.ports import failure

Change: TypeAlias = "Callable[[Endpoint, bytes], None]"
_MOST_SOURCES: Final = 10
"""net.ipv4.igmp_max_msf."""
_IPV4: Final = 4
_IPV6: Final = 6


def _check_interface(index: int) -> None:
    if index and index not in dict(_socket.if_nameindex()):
        raise failure(errno.ENODEV)


def _group(address: IPv4Address | IPv6Address) -> str:
    if not address.is_multicast:
        raise failure(errno.EINVAL)
    return str(address)


def _join(endpoint: Endpoint, group: str) -> None:
    if group in endpoint.groups:
        raise failure(errno.EADDRINUSE)
    endpoint.groups[group] = Membership()


def _leave(endpoint: Endpoint, group: str) -> None:
    if endpoint.groups.pop(group, None) is None:
        raise failure(errno.EADDRNOTAVAIL)


def _join_source(endpoint: Endpoint, group: str, source: str) -> None:
    """Hear `group` from `source`, too."""
    if group not in endpoint.groups:
        endpoint.groups[group] = Membership()
    _list(endpoint, group, source, only=True)


def _leave_source(endpoint: Endpoint, group: str, source: str) -> None:
    """Hear `group` from `source` no more; a socket that heard no other leaves it."""
    membership = _unlist(endpoint, group, source, only=True)
    if not membership.sources:
        del endpoint.groups[group]


def _block(endpoint: Endpoint, group: str, source: str) -> None:
    """Hear `group` from all but `source`."""
    _list(endpoint, group, source, only=False)


def _unblock(endpoint: Endpoint, group: str, source: str) -> None:
    """Hear `group` from `source` again."""
    _unlist(endpoint, group, source, only=False)


def _found(endpoint: Endpoint, group: str, only: bool) -> Membership:
    """Return the membership whose sources are to be changed. Raises: EINVAL: there is none, or it is of the other kind
    and names some already."""
    membership = endpoint.groups.get(group)
    if membership is None or (membership.sources is not None and membership.only != only):
        raise failure(errno.EINVAL)
    membership.only = only
    return membership


def _list(endpoint: Endpoint, group: str, source: str, *, only: bool) -> None:
    membership = _found(endpoint, group, only)
    sources = membership.sources or set()
    if source in sources:
        raise failure(errno.EADDRNOTAVAIL)
    if len(sources) >= _MOST_SOURCES:
        raise failure(errno.ENOBUFS)
    membership.sources = sources | {source}


def _unlist(endpoint: Endpoint, group: str, source: str, *, only: bool) -> Membership:
    membership = _found(endpoint, group, only)
    if source not in (membership.sources or ()):
        raise failure(errno.EADDRNOTAVAIL)
    membership.sources = (membership.sources or set()) - {source}
    return membership


_ByGroup: TypeAlias = "Callable[[Endpoint, str], None]"
_BySource: TypeAlias = "Callable[[Endpoint, str, str], None]"


def _mreq(change: _ByGroup, endpoint: Endpoint, request: bytes) -> None:
    """struct ip_mreq or ip_mreqn: group, address of an interface, its number."""
    group = _group(IPv4Address(request[:4]))
    if len(request) >= 12:
        _check_interface(struct.unpack("@i", request[8:12])[0])
    change(endpoint, group)


def _mreq6(change: _ByGroup, endpoint: Endpoint, request: bytes) -> None:
    """struct ipv6_mreq: group, number of an interface."""
    group = _group(IPv6Address(request[:16]))
    _check_interface(struct.unpack("@I", request[16:20])[0])
    change(endpoint, group)


def _mreq_source(change: _BySource, endpoint: Endpoint, request: bytes) -> None:
    """struct ip_mreq_source: group, address of an interface, source."""
    if len(request) != 12:
        raise failure(errno.EINVAL)
    change(endpoint, _group(IPv4Address(request[:4])), str(IPv4Address(request[8:12])))


def _sockaddr(version: int, raw: bytes, refusal: int = errno.EADDRNOTAVAIL) -> IPv4Address | IPv6Address:
    family = struct.unpack("@H", raw[:2])[0]
    if family != (_socket.AF_INET if version == _IPV4 else _socket.AF_INET6):
        raise failure(refusal)
    return ip_address(raw[4:8] if version == _IPV4 else raw[8:24])


def _group_req(version: int, change: _ByGroup, endpoint: Endpoint, request: bytes) -> None:
    """struct group_req: number of an interface, group."""
    refusal = errno.EINVAL if version == _IPV4 else errno.EADDRNOTAVAIL
    group = _group(_sockaddr(version, request[8:136], refusal))
    _check_interface(struct.unpack("@I", request[:4])[0])
    change(endpoint, group)


def _group_source_req(version: int, change: _BySource, endpoint: Endpoint, request: bytes) -> None:
    """struct group_source_req: number of an interface, group, source."""
    group, source = _sockaddr(version, request[8:136]), _sockaddr(version, request[136:264])
    _check_interface(struct.unpack("@I", request[:4])[0])
    change(endpoint, _group(group), str(source))


def _both_versions(version: int) -> dict[int, tuple[int, Change]]:
    """MCAST_JOIN_GROUP and its like."""
    return {
        42: (136, partial(_group_req, version, _join)),
        45: (136, partial(_group_req, version, _leave)),
        43: (264, partial(_group_source_req, version, _block)),
        44: (264, partial(_group_source_req, version, _unblock)),
        46: (264, partial(_group_source_req, version, _join_source)),
        47: (264, partial(_group_source_req, version, _leave_source)),
    }


IPV4: Final[dict[int, tuple[int, Change]]] = {
    35: (8, partial(_mreq, _join)),
    36: (8, partial(_mreq, _leave)),
    37: (12, partial(_mreq_source, _unblock)),
    38: (12, partial(_mreq_source, _block)),
    39: (12, partial(_mreq_source, _join_source)),
    40: (12, partial(_mreq_source, _leave_source)),
    **_both_versions(_IPV4),
}
"""Option numbers: the least size of the structure, and what it does (IP_ADD_MEMBERSHIP is 35)."""
IPV6: Final[dict[int, tuple[int, Change]]] = {
    **dict.fromkeys((20, 27), (20, partial(_mreq6, _join))),
    **dict.fromkeys((21, 28), (20, partial(_mreq6, _leave))),
    **_both_versions(_IPV6),
}
"""IPV6_JOIN_GROUP is 20, IPV6_JOIN_ANYCAST 27."""
