"""Fail-closed: real UDP sockets that escape the patch are refused. Lives here: the audit hook and its rule.
May not live here: what replaces such sockets.

Law: under `peer-relay run` a datagram leaves through the overlay or not at all. The relay's own thread is exempt (its
WebRTC links are UDP), and so are sockets of our class, and those that go where `real_udp` says and nowhere else. Out of
an audit hook's reach, since they ask the kernel without the interpreter's socket module: ctypes, C extensions with
event loops of their own, libc when it looks up a name, and programs that this one starts unless they are Pythons that
our package is installed in and that heed PYTHONPATH (children/sitecustomize.py). A namespace closes these (`--native`).
Subinterpreters have audit hooks of their own, so there are none.
"""

from __future__ import annotations

import _socket
import contextlib
import errno
import os
import stat
import sys
from collections.abc import Callable
from types import FrameType
from typing import Final, TypeAlias

# The names are the C module's: `socket` itself may be replaced, reloaded or imitated while the hook runs.
_FAMILIES: Final = frozenset({_socket.AF_INET, _socket.AF_INET6})
_DATAGRAM, _RAW, _UDP_RAW = _socket.SOCK_DGRAM, _socket.SOCK_RAW, (_socket.IPPROTO_UDP, _socket.IPPROTO_RAW)
_PINGS: Final = frozenset({_socket.IPPROTO_ICMP, _socket.IPPROTO_ICMPV6})
_KIND_BITS: Final = 0xF
"""Linux's SOCK_TYPE_MASK: the type without SOCK_NONBLOCK and SOCK_CLOEXEC."""
_PACKET: Final = getattr(_socket, "AF_PACKET", None)
"""Of sockets that send whole frames, and so datagrams, too."""
_SUBINTERPRETERS: Final = frozenset({"_interpreters", "_xxsubinterpreters"})
WAYS_OUT: Final = "take `peer-relay run --native` (Linux), or run with --allow-direct"
_MAKES: Final = "socket.__new__"
_ADOPTS: Final = "peer_relay.adopt"
_USES: Final = frozenset({"socket.bind", "socket.connect", "socket.sendto", "socket.sendmsg"})

_fileno = _socket.socket.fileno
_family = _socket.socket.family.__get__
_kind = _socket.socket.type.__get__
_proto = _socket.socket.proto.__get__

Exempt: TypeAlias = Callable[..., bool]
"""is_exempt(socket object, used=whether its constructor is over), on any thread."""


def refuse_real_udp(exempt: Exempt) -> None:
    """From now on raise PermissionError (EPERM) where a real IPv4 or IPv6 UDP socket is made or used.

    Cannot be undone: the interpreter has no way to remove an audit hook.
    """

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event[:7] != "socket." and event != _ADOPTS:
            if event == "import" and arguments[0] in _SUBINTERPRETERS:
                raise PermissionError(
                    errno.EPERM,
                    f"peer-relay run: refused subinterpreters: they would send past the relay network: {WAYS_OUT}",
                )
            return
        if event in (_MAKES, _ADOPTS):
            made, family, kind, proto = arguments
        elif event in _USES:  # a socket made from a descriptor names neither family nor type when it is made
            made = arguments[0]
            if not isinstance(made, _socket.socket) or _fileno(made) < 0:  # closed: EBADF, as ever
                return
            family, kind, proto = _family(made), _kind(made), _proto(made)
        else:
            return
        if _is_udp(family, kind, proto) and not exempt(made, used=event != _MAKES):
            raise PermissionError(errno.EPERM, _explain(made, sys._getframe(1)))

    sys.addaudithook(hook)


def _is_udp(family: object, kind: object, proto: object) -> bool:
    if family == _PACKET:
        return True
    if family not in _FAMILIES or not isinstance(kind, int):
        return False
    if kind & _KIND_BITS == _DATAGRAM:
        return proto not in _PINGS
    return kind & _KIND_BITS == _RAW and proto in _UDP_RAW


def inherited() -> list[int]:
    """Return the descriptors that this process was started with and that are real UDP sockets."""
    found: list[int] = []
    try:
        numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:  # not Linux
        return found
    for number in numbers:
        with contextlib.suppress(OSError):  # it was that of the listing
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                with contextlib.closing(_socket.socket(fileno=_socket.dup(number))) as sock:
                    if _is_udp(_family(sock), _kind(sock), _proto(sock)):
                        found.append(number)
    return found


def _explain(made: object, frame: FrameType | None) -> str:
    kind = f"{type(made).__module__}.{type(made).__qualname__}"
    while frame is not None and frame.f_globals.get("__name__") in ("socket", "peer_relay.sockets"):
        frame = frame.f_back
    place = f" in {frame.f_globals.get('__name__')}, line {frame.f_lineno}" if frame is not None else ""
    return (
        f"peer-relay run: refused a real UDP socket ({kind}{place}): it would send past the relay network. "
        "Use socket.socket as it is after the program has started (not _socket or a reloaded socket module), name "
        "in PEER_RELAY_REAL_UDP what is to be reached by real UDP, or run with --allow-direct"
    )
