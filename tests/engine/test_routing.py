"""Forwarding on a bench: which way, how far, and who is told that there is none."""

from __future__ import annotations

import pytest

from peer_relay_socket.address import Prefix
from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.packet import HEADER_BYTES, Kind, Record
from peer_relay_socket.engine.effects import Deliver, Message
from peer_relay_socket.limits import (
    CONTROL_RATE,
    HOP_LIMIT,
    MAX_JOINING,
    MAX_LEARNED_ROUTES,
    MAX_ROUTE_CACHE,
)
from tests.sim.bench import Bench, Cable, Node, kind_of
from tests.sim.tags import receive


def star(bench: Bench, leaves: int = 2, *, relays: int = 0) -> tuple[Node, list[Node], list[Cable]]:
    """Return a relay with leaves and other relays around it."""
    hub = bench.node("hub", serves=True)
    around = [bench.node(f"leaf{n}") for n in range(leaves)]
    around += [bench.node(f"relay{n}", serves=True) for n in range(relays)]
    cables = [bench.join(node, hub) for node in around]
    bench.flow()
    bench.seen.clear()
    return hub, around, cables


def test_a_relay_changes_hop_limit_and_nothing_else() -> None:
    bench = Bench()
    hub, (a, b), (cable, _) = star(bench)
    body = bytes(range(200))
    for kind in (Kind.SEALED, Kind.HANDSHAKE, Kind.NO_SESSION, 0x77):
        packet = wire.packet(kind, b.peer_id, a.peer_id, body, hop_limit=9)  # type: ignore[arg-type]
        bench.seen.clear()
        bench.inject(cable, hub, packet)
        (out,) = [data for node, far, data in bench.seen if node is hub and far is b]
        assert out == packet[:1] + b"\x08" + packet[2:]


def test_several_packets_of_a_bundle_go_their_ways_together() -> None:
    bench = Bench()
    hub, (a, b, c), (cable, *_) = star(bench, 3)
    to = [b, c, b, b, c]
    bundle = b"".join(wire.packet(Kind.SEALED, node.peer_id, a.peer_id, b"%d" % n) for n, node in enumerate(to))
    receive(hub.engine, cable.number(hub), bundle, bench.now)
    bundles = hub.engine.take_bundles()
    assert sorted(len(chunks) for _, chunks in bundles) == [5, 7]


@pytest.mark.parametrize("hops", [0, 1])
def test_a_packet_at_the_end_of_its_hops_goes_no_further(hops: int) -> None:
    bench = Bench()
    hub, (a, b), (cable, _) = star(bench)
    bench.inject(cable, hub, wire.packet(Kind.SEALED, b.peer_id, a.peer_id, b"", hop_limit=hops))
    assert bench.sent(Kind.SEALED, hub) == []
    assert hub.engine.counters["dropped: hop limit"] == 1


def test_a_leaf_relays_nothing() -> None:
    bench = Bench()
    hub, (a, b), (cable, _) = star(bench)
    bench.inject(cable, a, wire.packet(Kind.SEALED, b.peer_id, hub.peer_id, b""))
    assert bench.seen == []
    assert a.engine.counters["dropped: not a relay"] == 1


def test_no_way_is_told_to_the_sender_at_a_bounded_rate() -> None:
    bench = Bench()
    hub, (a, _), (cable, _) = star(bench)
    nobody = bytes(20)
    bundle = b"".join(wire.packet(Kind.SEALED, nobody, a.peer_id, b"") for _ in range(1000))
    receive(hub.engine, cable.number(hub), bundle, bench.now)
    bench.flow()
    notices = bench.sent(Kind.NO_ROUTE, hub)
    assert {data[HEADER_BYTES:] for data in notices} == {nobody}
    assert len(notices) <= CONTROL_RATE
    bench.seen.clear()
    bench.inject(cable, hub, wire.packet(Kind.NO_ROUTE, nobody, a.peer_id, nobody))  # no notice about a notice
    assert bench.sent(Kind.NO_ROUTE, hub) == []


def test_tables_stay_small_whatever_passes() -> None:
    bench = Bench()
    hub, (_, other), (_, cable) = star(bench, 1, relays=1)
    for n in range(MAX_LEARNED_ROUTES + 3000):
        made_up = n.to_bytes(20)
        packet = wire.packet(Kind.NO_SESSION, (n + 1 << 100).to_bytes(20), made_up, b"abcd")
        receive(hub.engine, cable.number(hub), packet, bench.now)
        hub.engine.take_bundles()
        bench.now += 0.02
    router = hub.engine._router
    assert len(router._learned) <= MAX_LEARNED_ROUTES
    assert all(len(cache) <= MAX_ROUTE_CACHE for cache in router.hops)
    assert other.engine is not hub.engine


def test_the_links_that_a_prefix_may_mean_are_found_as_links_come_and_go() -> None:
    bench = Bench(7)
    hub, around, cables = star(bench, 12, relays=4)
    router = hub.engine._router
    for step in range(len(around) + 1):
        linked = {node.peer_id for node in around[step:]}
        for bits in (8, 22, 160):
            for node in around:
                prefix = Prefix.of(node.peer_id, bits)
                expected = {peer_id for peer_id in linked if prefix.matches(peer_id)}
                assert {link.peer_id for link in router.matching(prefix, 20)} == expected
                assert len(router.matching(prefix, 1)) == bool(expected)
        if step < len(cables):
            cables[step].cut()


def test_no_hop_limit_is_obeyed_beyond_ours() -> None:
    bench = Bench()
    hub, (a, b), (cable, _) = star(bench)
    for kind in (Kind.SEALED, Kind.NO_SESSION):
        bench.seen.clear()
        bench.inject(cable, hub, wire.packet(kind, b.peer_id, a.peer_id, bytes(8), hop_limit=255))
        (out,) = [data for _, far, data in bench.seen if far is b]
        assert out[1] == HOP_LIMIT - 1


# --- to oneself, and on request ----------------------------------------------------------------------------------


def test_what_a_peer_sends_to_itself_stays_at_home() -> None:
    bench = Bench()
    low, _ = bench.pair()
    bench.seen.clear()
    low.send(low, b"me", b"again")
    low.engine.send_message(low.peer_id, b"{}", bench.now)
    low.engine.connect(low.peer_id, bench.now)
    bench.flow()
    assert low.take(Deliver) == [Deliver(low.peer_id, 9, 5, 4, [b"me", b"again"])]
    assert low.take(Message) == [Message(low.peer_id, b"{}")]
    assert [data for _, _, data in bench.seen if kind_of(data) in (Kind.HANDSHAKE, Kind.FIND, Kind.SEALED)] == []


def test_strangers_who_ask_to_be_dialled_are_a_few_and_forgotten() -> None:
    bench = Bench()
    hub, (victim, *strangers), _ = star(bench, 3 * MAX_JOINING)
    before = len(victim.engine._membership._candidates)
    for stranger in strangers:
        stranger.engine._sessions.send(victim.peer_id, wire.record(Record.JOIN))
        bench.flow()
    assert len(victim.engine._membership._candidates) <= before + MAX_JOINING
    assert victim.engine.counters["refused: too many ask to be dialled"] == len(strangers) - MAX_JOINING
    bench.advance(60.0)
    assert len(victim.engine._membership._candidates) <= before + 1
    assert not victim.engine._membership._joining
    assert hub.peer_id in victim.engine.neighbours
