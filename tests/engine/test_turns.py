"""Many short addresses at once: whose turn it is to be asked for, and what relays are spared."""

from __future__ import annotations

import pytest

from peer_relay_socket.address import PeerId, Prefix, Spelling
from peer_relay_socket.codec.packet import Kind
from peer_relay_socket.engine.effects import Unreachable
from peer_relay_socket.limits import FLOOD_PER_LEAF, RESOLVE_RATE, UNKNOWN_ADDRESS_TIME
from tests.sim.bench import Bench, Node

SPELL = Spelling()
SETTLED = 5.0
"""Seconds after which nothing that peers do at the start is under way."""
DROPPED = "dropped: too much control traffic"
REFUSED = "refused: too many addresses being resolved"


def address_of(node: Node) -> Prefix:
    prefix = SPELL.parse(SPELL.ipv4(node.peer_id))
    assert isinstance(prefix, Prefix)
    return prefix


def send(node: Node, prefix: Prefix, data: bytes) -> None:
    node.engine.send(prefix, 4, 9, 5, [data], node.bench.now)


def scene(relays: int, peers: int = 1) -> tuple[Bench, list[Node], Node, list[Node]]:
    """Relays that know each other, a client, and other peers, all linked to each relay; and nothing is owed."""
    bench = Bench(1)
    serving = [bench.node(f"relay{number}", serves=True) for number in range(relays)]
    client, others = bench.node("client"), [bench.node(f"peer{number}") for number in range(peers)]
    for number, relay in enumerate(serving):
        for node in (*serving[:number], client, *others):
            bench.join(node, relay)
    bench.advance(SETTLED)
    bench.seen.clear()
    return bench, serving, client, others


def addresses_of_nobody(bench: Bench, count: int) -> list[Prefix]:
    known = [node.peer_id for node in bench.nodes]
    found: dict[Prefix, None] = {}
    while len(found) < count:
        prefix = Prefix.of(bench.random.randbytes(20), 22)
        if not any(map(prefix.matches, known)):
            found[prefix] = None
    return list(found)


@pytest.mark.parametrize("relays", [1, 3])
def test_a_new_peer_is_reached_after_thousands_of_addresses_of_nobody(relays: int) -> None:
    bench, serving, client, (peer,) = scene(relays)
    nobody = addresses_of_nobody(bench, 3_000)
    for prefix in nobody:
        send(client, prefix, b"x")
    send(client, address_of(peer), b"first")
    bench.advance(2.0)
    assert peer.heard() == [b"first"]
    bench.advance(SETTLED)
    assert sorted(effect.destination for effect in client.take(Unreachable)) == sorted(nobody)
    assert client.engine.counters[REFUSED] > 2_000
    dropped = sum(relay.engine.counters.get(DROPPED, 0) for relay in serving)
    assert dropped <= (0 if relays == 1 else 300)  # what is sent at once may go by one of several


@pytest.mark.parametrize("at_once", [10, 500])
def test_a_peer_is_reached_by_a_program_that_always_looks_for_more_than_it_may(at_once: int) -> None:
    bench, _, client, (peer,) = scene(1)
    sent_to = addresses_of_nobody(bench, 499)
    sent_to.insert(250, address_of(peer))
    for number in range(30 * len(sent_to)):  # five hundred a second, always in one order
        send(client, sent_to[number % len(sent_to)], b"x")
        if number % at_once == at_once - 1:
            bench.advance(at_once / len(sent_to))
        if peer.heard():
            return
    pytest.fail("not heard in 30 s")


def test_a_peer_with_a_session_never_waits_behind_them() -> None:
    bench, _, client, (peer,) = scene(1)
    send(client, address_of(peer), b"before")
    bench.advance(1.0)
    for prefix in addresses_of_nobody(bench, 3_000):
        send(client, prefix, b"x")
    send(client, address_of(peer), b"after")
    bench.flow()
    assert peer.heard() == [b"before", b"after"]


def test_relays_are_asked_no_more_than_they_take() -> None:
    bench, _, client, _ = scene(1)
    for _ in range(100):
        for prefix in addresses_of_nobody(bench, 10):
            send(client, prefix, b"x")
        bench.advance(0.1)
    assert 0 < len(bench.sent(Kind.DISCOVER, client)) <= FLOOD_PER_LEAF * (10 + 4)
    assert 0.9 * 10 * RESOLVE_RATE <= len(bench.sent(Kind.RESOLVE, client)) <= 11 * RESOLVE_RATE
    assert client.engine.counters["held back: searches of our own"] > 0


def test_a_burst_of_peers_that_are_there_waits_for_nothing() -> None:
    bench, _, client, peers = scene(1, peers=30)
    for peer in peers:
        send(client, address_of(peer), b"hello")
    bench.advance(0.05)
    assert [peer.heard() for peer in peers] == [[b"hello"]] * len(peers)


def test_the_question_about_our_own_address_is_not_given_up_for_others() -> None:
    bench, _, client, _ = scene(1)
    bench.advance(2 * UNKNOWN_ADDRESS_TIME)  # that nobody else has it, as was found at the start, counts no more
    bench.gate = lambda _sender, _receiver, _data: None
    client.engine.handle_timer(bench.now)
    answers: list[PeerId | None] = []
    for number, prefix in enumerate(addresses_of_nobody(bench, 1_000)):
        if number == 200:  # what may be sent at once was sent
            client.engine._resolver.resolve(address_of(client), answers.append, once=True)
        send(client, prefix, b"x")
    assert answers == []
    assert client.engine.counters[REFUSED] > 0
