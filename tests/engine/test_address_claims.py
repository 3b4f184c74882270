"""Ids ground to share another's IPv4 address: what they get, and what they cannot take."""

from __future__ import annotations

import ipaddress

import pytest

from peer_relay_socket.address import PeerId, Prefix, Spelling
from peer_relay_socket.codec import control
from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.packet import HEADER_BYTES, Kind
from peer_relay_socket.engine import address_claims, session_table
from peer_relay_socket.engine.address_claims import AddressClaims
from peer_relay_socket.engine.core import EngineConfig
from peer_relay_socket.engine.effects import Deliver, DeliverBroadcast, Note, Unreachable
from peer_relay_socket.identity import Identity
from tests.sim.bench import Bench, Node, kind_of

NETWORK = ipaddress.IPv4Network("100.64.0.0/24")
"""The smallest there may be: 256 tries find a twin, where the real network takes four million."""
SHORT = Spelling(NETWORK)


def node(bench: Bench, name: str, identity: Identity | None = None, *, serves: bool = False) -> Node:
    config = EngineConfig(serves=serves, urls=(f"ws://{name}.example",) if serves else (), ipv4_network=NETWORK)
    made = Node(bench, name, identity or Identity.from_seed(bench.random.randbytes(32)), config)
    bench.nodes.append(made)
    return made


def twin_of(peer_id: PeerId, bench: Bench) -> Identity:
    """Grind a key whose id has the IPv4 address of `peer_id`."""
    while True:
        identity = Identity.from_seed(bench.random.randbytes(32))
        if SHORT.ipv4(identity.peer_id) == SHORT.ipv4(peer_id):
            return identity


def scene() -> tuple[Bench, Node, Node, Node, Node]:
    bench = Bench(seed=3)
    relay, a, b = node(bench, "relay", serves=True), node(bench, "a"), node(bench, "b")
    twin = node(bench, "twin", twin_of(b.peer_id, bench))
    for each in (a, b, twin):
        bench.join(each, relay)
    bench.flow()
    for each in bench.nodes:
        each.effects.clear()
    return bench, relay, a, b, twin


def address(peer: Node) -> Prefix:
    parsed = SHORT.parse(SHORT.ipv4(peer.peer_id))
    assert isinstance(parsed, Prefix)
    return parsed


def by_address(a: Node, peer: Node, data: bytes) -> None:
    """Send from `a` to the IPv4 address of `peer`."""
    a.engine.send(address(peer), 4, 9, 5, [data], a.bench.now)


def test_a_twin_does_not_take_over_an_address_that_the_network_named() -> None:
    bench, relay, a, b, twin = scene()
    bench.gate = lambda node, far, data: (  # the twin is not there yet
        None if twin in (node, far) and kind_of(data) in (Kind.RESOLVE, Kind.DISCOVER) else _only(data, relay, b)
    )
    by_address(a, b, b"one")
    bench.advance(1.0)
    assert b.heard() == [b"one"]
    bench.gate = lambda _node, _far, data: data
    twin.send(a, b"I am b")
    bench.advance(1.0)
    (delivered,) = [effect for effect in a.take(Deliver) if effect.source == twin.peer_id]
    assert delivered.address_conflict
    b.send(a, b"and I am b")
    bench.advance(1.0)
    (delivered,) = [effect for effect in a.take(Deliver) if effect.source == b.peer_id]
    assert not delivered.address_conflict
    (warning,) = [note.text for note in a.take(Note) if "which we know" in note.text]
    assert twin.peer_id.hex() in warning
    assert b.peer_id.hex() in warning
    by_address(a, b, b"two")
    bench.advance(1.0)
    assert b.heard() == [b"two"]
    assert twin.heard() == []


def _only(data: bytes, relay: Node, peer: Node) -> bytes:
    """Return `data`, a relay's RESOLVED with nobody but `peer` in it."""
    if kind_of(data) != Kind.RESOLVED:
        return data
    token = data[HEADER_BYTES : HEADER_BYTES + 4]
    return wire.packet(Kind.RESOLVED, data[8:28], relay.peer_id, control.resolved(token, True, [peer.peer_id]))


def test_an_answer_goes_to_who_asked_though_the_network_names_a_twin() -> None:
    bench, relay, a, b, twin = scene()
    b.send(a, b"question")
    bench.advance(0.5)
    assert a.heard() == [b"question"]
    bench.gate = lambda _node, _far, data: _only(data, relay, twin)
    by_address(a, b, b"answer")
    bench.advance(5.0)
    assert twin.heard() == b.heard() == []
    assert [effect.destination for effect in a.take(Unreachable)] == [address(b)]
    assert any("claimed by several peers" in note.text for note in a.take(Note))


def test_of_two_that_come_by_themselves_the_first_keeps_the_address() -> None:
    bench, _, a, b, twin = scene()
    for first, second in ((b, twin),):
        first.send(a, b"first")
        bench.advance(0.5)
        second.send(a, b"second")
        bench.advance(0.5)
        first.send(a, b"third")
        bench.advance(0.5)
        address_conflict = {deliver.source: deliver.address_conflict for deliver in a.take(Deliver)}
        assert address_conflict == {first.peer_id: False, second.peer_id: True}
    by_address(a, b, b"whose?")
    bench.advance(5.0)
    assert twin.heard() == b.heard() == []
    assert a.engine.counters["peers with another's IPv4 address"] == 1


def test_what_a_twin_broadcasts_is_not_heard_under_the_address_of_whom_we_know() -> None:
    bench, _, a, b, twin = scene()
    twin.engine.broadcast("239.1.2.3", 1, 4, 9, 5, [b"anybody?"], bench.now)
    bench.advance(0.5)
    assert [cast.source for cast in a.take(DeliverBroadcast)] == [twin.peer_id]  # nobody else is known
    b.send(a, b"first")
    bench.advance(0.5)
    for form, group, sources in ((4, "239.1.2.3", []), (6, "ff0e::1", [twin.peer_id])):
        twin.engine.broadcast(group, 1, form, 9, 5, [b"anybody?"], bench.now)
        bench.advance(0.5)
        assert [cast.source for cast in a.take(DeliverBroadcast)] == sources
    b.engine.broadcast("239.1.2.3", 1, 4, 9, 5, [b"I am b"], bench.now)
    bench.advance(0.5)
    assert [cast.source for cast in a.take(DeliverBroadcast)] == [b.peer_id]


def test_a_claim_outlives_its_session_and_ends_when_its_peer_does_not_answer() -> None:
    bench, _, a, b, twin = scene()
    b.send(a, b"first")
    bench.advance(0.5)
    a.engine._table.close(a.engine._table.session(b.peer_id))
    twin.send(a, b"second")
    bench.advance(0.5)
    assert [deliver.address_conflict for deliver in a.take(Deliver)] == [False, True]
    for cable in list(b.cables.values()):
        cable.cut()
    a.engine._table.close(a.engine._table.session(b.peer_id))
    a.engine._table.close(a.engine._table.session(twin.peer_id))
    twin.send(a, b"third")  # whose handshake makes us ask b for its key
    bench.advance(10.0)
    twin.send(a, b"fourth")
    bench.advance(0.5)
    assert a.take(Deliver)[-1].address_conflict is False


def test_strangers_push_out_no_friend_and_take_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_table, "MAX_SESSIONS", 20)
    bench, relay, a, b, twin = scene()
    b.send(a, b"question")
    bench.advance(0.5)
    a.send(b, b"answer")
    bench.advance(20.0)  # b pauses
    a.take(Deliver)
    for number in range(60):
        stranger = node(bench, f"stranger{number}")
        cable = bench.join(stranger, relay)
        bench.flow()
        stranger.send(a, b"let me in")
        bench.flow()
        cable.cut()
        bench.nodes.remove(stranger)
    assert a.engine.counters["sessions forgotten: too many"] >= 40
    bench.seen.clear()
    twin.send(a, b"I am b")
    b.send(a, b"I am b")
    bench.advance(1.0)
    assert not [data for sender, _, data in bench.seen if sender is b and kind_of(data) == Kind.HANDSHAKE]
    conflict = {deliver.source: deliver.address_conflict for deliver in a.take(Deliver)}
    assert (conflict[b.peer_id], conflict[twin.peer_id]) == (False, True)


def test_claims_are_bounded_and_strangers_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address_claims, "MAX_CLAIMS", 10)
    bench, _, a, b, twin = scene()
    claims = AddressClaims(a.engine._core)
    claims.claim(b.peer_id)
    claims.solicit(b.peer_id)
    for _ in range(100):
        claims.claim(bench.random.randbytes(20))
    assert claims.is_anothers(twin.peer_id)
    assert sum(len(claims.claims(Prefix.of(bytes((number,)) * 20, 8))) for number in range(256)) <= 10
