"""What a relay can do to those it carries for: delay and lose, and nothing else.

Two peers and a third talk through one relay that reads, alters, replays, reorders, forges, swaps and lies. Whatever it
does, what arrives was sent, by whom it says, to whom it says, once; and when it stops, talk goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from random import Random

import pytest

from peer_relay_socket.address import PeerId, Spelling
from peer_relay_socket.codec import control
from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.control import Contact
from peer_relay_socket.codec.packet import HEADER_BYTES, Kind
from peer_relay_socket.engine.effects import Deliver, Dial, Message, Note, Unreachable
from tests.sim.bench import Bench, Node, kind_of, step_of
from tests.sim.tags import receive

PATTERN = b"a payload that nobody but its receiver may read"
PORTS = (0xBEEF, 0xCAFE)
SPELL = Spelling()


class Scene:
    """a, b and c on one relay; all that was sent and delivered is on record."""

    def __init__(self, seed: int = 1) -> None:
        self.bench = Bench(seed)
        self.relay = self.bench.node("relay", serves=True)
        self.a, self.b, self.c = (self.bench.node(name) for name in "abc")
        self.cables = {node.name: self.bench.join(node, self.relay) for node in (self.a, self.b, self.c)}
        self.bench.flow()
        self.sent: Counter[tuple[PeerId, PeerId, int, int, bytes]] = Counter()
        self.arrived: Counter[tuple[PeerId, PeerId, int, int, bytes]] = Counter()
        self._number = 0

    def talk(self, pairs: Iterable[tuple[Node, Node]] = ()) -> None:
        """Every pair exchanges a datagram."""
        a, b, c = self.a, self.b, self.c
        for sender, receiver in pairs or ((a, b), (b, a), (a, c), (c, a), (b, c)):
            self._number += 1
            data = PATTERN + b" %05d" % self._number
            source_port, port = 1 + self._number, 60_000 - self._number
            self.sent[sender.peer_id, receiver.peer_id, source_port, port, data] += 1
            sender.send(receiver, data, source_port=source_port, port=port)
        self.bench.flow()
        self.check()

    def check(self) -> None:
        """What was delivered was sent, and is delivered once."""
        for node in (self.a, self.b, self.c):
            for deliver in node.take(Deliver):
                for data in deliver.datagrams:
                    self.arrived[deliver.source, node.peer_id, deliver.source_port, deliver.port, data] += 1
        assert self.arrived <= self.sent

    def goes_on(self, seconds: float = 8.0) -> None:
        """When the relay behaves again, everybody is heard again."""
        self.bench.gate = lambda _sender, _receiver, data: data
        for _ in range(int(seconds / 0.5)):
            self.talk()
            self.bench.advance(0.5)
            self.check()
        before = sum(self.arrived.values())
        self.talk()
        assert sum(self.arrived.values()) == before + 5
        for node in (self.a, self.b, self.c):
            assert node.take(Unreachable) == []

    def inject(self, node: Node, *packets: bytes) -> None:
        """Let the relay send `node` what nobody asked it to carry."""
        self.bench.inject(self.cables[node.name], node, *packets)
        self.check()

    def recorded(self, kind: Kind, sender: Node, receiver: Node) -> list[bytes]:
        """Return the packets that the relay carried from one to the other."""
        return [
            data
            for node, _, data in self.bench.seen
            if node is self.relay
            and data[0] == kind
            and data[28:48] == sender.peer_id
            and data[8:28] == receiver.peer_id
        ]


def scene() -> Scene:
    made = Scene()
    made.talk()
    made.bench.advance(1.0)
    made.check()
    assert made.arrived == made.sent
    return made


def flip(data: bytes, position: int, bit: int = 1) -> bytes:
    return data[:position] + bytes((data[position] ^ bit,)) + data[position + 1 :]


def corrupting(stage: Scene, kind: Kind, alter: Callable[[bytes], bytes | list[bytes] | None]) -> None:
    """From now on the relay does `alter` to every packet of `kind` that it passes on."""
    relay = stage.relay
    stage.bench.gate = lambda node, _far, data: alter(data) if node is relay and kind_of(data) == kind else data


# --- reading ---------------------------------------------------------------------------------------------------


def test_a_recorder_between_the_links_finds_no_payload_no_ports_and_no_names() -> None:
    stage = Scene()
    stage.a.send(stage.b, PATTERN, bytes(1000), port=PORTS[0], source_port=PORTS[1])
    stage.a.engine.send_message(stage.b.peer_id, b'{"name": "Alice in Wonderland"}', stage.bench.now)
    stage.bench.advance(1.0)
    stage.b.engine.refuse(stage.a.peer_id, PORTS[0], PORTS[1], stage.bench.now)
    stage.bench.advance(1.0)
    (deliver,) = stage.b.take(Deliver)
    assert deliver.datagrams == [PATTERN, bytes(1000)]
    assert [message.data for message in stage.b.take(Message)] == [b'{"name": "Alice in Wonderland"}']
    # FOUND tells anybody where relays can be dialled: that is what it is for.
    record = b"".join(data for _, _, data in stage.bench.seen if kind_of(data) != Kind.FOUND)
    assert len(record) > 3000
    one, other = (port.to_bytes(2) for port in PORTS)
    for secret in (PATTERN, PATTERN[:12], bytes(64), one + other, other + one, b"Alice", b"ws://", b"relay.example"):
        assert secret not in record


def test_equal_datagrams_look_different_each_time() -> None:
    stage = scene()
    stage.bench.seen.clear()
    for _ in range(5):
        stage.a.send(stage.b, b"the same", port=5, source_port=6)
        stage.bench.flow()
    bodies = [data[HEADER_BYTES + 4 + 8 :] for data in stage.recorded(Kind.SEALED, stage.a, stage.b)]
    assert len(bodies) == len(set(bodies)) == 5


# --- altering --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bit", [0x01, 0x80])
def test_no_altered_byte_of_a_sealed_packet_gets_through(bit: int) -> None:
    """Header, index, counter, ciphertext, tag: every byte in turn. Of the header a relay may change hop limit and
    flags; any other change there loses the packet or costs the relay its link."""
    stage = scene()
    size = len(stage.recorded(Kind.SEALED, stage.a, stage.b)[0])
    free = {1, 2, 3}  # hop limit, flags, reserved: a relay's own to write
    lost = 0
    for position in range(size):
        if position in (4, 5, 6, 7):
            continue  # lengths: see below
        corrupting(stage, Kind.SEALED, lambda data, at=position: flip(data, at % len(data), bit))  # type: ignore[misc]
        before = sum(stage.arrived.values())
        stage.talk([(stage.a, stage.b)])
        if position not in free:
            assert sum(stage.arrived.values()) == before, position
            lost += 1
        stage.bench.gate = lambda _sender, _receiver, data: data
        stage.bench.advance(0.3)
        stage.check()
    assert lost == size - 7
    stage.goes_on()


def test_a_wrong_length_costs_the_relay_its_link_and_nothing_else() -> None:
    for position in (4, 5, 6, 7):
        stage = scene()
        corrupting(stage, Kind.SEALED, lambda data, at=position: flip(data, at, 0x40))  # type: ignore[misc]
        stage.talk([(stage.a, stage.b)])
        for node in (stage.a, stage.b, stage.c):
            if not node.cables:
                stage.cables[node.name] = stage.bench.join(node, stage.relay)
        stage.bench.gate = lambda _sender, _receiver, data: data
        stage.bench.flow()
        stage.goes_on()


@pytest.mark.parametrize("step", [1, 2, 3])
def test_no_altered_byte_of_a_handshake_joins_the_wrong_ends(step: int) -> None:
    for position in range(HEADER_BYTES, HEADER_BYTES + 210, 7):
        stage = Scene()
        spoiled = []

        def alter(data: bytes, at: int = position, spoiled: list[int] = spoiled) -> bytes:
            if step_of(data) != step or spoiled or at >= len(data):
                return data
            spoiled.append(at)
            return flip(data, at)

        corrupting(stage, Kind.HANDSHAKE, alter)
        stage.talk([(stage.a, stage.b)])
        stage.bench.advance(2.0)
        stage.check()
        stage.goes_on(2.0)


# --- replaying and reordering ----------------------------------------------------------------------------------


def test_nothing_replayed_is_delivered_again() -> None:
    stage = scene()
    relay = stage.relay
    stage.bench.gate = lambda node, _far, data: [data, data, data] if node is relay else data
    for _ in range(5):
        stage.talk()
        stage.bench.advance(0.4)
    stage.bench.gate = lambda _sender, _receiver, data: data
    for _ in range(2):
        for _sender, receiver, data in list(stage.bench.seen):
            if kind_of(data) not in (Kind.LINK, wire.LINK_HANDSHAKE) and receiver is not relay:
                stage.inject(receiver, data)
        stage.talk()
        stage.bench.advance(30.0)
    assert stage.arrived == stage.sent
    stage.goes_on()


def test_an_old_session_replayed_to_a_restarted_peer_is_not_believed() -> None:
    stage = scene()
    old = [data for node, far, data in stage.bench.seen if node is stage.relay and far is stage.b]
    stage.b.restart()
    stage.cables["b"] = stage.bench.join(stage.b, stage.relay)
    stage.bench.flow()
    for data in old:
        if kind_of(data) not in (Kind.LINK, wire.LINK_HANDSHAKE):
            stage.inject(stage.b, data)
    stage.check()
    stage.goes_on()


def test_packets_in_any_order_arrive_once() -> None:
    stage = scene()
    held: list[tuple[Node, bytes]] = []

    def gate(node: Node, far: Node, data: bytes) -> bytes | None:
        if node is stage.relay and kind_of(data) == Kind.SEALED:
            held.append((far, data))
            return None
        return data

    stage.bench.gate = gate
    for _ in range(40):
        stage.talk()
    stage.bench.gate = lambda _sender, _receiver, data: data
    Random(3).shuffle(held)
    for far, data in held:
        stage.inject(far, data)
    assert stage.arrived == stage.sent
    stage.goes_on()


# --- forging and swapping --------------------------------------------------------------------------------------


def test_a_forged_source_delivers_nothing() -> None:
    stage = scene()
    liar = stage.c.peer_id
    corrupting(stage, Kind.SEALED, lambda data: data[:28] + liar + data[48:])
    before = sum(stage.arrived.values())
    stage.talk([(stage.a, stage.b), (stage.b, stage.a)])
    assert sum(stage.arrived.values()) == before
    stage.goes_on()


def test_bodies_swapped_between_sessions_deliver_nothing() -> None:
    stage = scene()
    a, b, c = stage.a, stage.b, stage.c
    stage.bench.seen.clear()
    relay = stage.relay
    stage.bench.gate = lambda node, _far, data: None if node is relay and kind_of(data) == Kind.SEALED else data
    stage.talk()
    pairs = [(a, b), (b, a), (a, c), (c, a), (b, c)]
    carried = {(x.name, y.name): stage.recorded(Kind.SEALED, x, y)[0] for x, y in pairs}
    stage.bench.gate = lambda _sender, _receiver, data: data
    before = sum(stage.arrived.values())
    for (_, to), envelope in carried.items():
        receiver = {"a": a, "b": b, "c": c}[to]
        for letter in carried.values():
            if letter is not envelope:
                stage.inject(receiver, envelope[:HEADER_BYTES] + letter[HEADER_BYTES:])  # header of one, body of other
                stage.inject(receiver, envelope[: HEADER_BYTES + 4] + letter[HEADER_BYTES + 4 :])  # with its index
    assert sum(stage.arrived.values()) == before
    for receiver, back in ((a, carried["a", "b"]), (b, carried["b", "a"])):  # reflected to its sender
        other = b if receiver is a else a
        stage.inject(receiver, back[:8] + receiver.peer_id + other.peer_id + back[48:])
    assert sum(stage.arrived.values()) == before
    stage.goes_on()


def test_the_relay_cannot_be_somebody_else_in_a_handshake() -> None:
    """It answers a's question in b's name, with its own key: a waits for b."""
    stage = Scene()
    a, b, relay = stage.a, stage.b, stage.relay
    impostor = stage.bench.node("impostor")
    stage.bench.join(impostor, relay)
    stage.bench.flow()

    def gate(node: Node, far: Node, data: bytes) -> bytes | None:
        if node is relay and kind_of(data) == Kind.HANDSHAKE:
            if far is b:
                receive(
                    impostor.engine,
                    next(iter(impostor.cables)),
                    data[:8] + impostor.peer_id + data[28:],
                    stage.bench.now,
                )
                return None
            return data[:28] + b.peer_id + data[48:]
        return data

    stage.bench.gate = gate
    stage.talk([(a, b)])
    stage.bench.advance(2.0)
    assert impostor.take(Deliver) == []
    assert a.take(Deliver) == []
    stage.check()
    stage.goes_on()


# --- lying -----------------------------------------------------------------------------------------------------


def lies(stage: Scene, target: Node, about: Node, dice: Random) -> list[bytes]:
    """Every notice a relay can make up, aimed as well as its view of the traffic allows."""
    relay, me, him = stage.relay.peer_id, target.peer_id, about.peer_id
    seen = [data for node, _, data in stage.bench.seen if node is target and kind_of(data) == Kind.SEALED]
    indexes = {data[HEADER_BYTES : HEADER_BYTES + 4] for data in seen[-4:]} | {dice.randbytes(4), b""}
    floods = [d for node, _, d in stage.bench.seen if node is target and kind_of(d) in (Kind.DISCOVER, Kind.RESOLVE)]
    tokens = {data[HEADER_BYTES : HEADER_BYTES + 4] for data in floods[-4:]} | {dice.randbytes(4)}
    made = [wire.packet(Kind.NO_SESSION, me, him, index) for index in sorted(indexes)]
    made += [wire.packet(Kind.NO_ROUTE, me, relay, peer) for peer in (him, me, dice.randbytes(20), b"", bytes(100))]
    for token in sorted(tokens):
        made.append(wire.packet(Kind.DISCOVERED, me, him, token))
        made.append(wire.packet(Kind.RESOLVED, me, relay, control.resolved(token, True, [dice.randbytes(20), relay])))
        made.append(
            wire.packet(Kind.FOUND, me, relay, token + control.contacts([Contact(him, ("ws://127.0.0.1:22",))]))
        )
    made += [
        wire.packet(Kind.HANDSHAKE, me, him, bytes((step,)) + dice.randbytes(n)) for step in range(5) for n in (7, 80)
    ]
    made += [wire.packet(Kind.SEALED, me, him, index + dice.randbytes(60)) for index in sorted(indexes) if index]
    return made


def test_lies_delay_and_nothing_else() -> None:
    stage = scene()
    dice = Random(5)
    for _ in range(40):
        for target, about in ((stage.a, stage.b), (stage.b, stage.a), (stage.c, stage.b)):
            for lie in lies(stage, target, about, dice):
                stage.inject(target, lie)
        stage.talk()
        stage.bench.advance(0.25)
        stage.check()
    assert sum(stage.arrived.values()) >= sum(stage.sent.values()) * 0.9
    for node in (stage.a, stage.b, stage.c):
        assert [dial for dial in node.take(Dial) if "127.0.0.1" in dial.url] == []
    stage.goes_on()


def test_lies_do_not_keep_a_first_datagram_waiting_for_ever() -> None:
    stage = Scene()
    dice = Random(6)
    stage.bench.gate = lambda node, _far, data: None if kind_of(data) in (Kind.HANDSHAKE, Kind.SEALED) else data
    stage.a.send(stage.b, b"x")
    for _ in range(80):
        stage.bench.advance(0.25)
        for lie in lies(stage, stage.a, stage.b, dice):
            stage.inject(stage.a, lie)
    assert [effect.destination for effect in stage.a.take(Unreachable)] == [stage.b.peer_id]


def test_an_address_is_the_peers_that_proves_its_key_whatever_a_relay_names() -> None:
    stage = Scene()
    a, b, relay = stage.a, stage.b, stage.relay
    prefix = SPELL.parse(SPELL.ipv4(b.peer_id))
    twin = b.peer_id[:3] + bytes(17)

    def answer(node: Node, far: Node, data: bytes) -> bytes | list[bytes]:
        if node is relay and far is a and kind_of(data) == Kind.RESOLVED:
            token = data[HEADER_BYTES : HEADER_BYTES + 4]
            lie = wire.packet(Kind.RESOLVED, a.peer_id, relay.peer_id, control.resolved(token, True, claims))
            return [lie, data]
        return data

    claims = [twin, b.peer_id]
    stage.bench.gate = answer
    a.engine.send(prefix, 4, 9, 5, [b"to whom?"], stage.bench.now)  # type: ignore[arg-type]
    stage.bench.advance(1.0)
    assert b.heard() == [b"to whom?"]
    assert not any("claimed by several" in note.text for note in a.take(Note))
    claims = [twin]
    stage.bench.gate = answer
    for _ in range(5):
        a.engine.send(prefix, 4, 9, 5, [b"still to b"], stage.bench.now)  # type: ignore[arg-type]
        lie = wire.packet(Kind.RESOLVED, a.peer_id, relay.peer_id, control.resolved(bytes(4), True, [twin]))
        stage.bench.inject(stage.cables["a"], a, lie)
        stage.bench.advance(0.2)
    assert b.heard() == [b"still to b"] * 5
