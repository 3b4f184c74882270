"""Searches: who may move a route with one, how far they go, and what one neighbour can use up."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from peer_relay_socket.codec import control
from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.control import FoundBody, SearchBody
from peer_relay_socket.codec.packet import HEADER_BYTES, Kind
from peer_relay_socket.identity import Identity
from peer_relay_socket.limits import (
    ANSWER_TIME,
    FLOOD_FANOUT,
    FLOOD_HOPS,
    FLOOD_PER_CALLER,
    FLOOD_PER_LEAF,
    FLOOD_RATE,
    MAX_FLOODS,
    SEARCH_AGE,
)
from tests.engine.test_routing import star
from tests.sim.bench import Bench, Node, kind_of
from tests.sim.tags import receive

BITS = 160


def question(
    node: Node,
    target: bytes,
    *,
    signer: Identity | None = None,
    stamp: float | None = None,
    bits: int = BITS,
    hops: int = FLOOD_HOPS,
) -> bytes:
    """Return a DISCOVER that says it is from `node`, signed by `signer` or else by its own key."""
    identity = signer or node.identity
    at = node.bench.now if stamp is None else stamp
    body = SearchBody(node.bench.random.randbytes(4), bits, int(at * 1e6) + 1, identity.public_key)
    body = body._replace(signature=identity.sign(body.signed(target)))
    return wire.packet(Kind.DISCOVER, target, node.peer_id, control.search_body(body), hop_limit=hops)


def mesh(bench: Bench, relays: int) -> list[Node]:
    """Return relays that are linked to up to eight others each."""
    dice = Random(1)
    nodes = [bench.node(f"r{number}", serves=True) for number in range(relays)]
    for number, node in enumerate(nodes):
        for other in dice.sample(range(number), min(number, 8)):
            bench.join(node, nodes[other])
        bench.flow()
    return nodes


# --- routes ------------------------------------------------------------------------------------------------------


def drawn(forge: str | None) -> tuple[int, int]:
    """Let a stranger that says it relays forge searches of bob's. Returns: datagrams heard; seen by the stranger."""
    bench = Bench(5)
    bench.now = 1_000.0
    relays = [bench.node(f"r{number}", serves=True) for number in range(3)]
    for one, other in ((0, 1), (1, 2), (0, 2)):
        bench.join(relays[one], relays[other])
    alice, bob, evil = bench.node("alice"), bench.node("bob"), bench.node("evil", serves=True)
    bench.join(alice, relays[0])
    bench.join(bob, relays[1])
    cable = bench.join(evil, relays[0])
    bench.flow()
    bench.advance(3.0)
    alice.send(bob, b"hello")
    bench.advance(1.0)
    bob.heard()
    bench.gate = lambda sender, _far, data: None if sender is evil and kind_of(data) == Kind.SEALED else data
    bench.seen.clear()
    old = question(bob, alice.peer_id, stamp=bench.now - SEARCH_AGE - 1.0)
    for number in range(60):
        if number % 5 == 0 and forge is not None:
            forged = {
                "unsigned": lambda: question(bob, alice.peer_id)[:-64] + bytes(64),
                "by another key": lambda: question(bob, alice.peer_id, signer=evil.identity),
                "replayed": lambda: old,
                "a control packet": lambda: wire.packet(Kind.NO_SESSION, alice.peer_id, bob.peer_id, b"abcd"),
            }[forge]()
            bench.inject(cable, relays[0], forged)
        alice.send(bob, b"x%d" % number)
        bench.advance(0.1)
    seen = sum(kind_of(data) == Kind.SEALED for _, receiver, data in bench.seen if receiver is evil)
    return len(bob.heard()), seen


@pytest.mark.parametrize("forge", ["unsigned", "by another key", "replayed", "a control packet"])
def test_a_forged_search_moves_no_route(forge: str) -> None:
    assert drawn(None) == (60, 0)
    assert drawn(forge) == (60, 0)


def test_an_answer_is_taken_from_the_key_of_its_peer_alone_and_once() -> None:
    bench = Bench()
    hub, (a, b, *relays), cables = star(bench, 2, relays=2)
    target = bench.node("target")
    lost = bench.node("evil").identity
    bench.inject(cables[0], hub, question(a, target.peer_id))
    token = next(data for _, _, data in bench.seen if kind_of(data) == Kind.DISCOVER)[HEADER_BYTES : HEADER_BYTES + 4]

    def answer(identity: Identity) -> bytes:
        body = FoundBody(token, False, identity.public_key)
        body = body._replace(signature=identity.sign(body.signed(a.peer_id)))
        return wire.packet(Kind.DISCOVERED, a.peer_id, target.peer_id, control.found_body(body))

    bench.seen.clear()
    bench.inject(cables[2], hub, answer(lost))
    assert hub.engine.counters["dropped: forged answer to a search"] == 1
    assert bench.seen == []
    bench.inject(cables[2], hub, answer(target.identity))
    bench.inject(cables[3], hub, answer(target.identity))
    assert len(bench.sent(Kind.DISCOVERED, hub)) == 1
    bench.seen.clear()
    bench.inject(cables[1], hub, wire.packet(Kind.SEALED, target.peer_id, b.peer_id, bytes(40)))
    (onward,) = [far for node, far, data in bench.seen if node is hub and kind_of(data) == Kind.SEALED]
    assert onward is relays[0]


def test_an_answer_to_no_search_of_ours_makes_no_route() -> None:
    bench = Bench()
    hub, (a, _), (cable, _) = star(bench)
    body = FoundBody(b"abcd", False, a.identity.public_key)
    body = body._replace(signature=a.identity.sign(body.signed(hub.peer_id)))
    bench.inject(cable, hub, wire.packet(Kind.DISCOVERED, hub.peer_id, a.peer_id, control.found_body(body)))
    assert hub.engine.counters["dropped: unasked answer"] == 1


def test_the_route_to_an_unproved_sender_ends_with_its_answer() -> None:
    bench = Bench()
    hub, (_, b), cables = star(bench)
    far = bench.node("far", serves=True)
    cable = bench.join(far, hub)
    bench.flow()
    bench.seen.clear()
    stranger = bytes(a ^ 1 for a in hub.peer_id)  # nearest to the hub, which therefore knows no step towards it
    bench.inject(cable, hub, wire.packet(Kind.FIND, b.peer_id, stranger, b"abcd", hop_limit=1))
    assert [receiver for _, receiver, data in bench.seen if kind_of(data) == Kind.FOUND] == [far]
    bench.seen.clear()
    bench.inject(cables[1], hub, wire.packet(Kind.RESOLVED, stranger, b.peer_id, b"abcd\x01\x00"))
    assert len(bench.sent(Kind.RESOLVED, hub)) == 1
    bench.advance(ANSWER_TIME + 0.1)
    bench.seen.clear()
    bench.inject(cables[1], hub, wire.packet(Kind.RESOLVED, stranger, b.peer_id, b"abcd\x01\x00"))
    first = [data for data in bench.sent(Kind.RESOLVED, hub) if data[2] >> 2 & 3 == 0]
    assert first == []


# --- how far, and how often ----------------------------------------------------------------------------------------


def test_a_search_is_passed_on_once_to_few() -> None:
    bench = Bench()
    hub, (a, *_), (*_, cable) = star(bench, 1, relays=FLOOD_FANOUT + 4)
    search = question(a, bytes(20), hops=4)
    bench.inject(cable, hub, search, search)
    assert FLOOD_FANOUT - 1 <= len(bench.sent(Kind.DISCOVER, hub)) <= FLOOD_FANOUT  # not back where it came from


def test_a_relay_asks_no_more_than_half_by_nearness_for_those_nearest_may_all_be_an_attackers() -> None:
    bench = Bench()
    hub, _, _ = star(bench, 0, relays=6 * FLOOD_FANOUT)
    beyond = 0
    for _ in range(20):
        target = bench.random.randbytes(20)
        bench.seen.clear()
        hub.engine._searches.discover(target)
        bench.flow()
        near = [link.peer_id for link in hub.engine._router.nearest(int.from_bytes(target), FLOOD_FANOUT)]
        asked = {far.peer_id for sender, far, data in bench.seen if sender is hub and kind_of(data) == Kind.DISCOVER}
        assert len(asked) == FLOOD_FANOUT
        assert asked.issuperset(near[: FLOOD_FANOUT // 2])
        beyond += len(asked.difference(near))
    assert beyond >= 20 * FLOOD_FANOUT // 4


def reach(flood: bool, *, serves: bool = False) -> list[int]:
    """Return how many relays each of ten searches reaches while a neighbour of one relay floods, or does not."""
    bench, dice = Bench(4), Random(9)
    relays = mesh(bench, 20)
    evil, seeker = bench.node("evil", serves=serves), bench.node("seeker")
    cable, own = bench.join(evil, relays[0]), bench.join(seeker, relays[1])
    bench.flow()
    bench.advance(5.0)
    reached = []
    for number in range(100):
        if flood:
            bench.inject(cable, relays[0], question(evil, bench.random.randbytes(20)))
        if number % 10 == 9:
            bench.seen.clear()
            bench.inject(own, relays[1], question(seeker, dice.randbytes(20)))
            found = {far.name for _, far, data in bench.seen if kind_of(data) == Kind.DISCOVER}
            reached.append(len(found & {relay.name for relay in relays}))
        bench.advance(0.1)
    if flood:
        allowed = (10.0 + 4.0) * (FLOOD_PER_CALLER if serves else FLOOD_PER_LEAF)
        assert relays[0].engine.counters["dropped: too many searches"] >= 100 - allowed - 2
    return reached


@pytest.mark.slow
def test_one_leaf_uses_up_no_searches_but_its_own() -> None:
    assert sum(reach(True)) >= 0.97 * sum(reach(False))  # whom a search is passed on to is left to chance


@pytest.mark.slow
def test_one_that_says_it_relays_uses_up_few_searches_but_its_own() -> None:
    assert sum(reach(True, serves=True)) >= 0.8 * sum(reach(False, serves=True))


def test_a_relay_passes_on_a_bounded_number_in_all() -> None:
    bench = Bench()
    hub, around, cables = star(bench, 60, relays=3)
    for _ in range(5):
        for node, cable in zip(around[:60], cables[:60], strict=True):
            receive(hub.engine, cable.number(hub), question(node, bench.random.randbytes(20)), bench.now)
    bench.flow()
    assert 2 * FLOOD_RATE <= len(bench.sent(Kind.DISCOVER, hub)) <= 3 * FLOOD_RATE


@pytest.mark.parametrize("hops", [FLOOD_HOPS, 255])
def test_a_search_goes_no_further_than_our_own_do(hops: int) -> None:
    bench = Bench(34)
    row = [bench.node(f"r{number}", serves=True) for number in range(20)]
    for one, other in pairwise(row):
        bench.join(one, other)
        bench.flow()
    leaf = bench.node("leaf")
    cable = bench.join(leaf, row[0])
    bench.flow()
    bench.advance(2.0)
    bench.seen.clear()
    bench.inject(cable, row[0], question(leaf, bytes(20), hops=hops))
    assert 1 <= len({far.name for _, far, data in bench.seen if kind_of(data) == Kind.DISCOVER}) <= FLOOD_HOPS


@pytest.mark.parametrize("bits", [0, 1, 7, 161, 255])
def test_a_search_for_nobody_in_particular_is_ignored(bits: int) -> None:
    bench = Bench()
    hub, (a, *_), (cable, *_) = star(bench, 1, relays=2)
    bench.inject(cable, hub, question(a, hub.peer_id, bits=bits))
    bench.inject(cable, hub, wire.packet(Kind.RESOLVE, hub.peer_id, a.peer_id, b"abcd" + bytes((bits,))))
    assert bench.seen == []


def test_what_is_remembered_of_searches_is_bounded() -> None:
    bench = Bench()
    hub, (a, *_), (cable, *_) = star(bench, 1, relays=1)
    for _ in range(MAX_FLOODS + 200):
        receive(hub.engine, cable.number(hub), question(a, bench.random.randbytes(20)), bench.now)
        hub.engine.take_bundles()
        bench.now += 1.1
    searches = hub.engine._searches
    assert MAX_FLOODS - 10 <= len(searches._floods) <= MAX_FLOODS
    assert len(searches._stamps) <= MAX_FLOODS
