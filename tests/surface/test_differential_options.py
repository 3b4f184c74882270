"""Every option of Linux's UDP sockets, got and set on the kernel's sockets first and then on ours."""

from __future__ import annotations

import itertools
import socket

import pytest

from peer_relay_socket.surface.udp_socket import Socket
from tests.surface.twins import Twins

INET, INET6 = socket.AF_INET, socket.AF_INET6

LEVELS = {0: range(53), 1: range(80), 17: (1, 10, 99, 100, 101, 102, 103, 104, 105), 41: range(80), 6: (1,), 77: (1,)}
NOT_ASKED = {  # why: (level, options)
    "IPsec, firewalls, security labels": [(0, 16, 17, 64), (41, 34, 35, 64, 65, 68, 69), (1, 31)],
    "IP options and extension headers are not carried": [(0, 4), (41, 54, 55, 57, 59)],
    "source filters, anycast: their arguments name interfaces": [(0, 41, 48), (41, 27, 28, 48)],
    "a path's MTU": [(41, 24, 32, 61)],
    "IPV6_ADDRFORM turns a socket into another": [(41, 1, 6)],
    "port preferences": [(41, 72)],
    "filters and programs in the kernel": [(1, 26, 27, 48, 50, 51, 52, 68)],
    "figures, cookies and descriptors of the kernel": [(1, 28, 53, 54, 55, 56, 57, 59, 71, 76, 77)],
    "times of what leaves, 64-bit time-outs, pacing": [(1, 37, 47, 61, 65, 66, 67)],
    "memory, polling and devices": [(1, 60, 62, 70, 72, 73, 74, 78, 79)],
}
UNTOUCHED = {(level, name) for rows in NOT_ASKED.values() for level, *names in rows for name in names}
VALUES = (0, 1, 2, 64, 255, 256, -1, -2, 70000, b"", b"\1", b"\1\0\0\0", b"\1\0\0\0\0\0\0\0", bytes(16))
GROUPS = (
    {(0, 35), (0, 36), (0, 32), (41, 17), (41, 20), (41, 21)}
    | {(0, n) for n in range(37, 48)}
    | {(41, n) for n in range(42, 48)}
)
EVERY_OPTION = [(level, name) for level, names in LEVELS.items() for name in names if (level, name) not in UNTOUCHED]


@pytest.mark.parametrize("family", [INET, INET6])
@pytest.mark.parametrize(("level", "name"), EVERY_OPTION)
def test_same_options(family, level, name):
    values = VALUES
    if (level, name) in {(1, 7), (1, 8), (1, 32), (1, 33)}:
        values = (0, 1, 3000, 70000)  # more depends on net.core.*mem_max
    if (level, name) in GROUPS:
        values = (0, b"\1")  # the rest depends on the machine's interfaces
    with Twins() as twins:
        for number, value in enumerate(values):
            sock = f"s{number}"
            twins.open(sock, family=family)
            for size in ((), (4,), (2,), (64,)) if number == 0 else ():
                if not (size == (2,) and level == 41):
                    twins.both(sock, "getsockopt", level, name, *size)
            twins.both(sock, "setsockopt", level, name, value)
            twins.both(sock, "getsockopt", level, name)


@pytest.mark.parametrize(("family", "type_", "proto"), list(itertools.product(
    [INET, INET6], [socket.SOCK_DGRAM, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK,
        socket.SOCK_DGRAM | socket.SOCK_CLOEXEC],
    [0, 17, 6, 255],
)))  # fmt: skip
def test_same_sockets_can_be_opened(family, type_, proto):
    outcomes = []
    for make in (socket.socket, Socket):
        try:
            with make(family, type_, proto) as sock:
                outcomes.append((sock.family, sock.type, sock.proto, sock.gettimeout()))
        except OSError as error:
            outcomes.append((type(error), error.errno, str(error)))
    assert outcomes[0] == outcomes[1]
