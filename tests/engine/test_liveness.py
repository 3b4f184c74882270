"""Sessions in which nothing is heard, or nothing arrives, on a bench: another way is taken, or it is over."""

from __future__ import annotations

import pytest

from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.packet import Kind
from peer_relay_socket.engine.effects import Unreachable
from peer_relay_socket.limits import (
    HANDSHAKE_TRIES,
    SESSION_IDLE,
    SESSION_SILENCE,
)
from tests.sim.bench import Bench, Node, kind_of, step_of, talking

# --- silence ---------------------------------------------------------------------------------------------------


def diamond(bench: Bench) -> tuple[Node, Node, Node, Node]:
    """Return a, b and the two relays between them, the one a prefers first."""
    relays = [bench.node("r1", serves=True), bench.node("r2", serves=True)]
    a, b = bench.node("a"), bench.node("b")
    for relay in relays:
        bench.join(a, relay)
        bench.join(b, relay)
    bench.flow()
    a.send(b, b"first")
    bench.advance(1.0)
    assert b.heard() == [b"first"]
    used = next(far for node, far, data in reversed(bench.seen) if node is a and kind_of(data) == Kind.SEALED)
    other = next(relay for relay in relays if relay is not used)
    bench.seen.clear()
    return a, b, used, other


def test_a_relay_that_swallows_sealed_packets_is_left_within_two_seconds() -> None:
    bench = Bench()
    a, b, used, _ = diamond(bench)
    bench.gate = lambda node, _far, data: None if node is used and kind_of(data) == Kind.SEALED else data
    for n in range(10):
        a.send(b, b"%d" % n)
        bench.advance(0.25)
    assert b.heard()[-1] == b"9"


def test_a_dead_way_back_does_not_end_the_session() -> None:
    """b's answers are swallowed on the way that b prefers: it must answer on the way that it was asked by."""
    bench = Bench()
    a, b, _, _ = diamond(bench)
    b.send(a, b"hello")
    bench.flow()
    back = next(far for node, far, data in reversed(bench.seen) if node is b and kind_of(data) == Kind.SEALED)
    a.effects.clear()
    bench.gate = lambda node, far, data: (
        None if node is back and far is a and kind_of(data) in (Kind.SEALED, Kind.HANDSHAKE) else data
    )
    for n in range(20):
        a.send(b, b"%d" % n)
        b.send(a, b"%d" % n)
        bench.advance(0.25)
    assert b.heard()[-1] == b"19"
    assert a.heard()[-1] == b"19"
    assert a.take(Unreachable) == []


def test_silence_makes_probes_then_a_handshake_then_unreachable() -> None:
    bench = Bench()
    low, high = talking(bench)
    bench.gate = lambda node, _far, data: None if kind_of(data) != Kind.LINK else data
    low.send(high, b"into the void")
    bench.advance(SESSION_SILENCE - 0.01)
    assert len(bench.sent(Kind.SEALED, low)) == 1
    bench.advance(30.0)
    assert len(bench.sent(Kind.SEALED, low)) == 5
    assert len(bench.sent(Kind.HANDSHAKE, low)) == HANDSHAKE_TRIES
    assert [effect.destination for effect in low.take(Unreachable)] == [high.peer_id]


def test_an_idle_session_sends_nothing_by_itself() -> None:
    bench = Bench()
    _low, _high = talking(bench)
    bench.advance(SESSION_IDLE / 2)
    assert bench.sent(Kind.SEALED) == []
    assert bench.sent(Kind.HANDSHAKE) == []


def test_lies_about_routes_do_not_move_a_healthy_session() -> None:
    bench = Bench()
    a, b, used, _ = diamond(bench)
    cable = next(cable for cable in a.cables.values() if used in cable.ends.values())
    a.send(b, b"x")
    bench.advance(0.3)
    bench.seen.clear()
    bench.inject(cable, a, wire.packet(Kind.NO_ROUTE, a.peer_id, used.peer_id, b.peer_id))
    assert bench.sent(Kind.DISCOVER) == []


# --- ways back -------------------------------------------------------------------------------------------------


def way_back(bench: Bench, a: Node, b: Node) -> Node:
    """Return the relay by which b prefers to reach a."""
    b.send(a, b"probe")
    bench.advance(1.0)
    a.effects.clear()
    return next(far for node, far, data in reversed(bench.seen) if node is b and kind_of(data) == Kind.SEALED)


@pytest.mark.parametrize("seed", range(4))
def test_acknowledgements_lost_on_the_way_back_do_not_end_a_session(seed: int) -> None:
    bench = Bench(seed)
    a, b, _, _ = diamond(bench)
    back = way_back(bench, a, b)
    bench.seen.clear()
    bench.gate = lambda node, far, data: (
        None if node is back and far is a and kind_of(data) in (Kind.SEALED, Kind.HANDSHAKE) else data
    )
    for n in range(40):
        a.send(b, b"%d" % n)
        bench.advance(0.25)
    assert b.heard()[-1] == b"39"
    assert a.take(Unreachable) == []
    assert bench.sent(Kind.HANDSHAKE) == []


@pytest.mark.parametrize("seed", range(4))
def test_an_answer_takes_the_way_by_which_the_question_came(seed: int) -> None:
    bench = Bench(seed)
    a, b, _, _ = diamond(bench)
    way_back(bench, a, b)
    for node in (a, b):
        session = node.engine._table.get((b if node is a else a).peer_id)
        assert session is not None
        node.engine._table.close(session)
    bench.seen.clear()
    a.send(b, b"again")
    bench.flow()
    question = next(far for node, far, data in bench.seen if node is a and step_of(data) == 1)
    answer = next(far for node, far, data in bench.seen if node is b and step_of(data) == 2)
    assert question is answer


def test_an_answer_to_a_search_does_not_move_a_healthy_session() -> None:
    bench = Bench()
    a, b, _, _ = diamond(bench)
    a.engine._sessions.discovered(b.peer_id)
    bench.flow()
    assert bench.sent(Kind.SEALED) == []
