"""Every option of Linux's UDP sockets, got and set on the kernel's sockets first and then on ours."""

from __future__ import annotations

import itertools
import socket

import pytest
from twins import Twins

from peer_relay_socket.surface.udp_socket import Socket

INET, INET6 = socket.AF_INET, socket.AF_INET6

LEVELS = {0: range(53), 1: range(80), 17: (1, 10, 99, 100, 101, 102, 103, 104, 105), 41: range(80), 6: (1,), 77: (1,)}
UNTOUCHED = {  # (level, option): why ours is not asked
    (0, 41): "MCAST_MSFILTER's reading of its argument", (0, 48): "the same", (41, 48): "the same",
    (0, 16): "IPsec policies", (41, 34): "IPsec policies", (0, 17): "IPsec policies", (41, 35): "IPsec policies",
    (0, 64): "iptables' own", (41, 1): "IPV6_ADDRFORM turns a socket into another", (41, 6): "historic", (41,
        24): "a path's MTU",
    (41, 32): "anycast",
    **{(41, n): "extension headers are not carried" for n in (54, 55, 57, 59)},
    (41, 27): "anycast", (41, 28): "anycast",
    (41, 61): "a path's MTU", (41, 64): "ip6tables' own",
    (41, 65): "ip6tables' own", (41, 68): "ip6tables' own", (41, 69): "ip6tables' own", (41, 72): "port preferences",
    (0, 4): "IP options are not carried", (1, 26): "socket filters", (1, 27): "socket filters", (1, 50): "socket filters",
    (1, 31): "security labels", (1, 28): "a path in the kernel", (1, 47): "pacing", (1, 51): "reuseport programs",
    (1, 52): "reuseport programs", (1, 55): "kernel memory figures", (1, 57): "kernel cookies", (1, 59): "groups",
    (1, 60): "zero copy", (1, 61): "transmission times", (1, 64): "64-bit times", (1, 66): "64-bit times", (1, 63): "64-bit times",
    (1, 65): "64-bit times", (1, 67): "64-bit times", (1, 37): "hardware timestamps", (1, 71): "network cookies",
        (1, 74): "TX rehash",
    (1, 62): "bind to interface index", (1, 68): "detach reuseport", (1, 70): "busy poll budget", (1, 72): "buffer lock",
    (1, 73): "reserved memory", (1, 76): "pid descriptors", (1, 77): "pid descriptors", (1, 79): "device memory",
        (1, 78): "device memory",
    (1, 53): "cookies", (1, 54): "cookies", (1, 56): "NAPI", (1, 48): "BPF extensions",
}  # fmt: skip
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
