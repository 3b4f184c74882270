"""The options that join and leave multicast groups, from all sources or from some.

Lives here: their structures (ip_mreq, ip_mreqn, ip_mreq_source, ipv6_mreq, group_req, group_source_req) and what Linux
does with them (ip_mc_join_group, ip_mc_leave_group, ip_mc_source, their like for IPv6). May not live here: which socket
hears what (bridge/ports.py), which interface is meant (interfaces.py).

Law: memberships count per interface, as programs that join on each expect; what the group hears comes from the overlay,
whichever interface was named.
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
from ..originals import os
from ..system import O_CLOEXEC
from .interfaces import OVERLAY, by_address, by_number

Change: TypeAlias = "Callable[[Endpoint, bytes], None]"
_MOST_SOURCES: Final = 10
"""net.ipv4.igmp_max_msf."""
_MOST_GROUPS: Final = 20
"""net.ipv4.igmp_max_memberships, where it was not changed."""
_IPV4: Final = 4
_IPV6: Final = 6


def _group(address: IPv4Address | IPv6Address) -> str:
    if not address.is_multicast:
        raise failure(errno.EINVAL)
    return str(address)


def _found(endpoint: Endpoint, group: str, index: int) -> int | None:
    """Return the interface of the membership that `index` means, or None: for IPv6 groups 0 means the youngest."""
    joined = list(endpoint.groups.get(group, ()))
    if index == OVERLAY and ":" in group:
        return joined[-1] if joined else None
    return index if index in joined else None


def _known(index: int | None) -> int:
    if index is None:
        raise failure(errno.ENODEV)
    return index


def _add(endpoint: Endpoint, group: str, index: int) -> None:
    if ":" not in group:
        count = sum(len(joined) for each, joined in list(endpoint.groups.items()) if ":" not in each)
        if count >= _MOST_GROUPS and count >= _most_groups():
            raise failure(errno.ENOBUFS)
    endpoint.groups[group] = {**endpoint.groups.get(group, {}), index: Membership()}


def _remove(endpoint: Endpoint, group: str, index: int) -> None:
    left = {each: membership for each, membership in endpoint.groups[group].items() if each != index}
    if left:
        endpoint.groups[group] = left
    else:
        del endpoint.groups[group]


def _most_groups() -> int:
    """Return net.ipv4.igmp_max_memberships, which machines that need more have raised."""
    try:
        fd = os.open("/proc/sys/net/ipv4/igmp_max_memberships", os.O_RDONLY | O_CLOEXEC)
        try:
            return int(os.read(fd, 32))
        finally:
            os.close(fd)
    except (OSError, ValueError):
        return _MOST_GROUPS


def _join(endpoint: Endpoint, group: str, index: int | None) -> None:
    index = _known(index)
    if _found(endpoint, group, index) is not None:
        raise failure(errno.EADDRINUSE)
    _add(endpoint, group, index)


def _leave(endpoint: Endpoint, group: str, index: int | None) -> None:
    found = None if index is None else _found(endpoint, group, index)
    if found is None:
        raise failure(errno.EADDRNOTAVAIL)
    _remove(endpoint, group, found)


def _join_source(endpoint: Endpoint, group: str, index: int | None, source: str) -> None:
    """Hear `group` from `source`, too."""
    index = _known(index)
    if _found(endpoint, group, index) is None:
        _add(endpoint, group, index)
    _list(endpoint, group, index, source, only=True)


def _leave_source(endpoint: Endpoint, group: str, index: int | None, source: str) -> None:
    """Hear `group` from `source` no more; a socket that heard no other leaves it."""
    index = _known(index)
    membership = _unlist(endpoint, group, index, source, only=True)
    found = _found(endpoint, group, index)
    if not membership.sources and found is not None:
        _remove(endpoint, group, found)


def _block(endpoint: Endpoint, group: str, index: int | None, source: str) -> None:
    """Hear `group` from all but `source`."""
    _list(endpoint, group, _known(index), source, only=False)


def _unblock(endpoint: Endpoint, group: str, index: int | None, source: str) -> None:
    """Hear `group` from `source` again."""
    _unlist(endpoint, group, _known(index), source, only=False)


def _membership(endpoint: Endpoint, group: str, index: int, only: bool) -> Membership:
    """Return the membership whose sources are to be changed. Raises: EINVAL: there is none, or it is of the other kind
    and names some already."""
    found = _found(endpoint, group, index)
    membership = None if found is None else endpoint.groups[group][found]
    if membership is None or (membership.sources is not None and membership.only != only):
        raise failure(errno.EINVAL)
    membership.only = only
    return membership


def _list(endpoint: Endpoint, group: str, index: int, source: str, *, only: bool) -> None:
    membership = _membership(endpoint, group, index, only)
    sources = membership.sources or set()
    if source in sources:
        raise failure(errno.EADDRNOTAVAIL)
    if len(sources) >= _MOST_SOURCES:
        raise failure(errno.ENOBUFS)
    membership.sources = sources | {source}


def _unlist(endpoint: Endpoint, group: str, index: int, source: str, *, only: bool) -> Membership:
    membership = _membership(endpoint, group, index, only)
    if source not in (membership.sources or ()):
        raise failure(errno.EADDRNOTAVAIL)
    membership.sources = (membership.sources or set()) - {source}
    return membership


_ByGroup: TypeAlias = "Callable[[Endpoint, str, int | None], None]"
_BySource: TypeAlias = "Callable[[Endpoint, str, int | None, str], None]"


def _mreq(change: _ByGroup, endpoint: Endpoint, request: bytes) -> None:
    """struct ip_mreq or ip_mreqn: group, address of an interface, its number."""
    group = _group(IPv4Address(request[:4]))
    number = struct.unpack("@i", request[8:12])[0] if len(request) >= 12 else 0
    change(endpoint, group, by_number(number) if number else by_address(endpoint, IPv4Address(request[4:8])))


def _mreq6(change: _ByGroup, endpoint: Endpoint, request: bytes) -> None:
    """struct ipv6_mreq: group, number of an interface."""
    group = _group(IPv6Address(request[:16]))
    change(endpoint, group, by_number(struct.unpack("@I", request[16:20])[0]))


def _mreq_source(change: _BySource, endpoint: Endpoint, request: bytes) -> None:
    """struct ip_mreq_source: group, address of an interface, source."""
    if len(request) != 12:
        raise failure(errno.EINVAL)
    group, interface, source = (IPv4Address(request[start : start + 4]) for start in (0, 4, 8))
    change(endpoint, _group(group), by_address(endpoint, interface), str(source))


def _sockaddr(version: int, raw: bytes, refusal: int = errno.EADDRNOTAVAIL) -> IPv4Address | IPv6Address:
    family = struct.unpack("@H", raw[:2])[0]
    if family != (_socket.AF_INET if version == _IPV4 else _socket.AF_INET6):
        raise failure(refusal)
    return ip_address(raw[4:8] if version == _IPV4 else raw[8:24])


def _group_req(version: int, change: _ByGroup, endpoint: Endpoint, request: bytes) -> None:
    """struct group_req: number of an interface, group."""
    refusal = errno.EINVAL if version == _IPV4 else errno.EADDRNOTAVAIL
    group = _group(_sockaddr(version, request[8:136], refusal))
    change(endpoint, group, by_number(struct.unpack("@I", request[:4])[0]))


def _group_source_req(version: int, change: _BySource, endpoint: Endpoint, request: bytes) -> None:
    """struct group_source_req: number of an interface, group, source."""
    group, source = _sockaddr(version, request[8:136]), _sockaddr(version, request[136:264])
    change(endpoint, _group(group), by_number(struct.unpack("@I", request[:4])[0]), str(source))


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
