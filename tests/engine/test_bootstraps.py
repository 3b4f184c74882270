"""Ways into a network that no neighbour tells of: domains that name relays, peers on the same link."""

from __future__ import annotations

from peer_relay_socket.engine.effects import Dial
from peer_relay_socket.limits import LOOKUP_AGAIN, REDIAL_FIRST, REDIAL_MAX
from peer_relay_socket.scope import Scope
from tests.sim.bench import Bench, Node

PLACE = "dns:example.org"


def peer_with(bench: Bench, *bootstrap: str, serves: bool = False) -> Node:
    node = bench.node("peer", serves=serves)
    node.config.bootstrap = bootstrap
    node.restart()
    node.engine.start(bench.now)
    return node


def dialled(bench: Bench, node: Node) -> list[str]:
    bench.flow()
    return [dial.url for dial in node.take(Dial)]


def test_a_domain_is_looked_up_and_the_relays_that_it_names_are_dialled() -> None:
    bench = Bench()
    peer = peer_with(bench, PLACE, "ws://a")
    assert dialled(bench, peer) == [PLACE, "ws://a"]
    peer.engine.looked_up(PLACE, ["ws://a", "ws://b", "ws://c"], bench.now)
    assert dialled(bench, peer) == ["ws://b", "ws://c"]
    assert [each.url for each in peer.engine.status(bench.now).bootstraps] == [PLACE, "ws://a", "ws://b", "ws://c"]


def test_a_domain_that_is_not_found_is_looked_up_again_and_says_why() -> None:
    bench = Bench()
    peer = peer_with(bench, PLACE)
    assert dialled(bench, peer) == [PLACE]
    peer.engine.dial_failed(PLACE, bench.now, "no such name")
    (told,) = peer.engine.status(bench.now).bootstraps
    assert (told.url, told.failures, told.last_error) == (PLACE, 1, "no such name")
    bench.advance(REDIAL_MAX)
    assert dialled(bench, peer) == [PLACE]


def test_another_network_has_places_dialled_at_once_and_what_was_dialled_from_the_old_one_anew() -> None:
    bench = Bench()
    peer = peer_with(bench, "ws://a", "ws://b")
    assert dialled(bench, peer) == ["ws://a", "ws://b"]
    for _ in range(8):
        peer.engine.dial_failed("ws://a", bench.now, "unreachable")
        bench.advance(REDIAL_MAX)
    peer.engine.dial_failed("ws://a", bench.now, "unreachable")
    dialled(bench, peer)
    peer.engine.network_changed(bench.now)
    assert dialled(bench, peer) == ["ws://a", "ws://b"]
    assert [each.failures for each in peer.engine.status(bench.now).bootstraps] == [0, 0]
    peer.engine.dial_failed("ws://a", bench.now, "unreachable")
    bench.advance(REDIAL_FIRST)
    assert dialled(bench, peer) == ["ws://a"]


def test_a_domain_is_asked_again_while_no_link_is_up_and_what_it_names_no_more_goes() -> None:
    bench = Bench()
    peer = peer_with(bench, PLACE)
    peer.engine.looked_up(PLACE, ["ws://a", "ws://b"], bench.now)
    dialled(bench, peer)
    bench.advance(LOOKUP_AGAIN)
    assert PLACE in dialled(bench, peer)
    peer.engine.looked_up(PLACE, ["ws://b", "ws://c"], bench.now)
    assert [each.url for each in peer.engine.status(bench.now).bootstraps] == [PLACE, "ws://b", "ws://c"]


def test_a_domain_is_not_asked_beside_a_link_and_its_relay_is_remembered() -> None:
    bench = Bench()
    peer, node = peer_with(bench, PLACE), bench.node("node", serves=True)
    peer.engine.looked_up(PLACE, ["ws://node.example"], bench.now)
    bench.join(peer, node, "ws://node.example")
    bench.flow()
    peer.take(Dial)
    bench.advance(3 * LOOKUP_AGAIN)
    assert dialled(bench, peer) == []
    assert [each.url for each in peer.engine.remembered(bench.now)[0]] == ["ws://node.example"]


def test_a_relay_that_a_domain_names_with_an_id_must_have_it() -> None:
    bench = Bench()
    peer, node = peer_with(bench, PLACE), bench.node("node", serves=True)
    url = f"ws://node.example#{'ab' * 20}"
    peer.engine.looked_up(PLACE, [url], bench.now)
    bench.join(peer, node, url)
    bench.flow()
    assert peer.engine.neighbours == []


def test_a_peer_that_joins_by_a_domain_does_not_take_itself_for_the_first_of_its_network() -> None:
    bench = Bench()
    node = bench.node("peer")
    node.config.listens = ("ws://*:80",)
    node.config.bootstrap = (PLACE,)
    node.restart()
    node.engine.start(bench.now)
    assert node.engine.advertised == ()
    assert not node.config.serves


def test_a_peer_that_is_heard_on_the_link_is_dialled_there_and_must_have_its_id() -> None:
    bench = Bench()
    peer, node = peer_with(bench), bench.node("node", serves=True)
    peer.engine.suggest(bytes(20), "ws://192.168.1.5:80", Scope.PRIVATE, bench.now)
    bench.flow()
    assert peer.take(Dial) == [Dial("ws://192.168.1.5:80", Scope.PRIVATE, True)]
    bench.join(peer, node, "ws://192.168.1.5:80")
    bench.flow()
    assert peer.engine.neighbours == []
    bench.advance(60.0)
    assert dialled(bench, peer) == []  # forgotten


def test_what_is_heard_on_the_link_replaces_a_place_only_where_nobody_answers() -> None:
    bench = Bench()
    peer = peer_with(bench)
    for host in ("192.168.1.5", "192.168.1.6"):
        peer.engine.suggest(bytes(20), f"ws://{host}:80", Scope.PRIVATE, bench.now)
    assert dialled(bench, peer) == ["ws://192.168.1.5:80"]
    peer.engine.dial_failed("ws://192.168.1.5:80", bench.now)
    peer.engine.suggest(bytes(20), "ws://192.168.1.6:80", Scope.PRIVATE, bench.now)
    assert dialled(bench, peer) == ["ws://192.168.1.6:80"]
