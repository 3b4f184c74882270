"""What a peer remembers of relays that worked, and how it tries those of earlier runs."""

from __future__ import annotations

from peer_relay_socket.codec.control import Contact, contacts
from peer_relay_socket.codec.packet import LinkOp
from peer_relay_socket.engine.effects import Dial
from peer_relay_socket.engine.memory import Remembered
from peer_relay_socket.limits import (
    CLOSEST_LINKS,
    LOST_TIME,
    MAX_CANDIDATES,
    RECALL_AGAIN,
    RECALL_AT_ONCE,
    RECALL_EVERY,
    REMEMBERED,
)
from peer_relay_socket.scope import Scope
from tests.sim.bench import Bench, Node
from tests.sim.network import Host, Network


def relay(number: int, seen: int = 0) -> Remembered:
    return Remembered(number.to_bytes(2) * 10, f"ws://r{number}.example", Scope.GLOBAL, False, seen)


def dialled(bench: Bench, node: Node) -> list[str]:
    bench.flow()
    return [dial.url for dial in node.take(Dial)]


def test_a_relay_that_was_dialled_and_proved_its_key_is_remembered_with_the_time() -> None:
    bench = Bench()
    peer, node = bench.node("peer"), bench.node("node", serves=True)
    peer.engine.clock(1000.0, bench.now)
    bench.join(peer, node, "ws://node.example")
    bench.flow()
    relays, disproved = peer.engine.remembered(bench.now)
    assert [(each.peer_id, each.url, each.seen, disproved) for each in relays] == [
        (node.peer_id, "ws://node.example", 1000, {})
    ]
    bench.advance(50.0)
    assert peer.engine.remembered(bench.now)[0][0].seen == 1050  # it still works
    assert node.engine.remembered(bench.now)[0] == []  # which did not dial


def test_a_bootstrap_url_a_leaf_and_a_link_for_the_programs_traffic_are_not_remembered() -> None:
    bench = Bench()
    peer, node, leaf = bench.node("peer"), bench.node("node", serves=True), bench.node("leaf")
    peer.config.bootstrap = ("ws://node.example",)
    peer.restart()
    bench.join(peer, node, "ws://node.example")
    bench.join(peer, leaf, "ws://leaf.example")
    bench.flow()
    assert peer.engine.remembered(bench.now)[0] == []
    relays = [bench.node(f"r{i}", serves=True) for i in range(CLOSEST_LINKS + 1)]
    relays.sort(key=lambda each: int.from_bytes(each.peer_id) ^ int.from_bytes(peer.peer_id))
    bench.flow()
    peer.engine.connect(relays[-1].peer_id, bench.now)
    for each in relays:
        bench.join(peer, each, f"ws://{each.name}.example")
        bench.flow()
    remembered = {each.peer_id for each in peer.engine.remembered(bench.now)[0]}
    assert remembered == {each.peer_id for each in relays[:-1]}


def test_remembered_relays_are_all_dialled_within_seconds_while_no_link_is_up() -> None:
    bench = Bench()
    peer = bench.node("peer")
    relays = [relay(i, seen=i) for i in range(REMEMBERED + 6)]
    peer.engine.recall(relays, bench.now)
    first = dialled(bench, peer)
    assert set(first) == {each.url for each in relays[-RECALL_AT_ONCE:]}  # those that worked last
    urls = first
    for _ in range(REMEMBERED // RECALL_AT_ONCE - 1):
        bench.advance(RECALL_EVERY)
        urls += dialled(bench, peer)
    assert sorted(urls) == sorted(each.url for each in relays[-REMEMBERED:])


def test_a_peer_that_is_cut_off_tries_those_that_worked_again() -> None:
    bench = Bench()
    peer, node = bench.node("peer"), bench.node("node", serves=True)
    peer.engine.recall((), bench.now)
    cable = bench.join(peer, node, "ws://node.example")
    bench.flow()
    peer.take(Dial)
    cable.cut()
    assert dialled(bench, peer) == ["ws://node.example"]
    peer.engine.dial_failed("ws://node.example", bench.now)
    times = []
    while bench.now < LOST_TIME + 3 * RECALL_AGAIN:
        bench.advance(1.0)
        for url in dialled(bench, peer):
            times.append(bench.now)
            peer.engine.dial_failed(url, bench.now)
    assert times[-1] > LOST_TIME + RECALL_AGAIN  # when the candidate is long forgotten


def test_no_remembered_relay_is_dialled_beside_a_link_but_those_nearest() -> None:
    bench = Bench()
    peer, node = bench.node("peer"), bench.node("node", serves=True)
    bench.join(peer, node, "ws://node.example")
    bench.flow()
    peer.engine.recall([relay(i) for i in range(20)], bench.now)
    bench.advance(3 * RECALL_EVERY)
    assert dialled(bench, peer) == []


def test_a_remembered_url_where_another_peer_answers_costs_one_dial_and_is_forgotten() -> None:
    bench = Bench()
    peer, other = bench.node("peer"), bench.node("other", serves=True)
    poisoned = Remembered(bytes(20), "ws://other.example", Scope.GLOBAL, False, 5)
    peer.engine.clock(1000.0, bench.now)
    peer.engine.recall([poisoned], bench.now)
    assert dialled(bench, peer) == ["ws://other.example"]
    bench.join(peer, other, "ws://other.example")
    bench.flow()
    assert peer.engine.neighbours == []
    assert peer.engine.remembered(bench.now) == ([], {bytes(20): 1000})
    bench.advance(2 * RECALL_AGAIN)
    assert dialled(bench, peer) == []


def world() -> tuple[Network, Host]:
    """Twelve relays, and an ordinary peer that has not started."""
    network = Network(3)
    for number in range(12):
        network.host(f"r{number}", bootstrap=("r0",) if number else (), serves=True, address=f"8.8.{number + 1}.1")
    return network, network.host("peer", bootstrap=("r0",), start=False)


def drawn(peer: Host) -> bytes:
    """Return the relay that is remembered as the one drawn by chance."""
    (chance,) = [each.peer_id for each in peer.engine.remembered(peer.network.now)[0] if each.by_chance]
    return chance


def test_the_relay_drawn_by_chance_stays_the_choice_across_restarts() -> None:
    network, peer = world()
    peer.start()
    network.run(60.0)
    first = drawn(peer)
    for _ in range(4):
        relays = peer.engine.remembered(network.now)[0]
        peer.crash()
        network.run(5.0)
        peer.start()
        network.run(0.3)  # files are slow: bootstrap nodes may be linked, and another drawn, before it is read
        peer.engine.recall(relays, network.now)
        peer.pump()
        network.run(60.0)
        assert drawn(peer) == first
        assert first in peer.engine.neighbours


def test_a_remembered_chance_that_does_not_answer_is_given_up_for_another() -> None:
    network, peer = world()
    peer.start()
    peer.engine.recall([relay(7)._replace(by_chance=True)], network.now)
    peer.pump()
    network.run(600.0)
    assert drawn(peer) in peer.engine.neighbours


def test_the_relay_drawn_by_chance_stays_known_whatever_neighbours_name() -> None:
    bench = Bench()
    peer, node = bench.node("peer"), bench.node("node", serves=True)
    bench.join(peer, node, "ws://node.example")
    bench.flow()
    peer.engine.recall([relay(7)._replace(by_chance=True)], bench.now)
    assert dialled(bench, peer) == ["ws://r7.example"]
    peer.engine.dial_failed("ws://r7.example", bench.now)
    for number in range(2 * MAX_CANDIDATES):
        named = Contact((number + 1000).to_bytes(4) * 5, (f"ws://9.{number >> 8}.{number & 255}.1:80/",))
        link = node.engine._links.by_id[peer.peer_id]
        node.engine._links.tell(link, LinkOp.NEIGHBOURS, contacts([named]))  # as a hostile relay would
        bench.flow()
    bench.advance(60.0)
    assert "ws://r7.example" in dialled(bench, peer)
