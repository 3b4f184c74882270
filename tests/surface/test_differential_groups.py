"""Multicast and broadcast on one host: the kernel's UDP sockets first, over its loopback interface, then ours."""

from __future__ import annotations

import os
import socket
import struct

import pytest

from tests.surface.twins import GROUP as TEXT
from tests.surface.twins import At, Twins

INET6 = socket.AF_INET6
ANY, LO = ("", 0), ("127.0.0.1", 0)
HOME = socket.inet_aton("127.0.0.1")
GROUP, GROUP6 = socket.inet_aton(TEXT), socket.inet_pton(INET6, f"ff02::77:{os.getpid() & 0xFFFF:x}")
FAR = socket.inet_aton("198.51.100.7")
"""No interface's address."""
FIRST = struct.pack("@I", 1)
"""The number of the loopback interface."""

JOIN, LEAVE, UNBLOCK, BLOCK, JOIN_SOURCE, LEAVE_SOURCE = 35, 36, 37, 38, 39, 40
LOOPBACK = ("b", "setsockopt", 0, 32, HOME)
"""b sends to groups by the loopback interface."""
TO_A = ("b", "sendto", b"x", At("a", TEXT))
HEARD = ("a", "recvfrom", 9)


def option(who, number, group=GROUP, source=None):
    return (who, "setsockopt", 0, number, group + HOME + (b"" if source is None else socket.inet_aton(source)))


def wide(*hosts, family=socket.AF_INET):
    """struct group_req or group_source_req."""
    packed = [struct.pack("=H", family) + bytes(2 if len(host) == 4 else 6) + host for host in hosts]
    return struct.pack("=I4x", 1) + b"".join(raw.ljust(128, b"\0") for raw in packed)


CASES = {
    "hears what anybody on the host joined": [
        ("a", "bind", ANY), option("c", JOIN), LOOPBACK, TO_A, HEARD, ("a", "setsockopt", 0, 49, 0), TO_A, HEARD,
        option("a", JOIN), TO_A, HEARD,
    ],
    "a membership ends with its socket": [("a", "bind", ANY), option("c", JOIN), ("c", "close"), LOOPBACK, TO_A, HEARD],
    "bound to the group": [("a", "bind", (TEXT, 0)), LOOPBACK, TO_A, HEARD, option("c", JOIN), TO_A, HEARD],
    "bound to loopback": [("a", "bind", LO), option("a", JOIN), LOOPBACK, TO_A, HEARD],
    "two members": [
        *[(x, "setsockopt", 1, 2, 1) for x in "ac"], ("a", "bind", ANY), ("c", "bind", At("a", "")),
        option("a", JOIN), option("c", JOIN), LOOPBACK, TO_A, HEARD, ("c", "recvfrom", 9),
    ],
    "ttl 0 stays": [("a", "bind", ANY), option("a", JOIN), LOOPBACK, ("b", "setsockopt", 0, 33, 0), TO_A, HEARD],
    "control messages": [
        ("a", "bind", ANY), *[("a", "setsockopt", 0, number, 1) for number in (8, 12, 13)], option("a", JOIN), LOOPBACK,
        TO_A, ("a", "recvmsg", 9, 200), ("b", "setsockopt", 0, 33, 7), ("b", "setsockopt", 0, 2, 9), TO_A,
        ("a", "recvmsg", 9, 200),
    ],
    "connected to a group": [
        ("a", "bind", ANY), option("a", JOIN), LOOPBACK, ("b", "connect", At("a", TEXT)), ("b", "getpeername"),
        ("b", "getsockname"), ("b", "send", b"x"), HEARD, ("a", "sendto", b"back", At("b")), ("b", "recv", 9),
    ],
    "nobody there is no error": [
        LOOPBACK, ("c", "bind", ANY), ("b", "connect", At("c", TEXT)), ("b", "send", b"x"), ("b", "send", b"y"),
        ("b", "recv", 1),
    ],
    "joining": [
        option("a", JOIN, socket.inet_aton("10.0.0.1")), ("a", "setsockopt", 0, JOIN, GROUP), option("a", LEAVE),
        ("a", "setsockopt", 0, JOIN, GROUP + bytes(4) + struct.pack("i", 99)),
        *[("a", "setsockopt", 0, number, GROUP + bytes(4) + FIRST) for number in (JOIN, JOIN, LEAVE, LEAVE)],
        ("a", "getsockopt", 0, JOIN), ("a", "getsockopt", 0, JOIN, 8),
    ],
    "an interface by number, by address, by another address": [
        option("a", JOIN), ("a", "setsockopt", 0, JOIN, GROUP + bytes(4) + FIRST),
        ("a", "setsockopt", 0, JOIN, GROUP + socket.inet_aton("127.0.0.2")), ("a", "setsockopt", 0, 42, wide(GROUP)),
        ("a", "setsockopt", 0, LEAVE, GROUP + FAR + FIRST), option("a", LEAVE),
    ],
    "no such interface": [
        *[("a", "setsockopt", 0, number, GROUP + FAR) for number in (JOIN, LEAVE)],
        *[("a", "setsockopt", 0, number, GROUP + HOME + struct.pack("i", 9999)) for number in (JOIN, LEAVE)],
        *[("a", "setsockopt", 0, number, GROUP + FAR + HOME) for number in range(37, 41)],
    ],
    "twenty groups": [
        ("a", "setsockopt", 0, JOIN, socket.inet_aton(f"239.77.0.{n}") + HOME) for n in range(1, 22)
    ],
    "one source": [
        ("a", "bind", ANY), option("a", JOIN_SOURCE, source="127.0.0.1"), option("a", JOIN_SOURCE, source="127.0.0.1"),
        option("a", JOIN_SOURCE, source="127.0.0.2"), LOOPBACK, TO_A, HEARD,
        option("a", LEAVE_SOURCE, source="127.0.0.1"), TO_A, HEARD,
        *[option("a", LEAVE_SOURCE, source=f"127.0.0.{n}") for n in (1, 2, 2)],
    ],
    "all but one source": [
        ("a", "bind", ANY), option("a", BLOCK, source="127.0.0.1"), option("a", JOIN),
        *[option("a", BLOCK, source="127.0.0.1")] * 2, LOOPBACK, TO_A, HEARD,
        *[option("a", UNBLOCK, source="127.0.0.1")] * 2, TO_A, HEARD,
    ],
    "either kind": [
        option("a", JOIN), option("a", JOIN_SOURCE, source="127.0.0.1"), option("a", LEAVE_SOURCE, source="127.0.0.1"),
        option("a", LEAVE), option("a", JOIN_SOURCE, source="127.0.0.1"), option("a", JOIN),
        option("a", BLOCK, source="127.0.0.1"), option("a", UNBLOCK, source="127.0.0.1"), option("a", LEAVE),
        option("a", LEAVE), ("a", "setsockopt", 0, JOIN_SOURCE, bytes(11)),
        option("a", JOIN_SOURCE, socket.inet_aton("10.0.0.1"), "127.0.0.1"),
    ],
    "ten sources": [
        option("a", JOIN), *[option("a", BLOCK, source=f"127.0.0.{n}") for n in range(1, 12)],
        option("a", LEAVE), *[option("a", JOIN_SOURCE, source=f"127.0.0.{n}") for n in range(1, 12)],
    ],
    "by any version's options": [
        *[("a", "setsockopt", 0, number, wide(GROUP)) for number in (42, 42, 45, 45)],
        *[("a", "setsockopt", 0, number, wide(GROUP, HOME)) for number in (43, 46, 46, 43, 47, 47, 44)],
        ("a", "setsockopt", 0, 42, wide(GROUP)),
        *[("a", "setsockopt", 0, number, wide(GROUP, HOME)) for number in (43, 43, 46, 44, 44)],
        ("a", "setsockopt", 0, 42, wide(GROUP)[:100]), ("a", "setsockopt", 0, 46, wide(GROUP)),
        ("a", "setsockopt", 0, 42, wide(GROUP6, family=INET6)),
        ("a", "setsockopt", 0, 46, wide(GROUP6, GROUP6, family=INET6)), ("a", "setsockopt", 0, 42, wide(HOME)),
    ],
    "loopback's broadcast": [
        ("a", "bind", ANY), ("b", "setsockopt", 1, 6, 1), ("b", "sendto", b"x", At("a", "127.255.255.255")), HEARD,
        ("b", "setsockopt", 1, 6, 0), ("b", "sendto", b"x", At("a", "127.255.255.255")),
        ("b", "connect", At("a", "127.255.255.255")),
    ],
    "options of groups": [
        ("a", "setsockopt", 0, 32, GROUP + HOME), ("a", "getsockopt", 0, 32), ("a", "setsockopt", 0, 32, b"12"),
        ("a", "setsockopt", 0, 33, -1), ("a", "getsockopt", 0, 33), ("a", "setsockopt", 0, 33, 256),
        ("a", "setsockopt", 0, 34, 5), ("a", "getsockopt", 0, 34), ("a", "setsockopt", 0, 49, 2),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_same_happens_with_groups(name):
    with Twins() as twins:
        twins.open("a", "b", "c")
        for who, *call in CASES[name]:
            twins.both(who, *call)


CASES6 = {
    "joining": [
        *[("a", "setsockopt", 41, number, GROUP6 + FIRST) for number in (20, 20, 21, 21)],
        *[("a", "setsockopt", 41, number, GROUP6 + end) for number, end in (
            (20, FIRST), (20, bytes(4)), (21, struct.pack("I", 99)), (21, bytes(4)), (21, bytes(4)))],
        ("a", "setsockopt", 41, 20, GROUP6), ("a", "setsockopt", 41, 20, GROUP6 + struct.pack("I", 99)),
        ("a", "setsockopt", 41, 20, socket.inet_pton(INET6, "::1") + FIRST),
        *[("a", "setsockopt", 41, 18, number) for number in (256, -1, -2)], ("a", "getsockopt", 41, 18),
    ],
    "by any version's options": [
        *[("a", "setsockopt", 41, number, wide(GROUP6, family=INET6)) for number in (42, 42, 45, 45)],
        *[("a", "setsockopt", 41, number, wide(GROUP6, GROUP6[:15] + b"1", family=INET6))
            for number in (43, 46, 46, 43, 47, 47, 44)],
        ("a", "setsockopt", 41, 42, wide(GROUP)), ("a", "setsockopt", 41, 46, wide(GROUP, HOME)),
    ],
    "an IPv4 group": [
        ("a", "bind", ("::", 0)), option("a", JOIN), LOOPBACK, ("b", "sendto", b"x", At("a", "::ffff:" + TEXT)),
        HEARD,
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", CASES6)
def test_same_happens_with_ipv6_groups(name):
    with Twins() as twins:
        twins.open("a", "b", family=INET6)
        for who, *call in CASES6[name]:
            twins.both(who, *call)
