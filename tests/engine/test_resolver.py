"""Short addresses: what a lie about one costs, and what it leaves behind."""

from __future__ import annotations

import pytest

from peer_relay_socket.address import PeerId, Prefix, Spelling
from peer_relay_socket.codec import control
from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.packet import HEADER_BYTES, Kind
from peer_relay_socket.engine.effects import AddressChecked, Deliver, Note, Unreachable
from peer_relay_socket.limits import MAX_NAMED, RESOLVE_LAST
from tests.engine import test_address_claims as small
from tests.sim.bench import Bench, Node, kind_of
from tests.sim.tags import receive

SPELL = Spelling()
HONEST_AGAIN = 5.0
"""Seconds after a lie within which an honest answer must work."""


class Scene:
    """A client and a server on one relay, which may lie about the server's addresses."""

    def __init__(self, text: str = "") -> None:
        self.bench = Bench(1)
        self.relay = self.bench.node("relay", serves=True)
        self.client, self.server = self.bench.node("client"), self.bench.node("server")
        for node in (self.client, self.server):
            self.bench.join(node, self.relay)
        self.bench.flow()
        spelled = SPELL.ipv6(self.server.peer_id) if text == "IPv6" else SPELL.ipv4(self.server.peer_id)
        prefix = SPELL.parse(spelled)
        assert isinstance(prefix, Prefix)
        self.prefix = prefix
        self.form = 6 if text == "IPv6" else 4

    def invented(self, number: int = 0) -> PeerId:
        """Return an id that the address may mean, and to which nobody has a key."""
        known = self.prefix.bits // 8 + 1
        return (self.server.peer_id[:known] + bytes((number + 1 & 0xFF,)) * 20)[:20]

    def resolved(self, token: bytes, ids: list[PeerId], *, final: bool = True) -> bytes:
        body = control.resolved(token, final, ids)
        return wire.packet(Kind.RESOLVED, self.client.peer_id, self.relay.peer_id, body)

    def send(self, data: bytes) -> None:
        self.client.engine.send(self.prefix, self.form, 9, 5, [data], self.bench.now)

    def honest(self) -> None:
        self.bench.gate = lambda _sender, _receiver, data: data


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
@pytest.mark.parametrize("way", ["RESOLVED", "DISCOVERED"])
def test_an_invented_id_leaves_nothing_behind(family: str, way: str) -> None:
    scene = Scene(family)
    bench, client, server, relay = scene.bench, scene.client, scene.server, scene.relay
    assert scene.prefix.matches(scene.invented())

    def lie(sender: Node, receiver: Node, data: bytes) -> bytes | None:
        if sender is client and kind_of(data) in (Kind.RESOLVE, Kind.DISCOVER):
            token = data[HEADER_BYTES : HEADER_BYTES + 4]
            answer = scene.resolved(token, [scene.invented()])
            if way == "DISCOVERED":
                answer = wire.packet(Kind.DISCOVERED, client.peer_id, scene.invented(), token)
            asked = Kind.RESOLVE if way == "RESOLVED" else Kind.DISCOVER
            if kind_of(data) == asked:
                receive(client.engine, next(iter(client.cables)), answer, bench.now)
            return None
        return None if sender is relay and kind_of(data) in (Kind.RESOLVED, Kind.DISCOVERED) else data

    bench.gate = lie
    scene.send(b"while the relay lies")
    bench.advance(RESOLVE_LAST + 1.0)
    assert [effect.destination for effect in client.take(Unreachable)] == [scene.prefix]
    scene.honest()
    for _ in range(int(HONEST_AGAIN / 0.5)):
        scene.send(b"the relay is honest")
        bench.advance(0.5)
    assert b"the relay is honest" in server.heard()
    server.send(client, b"answer")
    bench.advance(0.5)
    assert [(d.datagrams, d.address_conflict) for d in client.take(Deliver)] == [([b"answer"], False)]


def test_a_lie_beside_the_truth_costs_a_moment_and_refuses_nothing() -> None:
    scene = Scene()
    lied = []

    def lie(sender: Node, receiver: Node, data: bytes) -> bytes | list[bytes]:
        if sender is scene.relay and receiver is scene.client and kind_of(data) == Kind.RESOLVED:
            lied.append(data)
            return [scene.resolved(data[HEADER_BYTES : HEADER_BYTES + 4], [scene.invented()]), data]
        return data

    scene.bench.gate = lie
    scene.send(b"one")
    scene.bench.advance(1.0)
    assert lied
    assert scene.server.heard() == [b"one"]
    assert not [note for note in scene.client.take(Note) if "several peers" in note.text]


def test_an_address_is_another_peers_once_its_owner_does_not_answer() -> None:
    bench, relay, a, b, twin = small.scene()
    everything = bench.gate
    bench.gate = lambda sender, receiver, data: None if twin in (sender, receiver) else data
    small.by_address(a, b, b"one")
    bench.advance(1.0)
    assert b.heard() == [b"one"]
    bench.gate = lambda sender, receiver, data: None if b in (sender, receiver) else data
    for cable in list(b.cables.values()):
        cable.cut()
    twin.effects.clear()
    for _ in range(12):
        small.by_address(a, b, b"two")
        bench.advance(1.0)
    bench.gate = everything
    small.by_address(a, b, b"three")
    bench.advance(5.0)
    assert b"three" in twin.heard()
    assert relay.engine.neighbours


def test_ids_named_for_an_address_are_bounded() -> None:
    scene = Scene()
    bench, client = scene.bench, scene.client
    tokens: list[bytes] = []

    def swallow(sender: Node, _receiver: Node, data: bytes) -> bytes | None:
        if sender is client and kind_of(data) == Kind.RESOLVE:
            tokens.append(data[HEADER_BYTES : HEADER_BYTES + 4])
            return None
        return None if kind_of(data) == Kind.DISCOVER else data

    bench.gate = swallow
    scene.send(b"x")
    bench.flow()
    cable = next(iter(client.cables.values()))
    for number in range(1_000):
        bench.inject(cable, client, scene.resolved(tokens[0], [scene.invented(number)], final=False))
        bench.advance(0.002)
    begun = {data[8:28] for sender, _, data in bench.seen if sender is client and kind_of(data) == Kind.HANDSHAKE}
    assert len(begun) <= MAX_NAMED
    assert client.engine.counters["refused: too many peers named for an address"] >= 100
    bench.advance(RESOLVE_LAST)
    assert max(len(note.text) for note in [*client.take(Note), Note(10, "")]) < 500
    assert [effect.destination for effect in client.take(Unreachable)] == [scene.prefix]


# --- our own address ---------------------------------------------------------------------------------------------


def test_our_address_is_not_taken_by_an_id_that_proves_nothing() -> None:
    bench = Bench(2)
    relay = bench.node("relay", serves=True)

    def lie(sender: Node, _receiver: Node, data: bytes) -> bytes | None:
        if sender is relay or kind_of(data) != Kind.RESOLVE:
            return data
        header = wire.read_header(data, 0)
        token = data[HEADER_BYTES : HEADER_BYTES + 4]
        body = control.resolved(token, True, [header.to[:3] + b"\xff" * 17])
        answer = wire.packet(Kind.RESOLVED, header.sender, relay.peer_id, body)
        receive(sender.engine, next(iter(sender.cables)), answer, bench.now)
        return None

    bench.gate = lie
    newcomers = [bench.node(f"n{number}") for number in range(3)]
    for newcomer in newcomers:
        bench.join(newcomer, relay)
    bench.advance(2.0)
    assert [newcomer.take(AddressChecked) for newcomer in newcomers] == [[AddressChecked(None)]] * 3
    bench.advance(20.0)
    assert [newcomer.take(AddressChecked) for newcomer in newcomers] == [[]] * 3


def test_our_address_is_taken_by_a_peer_that_proves_its_key() -> None:
    bench, _, _, b, _ = small.scene()
    newcomer = small.node(bench, "newcomer", small.twin_of(b.peer_id, bench))
    bench.gate = lambda sender, receiver, data: None if "twin" in (sender.name, receiver.name) else data
    bench.join(newcomer, next(node for node in bench.nodes if node.name == "relay"))
    bench.advance(2.0)
    checked = newcomer.take(AddressChecked)
    assert checked[0].other is not None
    assert newcomer.engine.counters["another peer has our IPv4 address"] == 1
