"""One table of calls, made on the kernel's UDP sockets first and then on ours; the same must happen."""

from __future__ import annotations

import pytest

from peer_relay_socket.conformance.cases import CASES, DONTWAIT, INET6, LO, PAIR, PEEK, RD, SEND, TRUNC, WAITALL
from peer_relay_socket.conformance.cases6 import SIX
from peer_relay_socket.system import MSG_MORE
from tests.surface.twins import At, Twins


@pytest.mark.parametrize("name", [name for name in CASES if MSG_MORE or not name.startswith("more")])
def test_same_happens(name):
    with Twins() as twins:
        twins.open("a", "b", "c", "gone")
        for who, *call in CASES[name]:
            twins.both(who, *call)


def test_a_timed_recv_after_shutdown_times_out():
    """No case of the conformance program: eventlet begins such a wait anew, and on a busy machine it ends, or not."""
    with Twins() as twins:
        twins.open("a", "b")
        for who, *call in [*PAIR, ("a", "shutdown", RD), ("a", "settimeout", 0.02), ("a", "recv", 9)]:
            twins.both(who, *call)


RECEIVERS = {
    "recv": lambda s, size, flags: (lambda data: (len(data), data[:size]))(s.recv(size, flags)),
    "recvfrom": lambda s, size, flags: (lambda got: (len(got[0]), got[0][:size], got[1]))(s.recvfrom(size, flags)),
    "recv_into": lambda s, size, flags: into(s.recv_into, size, flags),
    "recvfrom_into": lambda s, size, flags: into(s.recvfrom_into, size, flags),
    "recvmsg": lambda s, size, flags: s.recvmsg(size, 0, flags),
    "recvmsg_into": lambda s, size, flags: scatter(s, size, flags),
}


def into(method, size, flags):
    buffer = bytearray(b"." * size)
    return method(buffer, 0, flags), bytes(buffer)


def scatter(sock, size, flags):
    buffers = [bytearray(b"." * 2), bytearray(0), bytearray(b"." * max(0, size - 2))]
    return sock.recvmsg_into(buffers, 0, flags), [bytes(buffer) for buffer in buffers]


@pytest.mark.parametrize("flags", [0, PEEK, TRUNC, PEEK | TRUNC, DONTWAIT, WAITALL, PEEK | DONTWAIT])
@pytest.mark.parametrize("size", [0, 1, 5, 10, 20])
@pytest.mark.parametrize("length", [0, 1, 10])
@pytest.mark.parametrize("method", RECEIVERS)
def test_same_is_received(method, length, size, flags):
    with Twins() as twins:
        twins.open("a", "b")
        for who, *call in SEND:
            twins.both(who, *call)
        for data in (b"0123456789"[:length], b"next"):
            twins.both("a", "sendto", data, At("b"))
        twins.same_readiness("b")
        for each in (flags, flags, 0, 0, 0):
            twins.both("b", RECEIVERS[method], size, each)
            twins.same_readiness("b")


@pytest.mark.parametrize("name", SIX)
def test_same_happens_with_ipv6(name):
    with Twins() as twins:
        twins.open("a", "b", "gone", family=INET6)
        twins.open("four")
        for who, *call in SIX[name]:
            twins.both(who, *call)


@pytest.mark.parametrize("room", [0, 8, 15, 16, 20, 27, 28, 32, 48, 64, 100])
@pytest.mark.parametrize("options", [[8], [12], [13], [8, 12, 13], [12, 20], []])
def test_same_control_messages_are_received(room, options):
    with Twins() as twins:
        twins.open("a", "b")
        twins.both("b", "bind", LO)
        for option in options:
            twins.both("b", "setsockopt", 0, option, 1)
        twins.both("a", "setsockopt", 0, 2, 33)
        for data in (b"x", b"longer than that"):
            twins.both("a", "sendto", data, At("b"))
            twins.both("b", lambda s: without_port(s.recvmsg(4, room)))


def without_port(got):
    """IP_ORIGDSTADDR carries the port."""
    data, controls, flags, source = got
    return (
        data,
        [(level, kind, raw[:2] + raw[4:] if kind == 20 else raw) for level, kind, raw in controls],
        flags,
        source,
    )
