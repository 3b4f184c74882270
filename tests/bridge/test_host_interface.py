"""A host without sockets hears every port, answers from any, and is told what it should know."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest

from peer_relay_socket.address import Destination, PeerId
from peer_relay_socket.bridge.host_interface import HostInterface
from peer_relay_socket.config import peer_config
from peer_relay_socket.engine.effects import Deliver, Segment
from peer_relay_socket.limits import GATEWAY_FLOW_DATAGRAMS, GATEWAY_ROOM
from peer_relay_socket.surface.udp_socket import Socket
from tests.loopback import free_port
from tests.patience import LIMIT, until


class Kept:
    """A receiver that keeps what it is told; it listens on all ports but those in `shut`."""

    def __init__(self) -> None:
        self.heard: list[tuple[PeerId, int, int, int, list[bytes]]] = []
        self.segments: list[Segment] = []
        self.groups: list[tuple[str, int, bytes]] = []
        self.errors: list[tuple[Destination, int, int, int]] = []
        self.lost: list[tuple[Destination, int]] = []
        self.shut: set[int] = set()
        self.identities = 0

    def deliver(self, run: Deliver, filling: object = None) -> bool:
        self.heard.append(run[:5])
        return run.port not in self.shut

    def deliver_lone(self, run: object, datagram: bytes) -> bool:
        return False

    def deliver_segment(self, came: Segment) -> None:
        self.segments.append(came)

    def deliver_group(
        self, source: PeerId, source_port: int, port: int, form: int, group: str, datagram: bytes
    ) -> None:
        self.groups.append((group, port, datagram))

    def unreachable(self, destination: Destination, port: int, source_port: int, error: int) -> None:
        self.errors.append((destination, port, source_port, error))

    def unreachable_peer(self, destination: Destination, error: int, why: str = "") -> None:
        self.lost.append((destination, error))

    def identity_changed(self) -> None:
        self.identities += 1


class World:
    """A node that serves, a socket on it, and a host without sockets."""

    def __init__(self) -> None:
        port = free_port()
        self.url = f"ws://127.0.0.1:{port}"
        self.sock = Socket(port=port, wrtc=False)
        self.sock.settimeout(LIMIT)
        self.sock.bind(("", 9000))
        self.kept = Kept()
        self.interface = HostInterface(peer_config(bootstrap=self.url, wrtc=False), self.kept)
        self.own = self.interface.start(LIMIT)

    def send(self, source_port: int, port: int, datagrams: list[bytes]) -> None:
        flow = self.interface.flow(self.sock.peer.id, source_port, port, 4)
        assert self.interface.run(self.interface.offer, flow, datagrams)
        self.interface.run(self.interface.send, [flow])


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.interface.close()
    world.sock.close()


def test_any_port_is_heard_and_may_be_answered_from(world: World) -> None:
    host = world.interface.spelling.ipv4(world.own)
    for port in (1, 53, 65535):
        world.sock.sendto(b"to %d" % port, (host, port))
        until(lambda port=port: any(heard[2] == port for heard in world.kept.heard))
        source, source_port, _, form, datagrams = world.kept.heard[-1]
        assert (source, source_port, form, datagrams) == (world.sock.peer.id, 9000, 4, [b"to %d" % port])
        world.send(port, 9000, [b"back"])
        assert world.sock.recvfrom(100) == (b"back", (host, port))


def test_batch_arrives_in_order_and_a_lone_datagram_by_the_short_way(world: World) -> None:
    world.send(7, 9000, [b"%d" % number for number in range(100)])
    assert [world.sock.recv(100) for _ in range(100)] == [b"%d" % number for number in range(100)]
    flow = world.interface.flow(world.sock.peer.id, 7, 9000, 4)
    until(lambda: world.interface.run(world.interface.send_now, flow, b"lone"))
    assert world.sock.recv(100) == b"lone"
    assert world.interface.pending == 0


def test_refusals_go_both_ways(world: World) -> None:
    world.send(7, 9999, [b"nothing is bound there"])
    until(lambda: world.kept.errors)
    assert world.kept.errors == [(world.sock.peer.id, 9999, 7, errno.ECONNREFUSED)]
    world.kept.shut.add(4)
    world.sock.connect((world.interface.spelling.ipv4(world.own), 4))
    world.sock.send(b"x")
    with pytest.raises(ConnectionRefusedError):
        world.sock.recv(100)


@pytest.mark.slow
def test_peer_that_is_not_there_is_told(world: World) -> None:
    flow = world.interface.flow(b"\x17" * 20, 7, 9, 4)
    world.interface.run(world.interface.offer, flow, [b"x"])
    world.interface.run(world.interface.send, [flow])
    until(lambda: world.kept.lost)
    assert world.kept.lost[0] == (b"\x17" * 20, errno.EHOSTUNREACH)


def test_broadcast_is_heard_and_sent(world: World) -> None:
    world.sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    world.sock.sendto(b"all", ("255.255.255.255", 4000))
    until(lambda: world.kept.groups)
    assert world.kept.groups == [("255.255.255.255", 4000, b"all")]
    flow = world.interface.group_flow("255.255.255.255", 1, 7, 9000, 4)
    world.interface.run(world.interface.offer, flow, [b"to all"])
    world.interface.run(world.interface.send, [flow])
    assert world.sock.recv(100) == b"to all"


def test_one_flow_cannot_use_up_the_budget_of_all(world: World) -> None:
    interface = world.interface
    flow = interface.flow(b"\x17" * 20, 7, 9, 4)
    datagrams = [b""] * GATEWAY_FLOW_DATAGRAMS
    assert interface.run(interface.offer, flow, datagrams)
    assert not interface.run(interface.offer, flow, [b"one too many"])
    assert interface.counters()["dropped: send budget used up"] == 1
    assert interface.run(interface.offer, interface.flow(world.sock.peer.id, 7, 9000, 4), [b"x"])


def test_sender_may_go_on_once_little_of_what_it_sent_waits(world: World) -> None:
    interface = world.interface
    flow = interface.flow(b"\x17" * 20, 7, 9, 4)
    called: list[int] = []
    interface.run(interface.when_room, lambda: called.append(1))
    assert called == [1]
    assert interface.run(interface.offer, flow, [bytes(60_000)] * (GATEWAY_ROOM // 60_000 + 1))
    interface.run(interface.when_room, lambda: called.append(2))
    interface.run(flow.take, GATEWAY_ROOM // 4)
    assert called == [1]
    interface.run(flow.discard)
    interface.run(flow.discard)
    assert called == [1, 2]


def test_new_identity_is_told() -> None:
    kept = Kept()
    interface = HostInterface(peer_config(bootstrap="ws://127.0.0.1:9", wrtc=False), kept)
    before = interface.peer_id
    interface.host.change_identity()
    assert kept.identities == 1
    assert interface.peer_id != before
