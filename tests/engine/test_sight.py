"""Which hosts are told where they are seen, how often, and whom a peer may ask."""

from __future__ import annotations

import pytest

from peer_relay_socket.codec import control
from peer_relay_socket.codec.control import Hello
from peer_relay_socket.limits import STUN_RATE
from tests.sim.bench import Bench, Node

ALONE = "refused: a STUN request from an address without a link"
MANY = "refused: too many STUN requests from one address"


def linked(udp: tuple[str, int] | None = ("", 80)) -> tuple[Bench, Node, Node]:
    """A peer that has dialled a relay with a UDP port."""
    bench = Bench()
    peer, relay = bench.node("peer"), bench.node("relay", serves=True)
    relay.config.udp = udp
    bench.join(peer, relay)
    bench.flow()
    return bench, peer, relay


def test_an_address_is_answered_while_it_has_a_link_and_so_often_only() -> None:
    bench, peer, relay = linked()
    host = "8.0.0.1"  # the peer's, as the relay sees it
    assert [relay.engine.may_ask(host, bench.now) for _ in range(int(STUN_RATE) + 2)].count(True) == STUN_RATE
    assert relay.engine.may_ask(host, bench.now + 1.0)
    assert not relay.engine.may_ask("8.0.0.77", bench.now)
    assert (relay.engine.counters[ALONE], relay.engine.counters[MANY]) == (1, 2)
    next(iter(peer.cables.values())).cut()
    assert not relay.engine.may_ask(host, bench.now + 5.0)


def test_an_ipv6_neighbour_may_ask_from_its_whole_64() -> None:
    bench = Bench()
    relay, peer = bench.node("relay", serves=True), bench.node("peer")
    bench.join(peer, relay)
    bench.flow()
    cable = next(iter(relay.cables.values()))
    relay.engine._links.all[cable.number(relay)].remote_host = "2001:db8::1"
    relay.engine._sight.link_up(relay.engine._links.all[cable.number(relay)])
    assert relay.engine.may_ask("2001:db8::ffff:1", bench.now)
    assert not relay.engine.may_ask("2001:db8:0:1::1", bench.now)


def dialled(relays: int) -> tuple[Bench, Node, list[Node]]:
    """A peer that has dialled some relays."""
    bench = Bench()
    peer = bench.node("peer")
    nodes = [bench.node(f"relay{number}", serves=True) for number in range(relays)]
    for node in nodes:
        bench.join(peer, node)
    bench.flow()
    return bench, peer, nodes


def test_relays_tell_a_peer_where_they_see_it_and_the_peer_tells_them_nothing() -> None:
    _, peer, relays = dialled(3)
    assert peer.engine.seen_hosts == {"8.0.0.1"}
    assert [relay.engine.seen_hosts for relay in relays] == [frozenset()] * 3
    for cable in list(peer.cables.values()):
        cable.cut()
    assert peer.engine.seen_hosts == frozenset()


@pytest.mark.parametrize(
    ("said", "believed"),
    [
        (["7.0.0.1"], {"7.0.0.1"}),
        (["7.0.0.1", "7.0.0.2"], set()),
        (["7.0.0.1", "7.0.0.2", "7.0.0.1"], {"7.0.0.1"}),
        (["7.0.0.1", "2600::1", "7.0.0.1"], {"7.0.0.1", "2600::/64"}),
        (["192.168.1.1", "127.0.0.1", ""], set()),
    ],
)
def test_where_a_peer_is_seen_is_what_two_relays_agree_on(said: list[str], believed: set[str]) -> None:
    _, peer, relays = dialled(len(said))
    for relay, seen in zip(relays, said, strict=True):
        link = peer.engine._links.by_id[relay.peer_id]
        peer.engine._sight.link_down(link)
        link.seen = seen
        peer.engine._sight.link_up(link)
    assert peer.engine.seen_hosts == believed


def test_a_peer_asks_the_relay_that_it_dialled_where_it_dialled_it() -> None:
    _, peer, relay = linked()
    assert peer.engine.stun_servers == ["8.0.0.2:80"]
    assert relay.engine.stun_servers == []


@pytest.mark.parametrize(
    ("udp", "asked"),
    [
        (("9.9.9.9", 81), ["9.9.9.9:81"]),
        (("192.168.1.1", 53), []),  # nearer than the way to the relay
        (("127.0.0.1", 53), []),
        (("224.0.0.1", 53), []),
        (None, []),
    ],
)
def test_a_relay_may_name_another_address_that_reaches_as_far_as_the_way_to_it(
    udp: tuple[str, int] | None, asked: list[str]
) -> None:
    assert linked(udp)[1].engine.stun_servers == asked


@pytest.mark.parametrize("udp", [None, ("", 80), ("203.0.113.7", 65535)])
def test_a_hello_names_a_udp_port_or_none(udp: tuple[str, int] | None) -> None:
    network = Bench().node("x").config.ipv4_network
    value = Hello(True, network, ("ws://a",), b"m" * 16, udp)
    assert control.read_hello(control.hello(value)) == value


@pytest.mark.parametrize("field", [b"\2\0", b"\2\1\1", b"\2\2\0\0", b"\2\x12\0\x50" + bytes(16)])
def test_a_udp_port_that_makes_no_sense_is_none(field: bytes) -> None:
    network = Bench().node("x").config.ipv4_network
    assert control.read_hello(control.hello(Hello(True, network, ())) + field).udp is None
