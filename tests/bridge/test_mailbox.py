from __future__ import annotations

import select
import socket
import threading

import pytest

from peer_relay_socket.bridge import readiness
from peer_relay_socket.bridge.endpoint import Endpoint, endpoint_of, open_endpoint
from peer_relay_socket.bridge.host import Host
from peer_relay_socket.bridge.mailbox import Flow, Inbox, Outbox
from peer_relay_socket.config import peer_config
from peer_relay_socket.limits import DATAGRAM_OVERHEAD

SOURCE = ("100.64.0.1", 7)


class Doorbell:
    """An inbox, the socket whose fd it drives, and the hidden end."""

    def __init__(self, bound: int = 1 << 20) -> None:
        fd, hidden = readiness.pair()
        self.sock = socket.socket(fileno=fd)
        self.inbox = Inbox(readiness.Readiness(hidden), bound)

    def readable(self) -> bool:
        return bool(select.select([self.sock], [], [], 0)[0])

    def close(self) -> None:
        self.sock.close()
        self.inbox.close()
        self.inbox.readiness.close()


@pytest.fixture
def bell():
    bell = Doorbell()
    yield bell
    bell.close()


@pytest.fixture
def endpoint():
    host = Host(peer_config())
    fd, endpoint = open_endpoint(host, None, socket.AF_INET, socket.SOCK_DGRAM, 0)
    sock = socket.socket(fileno=fd)
    holder = endpoint.hold(sock)
    yield endpoint, sock
    sock.close()
    endpoint.release(holder)


def test_outbox_rings_once_per_burst_and_takes_each_flow_once(endpoint):
    end, _ = endpoint
    outbox, rings = Outbox(), []
    outbox.ring = lambda: rings.append(None)
    flows = [Flow(end, bytes(20), 1, port, 4) for port in (1, 2)]
    for flow in flows:
        flow.queued = True
        outbox.post(flow)
    assert len(rings) == 1
    assert not outbox.idle()
    assert outbox.take() == flows
    assert not any(flow.queued for flow in flows)
    assert outbox.idle()
    outbox.post(flows[0])
    assert len(rings) == 2


def test_outbox_keeps_what_was_posted_before_anybody_listens(endpoint):
    outbox = Outbox()
    flow = Flow(endpoint[0], bytes(20), 1, 2, 4)
    outbox.post(flow)
    assert outbox.take() == [flow]


@pytest.mark.parametrize(
    ("room", "expected"),
    [(0, 0), (1, 1), (9, 1), (10, 1), (19, 1), (20, 2), (29, 2), (30, 3), (1000, 3)],
)
def test_flow_takes_what_fits_and_at_least_one(endpoint, room, expected):
    flow = Flow(endpoint[0], bytes(20), 1, 2, 4)
    flow.waiting += [b"a" * 10, b"b" * 10, b"c" * 10]
    taken = flow.take(room)
    assert [data[:1] for data in taken] == [b"a", b"b", b"c"][:expected]
    assert len(flow.waiting) == 3 - expected


def test_flow_gives_budget_back_when_taken(endpoint):
    end, _ = endpoint
    flow = Flow(end, bytes(20), 1, 2, 4)
    flow.waiting += [b"12345", b""]
    end.pending = 5 + 2 * DATAGRAM_OVERHEAD
    flow.take(100)
    assert end.pending == 0


def test_inbox_keeps_order_and_boundaries(bell):
    bell.inbox.put(SOURCE, [b"one", b""])
    bell.inbox.put(None, [b"two"])
    assert list(bell.inbox.ready) == [(b"one", SOURCE), (b"", SOURCE), (b"two", None)]


def test_inbox_drops_and_counts_what_passes_its_bound():
    bell = Doorbell(bound=10 * (100 + DATAGRAM_OVERHEAD))
    bell.inbox.put(SOURCE, [bytes(100)] * 50)
    assert len(bell.inbox.ready) == 11  # the one that passes the bound is still taken
    assert bell.inbox.dropped == 39
    for _ in range(6):
        bell.inbox.ready.popleft()
    bell.inbox.put(SOURCE, [bytes(100)] * 50)
    assert len(bell.inbox.ready) == 11
    bell.close()


def test_fd_is_readable_exactly_while_something_waits(bell):
    inbox = bell.inbox
    inbox.put(SOURCE, [b"early"])
    assert not bell.readable()  # nobody looked yet
    inbox.observe(bell.sock)
    assert bell.readable()
    inbox.put(SOURCE, [b"more"] * 3)
    inbox.put(SOURCE, [b"more"])
    for left in (4, 3, 2, 1, 0):
        assert bell.readable()
        inbox.ready.popleft()
        inbox.settle(bell.sock)
        assert len(inbox.ready) == left
    assert not bell.readable()
    inbox.fail(111)
    assert bell.readable()
    assert inbox.take_error() == 111
    inbox.settle(bell.sock)
    assert not bell.readable()


def test_fd_gives_a_new_edge_for_each_batch(bell):
    bell.inbox.observe(bell.sock)
    with select.epoll() as epoll:
        epoll.register(bell.sock, select.EPOLLIN | select.EPOLLET)
        for _ in range(3):
            bell.inbox.put(SOURCE, [b"x"])
            assert epoll.poll(0)
            assert not epoll.poll(0)


def test_two_readers_get_every_datagram_once(bell):
    inbox, got = bell.inbox, [[], []]

    def read(mine: list[bytes]) -> None:
        while not inbox.closed:
            try:
                mine.append(inbox.ready.popleft()[0])
            except IndexError:
                inbox.wait(None)

    threads = [threading.Thread(target=read, args=(mine,)) for mine in got]
    for thread in threads:
        thread.start()
    sent = [b"%d" % number for number in range(3000)]
    for start in range(0, 3000, 30):
        inbox.put(SOURCE, sent[start : start + 30])
    while inbox.ready:
        inbox.wait(0)
    inbox.close()
    for thread in threads:
        thread.join(5)
    assert not any(thread.is_alive() for thread in threads)
    assert sorted(got[0] + got[1]) == sorted(sent)


def test_wait_ends_at_its_timeout(bell):
    assert not bell.inbox.wait(0.01)


def test_send_budget_makes_fd_unwritable_until_half_is_free(endpoint):
    end, sock = endpoint

    def writable() -> bool:
        return bool(select.select([], [sock], [], 0)[1])

    end.inbox.observe(sock)
    flow = Flow(end, bytes(20), 1, 2, 4)
    end.remember(("x", 1), flow)
    assert end.has_room(sock)
    flow.waiting += [bytes(1000)] * 300
    assert not end.has_room(sock)
    assert not writable()
    assert not end.wait_for_room(0.01)
    flow.take(60_000)
    assert not writable()
    flow.take(200_000)
    assert writable()
    assert end.wait_for_room(0)


def test_endpoint_is_found_by_any_duplicate_of_its_fd(endpoint):
    end, sock = endpoint
    with sock.dup() as twin:
        assert endpoint_of(twin.fileno()) is end
    assert endpoint_of(sock.fileno()) is end
    with socket.socket() as stranger:
        assert endpoint_of(stranger.fileno()) is None
    assert endpoint_of(-1) is None


def test_endpoint_outlives_its_socket_objects_while_a_bare_fd_is_open():
    host = Host(peer_config())
    fd, end = open_endpoint(host, None, socket.AF_INET, socket.SOCK_DGRAM, 0)
    host.ports.bind(end, "", 4000)
    sock = socket.socket(fileno=fd)
    holder = end.hold(sock)
    sock.detach()
    end.release(holder, escaped=True)
    assert not end.inbox.closed
    other_fd, other = open_endpoint(host, None, socket.AF_INET, socket.SOCK_DGRAM, 0)
    with pytest.raises(OSError, match="in use"):
        host.ports.bind(other, "", 4000)
    socket.close(fd)
    host.ports.bind(other, "", 4000)
    assert end.inbox.closed
    socket.close(other_fd)
    assert other.close_if_abandoned()


def test_endpoint_closes_when_its_last_socket_is_garbage():
    host = Host(peer_config())
    fd, end = open_endpoint(host, None, socket.AF_INET, socket.SOCK_DGRAM, 0)
    sock = socket.socket(fileno=fd)
    end.hold(sock)
    with pytest.warns(ResourceWarning):
        del sock
    assert end.inbox.closed
    assert isinstance(end, Endpoint)
