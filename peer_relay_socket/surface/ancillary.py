"""Control messages: what sendmsg takes and recvmsg gives.

Lives here: checking the ones programs send, making the ones they asked for, UDP_SEGMENT. May not live here: sockets.

Law: Linux's order and layout (ip_cmsg_send, udp_cmsg_send, ip_cmsg_recv, ip6_datagram_recv_ctl, put_cmsg). The overlay
has no interfaces and no hop-by-hop headers: the index is that of loopback, the hop limit what a neighbour would see.
"""

from __future__ import annotations

import _socket
import errno
import ipaddress
import struct
from collections.abc import Container, Iterable
from operator import index
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from ..address import AF_PEER
from ..bridge.binding import OWN, WILDCARD
from ..bridge.inbox import Marked
from ..bridge.ports import failure
from ..system import MSG_CMSG_CLOEXEC
from . import stamps
from .option_numbers import IPPROTO_IP, IPPROTO_IPV6, SOL_SOCKET
from .options import SEGMENT

if TYPE_CHECKING:
    from ..bridge.endpoint import Endpoint
    from ..bridge.inbox import Address

Control: TypeAlias = "tuple[int, int, bytes]"

_SOCKET: Final = SOL_SOCKET
_IP: Final = IPPROTO_IP
_IPV6: Final = IPPROTO_IPV6
_HEADER: Final = 16
"""sizeof(struct cmsghdr)."""
_MSG_CTRUNC: Final = int(_socket.MSG_CTRUNC)
_KEPT_FLAGS: Final = MSG_CMSG_CLOEXEC
_HOP_LIMIT: Final = 64
_LOOPBACK_INDEX: Final = 1
_IP_CONTROLS: Final = {1: (1, 4), 2: (4,), 7: (0,), 8: (12,)}
"""Which IP-level messages Linux takes (IP_TOS, IP_TTL, IP_RETOPTS, IP_PKTINFO) and how long they are; 0 = any."""
_IPV6_CONTROLS: Final[dict[int, Container[int]]] = {8: (4,), 11: (4,), 50: range(20, 256), 52: (4,), 67: (4,), 62: (4,)}
"""IPv6-level: IPV6_PKTINFO, IPV6_HOPLIMIT, IPV6_TCLASS, IPV6_DONTFRAG."""
_IPV6_OLD_SETS: Final = frozenset({2, 3, 4, 5, 54, 55, 57, 59})
_SOCKET_CONTROLS: Final = {1: 0, 2: 0, 36: 4, 12: 4, 37: 4, 61: 8}
"""Socket-level: SCM_RIGHTS and SCM_CREDENTIALS (ignored), SO_MARK, SO_PRIORITY, SO_TIMESTAMPING, SCM_TXTIME."""
_MARKS4: Final = ((_IP, 2), (_IP, 1))
"""The options that say hop limit and traffic class: IP_TTL, IP_TOS."""
_MARKS6: Final = ((_IPV6, 16), (_IPV6, 67))
"""IPV6_UNICAST_HOPS, IPV6_TCLASS."""
_MOST_SEGMENTS: Final = 128
"""UDP_MAX_SEGMENTS."""


def checked(ancdata: Iterable[Any]) -> list[Control]:
    """Return sendmsg's control messages as (level, type, bytes). Raises: TypeError: in CPython's words."""
    try:
        items = list(ancdata)
    except TypeError:
        raise TypeError("sendmsg() argument 2 must be an iterable") from None
    controls = []
    for item in items:
        try:
            size = len(item)
        except TypeError:
            size = None
        if size is None:
            kind = type(item).__name__
            raise TypeError(f"[sendmsg() ancillary data items]() argument must be 3-item sequence, not {kind}")
        if size != 3:
            raise TypeError(f"[sendmsg() ancillary data items]() argument must be sequence of length 3, not {size}")
        level, kind, data = item
        try:
            raw = memoryview(data).tobytes()
        except TypeError:
            raise TypeError(f"a bytes-like object is required, not '{type(data).__name__}'") from None
        controls.append((index(level), index(kind), raw))
    return controls


class Manner(NamedTuple):
    """How one call sends."""

    segment: int
    """Bytes per datagram, 0 = all in one."""
    mark: tuple[int, int] | None
    """Hop limit and traffic class, where the program chose one."""


def manner(endpoint: Endpoint, narrow: bool, controls: Iterable[Control] = ()) -> Manner:
    """Check `controls` as the kernel does. Returns: how the options and they say to send, over IPv4 if `narrow`.

    Raises: OSError: EINVAL for a message that Linux refuses.
    """
    segment, hops, traffic = (_number(endpoint, key) for key in (SEGMENT, *(_MARKS4 if narrow else _MARKS6)))
    for level, kind, data in controls:
        if level == SEGMENT[0]:
            if kind != SEGMENT[1] or len(data) != 2:
                raise failure(errno.EINVAL)
            segment = int(struct.unpack("@H", data)[0])
        elif level == _SOCKET:
            if kind not in _SOCKET_CONTROLS or (_SOCKET_CONTROLS[kind] and len(data) != _SOCKET_CONTROLS[kind]):
                raise failure(errno.EINVAL)
        elif level == _IP and narrow:
            if kind not in _IP_CONTROLS or (len(data) not in _IP_CONTROLS[kind] and kind != 7):
                raise failure(errno.EINVAL)
            if kind == 2:
                hops = _bounded(data, 1)
            elif kind == 1:
                traffic = data[0]
        elif level == _IPV6 and not narrow and kind not in _IPV6_OLD_SETS:
            if kind not in _IPV6_CONTROLS or len(data) not in _IPV6_CONTROLS[kind]:
                raise failure(errno.EINVAL)
            if kind in (8, 52):
                hops = _bounded(data, -1)
            elif kind == 67:
                traffic = _bounded(data, -1)
    if (hops in (-1, _HOP_LIMIT)) and traffic <= 0:
        return Manner(segment, None)
    return Manner(segment, (_HOP_LIMIT if hops == -1 else hops, max(0, traffic)))


def _number(endpoint: Endpoint, key: tuple[int, int]) -> int:
    value = endpoint.options.get(key, _HOP_LIMIT if key in ((_IP, 2), (_IPV6, 16)) else 0)
    return value if isinstance(value, int) else 0


def _bounded(data: bytes, least: int) -> int:
    number = int(struct.unpack("@i", data[:4])[0])
    if not least <= number <= 255:
        raise failure(errno.EINVAL)
    return number


def split(payload: bytes, segment: int) -> list[bytes]:
    """Cut `payload` into datagrams of `segment` bytes, the last one shorter; 0 leaves it whole.

    Raises: OSError: EINVAL for more than Linux's 128 pieces.
    """
    if not segment or len(payload) <= segment:
        return [payload]
    if len(payload) > segment * _MOST_SEGMENTS:
        raise failure(errno.EINVAL)
    return [payload[start : start + segment] for start in range(0, len(payload), segment)]


def check_room(ancbufsize: int) -> None:
    """Raise ValueError for what CPython refuses as an ancillary buffer size."""
    if not 0 <= index(ancbufsize) <= 0x7FFFFFFF:
        raise ValueError("invalid ancillary data buffer length")


def received(
    endpoint: Endpoint, item: tuple[bytes, Address | None], room: int, flags: int
) -> tuple[list[Control], int]:
    """Return the control messages for a received `item` that fit in `room` bytes, and recvmsg's flags so far."""
    told = flags & _KEPT_FLAGS
    source = item[1]
    if not endpoint.options or source is None:
        return [], told
    mark, at = (item.mark, item.at) if isinstance(item, Marked) else ((_HOP_LIMIT, 0), 0)
    controls = []
    hops, traffic, *group = mark
    for level, kind, data in _wanted(endpoint, source, hops, traffic, group[0] if group else "", at):
        if room < _HEADER:
            told |= _MSG_CTRUNC
            continue
        length = _HEADER + len(data)
        if room < length:
            told |= _MSG_CTRUNC
            length = room
        controls.append((level, kind, data[: length - _HEADER]))
        room -= min(room, _HEADER + (len(data) + 7) // 8 * 8)
    return controls, told


def _wanted(endpoint: Endpoint, source: Address, hops: int, traffic: int, group: str, at: int) -> Iterable[Control]:
    on = endpoint.options.get
    yield from stamps.told(endpoint, at)
    if on((_SOCKET, 40)) and endpoint.inbox.dropped:
        yield (_SOCKET, 40, struct.pack("@I", endpoint.inbox.dropped & 0xFFFFFFFF))
    if endpoint.family == AF_PEER:
        return
    here = _arrived_at(endpoint, source)  # of this host's own addresses
    sent_to = here
    if group:
        sent_to = ipaddress.ip_address(group)
    narrow = endpoint.family == _socket.AF_INET or (here.version == 6 and here.ipv4_mapped is not None)
    if endpoint.family != _socket.AF_INET:
        if on((_IPV6, 49)):
            yield (_IPV6, 50, _sixteen(sent_to) + struct.pack("@I", _LOOPBACK_INDEX))
        if not narrow:
            if on((_IPV6, 51)):
                yield (_IPV6, 52, struct.pack("@i", hops))
            if on((_IPV6, 66)):
                yield (_IPV6, 67, struct.pack("@i", traffic))
            return
    four = here if here.version == 4 else here.ipv4_mapped
    assert isinstance(four, ipaddress.IPv4Address)
    to = sent_to if sent_to.version == 4 else sent_to.ipv4_mapped
    assert isinstance(to, ipaddress.IPv4Address)
    if on((_IP, 8)):
        yield (_IP, 8, struct.pack("@i4s4s", _LOOPBACK_INDEX, four.packed, to.packed))
    if on((_IP, 12)):
        yield (_IP, 2, struct.pack("@i", hops))
    if on((_IP, 13)):
        yield (_IP, 1, bytes([traffic]))
    if on((_IP, 20)):
        yield (_IP, 20, struct.pack("@H", 2) + struct.pack("!H", endpoint.port) + to.packed + bytes(8))


def _arrived_at(endpoint: Endpoint, source: Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return which of this host's addresses a datagram from `source` was sent to."""
    ports = endpoint.host.ports
    text = str(source[0])
    mapped = text.startswith("::ffff:")
    if endpoint.local not in (WILDCARD, OWN):
        place = endpoint.local
    else:
        bare = text.removeprefix("::ffff:")
        place = bare if bare == "::1" or bare.startswith("127.") else OWN
    return ipaddress.ip_address(str(ports.spell(endpoint, place, 0, mapped=mapped)[0]))


def _sixteen(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bytes:
    return ip.packed if ip.version == 6 else bytes(10) + b"\xff\xff" + ip.packed
