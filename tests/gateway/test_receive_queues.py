"""What waits in sockets: the kernel's answer beside what is known of each, on this machine's own loopback."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

import pytest

from peer_relay_socket.gateway.receive_queues import Queue, ReceiveQueues

_SOCK_DIAG = 4


def key(source: tuple[str, int], port: int) -> bytes:
    family = socket.AF_INET6 if ":" in source[0] else socket.AF_INET
    own = "::1" if family == socket.AF_INET6 else "127.0.0.1"
    return socket.inet_pton(family, source[0]) + socket.inet_pton(family, own) + struct.pack("!HH", source[1], port)


@pytest.fixture
def queues() -> Iterator[ReceiveQueues]:
    tables = [os.open(f"/proc/self/net/{name}", os.O_RDONLY) for name in ("udp", "udp6")]
    with (
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as diag,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as known,
    ):
        yield ReceiveQueues(diag, tables, socket.if_nametoindex("lo"), known)
    for fd in tables:
        os.close(fd)


@pytest.fixture
def bound() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


def test_queue_is_what_waits_and_what_may(queues: ReceiveQueues, bound: socket.socket) -> None:
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 50_000)
    most, port = bound.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF), bound.getsockname()[1]
    assert queues.queue(key(("127.0.0.1", 5), port)) == Queue(0, most)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(3):
            sender.sendto(bytes(1200), ("127.0.0.1", port))
    queue = queues.queue(key(("127.0.0.1", 5), port))
    assert queue is not None
    assert 3 * 1200 < queue.waiting < 3 * 5000
    assert queue.most == most


def test_queue_is_that_of_the_socket_which_the_datagram_reaches(queues: ReceiveQueues, bound: socket.socket) -> None:
    """A connected socket hears its peer, another one on the port everything else; a dual-stack one hears both IPs."""
    port = bound.getsockname()[1]
    bound.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind(("127.0.0.1", 0))
        source = sender.getsockname()
        socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for sock in socks:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", port))
        socks[0].connect(source)
        sender.sendto(bytes(1200), ("127.0.0.1", port))
        connected, other = queues.queue(key(source, port)), queues.queue(key(("127.0.0.1", 5), port))
        assert connected is not None
        assert other is not None
        assert connected.waiting > 0 == other.waiting
        for sock in socks:
            sock.close()
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as dual:
        dual.bind(("::", 0))
        port = dual.getsockname()[1]
        assert queues.queue(key(("127.0.0.1", 5), port)) is not None
        assert queues.queue(key(("::1", 5), port)) is not None


def test_port_without_a_socket_has_no_queue(queues: ReceiveQueues) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as dual:
        dual.bind(("::", 0))  # on all addresses: no other program has the port on one of them
        port = dual.getsockname()[1]
        assert queues.hears(port)
    assert queues.queue(key(("127.0.0.1", 5), port)) is None
    assert not queues.hears(port)


def test_the_last_of_many_sockets_is_seen_as_the_first_is(queues: ReceiveQueues) -> None:
    socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(100)]
    for sock in socks:
        sock.bind(("127.0.0.1", 0))
    try:
        assert all(queues.hears(sock.getsockname()[1]) for sock in socks)
    finally:
        for sock in socks:
            sock.close()


def test_tables_answer_where_the_kernel_does_not(bound: socket.socket) -> None:
    """A netlink socket of another kind refuses the question, as a kernel without it does."""
    port = bound.getsockname()[1]
    table = os.open("/proc/self/net/udp", os.O_RDONLY)
    try:
        with (
            socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as routing,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as known,
        ):
            queues = ReceiveQueues(routing, [table], socket.if_nametoindex("lo"), known)
            known.sendto(bytes(1200), ("127.0.0.1", port))
            queue = queues.queue(key(("127.0.0.1", 5), port))
            assert queue is not None
            assert 1200 < queue.waiting < 5000
            bound.close()
            assert queues.queue(key(("127.0.0.1", 5), port)) is None
    finally:
        os.close(table)
