"""Calls on UDP sockets, one after the other, that a program may make: over IPv4.

Law: a case is a name and calls on sockets a, b, c and gone, none of which blocks. What must happen stands nowhere:
the kernel is asked.
"""

from __future__ import annotations

import socket
import struct
import sys
from typing import Any, Final, TypeAlias

from .worlds import GROUP, At

assert sys.platform == "linux", "the oracle is Linux's kernel"

Call: TypeAlias = tuple[Any, ...]
INET, INET6 = socket.AF_INET, socket.AF_INET6
ANY, LO = ("", 0), ("127.0.0.1", 0)
PEEK, TRUNC, DONTWAIT, WAITALL = socket.MSG_PEEK, socket.MSG_TRUNC, socket.MSG_DONTWAIT, socket.MSG_WAITALL
RD, WR, RDWR = socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR
SOL, REUSEADDR, REUSEPORT = socket.SOL_SOCKET, socket.SO_REUSEADDR, socket.SO_REUSEPORT

SEND: Final[list[Call]] = [("b", "bind", LO), ("a", "bind", LO)]
PAIR: Final[list[Call]] = [*SEND, ("a", "connect", At("b")), ("b", "connect", At("a"))]
REFUSED: Final[list[Call]] = [
    ("gone", "bind", LO),
    ("a", "connect", At("gone")),
    ("gone", "close"),
    ("a", "send", b"x"),
]

# Each case: a name, and calls on sockets a, b, c and gone (AF_INET, not blocking) one after the other.
CASES: Final[dict[str, list[Call]]] = {
    "names of a new socket": [("a", "getsockname"), ("a", "getpeername")],
    "bind to port 0 gets one": [("a", "bind", LO), ("a", "getsockname")],
    "bind to a name": [("a", "bind", ("localhost", 0)), ("a", "getsockname")],
    "bind to the wildcard": [("a", "bind", ANY), ("a", "getsockname")],
    "bind elsewhere in 127/8": [("a", "bind", ("127.9.8.7", 0)), ("a", "getsockname")],
    "bind to a stranger": [("a", "bind", ("8.8.8.8", 0)), ("a", "getsockname")],
    "bind twice": [("a", "bind", LO), ("a", "bind", LO)],
    "bind after sending": [("b", "bind", LO), ("a", "sendto", b"x", At("b")), ("a", "bind", LO)],
    "bind to a group": [("a", "bind", ("224.0.0.9", 0)), ("a", "getsockname")],
    "bind to broadcast": [("a", "bind", ("<broadcast>", 0)), ("a", "getsockname")],
    "sendto unbound binds": [("b", "bind", LO), ("a", "sendto", b"hi", At("b")), ("a", "getsockname"),
        ("b", "recvfrom", 9)],
    "sendto failing binds too": [("a", "sendto", b"hi", ("127.0.0.1", 0)), ("a", lambda s: s.getsockname()[1] > 0)],
    "send without a peer": [("a", "send", b"x"), ("a", "sendall", b"x"), ("a", "sendmsg", [b"x"])],
    "empty datagram": [*SEND, ("a", "sendto", b"", At("b")), ("b", "recvfrom", 9), ("b", "recv", 9)],
    "boundaries": [*SEND, *[("a", "sendto", bytes(n), At("b")) for n in (3, 0, 5)], *[("b", "recv", 9)] * 4],
    "order": [*SEND, *[("a", "sendto", b"%d" % n, At("b")) for n in range(9)], *[("b", "recv", 9)] * 10],
    "largest": [*SEND, ("a", "sendto", bytes(65507), At("b")), ("b", lambda s: len(s.recv(70000)))],
    "too large": [*SEND, ("a", "sendto", bytes(65508), At("b")), ("a", "sendto", bytes(70000), At("b")),
        ("b", "recv", 9)],
    "too large to nobody": [("a", "send", bytes(70000)), ("a", "sendto", bytes(70000), ("127.0.0.1", 0))],
    "to oneself": [("a", "bind", LO), ("a", "sendto", b"me", At("a")), ("a", "recvfrom", 9)],
    "connected to oneself": [("a", "bind", LO), ("a", "connect", At("a")), ("a", "send", b"me"),
        ("a", "recvfrom", 9)],
    "to the wildcard": [("b", "bind", ANY), ("a", "sendto", b"x", At("b", "0.0.0.0")), ("b", "recvfrom", 9)],
    "to a name": [("b", "bind", LO), ("a", "sendto", b"x", At("b", "localhost")), ("b", "recvfrom", 9)],
    "to bytes": [("b", "bind", LO), ("a", lambda s, at: s.sendto(b"x", (b"127.0.0.1", at[1])), At("b")),
        ("b", "recv", 9)],
    "to 127.1": [("b", "bind", LO), ("a", "sendto", b"x", At("b", "127.1")), ("b", "recv", 9)],
    "wrong loopback": [("b", "bind", ("127.0.0.2", 0)), ("a", "sendto", b"x", At("b", "127.0.0.1")),
        ("b", "recv", 9)],
    "other loopback": [("b", "bind", ("127.0.0.2", 0)), ("a", "sendto", b"x", At("b")), ("b", "recvfrom", 9)],
    "wildcard hears 127/8": [("b", "bind", ANY), ("a", "sendto", b"x", At("b", "127.4.4.4")), ("b", "recv", 9)],
    "from a bound loopback": [("b", "bind", LO), ("a", "bind", ("127.3.3.3", 0)), ("a", "sendto", b"x", At("b")),
        ("b", "recvfrom", 9)],
    "loopback to the world": [("a", "bind", LO), ("a", "sendto", b"x", ("8.8.8.8", 9)),
        ("a", "connect", ("8.8.8.8", 9))],
    "port 0": [("a", "sendto", b"x", ("127.0.0.1", 0)), ("a", "sendmsg", [b"x"], [], 0, ("127.0.0.1", 0))],
    "broadcast needs leave": [("a", "sendto", b"x", ("255.255.255.255", 9)), ("a", "connect", ("<broadcast>", 9))],
    "out of band": [*SEND, ("a", "sendto", b"x", socket.MSG_OOB, At("b")), ("b", "recv", 9, socket.MSG_OOB)],
    "dontroute": [*SEND, ("a", "sendto", b"x", socket.MSG_DONTROUTE, At("b")), ("b", "recv", 9)],
    "confirm": [*SEND, ("a", "sendto", b"x", socket.MSG_CONFIRM, At("b")), ("b", "recv", 9)],
    "more": [*PAIR, ("a", "send", b"x", socket.MSG_MORE), ("b", "recv", 9), ("a", "send", b"y"), ("b", "recv", 9)],
    "more, elsewhere": [
        *SEND, ("c", "bind", LO), ("a", "sendto", b"x", socket.MSG_MORE, At("b")), ("a", "sendto", b"y", At("b")),
        ("b", "recv", 9), ("c", "recv", 9),
    ],
    "cork": [
        *PAIR, ("a", "setsockopt", 17, 1, 1), ("a", "send", b"x"), ("a", "send", b"y"), ("b", "recv", 9),
        ("a", "setsockopt", 17, 1, 0), ("b", "recv", 9),
    ],
    "segments": [*PAIR, ("a", "sendmsg", [b"abcdefgh"], [(17, 103, struct.pack("H", 3))]), *[("b", "recv", 9)] * 4],
    "segments option": [*PAIR, ("a", "setsockopt", 17, 103, 4), ("a", "send", b"abcdefgh"), *[("b", "recv", 9)] * 3],
    "segment too long": [*PAIR, ("a", "sendmsg", [b"ab"], [(17, 103, struct.pack("i", 3))]), ("b", "recv", 9)],
    "scattered": [*PAIR, ("a", "sendmsg", [b"ab", bytearray(b"c"), memoryview(b"d")]), ("b", "recv", 9)],
    "sendmsg of nothing": [*PAIR, ("a", "sendmsg", []), ("b", "recv", 9)],
    "sendall": [*PAIR, ("a", "sendall", b"abc"), ("b", "recv", 9)],
    "send of other buffers": [*PAIR, ("a", "send", memoryview(b"abcd")[1:3]),
        ("a", "send", bytearray(b"q")), *[("b", "recv", 9)] * 2],
    "connect": [("b", "bind", LO), ("a", "connect", At("b")), ("a", "getsockname"), ("a", "getpeername")],
    "connect to the wildcard": [("b", "bind", ANY), ("a", "connect", At("b", "0.0.0.0")), ("a", "getpeername"),
        ("a", "getsockname")],
    "connect to a name": [("b", "bind", LO), ("a", "connect", At("b", "localhost")), ("a", "getpeername")],
    "connect to port 0": [("a", "connect", ("127.0.0.1", 0)), ("a", "getpeername"), ("a", "getsockname"),
        ("a", "send", b"x")],
    "connect_ex": [("b", "bind", LO), ("a", "connect_ex", At("b")), ("a", "connect_ex", ("255.255.255.255", 9))],
    "connected talk": [*PAIR, ("a", "send", b"x"), ("b", "recvfrom", 9), ("b", "send", b"y"), ("a", "recvfrom", 9)],
    "connected and sendto": [*PAIR, ("c", "bind", LO), ("a", "sendto", b"x", At("c")), ("c", "recvfrom", 9)],
    "connected filter": [*PAIR, ("c", "bind", LO), ("c", "sendto", b"no", At("a")), ("a", "recv", 9),
        ("b", "send", b"yes"), ("a", "recv", 9)],
    "filtered sender is refused": [*PAIR, ("c", "connect", At("a")), ("c", "send", b"no"),
        ("c", "send", b"again"), ("c", "send", b"third")],
    "what waited before connect stays": [*SEND, ("c", "sendto", b"early", At("a")), ("a", "connect", At("b")),
        ("a", "recv", 9)],
    "reconnect": [*PAIR, ("c", "bind", LO), ("a", "connect", At("c")), ("a", "getpeername"), ("a", "send", b"x"),
        ("c", "recv", 9), ("b", "recv", 9)],
    "reconnect outward": [("b", "bind", LO), ("a", "connect", At("b")), ("a", "connect", ("8.8.8.8", 9)),
        ("a", "getpeername")],
    "disconnect": [*PAIR, ("a", "disconnect"), ("a", "getpeername"), ("a", "send", b"x"), ("a", "getsockname")],
    "disconnect unbound": [("b", "bind", LO), ("a", "connect", At("b")), ("a", "disconnect"),
        ("a", "getsockname"), ("a", "sendto", b"x", At("b")), ("b", "recv", 9)],
    "disconnect wildcard": [("b", "bind", LO), ("a", "bind", ANY), ("a", "connect", At("b")),
        ("a", "getsockname"), ("a", "disconnect"), ("a", "getsockname")],
    "disconnect hears others": [*PAIR, ("a", "disconnect"), ("c", "sendto", b"x", At("a")), ("a", "recv", 9)],
    "disconnect unconnected": [("a", "disconnect"), ("a", "bind", LO), ("a", "disconnect"), ("a", "getsockname")],
    "two connected children and a server": [
        ("a", "bind", LO), ("b", "bind", LO), ("c", "setsockopt", SOL, REUSEADDR, 1), ("a", "connect", At("b")),
        ("b", "sendto", b"x", At("a")), ("a", "recv", 9),
    ],
    "refused on the next send": [*REFUSED, ("a", "send", b"y"), ("a", "send", b"z")],
    "refused on the next recv": [*REFUSED, ("a", "recv", 9), ("a", "recv", 9)],
    "refused on peek": [*REFUSED, ("a", "recv", 9, PEEK), ("a", "recv", 9)],
    "refused on recvmsg": [*REFUSED, ("a", "recvmsg", 9), ("a", "recvmsg", 9)],
    "refused on recv_into": [*REFUSED, ("a", "recv_into", 9), ("a", "recv_into", 9)],
    "refused on recvfrom_into": [*REFUSED, ("a", "recvfrom_into", 9)],
    "refused on sendto": [*REFUSED, ("b", "bind", LO), ("a", "sendto", b"y", At("b")),
        ("a", "sendto", b"y", At("b")), ("b", "recv", 9)],
    "refused in SO_ERROR": [*REFUSED, ("a", "getsockopt", SOL, socket.SO_ERROR),
        ("a", "getsockopt", SOL, socket.SO_ERROR), ("a", "recv", 9)],
    "refused is not told by names": [*REFUSED, ("a", "getpeername"), ("a", "recv", 9)],
    "refused survives reconnect": [*REFUSED, ("b", "bind", LO), ("a", "connect", At("b")), ("a", "recv", 9),
        ("a", "recv", 9)],
    "refused comes before data": [
        *SEND, ("gone", "bind", LO), ("b", "sendto", b"data", At("a")), ("a", "connect", At("gone")),
        ("gone", "close"),
        ("a", "send", b"x"), ("a", "recv", 9), ("a", "recv", 9),
    ],
    "refused nobody who is not connected": [("gone", "bind", LO), ("a", "bind", LO), ("b", "connect", At("gone")),
        ("gone", "close"), ("a", "recv", 9)],
    "unconnected with RECVERR": [
        ("a", "setsockopt", 0, 11, 1), ("gone", "bind", LO), ("b", "connect", At("gone")),
        ("a", lambda s, at: s.connect(at), At("gone")), ("gone", "close"), ("a", "send", b"x"), ("a", "recv", 9),
    ],
    "shutdown unconnected": [("a", "shutdown", RD), ("a", "shutdown", 7), ("a", "shutdown", -1)],
    "shutdown reading": [*PAIR, ("a", "shutdown", RD), ("a", "recv", 9), ("a", "send", b"x"), ("b", "recv", 9)],
    "shutdown reading keeps data": [*PAIR, ("b", "send", b"x"), ("a", "shutdown", RD), ("a", "recv", 9),
        ("a", "recv", 9)],
    "shutdown reading still hears": [*PAIR, ("a", "shutdown", RD), ("b", "send", b"x"), ("a", "recv", 9)],
    "shutdown writing": [*PAIR, ("a", "shutdown", WR), ("a", "send", b"x"), ("a", "sendto", b"x", At("b")),
        ("b", "send", b"y"), ("a", "recv", 9)],
    "shutdown both": [*PAIR, ("a", "shutdown", RDWR), ("a", "send", b"x"), ("a", "recv", 9)],
    "shutdown writing, empty": [*PAIR, ("a", "shutdown", WR), ("a", "send", b""), ("a", "sendmsg", [b""])],
    "blocking recv after shutdown": [*PAIR, ("a", "shutdown", RD), ("a", "setblocking", True), ("a", "recv", 9),
        ("a", "recvfrom", 9), ("a", "recvmsg", 9), ("a", "recv_into", 4)],
    "timeout": [("a", "bind", LO), ("a", "settimeout", 0.02), ("a", "recv", 9), ("a", "recvfrom_into", 9),
        ("a", "recvmsg", 9), ("a", "recv", 9, DONTWAIT), ("a", "gettimeout")],
    "not blocking": [("a", "bind", LO), ("a", "recv", 9), ("a", "recvfrom", 9), ("a", "recv_into", 9),
        ("a", "recvmsg_into", [9]), ("a", "getblocking")],
    "blocking with DONTWAIT": [("a", "bind", LO), ("a", "setblocking", True), ("a", "recv", 9, DONTWAIT),
        ("a", "recvmsg", 9, 0, DONTWAIT)],
    "SO_RCVTIMEO": [("a", "bind", LO), ("a", "settimeout", None),
        ("a", "setsockopt", SOL, socket.SO_RCVTIMEO, struct.pack("ll", 0, 20000)), ("a", "recv", 9)],
    "receiving unbound": [("a", "recv", 9), ("a", "recvfrom", 9), ("a", "getsockname")],
    "error queue": [("a", "bind", LO), ("a", "recv", 9, 0x2000)],
    "closed": [("a", "close"), *[("a", *call) for call in [
        ("recv", 9), ("send", b"x"), ("sendto", b"x", ("127.0.0.1", 9)), ("bind", LO), ("connect", LO),
        ("getsockname",),
        ("getpeername",), ("getsockopt", 1, 4), ("setsockopt", 1, 2, 1), ("shutdown", RD), ("recvmsg", 9),
        ("sendmsg", [b"x"]),
        ("fileno",), ("close",), ("settimeout", 1), ("recv_into", 9), ("detach",), ("dup", "d"), ("listen",),
        ("accept",),
    ]]],
    "listening and accepting": [("a", "listen"), ("a", "listen", 3), ("a", "accept")],
    "dup shares all": [
        *SEND, ("b", "dup", "d"), ("a", "sendto", b"1", At("b")), ("d", "recv", 9), ("b", "recv", 9),
        ("d", "getsockname"),
        ("b", "close"), ("a", "sendto", b"2", At("d")), ("d", "recv", 9), ("d", "connect", At("a")),
        ("d", "getpeername"),
    ],
    "dup shares the peer": [*PAIR, ("a", "dup", "d"), ("d", "getpeername"), ("d", "send", b"x"),
        ("b", "recvfrom", 9)],
    "dup shares options": [("a", "setsockopt", SOL, REUSEADDR, 1), ("a", "dup", "d"),
        ("d", "getsockopt", SOL, REUSEADDR)],
    "dup keeps the port": [*SEND, ("b", "dup", "d"), ("b", "close"), ("c", "bind", At("d"))],
    "port taken": [("a", "bind", LO), ("b", "bind", At("a")), ("b", "bind", At("a", "127.0.0.2")),
        ("c", "bind", At("a", ""))],
    "wildcard port taken": [("a", "bind", ANY), ("b", "bind", At("a", "127.0.0.1")),
        ("b", "bind", At("a", "127.0.0.2"))],
    "port free again": [("gone", "bind", LO), ("a", lambda s, at: None, At("gone")), ("a", "getsockname")],
    "reuseaddr one": [("b", "setsockopt", SOL, REUSEADDR, 1), ("a", "bind", LO), ("b", "bind", At("a"))],
    "reuseaddr both": [
        *[(x, "setsockopt", SOL, REUSEADDR, 1) for x in "ab"], ("a", "bind", LO), ("b", "bind", At("a")),
        ("c", "sendto", b"x", At("a")), ("b", "recv", 9), ("a", "recv", 9),
    ],
    "reuseaddr later": [("a", "bind", LO), *[(x, "setsockopt", SOL, REUSEADDR, 1) for x in "ab"],
        ("b", "bind", At("a"))],
    "reuseport both": [*[(x, "setsockopt", SOL, REUSEPORT, 1) for x in "ab"], ("a", "bind", LO),
        ("b", "bind", At("a"))],
    "reuseport one": [("b", "setsockopt", SOL, REUSEPORT, 1), ("a", "bind", LO), ("b", "bind", At("a"))],
    "reuse mixed": [("a", "setsockopt", SOL, REUSEADDR, 1), ("b", "setsockopt", SOL, REUSEPORT, 1),
        ("a", "bind", LO), ("b", "bind", At("a"))],
    "specific before wildcard": [
        *[(x, "setsockopt", SOL, REUSEADDR, 1) for x in "ab"], ("a", "bind", LO), ("b", "bind", At("a", "")),
        ("c", "sendto", b"x", At("a")), ("a", "recv", 9), ("c", "sendto", b"y", At("a", "127.0.0.2")),
        ("b", "recv", 9),
    ],
    "connected before bound": [
        *[(x, "setsockopt", SOL, REUSEADDR, 1) for x in "ab"], ("c", "bind", LO), ("a", "bind", LO),
        ("b", "bind", At("a")),
        ("a", "connect", At("c")), ("c", "sendto", b"x", At("a")), ("a", "recv", 9), ("b", "recv", 9),
    ],
    "multicast loops": [
        ("a", "bind", ("", 0)), ("a", "setsockopt", 0, 35,
        socket.inet_aton(GROUP) + socket.inet_aton("127.0.0.1")),
        ("b", "setsockopt", 0, 32, socket.inet_aton("127.0.0.1")), ("b", "sendto", b"x", At("a", GROUP)),
        ("a", "recv", 9), ("a", "setsockopt", 0, 36, socket.inet_aton(GROUP) + socket.inet_aton("127.0.0.1")),
        ("b", "sendto", b"y", At("a", GROUP)), ("a", "recv", 9),
    ],
    "memberships": [
        ("a", "setsockopt", 0, 35, bytes(8)), ("a", "setsockopt", 0, 35, bytes(4)),
        *[("a", "setsockopt", 0, option,
        socket.inet_aton(GROUP) + socket.inet_aton("127.0.0.1")) for option in (36, 35, 35, 36, 36)],
    ],
    "wrong types": [
        *[("a", "sendto", *args) for args in [
            (), (b"x",), (b"x", 1, 2, 3), ("x", ("127.0.0.1", 9)), (b"x", "addr"), (b"x", None), (b"x", 0, None),
            (1, ("127.0.0.1", 9)),
            (b"x", ("127.0.0.1",)), (b"x", ("127.0.0.1", 9, 9)), (b"x", ("127.0.0.1", "9")), (b"x", (1, 9)),
            (b"x", ("127.0.0.1", -1)),
            (b"x", ("127.0.0.1", 65536)), (b"x", ("127.0.0.1", 1.5)), (b"x", "0", ("127.0.0.1", 9)),
            (b"x", ("127.0.0.1\0", 9)),
            (b"x", ["127.0.0.1", 9]), (b"x", ("::1", 9)),
        ]],
        *[("a", method, address) for method in ("bind", "connect", "connect_ex") for address in [
            None, 5, "x", ("x",), ("127.0.0.1", "x"), (5, 5), ("127.0.0.1", 70000), ("127.0.0.1", 1, 2),
            ("::1", 5), ["127.0.0.1", 5],
        ]],
        *[("a", "recv", *args) for args in [("x",), (-1,), (5, "x"), (1.5,), (None,)]],
        *[("a", "recvfrom", *args) for args in [("x",), (-1,), (5, "x")]],
        *[("a", "recvmsg", *args) for args in [("x",), (-1,), (5, -1), (5, 0, "x"), (5, 1 << 40)]],
        *[("a", lambda s, args=args: s.recv_into(*args)) for args in [(bytearray(4), 5), (bytearray(4), -1),
        (b"ro",), (5,)]],
        *[("a", lambda s, args=args: s.recvfrom_into(*args)) for args in [(bytearray(4), 5), (bytearray(4), -1),
        (b"ro",), (5,)]],
        *[("a", lambda s, args=args: s.recvmsg_into(*args)) for args in [(5,), ([b"ro"],), ([5],),
        ([bytearray(3)], -1)]],
        *[("a", "sendmsg", *args) for args in [(5,), ([5],), ([b"x"], 5), ([b"x"], [5]), ([b"x"], [(1, 2)]),
        ([b"x"], [(1, 2, 3)]), ([b"x"], [], "f")]],
        ("a", "send", "text"), ("a", "send", None), ("a", "send", b"x", "flags"), ("a", "sendall", 5),
         ("a", "getsockopt", 1, "x"), ("a", "getsockopt", 1, 4, -1),
        ("a", "getsockopt", 1, 4, 5000),
         ("a", "setsockopt", 1, 2, "x"), ("a", "setsockopt", 1, 2, None),
        ("a", "shutdown", "x"),
        ("a", "settimeout", -1), ("a", "settimeout", "x"), ("a", "listen", "x"),
    ],
    "numbers that do not fit C": [
        ("a", "setblocking", True),
        *[("a", method, *args) for method, *args in [
            ("recv", 1 << 70), ("recv", -(1 << 70)), ("recv", 1, 1 << 40), ("recv", 1, -(1 << 40)),
            ("recv", 1, 1 << 70), ("recv", -1, "x"), ("recvfrom", 1 << 70), ("recvfrom", 1, 1 << 40),
            ("recvmsg", 1 << 70), ("recvmsg", 1, 1 << 70), ("recvmsg", 1, 0, 1 << 40), ("send", b"x", 1 << 40),
            ("sendto", b"x", 1 << 40, ("127.0.0.1", 9)), ("sendmsg", [b"x"], [], 1 << 40),
        ]],
        *[("a", lambda s, args=args: s.recv_into(bytearray(4), *args)) for args in [(1 << 70,), (1, 1 << 40)]],
        *[("a", lambda s, args=args: s.recvfrom_into(bytearray(4), *args)) for args in [(1 << 70,), (1, 1 << 40)]],
        *[("a", lambda s, args=args: s.recvmsg_into([bytearray(4)], *args)) for args in [(1 << 70,), (1, 1 << 40)]],
    ],
    "more buffers than iovecs": [
        *PAIR, ("a", "sendmsg", [b"x"] * 1024), ("a", "sendmsg", [b"x"] * 1025),
        ("b", lambda s: s.recvmsg_into([bytearray(1) for _ in range(1025)])),
        ("b", lambda s: s.recvmsg_into([bytearray(1) for _ in range(1024)])[0]),
    ],
    "to a bytearray": [
        ("b", "bind", LO), *[("a", lambda s, at: s.sendto(b"x", (bytearray(b"127.0.0.1"), at[1])), At("b"))] * 2,
        *[("b", "recv", 9)] * 3,
    ],
    "a name too long for IDNA": [("a", "sendto", b"x", ("a" * 70 + ".invalid", 9))],
    "error queue, with patience": [("a", "bind", LO), ("a", "settimeout", 0.02), ("a", "recv", 9, 0x2000)],
    "arguments before waiting": [("a", "setblocking", True), ("a", "recv", -1), ("a", "recvmsg", 5, -1),
        ("a", "recv", 0)],
    "control messages sent": [
        *PAIR, *[("a", "sendmsg", [b"x"], [message]) for message in [
            (0, 2, struct.pack("i", 9)), (0, 2, struct.pack("i", 0)), (0, 2, struct.pack("i", 256)),
            (0, 2, b"\1"), (0, 1, b"\4"),
            (0, 1, struct.pack("i", 4)), (0, 99, b""), (1, 99, b""), (1, 1, b"abcd"), (41, 50, bytes(20)),
            (99, 1, b"x"),
            (0, 8, bytes(12)), (0, 8, bytes(11)), (17, 103, struct.pack("H", 0)), (17, 99, b""),
        ]],
    ],
    "makefile reads": [*PAIR, ("a", "send", b"line\n"), ("b", "setblocking", True), ("b", lambda s: read_file(s))],
    "makefile writes": [*PAIR, ("a", lambda s: write_file(s)), ("b", "recv", 99)],
    "makefile keeps it open": [*PAIR, ("a", lambda s: keep_open(s)), ("b", "recv", 99)],
    "attributes": [("a", lambda s: (int(s.family), int(s.type), s.proto, s.timeout, s.getblocking(),
        s.get_inheritable()))],
    "inheritable": [("a", "set_inheritable", True), ("a", "get_inheritable"), ("a", "set_inheritable", False),
        ("a", "get_inheritable")],
    "no attributes of one's own": [("a", lambda s: setattr(s, "family", 5))],
    "pickling": [("a", lambda s: __import__("pickle").dumps(s))],
    "sendfile": [*PAIR, ("a", lambda s: send_file(s))],
    "detach": [*SEND, ("b", lambda s: s.detach() > 0), ("b", "fileno"), ("b", "recv", 9), ("b", "close")],
}  # fmt: skip


def read_file(sock: Any) -> Any:
    with sock.makefile("rb") as file:
        return file.read1(9)


def write_file(sock: Any) -> Any:
    with sock.makefile("w") as file:
        file.write("hello ")
        file.write("there")


def send_file(sock: Any) -> Any:
    with open(__file__, "rb") as file:
        return sock.sendfile(file)


def keep_open(sock: Any) -> Any:
    file = sock.makefile("wb", 0)
    sock.close()
    size = file.write(b"still")
    open_fd = sock.fileno() >= 0
    file.close()
    return size, open_fd, sock.fileno()
