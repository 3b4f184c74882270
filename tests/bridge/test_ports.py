from __future__ import annotations

import errno
import gc
import socket
import weakref
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer_relay_socket.address import AF_PEER, Prefix, UnprovedId, is_authenticated
from peer_relay_socket.bridge import ports
from peer_relay_socket.bridge.binding import OWN, WILDCARD, Membership
from peer_relay_socket.bridge.endpoint import Endpoint
from peer_relay_socket.bridge.host import Host
from peer_relay_socket.bridge.ports import failure
from peer_relay_socket.bridge.readiness import pair
from peer_relay_socket.config import peer_config
from peer_relay_socket.engine.effects import Deliver

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

    def close(self) -> None:
        for end in self.ends:
            end.close()
        for fd in self.fds:
            if fd >= 0:
                socket.close(fd)

    def bound(self, place, port: int, family: int = socket.AF_INET, **flags: bool) -> Endpoint:
        end = self.open(family, **flags)
        self.ports.bind(end, place, port)
        return end


@pytest.fixture
def world():
    world = World()
    yield world
    world.close()


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
        assert world.ports.deliver(Deliver(FAR, 9, port, form, [b"x"]))
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
        assert world.ports.deliver(Deliver(FAR, 9, port, form, [b"x"], address_conflict=True))
    assert got(four) == []
    assert [source[0] for _, source in got(six)] == [world.host.spelling.ipv6(FAR)]
    assert [source[0] for _, source in got(peer)] == [FAR.hex()] * 2


def test_deliver_uses_one_address_object_for_one_source(world):
    end = world.bound(WILDCARD, 1)
    world.ports.deliver(Deliver(FAR, 9, 1, 4, [b"a", b"b"]))
    world.ports.deliver(Deliver(FAR, 9, 1, 4, [b"c"]))
    assert len({id(source) for _, source in got(end)}) == 1


def test_deliver_says_when_nobody_is_there(world):
    end = world.bound(LOCALHOST, 1)
    assert not world.ports.deliver(Deliver(FAR, 9, 1, 4, [b"x"]))  # bound to loopback only
    assert not world.ports.deliver(Deliver(FAR, 9, 2, 4, [b"x"]))
    assert not got(end)
    only6 = world.bound(WILDCARD, 3, socket.AF_INET6, v6only=True)
    assert not world.ports.deliver(Deliver(FAR, 9, 3, 4, [b"x"]))
    assert world.ports.deliver(Deliver(FAR, 9, 3, 6, [b"x"]))
    assert len(got(only6)) == 1


def test_connected_socket_hears_only_its_peer_and_comes_first(world):
    server = world.bound(WILDCARD, 53, reuse_addr=True)
    child = world.bound(WILDCARD, 53, reuse_addr=True)
    prefix = Prefix(22, FAR[:2] + bytes([FAR[2] & 0xFC]) + bytes(17))
    world.ports.connect(child, ("100.64.0.9", 7), prefix, 7, OWN, False)
    world.ports.deliver(Deliver(FAR, 7, 53, 4, [b"child"]))
    world.ports.deliver(Deliver(FAR, 8, 53, 4, [b"other port"]))
    world.ports.deliver(Deliver(bytes(20), 7, 53, 4, [b"other peer"]))
    assert [data for data, _ in got(server)] == [b"other port", b"other peer"]
    assert got(child) == [(b"child", ("100.64.0.9", 7))]
    world.ports.disconnect(child)
    assert child.port == 53
    assert child.local == WILDCARD


def test_reuseport_spreads_sources_and_keeps_each_on_one_socket(world):
    ends = [world.bound(WILDCARD, 53, reuse_port=True) for _ in range(4)]
    for _ in range(3):
        for port in range(1, 101):
            world.ports.deliver(Deliver(FAR, port, 53, 4, [b"x"]))
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
    ends[1].groups["224.0.0.9"] = {1: Membership()}
    assert world.ports.send_group(ends[0], "224.0.0.9", 6, 4, [b"x"]) == 1
    assert world.ports.send_group(ends[0], "255.255.255.255", 6, 4, [b"x"]) == 3
    assert [len(got(end)) for end in ends] == [1, 2, 1]


def test_failure_is_the_subclass_that_cpython_raises():
    assert isinstance(failure(errno.EAGAIN), BlockingIOError)
    assert str(failure(errno.EBADF)) == "[Errno 9] Bad file descriptor"


# --- npm peers, whose datagrams name no port ---------------------------------------------------------------------

NODE = UnprovedId(FAR)


def test_an_npm_datagram_goes_to_the_only_socket_that_hears_the_network(world: World) -> None:
    world.bound(LOCALHOST, 5)
    heard = world.bound(WILDCARD, 6)
    assert world.ports.deliver(Deliver(NODE, 7, 0, 0, [b"x"]))
    ((data, source),) = got(heard)
    assert (data, source[1]) == (b"x", 7)
    assert not is_authenticated(source)


def test_of_several_the_connected_one_hears_an_npm_peer_and_else_the_lowest_port(world: World) -> None:
    high, low = world.bound(WILDCARD, 9), world.bound(OWN, 4, AF_PEER)
    assert world.ports.deliver(Deliver(NODE, 7, 0, 0, [b"to the lowest"]))
    assert [data for data, _ in got(low)] == [b"to the lowest"]
    world.ports.connect(high, ("100.64.1.2", 7), FAR, 7, OWN, False)
    assert world.ports.deliver(Deliver(NODE, 7, 0, 0, [b"to the connected"]))
    ((data, source),) = got(high)
    assert (data, source) == (b"to the connected", ("100.64.1.2", 7))
    assert not is_authenticated(source)
    assert world.ports.deliver(Deliver(NODE, 8, 0, 0, [b"from another port"]))
    assert [data for data, _ in got(low)] == [b"from another port"]


def test_an_npm_datagram_that_nobody_can_hear_is_dropped(world: World) -> None:
    world.bound(LOCALHOST, 5)
    assert not world.ports.deliver(Deliver(NODE, 7, 0, 0, [b"x"]))


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, AF_PEER])
def test_only_the_npm_peer_of_two_with_one_id_is_marked(world: World, family: int) -> None:
    heard = world.bound(WILDCARD, 5, family)
    for source in (NODE, FAR, NODE):
        world.ports.deliver(Deliver(source, 7, 5, 6 if family == socket.AF_INET6 else 4, [b"x"]))
    addresses = [address for _, address in got(heard)]
    assert addresses[0] == addresses[1] == addresses[2]
    assert [is_authenticated(address) for address in addresses] == [False, True, False]


# --- what deliver remembers --------------------------------------------------------------------------------------

NEAR = bytes(range(100, 120))
PREFIX = Prefix(22, FAR[:2] + bytes([FAR[2] & 0xFC]) + bytes(17))
families = st.sampled_from([socket.AF_INET, socket.AF_INET, socket.AF_INET6, AF_PEER])
which = st.integers(0, 4)
few_ports = st.sampled_from([1, 1, 2])
places = st.sampled_from([WILDCARD, WILDCARD, WILDCARD, OWN, LOCALHOST])
flags = st.sampled_from(["reuse_addr", "reuse_port", "v6only"])
opened = st.tuples(st.just("open"), families, st.sets(flags), places, few_ports)
changes = st.one_of(
    st.tuples(st.just("bind"), which, places, few_ports, st.booleans()),
    st.tuples(st.just("autobind"), which),
    st.tuples(st.just("connect"), which, st.sampled_from([FAR, FAR, NEAR, PREFIX, LOCALHOST]), st.sampled_from([7, 8])),
    st.tuples(st.just("disconnect"), which),
    st.tuples(st.just("close"), which),
    st.tuples(st.just("abandon"), which),
    st.tuples(st.just("option"), which, flags, st.booleans()),
)
operations = st.lists(st.one_of(opened, changes, changes), min_size=5, max_size=15)
DATAGRAMS = [
    *product((FAR, NEAR, NODE), (7, 8), (1, 2, None), (4, 6, 0), (False,)),
    *product((FAR,), (7, 8), (1, 2), (4, 6), (True,)),
    *product((NODE,), (7, 8), (0,), (0,), (False,)),
]
"""Source, source port, port (None: an ephemeral one), form, whether the source is address_conflict."""


def perform(world: World, operation: tuple) -> object:
    """Do one thing to a world. Returns: what is to be compared."""
    name, *arguments = operation
    if name == "open":
        family, flags, place, port = arguments
        world.open(family, **dict.fromkeys(flags, True))
        return perform(world, ("bind", -1, place, port, False))
    number, *arguments = arguments
    there = [end for end in world.ends if not end.inbox.closed]
    if not there:
        return None
    end = there[number % len(there)]
    try:
        if name == "bind":
            place, port, mapped = arguments
            world.ports.bind(end, place, port, mapped=mapped and end.family == socket.AF_INET6)
        elif name == "autobind":
            world.ports.autobind(end)
        elif name == "connect":
            place, port = arguments
            world.ports.autobind(end)
            world.ports.connect(end, ("peer", port), place, port, LOCALHOST if place == LOCALHOST else OWN, False)
        elif name == "disconnect":
            world.ports.disconnect(end)
        elif name == "close":
            end.close()
        elif name == "option":
            option, on = arguments
            if option != "v6only" or not end.port:
                setattr(end, option, on)
        elif world.fds[world.ends.index(end)] >= 0:
            socket.close(world.fds[world.ends.index(end)])
            world.fds[world.ends.index(end)] = -1
    except OSError as error:
        return error.errno
    return end.local, bool(end.port), end.mapped, end.v6only


def deliver(world: World, datagram: tuple) -> object:
    """Deliver one of DATAGRAMS. Returns: what became of it."""
    source, source_port, port, form, address_conflict = datagram
    if port is None:
        port = next((end.port for end in world.ends if end.port > 2), 3)
    there = world.ports.deliver(Deliver(source, source_port, port, form, [b"x"], address_conflict=address_conflict))
    heard = [[(address, is_authenticated(address)) for _, address in end.inbox.ready] for end in world.ends]
    for end in world.ends:
        end.inbox.flush()
    return there, heard


@given(operations)
def test_deliver_finds_what_it_would_if_it_remembered_nothing(stream: list[tuple]) -> None:
    remembering, forgetting = World(), World()
    try:
        for operation in stream:
            assert perform(remembering, operation) == perform(forgetting, operation)
            for datagram in DATAGRAMS:
                forgetting.ports._routes.clear()
                assert deliver(remembering, datagram) == deliver(forgetting, datagram)
    finally:
        for world in (remembering, forgetting):
            world.close()


CHANGES = {
    "closed": lambda world, end: end.close(),
    "connected elsewhere": lambda world, end: world.ports.connect(end, ("a", 7), NEAR, 7, OWN, False),
    "connected": lambda world, end: world.ports.connect(end, ("a", 7), FAR, 7, OWN, False),
    "joined by another": lambda world, end: world.bound(WILDCARD, 5, reuse_port=True),
    "joined by a connected one": lambda world, end: world.ports.connect(
        world.bound(WILDCARD, 5, reuse_port=True), ("a", 7), FAR, 7, OWN, False
    ),
    "abandoned": lambda world, end: socket.close(world.fds.pop()),
}
"""What may happen to the only socket of a port."""


@pytest.mark.parametrize("change", CHANGES)
def test_what_deliver_remembers_is_forgotten_when_the_socket_is(world: World, change: str) -> None:
    twin = World()
    results = []
    for each in (world, twin):
        end = each.bound(WILDCARD, 5, reuse_port=True)
        for source_port in range(7, 30):
            each.ports.deliver(Deliver(FAR, source_port, 5, 4, [b"before"]))
        got(end)
        CHANGES[change](each, end)
        if each is twin:
            twin.ports._routes.clear()
        there = [each.ports.deliver(Deliver(FAR, source_port, 5, 4, [b"after"])) for source_port in range(7, 30)]
        results.append((there, [got(other) for other in each.ends]))
    twin.close()
    assert results[0] == results[1]


def test_options_of_sockets_that_share_a_port_are_asked_anew(world: World) -> None:
    ends = [world.bound(WILDCARD, 5, reuse_port=True) for _ in range(2)]
    for shared in (True, False):
        ends[1].reuse_port = shared
        for source_port in range(1, 100):
            world.ports.deliver(Deliver(FAR, source_port, 5, 4, [b"x"]))
        assert [bool(got(end)) for end in ends] == [shared, True]


def test_a_closed_socket_is_not_kept(world: World) -> None:
    end = weakref.ref(world.bound(WILDCARD, 5))
    assert world.ports.deliver(Deliver(FAR, 7, 5, 4, [b"x"]))
    world.ends.pop().close()
    gc.collect()
    assert end() is None


def test_a_disconnected_socket_is_found_by_all_again(world: World) -> None:
    end = world.bound(WILDCARD, 5)
    world.ports.connect(end, ("a", 7), FAR, 7, OWN, False)
    assert world.ports.deliver(Deliver(FAR, 7, 5, 4, [b"x"]))
    assert got(end) == [(b"x", ("a", 7))]
    world.ports.disconnect(end)
    assert world.ports.deliver(Deliver(FAR, 7, 5, 4, [b"x"]))
    assert got(end) == [(b"x", (world.host.spelling.ipv4(FAR), 7))]


def test_deliver_remembers_no_more_than_its_limit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "SPELLED_SOURCES", 10)
    end = world.bound(WILDCARD, 5)
    for source_port in range(1, 100):
        assert world.ports.deliver(Deliver(FAR, source_port, 5, 4, [b"x"]))
        assert len(world.ports._routes) <= 10
    assert [address[1] for _, address in got(end)] == list(range(1, 100))
