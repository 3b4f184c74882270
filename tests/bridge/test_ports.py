from __future__ import annotations

import errno
import socket

import pytest

from peer_relay_socket.address import AF_PEER, NpmId, Prefix, is_authenticated
from peer_relay_socket.bridge.endpoint import OWN, WILDCARD, Endpoint, Membership
from peer_relay_socket.bridge.host import Host
from peer_relay_socket.bridge.ports import failure
from peer_relay_socket.bridge.readiness import pair
from peer_relay_socket.config import peer_config

LOCALHOST = "127.0.0.1"
FAR = bytes(range(20))


class World:
    """A host and endpoints on it, opened by family."""

    def __init__(self) -> None:
        self.host = Host(peer_config())
        self.ports = self.host.ports
        self.fds: list[int] = []
        self.ends: list[Endpoint] = []

    def open(self, family: int = socket.AF_INET, **flags: bool) -> Endpoint:
        fd, hidden = pair()
        end = Endpoint(self.host, None, family, socket.SOCK_DGRAM, 0, hidden)
        for name, value in flags.items():
            setattr(end, name, value)
        self.fds.append(fd)
        self.ends.append(end)
        return end

    def bound(self, place, port: int, family: int = socket.AF_INET, **flags: bool) -> Endpoint:
        end = self.open(family, **flags)
        self.ports.bind(end, place, port)
        return end


@pytest.fixture
def world():
    world = World()
    yield world
    for end in world.ends:
        end.close()
    for fd in world.fds:
        socket.close(fd)


def got(end: Endpoint) -> list:
    items = list(end.inbox.ready)
    end.inbox.ready.clear()
    return items


CONFLICTS = [  # (first, second, second may bind)
    ((WILDCARD, {}), (WILDCARD, {}), False),
    ((WILDCARD, {}), (LOCALHOST, {}), False),
    ((LOCALHOST, {}), (OWN, {}), True),
    ((LOCALHOST, {}), (LOCALHOST, {}), False),
    ((WILDCARD, {"reuse_addr": True}), (WILDCARD, {"reuse_addr": True}), True),
    ((WILDCARD, {"reuse_addr": True}), (WILDCARD, {}), False),
    ((WILDCARD, {"reuse_port": True}), (WILDCARD, {"reuse_port": True}), True),
    ((WILDCARD, {"reuse_port": True}), (WILDCARD, {"reuse_addr": True}), False),
    ((WILDCARD, {}), (WILDCARD, {"family": socket.AF_INET6}), False),
    ((WILDCARD, {}), (WILDCARD, {"family": socket.AF_INET6, "v6only": True}), True),
    ((WILDCARD, {}), (WILDCARD, {"family": AF_PEER}), False),
]


@pytest.mark.parametrize(("first", "second", "allowed"), CONFLICTS)
def test_bind_follows_linux_when_a_port_is_taken(world, first, second, allowed):
    world.bound(first[0], 5000, **first[1])
    if allowed:
        world.bound(second[0], 5000, **second[1])
    else:
        with pytest.raises(OSError, match="Errno") as caught:
            world.bound(second[0], 5000, **second[1])
        assert caught.value.errno == errno.EADDRINUSE


def test_bind_refuses_a_second_bind(world):
    end = world.bound(WILDCARD, 5000)
    with pytest.raises(OSError, match="Errno") as caught:
        world.ports.bind(end, WILDCARD, 5001)
    assert caught.value.errno == errno.EINVAL


def test_ephemeral_ports_are_in_linux_range_and_distinct(world):
    ports = {world.bound(WILDCARD, 0).port for _ in range(50)}
    assert len(ports) == 50
    assert all(32768 <= port <= 60999 for port in ports)


def test_deliver_spells_the_source_in_the_family_of_the_receiver(world):
    spelling = world.host.spelling
    four = world.bound(WILDCARD, 1)
    six = world.bound(WILDCARD, 2, socket.AF_INET6)
    peer = world.bound(WILDCARD, 3, AF_PEER)
    for port, form in [(1, 4), (1, 6), (1, 0), (2, 6), (2, 4), (2, 0), (3, 4), (3, 6), (3, 0)]:
        assert world.ports.deliver(FAR, 9, port, form, [b"x"])
    v4 = (spelling.ipv4(FAR), 9)
    v6 = (spelling.ipv6(FAR), 9, 0, 0)
    assert [source for _, source in got(four)] == [v4] * 3
    assert [source for _, source in got(six)] == [v6, ("::ffff:" + v4[0], 9, 0, 0), v6]
    assert [source for _, source in got(peer)] == [(FAR.hex(), 9)] * 3


def test_deliver_keeps_who_shares_anothers_ipv4_address_from_sockets_that_would_spell_it(world):
    four = world.bound(WILDCARD, 1)
    six = world.bound(WILDCARD, 2, socket.AF_INET6)
    peer = world.bound(WILDCARD, 3, AF_PEER)
    for port, form in [(1, 4), (1, 0), (2, 6), (2, 4), (3, 4), (3, 6)]:
        assert world.ports.deliver(FAR, 9, port, form, [b"x"], doubtful=True)  # and nobody is told that nobody is there
    assert got(four) == []
    assert [source[0] for _, source in got(six)] == [world.host.spelling.ipv6(FAR)]
    assert [source[0] for _, source in got(peer)] == [FAR.hex()] * 2


def test_deliver_uses_one_address_object_for_one_source(world):
    end = world.bound(WILDCARD, 1)
    world.ports.deliver(FAR, 9, 1, 4, [b"a", b"b"])
    world.ports.deliver(FAR, 9, 1, 4, [b"c"])
    assert len({id(source) for _, source in got(end)}) == 1


def test_deliver_says_when_nobody_is_there(world):
    end = world.bound(LOCALHOST, 1)
    assert not world.ports.deliver(FAR, 9, 1, 4, [b"x"])  # bound to loopback only
    assert not world.ports.deliver(FAR, 9, 2, 4, [b"x"])
    assert not got(end)
    only6 = world.bound(WILDCARD, 3, socket.AF_INET6, v6only=True)
    assert not world.ports.deliver(FAR, 9, 3, 4, [b"x"])
    assert world.ports.deliver(FAR, 9, 3, 6, [b"x"])
    assert len(got(only6)) == 1


def test_connected_socket_hears_only_its_peer_and_comes_first(world):
    server = world.bound(WILDCARD, 53, reuse_addr=True)
    child = world.bound(WILDCARD, 53, reuse_addr=True)
    prefix = Prefix(22, FAR[:2] + bytes([FAR[2] & 0xFC]) + bytes(17))
    world.ports.connect(child, ("100.64.0.9", 7), prefix, 7, OWN, False)
    world.ports.deliver(FAR, 7, 53, 4, [b"child"])
    world.ports.deliver(FAR, 8, 53, 4, [b"other port"])
    world.ports.deliver(bytes(20), 7, 53, 4, [b"other peer"])
    assert [data for data, _ in got(server)] == [b"other port", b"other peer"]
    assert got(child) == [(b"child", ("100.64.0.9", 7))]
    world.ports.disconnect(child)
    assert child.port == 53
    assert child.local == WILDCARD


def test_reuseport_spreads_sources_and_keeps_each_on_one_socket(world):
    ends = [world.bound(WILDCARD, 53, reuse_port=True) for _ in range(4)]
    for _ in range(3):
        for port in range(1, 101):
            world.ports.deliver(FAR, port, 53, 4, [b"x"])
    received = [[source for _, source in got(end)] for end in ends]
    assert all(received)
    assert all(len(mine) == 3 * len(set(mine)) for mine in received)


def test_send_local_comes_from_where_it_goes(world):
    to = world.bound(WILDCARD, 5)
    sender = world.bound(WILDCARD, 6)
    world.ports.send_local(sender, LOCALHOST, 5, 4, [b"loop"])
    world.ports.send_local(sender, OWN, 5, 4, [b"own"])
    own = world.host.spelling.ipv4(world.host.peer_id)
    assert got(to) == [(b"loop", (LOCALHOST, 6)), (b"own", (own, 6))]


def test_send_local_refused_is_pending_only_for_a_connected_sender(world):
    sender = world.bound(WILDCARD, 6)
    assert not world.ports.send_local(sender, LOCALHOST, 5, 4, [b"x"])
    assert sender.inbox.take_error() == 0
    world.ports.connect(sender, (LOCALHOST, 5), LOCALHOST, 5, LOCALHOST, False)
    assert not world.ports.send_local(sender, LOCALHOST, 5, 4, [b"x"])
    assert sender.inbox.take_error() == errno.ECONNREFUSED
    assert sender.inbox.take_error() == 0


def test_unreachable_reaches_only_the_socket_connected_there(world):
    ends = [world.bound(OWN, 6, reuse_addr=True) for _ in range(3)]
    world.ports.connect(ends[0], ("a", 7), FAR, 7, OWN, False)
    world.ports.connect(ends[1], ("b", 8), FAR, 8, OWN, False)
    world.ports.unreachable(FAR, 7, 6, errno.EHOSTUNREACH)
    assert [end.inbox.take_error() for end in ends] == [errno.EHOSTUNREACH, 0, 0]


def test_group_reaches_every_member(world):
    ends = [world.bound(WILDCARD, 6, reuse_addr=True) for _ in range(3)]
    ends[1].groups["224.0.0.9"] = Membership()
    assert world.ports.send_group(ends[0], "224.0.0.9", 6, 4, [b"x"]) == 1
    assert world.ports.send_group(ends[0], "255.255.255.255", 6, 4, [b"x"]) == 3
    assert [len(got(end)) for end in ends] == [1, 2, 1]


def test_failure_is_the_subclass_that_cpython_raises():
    assert isinstance(failure(errno.EAGAIN), BlockingIOError)
    assert str(failure(errno.EBADF)) == "[Errno 9] Bad file descriptor"


# --- npm peers, whose datagrams name no port ---------------------------------------------------------------------

NODE = NpmId(FAR)


def test_an_npm_datagram_goes_to_the_only_socket_that_hears_the_network(world: World) -> None:
    world.bound(LOCALHOST, 5)
    heard = world.bound(WILDCARD, 6)
    assert world.ports.deliver(NODE, 7, 0, 0, [b"x"])
    ((data, source),) = got(heard)
    assert (data, source[1]) == (b"x", 7)
    assert not is_authenticated(source)


def test_of_several_the_connected_one_hears_an_npm_peer_and_else_the_lowest_port(world: World) -> None:
    high, low = world.bound(WILDCARD, 9), world.bound(OWN, 4, AF_PEER)
    assert world.ports.deliver(NODE, 7, 0, 0, [b"to the lowest"])
    assert [data for data, _ in got(low)] == [b"to the lowest"]
    world.ports.connect(high, ("100.64.1.2", 7), FAR, 7, OWN, False)
    assert world.ports.deliver(NODE, 7, 0, 0, [b"to the connected"])
    ((data, source),) = got(high)
    assert (data, source) == (b"to the connected", ("100.64.1.2", 7))
    assert not is_authenticated(source)
    assert world.ports.deliver(NODE, 8, 0, 0, [b"from another port"])
    assert [data for data, _ in got(low)] == [b"from another port"]


def test_an_npm_datagram_that_nobody_can_hear_is_dropped(world: World) -> None:
    world.bound(LOCALHOST, 5)
    assert not world.ports.deliver(NODE, 7, 0, 0, [b"x"])


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, AF_PEER])
def test_only_the_npm_peer_of_two_with_one_id_is_marked(world: World, family: int) -> None:
    heard = world.bound(WILDCARD, 5, family)
    for source in (NODE, FAR, NODE):
        world.ports.deliver(source, 7, 5, 6 if family == socket.AF_INET6 else 4, [b"x"])
    addresses = [address for _, address in got(heard)]
    assert addresses[0] == addresses[1] == addresses[2]
    assert [is_authenticated(address) for address in addresses] == [False, True, False]
