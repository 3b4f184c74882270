"""Links from which more is read than their share."""

from __future__ import annotations

import pytest

from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.packet import Kind
from peer_relay_socket.engine.effects import Note, Throttle
from peer_relay_socket.limits import LINK_PACKETS_RATE, RELAY_TRAFFIC_FACTOR, TRAFFIC_TOTAL
from tests.sim.bench import Bench, Node
from tests.sim.tags import receive


def test_a_link_that_sends_too_much_is_not_read_for_a_while_and_told_so_once() -> None:
    bench = Bench()
    relay, leaf, other = bench.node("relay", serves=True), bench.node("leaf"), bench.node("other")
    relay.config.link_bytes = 1e6
    relay.config.link_packets = 1e3
    cable = bench.join(leaf, relay)
    bench.join(other, relay)
    bench.flow()
    for node in (relay, leaf):
        node.effects.clear()
    big = wire.packet(Kind.SEALED, other.peer_id, leaf.peer_id, bytes(60_000))
    for _ in range(30):
        receive(relay.engine, cable.number(relay), big, bench.now)
    bench.flow()
    pauses = relay.take(Throttle)
    assert [pause.link for pause in pauses] == [cable.number(relay)]  # one for all that was read at once
    assert pauses[-1].seconds == pytest.approx(30 * len(big) / 1e6 - 1.0, abs=0.05)
    assert [note.text for note in leaf.take(Note)] == [
        f"{relay.peer_id.hex()[:8]} reads at most 1000 packets/s and 1000000 bytes/s from us"
    ]
    bench.advance(5.0)
    relay.take(Throttle)
    small = b"".join(wire.packet(Kind.SEALED, other.peer_id, leaf.peer_id, b"") for _ in range(3000))
    bench.inject(cable, relay, small)
    (pause,) = relay.take(Throttle)
    assert 0.9 <= pause.seconds <= 2.0  # 3 s worth, less one, less what time brought since it was last counted
    assert [note for note in leaf.take(Note) if note.level > 10] == []


def test_links_that_together_send_too_much_wait_and_one_that_says_little_does_not() -> None:
    bench = Bench()
    relay, heavy, light, other = (bench.node(name, serves=name == "relay") for name in ("relay", "heavy", "light", "o"))
    cables = [bench.join(node, relay) for node in (heavy, light, other)]
    bench.flow()
    relay.effects.clear()
    bench.advance(5.0)
    third = relay.engine._links.by_id[other.peer_id]
    third.pool.refill(bench.now)
    third.charge(1.5 * TRAFFIC_TOTAL)  # what many links sent

    def packets(sender: Node, count: int) -> bytes:
        return b"".join(wire.packet(Kind.SEALED, other.peer_id, sender.peer_id, b"") for _ in range(count))

    bench.inject(cables[0], relay, packets(heavy, 3_000))
    bench.inject(cables[1], relay, packets(light, 10))
    pauses = [pause for pause in relay.take(Throttle) if pause.link != cables[2].number(relay)]
    assert [pause.link for pause in pauses] == [cables[0].number(relay)]
    assert 0.0 < pauses[0].seconds <= 1.0
    assert [note for note in heavy.take(Note) if "reads at most" in note.text] == []  # it is within its own rates


def test_a_relay_that_can_be_dialled_may_send_what_many_say_and_one_that_only_says_so_may_not() -> None:
    bench = Bench()
    relay, dialled, tried, liar = (bench.node(name, serves=True) for name in ("relay", "dialled", "tried", "liar"))
    leaf = bench.node("leaf")
    liar.config.urls = ("ws://elsewhere.example",)
    bench.join(relay, dialled)
    for node in (tried, liar, leaf):
        bench.join(node, relay)
    bench.flow()
    found = [relay.engine._links.by_id[node.peer_id].traffic.packets.rate for node in (dialled, tried, liar, leaf)]
    assert found == [LINK_PACKETS_RATE * factor for factor in (RELAY_TRAFFIC_FACTOR, RELAY_TRAFFIC_FACTOR, 1, 1)]


def test_a_neighbour_that_changes_its_role_gets_back_nothing_that_it_spent() -> None:
    bench = Bench()
    relay, leaf = bench.node("relay", serves=True), bench.node("leaf")
    bench.join(leaf, relay)
    bench.flow()
    link = relay.engine._links.by_id[leaf.peer_id]
    link.control.take(bench.now, link.control.level)
    link.charge(link.traffic.packets.level)
    for serves in (True, False, True):
        link.serves = serves
        link.set_allowances(relay.engine._core)
        assert link.control.level <= 0.0
        assert link.traffic.packets.level <= 0.0
