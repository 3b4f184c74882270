"""getsockopt and setsockopt as a table: honoured, remembered, or refused with the kernel's errno.

Lives here: one `Rule` per option that Linux has for UDP sockets, probed on Linux 6.18. May not live here: what honoured
options do (the endpoint, ancillary.py, sending.py read them).

Law: what an option is set to is what it reports, in the kernel's form; one that means nothing to an overlay is
remembered and nothing more.
"""

from __future__ import annotations

import _socket
import errno
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import index
from typing import Any, Final, TypeAlias

from ..address import AF_PEER
from ..bridge.endpoint import Endpoint
from ..bridge.ports import failure
from ..limits import RECEIVE_BUFFER_LEAST, SEND_BUFFER_LEAST, SOCKET_BUFFER, SOCKET_BUFFER_MOST
from ..system import LINUX
from . import memberships, option_numbers, stamps

Value: TypeAlias = "int | bytes"
Key: TypeAlias = "tuple[int, int]"

_SOCKET: Final = option_numbers.SOL_SOCKET
_IP: Final = option_numbers.IPPROTO_IP
_IPV6: Final = option_numbers.IPPROTO_IPV6
_UDP: Final = option_numbers.IPPROTO_UDP
_FOREIGN: Final = {} if LINUX else option_numbers.of_linux(_socket)
"""What this system's numbers are called on Linux."""
RCVTIMEO: Final[Key] = (_SOCKET, 20)
"""SO_RCVTIMEO."""
_ERROR: Final[Key] = (_SOCKET, 4)
_DEVICE: Final[Key] = (_SOCKET, 25)
"""SO_ERROR, SO_BINDTODEVICE."""
SEGMENT: Final[Key] = (_UDP, 103)
"""UDP_SEGMENT."""
CORK: Final[Key] = (_UDP, 1)
"""UDP_CORK."""
LOOP: Final[Key] = (_IP, 34)
"""IP_MULTICAST_LOOP."""
LOOP6: Final[Key] = (_IPV6, 19)
"""IPV6_MULTICAST_LOOP."""
HOPS: Final[Key] = (_IP, 33)
"""IP_MULTICAST_TTL."""
HOPS6: Final[Key] = (_IPV6, 18)
"""IPV6_MULTICAST_HOPS."""
_MOST_ASKED: Final = SOCKET_BUFFER_MOST // 2
_INT: Final = struct.Struct("@i")
_LONGEST: Final = 1024
"""CPython's bound on getsockopt's buflen."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How one option behaves."""

    default: Value = 0
    accept: Callable[[int], int] | None = None
    """What a number becomes; raises the kernel's errno. None: the option takes a structure of `size` bytes."""
    size: int = 4
    read: Callable[[Endpoint], Value] | None = None
    """Where the value is, if not among the remembered ones."""
    write: Callable[[Endpoint, Any], None] | None = None
    refused: int = 0
    """errno of setting it."""
    unreadable: int = 0
    """errno of getting it."""
    some: bool = False
    """An IP option that refuses an empty value, where others take it for 0."""
    exact: bool = False
    """Takes four bytes, no more and no less."""
    brief: bool = False
    """Takes less than four bytes for 0 (IPv6 options that forget to check)."""


def _flag(value: int) -> int:
    return int(value != 0)


def _any(value: int) -> int:
    return value


def _byte(value: int) -> int:
    return value & 0xFF


def _within(low: int, high: int, usual: int | None, value: int) -> int:
    """Accept low..high; -1 means `usual`."""
    if value == -1 and usual is not None:
        return usual
    if not low <= value <= high:
        raise failure(errno.EINVAL)
    return value


def _attribute(name: str) -> Rule:
    """A flag that is an attribute of the endpoint."""
    return Rule(0, _flag, read=lambda end: int(getattr(end, name)), write=lambda end, on: setattr(end, name, bool(on)))


def _range(low: int, high: int, default: int, usual: int | None = None) -> Rule:
    return Rule(default, partial(_within, low, high, usual))


def _buffer(value: int, least: int) -> int:
    """Double what is asked for, as sock_setsockopt does; negative numbers are large there."""
    return max(least, 2 * min(value % (1 << 32), _MOST_ASKED))


def _set_receive_buffer(endpoint: Endpoint, size: int) -> None:
    endpoint.options[_SOCKET, 8] = size
    endpoint.inbox.bound = size


def _set_v6only(endpoint: Endpoint, on: int) -> None:
    if endpoint.port:
        raise failure(errno.EINVAL)
    endpoint.v6only = bool(on)
    endpoint.flows.clear()


def _set_broadcast(endpoint: Endpoint, on: int) -> None:
    endpoint.broadcast = bool(on)
    endpoint.forget_local()  # the ways that were allowed


def _set_device(endpoint: Endpoint, name: bytes) -> None:
    text = name.partition(b"\0")[0]
    if text:
        try:
            _socket.if_nametoindex(text.decode("ascii", "replace"))
        except OSError:
            raise failure(errno.ENODEV) from None
    endpoint.options[_DEVICE] = text + b"\0" if text else b""


def _multicast_interface(endpoint: Endpoint, request: bytes) -> None:
    """IP_MULTICAST_IF: every address is taken for ours; a number that is no interface is refused."""
    if len(request) == _INT.size and request[:1] == b"\0" and request != bytes(4):
        raise failure(errno.EADDRNOTAVAIL)
    endpoint.options[_IP, 32] = request[-4:] if len(request) == 4 else request[4:8]


_BOOL: Final = Rule(0, _flag)
_NUMBER: Final = Rule(0, _any)
_ON: Final = Rule(1, _flag)
_READ_ONLY: Final = errno.ENOPROTOOPT
_TTL: Final = _range(1, 255, 64, 64)
_HOPS: Final = _range(0, 255, 64, 64)
_ONE_HOP: Final = _range(0, 255, 1, 1)
_NO_SOURCES: Final = Rule(refused=errno.EINVAL, unreadable=errno.ENOPROTOOPT)
_DISCOVER: Final = _range(0, 5, 1)


def _changes(table: dict[int, tuple[int, memberships.Change]]) -> dict[int, Rule]:
    return {name: Rule(size=size, write=change, unreadable=errno.ENOPROTOOPT) for name, (size, change) in table.items()}


_MEMBERSHIPS4: Final = _changes(memberships.IPV4)
_MEMBERSHIPS6: Final = _changes(memberships.IPV6)
_SOCKET_RULES: Final[dict[int, Rule]] = {
    **dict.fromkeys((1, 5, 9, 10, 11, 40, 41, 43, 44, 45, 69, 75), _BOOL),
    **dict.fromkeys((12, 36), _NUMBER),
    14: Rule(0, lambda value: 0),  # SO_BSDCOMPAT
    2: _attribute("reuse_addr"),
    15: _attribute("reuse_port"),
    6: Rule(0, _flag, read=lambda end: int(end.broadcast), write=_set_broadcast),
    3: Rule(read=lambda end: end.type, refused=_READ_ONLY),
    38: Rule(read=lambda end: end.proto, refused=_READ_ONLY),
    39: Rule(read=lambda end: end.family, refused=_READ_ONLY),
    30: Rule(0, refused=_READ_ONLY),  # SO_ACCEPTCONN
    4: Rule(read=lambda end: end.inbox.take_error(), refused=_READ_ONLY),
    7: Rule(
        read=lambda end: end.send_bound,
        accept=lambda value: _buffer(value, SEND_BUFFER_LEAST),
        write=lambda end, size: setattr(end, "send_bound", size),
    ),
    8: Rule(SOCKET_BUFFER, lambda value: _buffer(value, RECEIVE_BUFFER_LEAST), write=_set_receive_buffer),
    32: Rule(
        accept=lambda value: _buffer(value, SEND_BUFFER_LEAST),
        write=lambda end, size: setattr(end, "send_bound", size),
        unreadable=errno.ENOPROTOOPT,
    ),
    33: Rule(
        accept=lambda value: _buffer(value, RECEIVE_BUFFER_LEAST),
        write=_set_receive_buffer,
        unreadable=errno.ENOPROTOOPT,
    ),
    13: Rule(bytes(8), size=8),  # SO_LINGER
    16: Rule(refused=errno.EOPNOTSUPP, unreadable=errno.EOPNOTSUPP),
    34: Rule(refused=errno.EOPNOTSUPP, unreadable=errno.EOPNOTSUPP),
    17: Rule(struct.pack("@iii", 0, -1, -1), refused=_READ_ONLY),  # SO_PEERCRED
    18: Rule(1, lambda value: (value if value > 0 else 0x7FFFFFFF) if value else 1),  # SO_RCVLOWAT
    19: Rule(1, refused=_READ_ONLY),  # SO_SNDLOWAT
    20: Rule(bytes(16), size=16),  # SO_RCVTIMEO
    21: Rule(bytes(16), size=16),  # SO_SNDTIMEO
    25: Rule(b"", size=0, write=_set_device),
    **{name: Rule(0, _flag, write=partial(stamps.choose, name)) for name in stamps.CLOCKS},
    **{name: Rule(0, stamps.accept, write=partial(stamps.choose_many, name)) for name in stamps.MANY},
    42: Rule(-1, _any),  # SO_PEEK_OFF
    46: Rule(0, partial(_within, 0, 0x7FFFFFFF, None)),  # SO_BUSY_POLL
    47: Rule(-1, _any),  # SO_MAX_PACING_RATE
    49: Rule(-1, _any),  # SO_INCOMING_CPU
    56: Rule(0, refused=_READ_ONLY),  # SO_INCOMING_NAPI_ID
}
_IP_RULES: Final[dict[int, Rule]] = {
    **dict.fromkeys((6, 7, 8, 12, 13, 18, 20, 23, 24, 25), _BOOL),
    **dict.fromkeys((15, 19), Rule(0, _flag, some=True)),
    1: Rule(0, _byte),  # IP_TOS
    2: _TTL,
    3: Rule(0, refused=_READ_ONLY),  # IP_HDRINCL
    4: Rule(b"", size=0),  # IP_OPTIONS
    5: Rule(0, refused=errno.EINVAL),  # IP_ROUTER_ALERT
    10: _DISCOVER,
    11: _attribute("recverr"),
    14: Rule(read=lambda end: _path_mtu(end), refused=_READ_ONLY),  # IP_MTU
    17: _NO_SOURCES,
    21: Rule(0, partial(_within, 0, 255, None), some=True),  # IP_MINTTL
    22: Rule(0, refused=_READ_ONLY),
    26: _range(0, 1, 0),
    32: Rule(bytes(4), size=4, write=_multicast_interface),
    33: Rule(1, partial(_within, 0, 255, 1), some=True),  # IP_MULTICAST_TTL
    34: Rule(1, _flag, some=True),  # IP_MULTICAST_LOOP
    **_MEMBERSHIPS4,
    49: Rule(  # IP_MULTICAST_ALL
        accept=partial(_within, 0, 1, None), read=lambda end: int(end.family == _socket.AF_INET), some=True
    ),
    50: Rule(0, lambda value: _refuse_unless_zero(value, errno.EADDRNOTAVAIL), exact=True),  # IP_UNICAST_IF
    51: Rule(0, lambda value: _port_range(value), exact=True),
    52: Rule(0, refused=_READ_ONLY),
}
_IPV6_RULES: Final[dict[int, Rule]] = {
    **dict.fromkeys((2, 3, 4, 5, 8, 11, 30, 33, 49, 51, 53, 56, 58, 60, 66, 74, 75, 78), _BOOL),
    16: _HOPS,
    17: Rule(0, lambda value: _interface(value)),
    18: _ONE_HOP,
    19: _range(0, 1, 1),
    22: Rule(0, refused=_READ_ONLY),
    23: _DISCOVER,
    24: Rule(read=lambda end: _path_mtu(end), refused=errno.EINVAL),  # IPV6_MTU
    25: _attribute("recverr"),
    26: Rule(0, _flag, read=lambda end: int(end.v6only), write=_set_v6only),
    29: _ON,  # IPV6_MULTICAST_ALL
    31: _range(0, 1, 0),
    50: Rule(refused=errno.EINVAL, unreadable=errno.ENOPROTOOPT),
    **_MEMBERSHIPS6,
    **dict.fromkeys((54, 55, 57, 59), Rule(b"", size=0, write=lambda end, raw: _no_extension_headers(raw))),
    62: Rule(0, _flag, brief=True),  # IPV6_DONTFRAG
    61: Rule(refused=_READ_ONLY, unreadable=errno.ENOTCONN),  # IPV6_PATHMTU
    67: _range(0, 255, 0, 0),
    70: Rule(1, _flag, brief=True),  # IPV6_AUTOFLOWLABEL
    73: _range(0, 255, 0),
    76: Rule(0, lambda value: _refuse_unless_zero(value, errno.EADDRNOTAVAIL), exact=True),  # IPV6_UNICAST_IF
    77: Rule(0, _flag, brief=True),
}
_UDP_RULES: Final[dict[int, Rule]] = {
    **dict.fromkeys((1, 101, 102, 104), _BOOL),
    10: Rule(0, refused=_READ_ONLY),
    100: Rule(0, lambda value: value if value in (0, 2) else _refuse_unless_zero(value, errno.ENOPROTOOPT)),
    103: _range(0, 0xFFFF, 0),
}
_RULES: Final = {_SOCKET: _SOCKET_RULES, _IP: _IP_RULES, _IPV6: _IPV6_RULES, _UDP: _UDP_RULES}


def _refuse_unless_zero(value: int, code: int) -> int:
    if value:
        raise failure(code)
    return 0


def _path_mtu(endpoint: Endpoint) -> int:
    """IP_MTU: every way takes the largest datagram whole."""
    if endpoint.peer is None:
        raise failure(errno.ENOTCONN)
    return 0xFFFF


def _port_range(value: int) -> int:
    """IP_LOCAL_PORT_RANGE: the first port in the lower half, the last in the upper."""
    first, last = value & 0xFFFF, value >> 16 & 0xFFFF
    if first and last and first > last:
        raise failure(errno.EINVAL)
    return value


def _no_extension_headers(raw: bytes) -> None:
    """IPV6_HOPOPTS and its like: the overlay has none to send; clearing them is harmless."""
    if raw:
        raise failure(errno.EINVAL)


def _interface(number: int) -> int:
    if number and number not in dict(_socket.if_nameindex()):
        raise failure(errno.ENODEV)
    return number


def get(sock: _socket.socket, endpoint: Endpoint, level: int, name: int, buflen: int | None) -> int | bytes:
    """Return an option's value as getsockopt(2) and CPython do: a number, or at most `buflen` bytes.

    Raises: OSError: ENOPROTOOPT, EOPNOTSUPP, and what the option says.
    """
    if buflen is not None and not 0 <= index(buflen) <= _LONGEST:
        raise OSError("getsockopt buflen out of range")
    level, name = _FOREIGN.get((level, name), (index(level), index(name)))
    rule = _rule(endpoint, level, name)
    if rule is None:
        known = level in (_SOCKET, _IP, _UDP) or endpoint.family != _socket.AF_INET
        raise failure(errno.ENOPROTOOPT if known else errno.EOPNOTSUPP)
    if rule.unreadable:
        raise failure(rule.unreadable)
    value = rule.default if rule.read is None else rule.read(endpoint)
    value = endpoint.options.get((level, name), value)
    if (level, name) == _ERROR:
        endpoint.inbox.update_fd(sock)
    raw = value if isinstance(value, bytes) else _INT.pack(value)
    if not buflen:
        return _INT.unpack(raw[:4].ljust(4, b"\0"))[0] if isinstance(value, bytes) else value
    if level == _IP and buflen < _INT.size and isinstance(value, int) and 0 <= value <= 255:
        return raw[:1]
    return raw[:buflen]


def put(
    sock: _socket.socket, endpoint: Endpoint, level: int, name: int, value: object, length: tuple[int, ...]
) -> None:
    """Set an option as setsockopt(2) and CPython do.

    Raises: OSError: ENOPROTOOPT, EINVAL (too short, out of range), and what the option says. TypeError.
    """
    level, name = index(level), index(name)
    raw = _raw(sock, level, name, value, length)
    level, name = _FOREIGN.get((level, name), (level, name))
    rule = _rule(endpoint, level, name)
    short = len(raw) < _INT.size
    if short and level in (_SOCKET, _UDP) and (level, name) != _DEVICE:
        raise failure(errno.EINVAL)
    if rule is None:
        raise failure(errno.ENOPROTOOPT)
    if short and level == _IPV6 and rule.size == _INT.size and not rule.brief:
        raise failure(errno.EINVAL)
    if rule.refused:
        raise failure(rule.refused)
    if rule.accept is None:
        if len(raw) < rule.size:
            raise failure(errno.EINVAL)
        chosen: Value = raw[: rule.size] if rule.size and rule.write is None else raw
    else:
        if (rule.exact and len(raw) != _INT.size) or (rule.some and not raw):
            raise failure(errno.EINVAL)
        chosen = rule.accept(_number(raw, rule))
    if rule.write is None:
        endpoint.options[level, name] = chosen
    else:
        rule.write(endpoint, chosen)


def _number(raw: bytes, rule: Rule) -> int:
    """Return the number in `raw`; IP options may be given in one byte, or none."""
    if len(raw) >= _INT.size:
        return int(_INT.unpack(raw[:4])[0])
    return 0 if rule.brief else int.from_bytes(raw[:1])


def _raw(sock: _socket.socket, level: int, name: int, value: object, length: tuple[int, ...]) -> bytes:
    if length:
        if value is not None:
            _socket.socket.setsockopt(sock, level, name, value, *length)  # type: ignore[call-overload]  # raises
        raise failure(errno.EFAULT)
    if isinstance(value, int) and -(1 << 31) <= value < 1 << 31:
        return _INT.pack(value)
    try:
        return memoryview(value).tobytes()  # type: ignore[arg-type]  # that is what is being found out
    except TypeError:
        kind = type(value).__name__
        raise TypeError(f"a bytes-like object is required, not '{kind}'") from None


def _rule(endpoint: Endpoint, level: int, name: int) -> Rule | None:
    if level == _IPV6 and endpoint.family not in (_socket.AF_INET6, AF_PEER):
        return None
    return _RULES.get(level, {}).get(name)
