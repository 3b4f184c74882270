"""Answers to what other peers resolve, on a bench."""

from __future__ import annotations

from time import process_time

import pytest

from peer_relay_socket.address import Prefix
from peer_relay_socket.codec import control
from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.packet import HEADER_BYTES, Kind
from peer_relay_socket.limits import MIN_PREFIX_BITS
from tests.engine.test_routing import star
from tests.sim.bench import Bench, kind_of

TOKEN = b"abcd"


@pytest.mark.parametrize("bits", [MIN_PREFIX_BITS, 22, 160])
def test_the_nearest_relay_names_the_neighbours_that_an_address_may_mean_but_not_the_asker(bits: int) -> None:
    bench = Bench(7)
    hub, around, (cable, *_) = star(bench, 12)
    asker = around[0]
    for node in around:
        bench.seen.clear()
        question = control.resolve(TOKEN, bits)
        bench.inject(cable, hub, wire.packet(Kind.RESOLVE, node.peer_id, asker.peer_id, question))
        (answer,) = [data for sender, far, data in bench.seen if far is asker and kind_of(data) == Kind.RESOLVED]
        said = control.read_resolved(answer[HEADER_BYTES:])
        assert (said.token, said.final, said.behind) == (TOKEN, True, [])
        prefix = Prefix.of(node.peer_id, bits)
        meant = [each.peer_id for each in (hub, *around[1:]) if prefix.matches(each.peer_id)]
        assert sorted(said.ids) == sorted(meant)


def test_a_question_for_half_the_network_is_not_answered() -> None:
    bench = Bench(7)
    hub, (asker, other), (cable, _) = star(bench)
    question = control.resolve(TOKEN, MIN_PREFIX_BITS - 1)
    bench.inject(cable, hub, wire.packet(Kind.RESOLVE, other.peer_id, asker.peer_id, question))
    assert not [data for sender, _, data in bench.seen if sender is hub]


@pytest.mark.slow
def test_what_a_resolve_costs_does_not_grow_with_the_links() -> None:
    spent = []
    for leaves in (10, 400):
        bench = Bench(3)
        hub, (a, *_), (cable, *_) = star(bench, leaves)
        bench.advance(2.0)
        questions = [wire.packet(Kind.RESOLVE, bytes((n,)) * 20, a.peer_id, b"abcd\xa0") for n in range(190)]
        began = process_time()
        for question in questions:
            hub.engine.receive(cable.number(hub), question, bench.now)
        spent.append(process_time() - began)
        assert hub.engine.counters.get("dropped: too much control traffic", 0) <= 10
    assert spent[1] < 3 * spent[0] + 0.01
