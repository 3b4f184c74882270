"""Time stamps of what comes: the kernel's sockets first, then ours."""

from __future__ import annotations

import errno
import itertools
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from peer_relay_socket.surface.udp_socket import Socket
from tests.patience import LIMIT

BOTH = pytest.mark.parametrize("make", [socket.socket, Socket])
STAMP, STAMP_NANO, MANY, STAMP_64, NANO_64, MANY_64 = 29, 35, 37, 63, 64, 65
HEARD = 0x18
"""SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE."""


@pytest.fixture(autouse=True, scope="module")
def kernel_takes_the_time() -> Iterator[None]:
    """The kernel begins to take times a moment after the first socket asked for them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asks:
        asks.bind(("127.0.0.1", 0))
        asks.settimeout(10)
        asks.setsockopt(socket.SOL_SOCKET, MANY, HEARD)
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            asks.sendto(b"x", asks.getsockname())
            if asks.recvmsg(9, 500)[1]:
                break
        yield


def outcome(make: type[socket.socket], options: list[tuple[int, int]]) -> list[object]:
    """Set `options`, and return what a datagram brings along, with each time's distance from now in whole seconds."""
    with make(socket.AF_INET, socket.SOCK_DGRAM) as a, make(socket.AF_INET, socket.SOCK_DGRAM) as b:
        a.bind(("127.0.0.1", 0))
        a.settimeout(10)
        for name, value in options:
            a.setsockopt(socket.SOL_SOCKET, name, value)
        b.sendto(b"x", a.getsockname())
        _, controls, flags, _ = a.recvmsg(9, 500)
        shapes: list[object] = [flags]
        for level, name, raw in controls:
            seconds, part = struct.unpack("@ll", raw[:16])
            unit = 1e9 if name in (STAMP_NANO, NANO_64, MANY, MANY_64) else 1e6
            shapes.append((level, name, len(raw), raw[16:].count(0), round((seconds + part / unit - time.time()) / 10)))
        return shapes + [a.getsockopt(socket.SOL_SOCKET, name) for name in (29, 35, 37, 63, 64, 65)]


@pytest.mark.parametrize(
    "options",
    [
        *([(name, 1)] for name in (STAMP, STAMP_NANO, STAMP_64, NANO_64)),
        *([(first, 1), (second, 1)] for first in (STAMP, STAMP_NANO) for second in (STAMP, STAMP_NANO, STAMP_64)),
        *([(NANO_64, 1), (name, 0)] for name in (STAMP, NANO_64)),
        *([(name, flags)] for name in (MANY, MANY_64) for flags in (HEARD, 0x8, 0, 0x200)),
        [(STAMP, 1), (MANY, HEARD)],
        [(MANY_64, HEARD), (MANY, HEARD)],
    ],
)
def test_same_stamps_come(options: list[tuple[int, int]]) -> None:
    assert outcome(Socket, options) == outcome(socket.socket, options)


@BOTH
def test_stamp_is_when_the_datagram_came_and_not_when_it_was_read(make: type[socket.socket]) -> None:
    with make(socket.AF_INET, socket.SOCK_DGRAM) as a:
        a.bind(("127.0.0.1", 0))
        a.settimeout(10)
        a.setsockopt(socket.SOL_SOCKET, STAMP_NANO, 1)
        moments = [time.time_ns()]
        for _ in range(3):
            a.sendto(b"x", a.getsockname())
            moments.append(time.time_ns())
        for before, after in itertools.pairwise(moments):
            for flags in (socket.MSG_PEEK, 0):
                [(_, _, raw)] = a.recvmsg(9, 100, flags)[1]
                seconds, nanos = struct.unpack("@ll", raw)
                assert before <= seconds * 10**9 + nanos <= after


@BOTH
@pytest.mark.parametrize("flags", [0x1000, 0x10000, -1])
def test_flags_that_linux_does_not_take_are_refused(make: type[socket.socket], flags: int) -> None:
    with make(socket.AF_INET, socket.SOCK_DGRAM) as sock, pytest.raises(OSError, match=str(errno.EINVAL)):
        sock.setsockopt(socket.SOL_SOCKET, MANY, flags)


@pytest.mark.parametrize("flags", [0x2, 0x100])
def test_times_of_what_leaves_are_refused(flags: int) -> None:
    with Socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, pytest.raises(OSError, match=str(errno.EOPNOTSUPP)):
        sock.setsockopt(socket.SOL_SOCKET, MANY, flags | HEARD)
