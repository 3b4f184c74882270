"""Calls on UDP sockets, one after the other, that a program may make: over IPv6.

Law: a case is a name and calls on sockets a, b, gone, and four (AF_INET), none of which blocks. What must happen stands
nowhere: the kernel is asked.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from .worlds import At

SIX: Final[dict[str, list[tuple[Any, ...]]]] = {
    "names": [("a", "getsockname"), ("a", "bind", ("::1", 0)), ("a", "getsockname"), ("a", "getpeername")],
    "wildcard": [("a", "bind", ("", 0)), ("a", "getsockname")],
    "four-tuples": [("b", "bind", ("::1", 0, 0, 0)), ("a", "sendto", b"x", At("b")), ("b", "recvfrom", 9)],
    "pairs": [("b", "bind", ("::1", 0)), ("a", lambda s, at: s.sendto(b"x", at[:2]), At("b")), ("b", "recvfrom", 9)],
    "mapped": [("b", "bind", ("::", 0)), ("a", "sendto", b"x", At("b", "::ffff:127.0.0.1")), ("b", "recvfrom", 9)],
    "mapped bind": [("b", "bind", ("::ffff:127.0.0.1", 0)), ("b", "getsockname"),
        ("four", "sendto", b"x", At("b", "127.0.0.1"))],
    "mapped bind is not six": [("b", "bind", ("::ffff:127.0.0.1", 0)), ("a", "sendto", b"x", At("b", "::1")),
        ("b", "recv", 9)],
    "mapped wildcard": [("b", "bind", ("::ffff:0.0.0.0", 0)), ("b", "getsockname")],
    "mapped connect": [("b", "bind", ("::", 0)), ("a", "connect", At("b", "::ffff:127.0.0.1")),
        ("a", "getsockname"), ("a", "getpeername"), ("a", "send", b"x"), ("b", "recvfrom", 9)],
    "v6only": [("a", "setsockopt", 41, 26, 1), ("a", "sendto", b"x", ("::ffff:127.0.0.1", 9)),
        ("a", "connect", ("::ffff:127.0.0.1", 9)), ("b", "setsockopt", 41, 26, 1),
        ("b", "bind", ("::ffff:127.0.0.1", 0))],
    "v6only after binding": [("a", "bind", ("::", 0)), ("a", "setsockopt", 41, 26, 1), ("a", "getsockopt", 41, 26)],
    "v6only leaves four alone": [("b", "setsockopt", 41, 26, 1), ("b", "bind", ("::", 0)),
        ("four", "bind", At("b", "0.0.0.0")), ("a", "sendto", b"x", At("b", "::1")), ("b", "recv", 9),
        ("four", "recv", 9)],
    "dual takes four": [("b", "bind", ("::", 0)), ("four", "bind", ("127.0.0.1", 0))],
    "connect": [("b", "bind", ("::1", 0)), ("a", "connect", At("b")), ("a", "getsockname"), ("a", "getpeername"),
        ("a", "send", b"x"), ("b", "recvfrom", 9)],
    "connect to the wildcard": [("b", "bind", ("::1", 0)), ("a", "connect", At("b", "::")), ("a", "getpeername")],
    "to the wildcard": [("b", "bind", ("::1", 0)), ("a", "sendto", b"x", At("b", "::")), ("b", "recvfrom", 9)],
    "refused": [("gone", "bind", ("::1", 0)), ("a", "connect", At("gone")), ("gone", "close"),
        ("a", "send", b"x"), ("a", "send", b"x"), ("a", "send", b"x")],
    "literal of the other family": [("a", "sendto", b"x", ("127.0.0.1", 9)), ("a", "bind", ("127.0.0.1", 0)),
        ("a", "connect", ("127.0.0.1", 9))],
    "wrong tuples": [*[("a", "connect", address) for address in [("::1",), ("::1", 1, 2, 3, 4), ("::1", "x"),
        ("::1", 1, -1), ("::1", 1, 1 << 20), (5, 5), 5, ("::1", 70000)]]],
    "flow and scope": [
        ("b", "bind", ("::1", 0)), ("a", lambda s, at: s.sendto(b"x", (*at[:2], 5, 1)), At("b")), ("b", "recvfrom", 9),
        ("a", lambda s, at: s.connect((*at[:2], 7, 1)), At("b")), ("a", "getpeername"), ("a", "getsockname"),
    ],
    "link-local without a link": [("a", "bind", ("fe80::1", 0)), ("a", "connect", ("fe80::1", 9))],
    "scope of what has none": [("a", "sendto", b"x", ("::1%lo", 9)), ("a", "connect", ("::1%lo", 9))],
    "stranger": [("a", "bind", ("2001:db8::1", 0)), ("a", "bind", ("::2", 0))],
    "long": [("b", "bind", ("::1", 0)), ("a", "sendto", bytes(70000), At("b"))],
    "port 0": [("a", "sendto", b"x", ("::1", 0)), ("a", "send", b"x")],
    "hop limits received": [
        ("b", "bind", ("::1", 0)), *[("b", "setsockopt", 41, option, 1) for option in (49, 51, 66)],
        ("a", "sendto", b"1", At("b")), ("b", "recvmsg", 9, 200),
        ("a", "setsockopt", 41, 16, 7), ("a", "setsockopt", 41, 67, 5), ("a", "sendto", b"2", At("b")),
        ("b", "recvmsg", 9, 200),
        ("a", "sendmsg", [b"3"], [(41, 52, struct.pack("i", 3)), (41, 67, struct.pack("i", 4))], 0, At("b")),
        ("b", "recvmsg", 9, 200),
        *[call for room in range(0, 80, 4) for call in [("a", "sendto", b"x", At("b")), ("b", "recvmsg", 9, room)]],
    ],
    "hop limits of four": [
        ("b", "bind", ("::", 0)), *[("b", "setsockopt", 41, option, 1) for option in (49, 51, 66)],
        ("four", "sendto", b"1", At("b", "127.0.0.1")), ("b", "recvmsg", 9, 200),
    ],
    "bad control messages": [
        ("b", "bind", ("::1", 0)), *[("a", "sendmsg", [b"x"], [message], 0, At("b")) for message in [
            (41, 52, struct.pack("i", 300)), (41, 52, struct.pack("i", -1)), (41, 52, b""), (41, 99, b""),
            (0, 2, b""), (41, 67, struct.pack("i", 256)), (41, 52, struct.pack("i", 4) + b"\0"),
        ]],
    ],
}  # fmt: skip
