from __future__ import annotations

import errno
import socket

import pytest

from peer_relay_socket.address import AF_PEER, Prefix
from peer_relay_socket.bridge.endpoint import Local, Nowhere
from peer_relay_socket.bridge.host import Host
from peer_relay_socket.bridge.outbox import Flow
from peer_relay_socket.engine.effects import Deliver
from peer_relay_socket.surface.udp_socket import Socket

FAR = bytes(range(200, 220))
INET, INET6 = socket.AF_INET, socket.AF_INET6


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """No network: what goes to other peers stays in the outbox."""
    monkeypatch.setattr(Host, "start", lambda self: None)
    monkeypatch.setattr(Host, "settle", lambda self, timeout: self.peer_id)


@pytest.fixture
def spelling():
    with Socket() as sock:
        return sock.peer._host.spelling


def way(family, host, port=7):
    """Where a socket of `family` sends what is for (`host`, `port`)."""
    with Socket(family) as sock:
        sock.sendto(b"x", (host, port))
        endpoint = sock._endpoint
        return endpoint.flows[host, port]


@pytest.mark.parametrize("host", [FAR.hex(), FAR.hex().upper(), FAR.hex() + ".peer", FAR.hex() + ".PEER."])
@pytest.mark.parametrize(("family", "form"), [(INET, 4), (INET6, 6), (AF_PEER, 0)])
def test_every_family_takes_a_whole_id(family, form, host):
    flow = way(family, host)
    assert isinstance(flow, Flow)
    assert (flow.destination, flow.port, flow.form) == (FAR, 7, form)


def test_short_addresses_are_prefixes(spelling):
    four, six = spelling.ipv4(FAR), spelling.ipv6(FAR)
    assert way(INET, four).destination == Prefix(22, FAR[:2] + bytes([FAR[2] & 0xFC]) + bytes(17))
    assert way(INET6, six).destination == Prefix(120, FAR[:15] + bytes(5))
    mapped = way(INET6, "::ffff:" + four)
    assert (mapped.destination, mapped.form) == (way(INET, four).destination, 4)
    for host in (four, six):
        assert way(AF_PEER, host).destination.matches(FAR)


@pytest.mark.parametrize(("family", "host"), [(INET, "fd00::1"), (INET6, "100.64.0.1")])
def test_literals_of_another_family_are_refused_as_by_the_kernel(family, host):
    with Socket(family) as sock, pytest.raises(socket.gaierror):
        sock.sendto(b"x", (host, 7))


@pytest.mark.parametrize("host", ["no such host.invalid", "xyz.peer", "12345.peer", FAR.hex()[:-1]])
def test_what_is_no_address_does_not_resolve(host):
    with Socket(AF_PEER) as sock, pytest.raises(socket.gaierror):
        sock.sendto(b"x", (host, 7))


def test_peer_sockets_show_whole_ids():
    with Socket(AF_PEER) as sock:
        own = sock.peer.id.hex()
        sock.bind(("", 0))
        assert sock.getsockname() == (own, sock.getsockname()[1])
        sock.connect((FAR.hex() + ".peer", 9))
        assert sock.getpeername() == (FAR.hex(), 9)


@pytest.mark.parametrize(
    ("address", "error", "words"),
    [
        ("x", TypeError, "AF_PEER address must be tuple, not str"),
        (("a", 1, 2), TypeError, "must be a pair"),
        ((5, 5), TypeError, "str, bytes or bytearray expected, not int"),
        (("a", "b"), TypeError, "cannot be interpreted as an integer"),
        (("a", 65536), OverflowError, "port must be 0-65535"),
    ],
)
def test_peer_sockets_refuse_malformed_addresses_in_cpythons_words(address, error, words):
    with Socket(AF_PEER) as sock:
        for method in ("bind", "connect"):
            with pytest.raises(error, match=words):
                getattr(sock, method)(address)
        with pytest.raises(error, match=words):
            sock.sendto(b"x", address)


def test_own_address_is_local_however_spelled(spelling):
    with Socket() as sock:
        own = sock.peer.id
    for family, host in ((INET, spelling.ipv4(own)), (INET6, spelling.ipv6(own)), (AF_PEER, own.hex())):
        assert isinstance(way(family, host), Local)


def test_foreign_addresses_lead_nowhere():
    assert isinstance(way(INET, "192.168.1.1"), Nowhere)
    assert isinstance(way(INET6, "2001:db8::1"), Nowhere)


@pytest.mark.parametrize("host", ["192.168.1.1", "100.64.0.1", "8.8.8.8"])
def test_bind_refuses_addresses_of_others(host):
    with Socket() as sock:
        with pytest.raises(OSError, match="Cannot assign") as caught:
            sock.bind((host, 0))
        assert caught.value.errno == errno.EADDRNOTAVAIL


def test_reply_from_a_short_address_passes_the_filter_of_its_socket(spelling):
    with Socket() as sock:
        ports = sock.peer._host.ports
        sock.connect((spelling.ipv4(FAR), 7))
        sock.setblocking(False)
        port = sock.getsockname()[1]
        assert ports.deliver(Deliver(FAR, 7, port, 4, [b"yes"]))
        assert not ports.deliver(Deliver(FAR, 8, port, 4, [b"another port"]))
        assert not ports.deliver(Deliver(bytes(20), 7, port, 4, [b"another peer"]))
        assert sock.recvfrom(99) == (b"yes", (spelling.ipv4(FAR), 7))
        with pytest.raises(BlockingIOError):
            sock.recv(99)


def test_unreachable_peers_are_told_once_to_connected_sockets(spelling):
    with Socket() as sock:
        sock.connect((spelling.ipv4(FAR), 7))
        port = sock.getsockname()[1]
        flow = sock._endpoint.way
        sock.peer._host.ports.unreachable(flow.destination, 7, port, errno.EHOSTUNREACH)
        with pytest.raises(OSError, match="No route to host"):
            sock.send(b"x")
        assert sock.send(b"x") == 1
        assert sock.getsockopt(socket.IPPROTO_IP, 14) == 65535
