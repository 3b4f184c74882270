"""`fcntl.ioctl` on an overlay socket, whose descriptor is no UDP socket's.

Lives here: what the kernel answers for a UDP socket and not for ours. May not live here: other descriptors' business.

Law: questions about interfaces get the machine's answer, questions about waiting bytes get the endpoint's.
"""

from __future__ import annotations

import _socket
import contextlib
import errno
import os
import struct
import sys
from typing import Any, Final

from peer_relay_socket.bridge.endpoint import Endpoint, endpoint_of
from peer_relay_socket.surface.udp_socket import Socket

_INTERFACES: Final = range(0x8910, 0x8990)
"""SIOCGIFNAME and its like."""
_WAITING: Final = 0x541B
"""FIONREAD: the size of the next datagram."""
_UNSENT: Final = 0x5411
"""TIOCOUTQ."""


def install() -> None:
    """Put ourselves before `fcntl.ioctl` on Linux, whose numbers these are."""
    if sys.platform == "linux":
        import fcntl

        plain = fcntl.ioctl

        def ioctl(fd: Any, request: int, arg: Any = 0, mutate_flag: bool = True, /) -> Any:
            endpoint = _endpoint(fd)
            if endpoint is None or request & ~0xFFFF:
                return plain(fd, request, arg, mutate_flag)
            if request in _INTERFACES:
                # A TCP socket answers the same, and sends nothing.
                with contextlib.closing(_socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)) as asked:
                    return plain(asked.fileno(), request, arg, mutate_flag)
            if request == _WAITING:
                waiting = list(endpoint.inbox.ready)[:1]
                return _answer(len(waiting[0][0]) if waiting else 0, arg, mutate_flag)
            if request == _UNSENT:
                return _answer(endpoint.pending, arg, mutate_flag)
            return plain(fd, request, arg, mutate_flag)

        ioctl.__doc__ = plain.__doc__
        fcntl.ioctl = ioctl


def _endpoint(fd: Any) -> Endpoint | None:
    if isinstance(fd, Socket):
        return fd._endpoint
    number = fd if isinstance(fd, int) else getattr(fd, "fileno", lambda: -1)()
    return endpoint_of(number) if isinstance(number, int) and number >= 0 else None


def _answer(number: int, arg: Any, mutate: bool) -> int | bytes:
    """Answer as the kernel and CPython do, into a buffer of at least an int."""
    if isinstance(arg, int):
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
    view = memoryview(arg).cast("B")
    raw = struct.pack("@i", number)
    if view.readonly or not mutate:
        return raw + view.tobytes()[len(raw) :]
    view[: len(raw)] = raw[: len(view)]
    return 0
