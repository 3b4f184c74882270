"""Packets with a made-up sender: how much more than was sent does their victim get?"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import pytest

from peer_relay_socket.address import PeerId
from peer_relay_socket.codec import control
from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.packet import HEADER_BYTES, Kind
from peer_relay_socket.identity import Identity
from peer_relay_socket.limits import CONTACTS_PER_ANSWER, FIND_PADDING, MAX_REFLECTION
from tests.sim.bench import Bench, Node

_BITS = 8


def _ground(bench: Bench, peer_id: PeerId) -> Identity:
    while True:
        identity = Identity.from_seed(bench.random.randbytes(32))
        if identity.peer_id[0] == peer_id[0]:
            return identity


class Scene:
    """Relays in a chain, each with leaves whose ids begin alike and with long URLs; a victim and evil at one end."""

    def __init__(self) -> None:
        self.bench = bench = Bench(6)
        target = Identity.from_seed(bench.random.randbytes(32)).peer_id
        self.target = target[:1] + bytes(19)
        goal = int.from_bytes(self.target)
        self.relays = sorted(
            (bench.node(f"relay{number}", serves=True) for number in range(7)),
            key=lambda relay: int.from_bytes(relay.peer_id) ^ goal,
            reverse=True,
        )
        for one, other in zip(self.relays, self.relays[1:], strict=False):
            bench.join(one, other)
        for one, other in combinations(self.relays[-3:], 2):
            bench.join(one, other)
        for relay in self.relays:
            long = tuple(f"ws://a{number}.{relay.name}.example/".ljust(255, "x") for number in range(4))
            relay.config.urls = (*long[:3], f"ws://{relay.name}.example")
            for number in range(4):
                leaf = bench.node(f"leaf{number}", serves=False)
                leaf.identity = _ground(bench, self.target)
                leaf.restart()
                bench.join(leaf, relay)
        self.victim = bench.node("victim")
        bench.join(self.victim, self.relays[0])
        self.evil = bench.node("evil", serves=True)
        self.cable = bench.join(self.evil, self.relays[0])
        bench.advance(100.0)  # the victim looks around seldom by now: what it gets then it did not ask for
        bench.seen.clear()

    def reflected(self, packet: bytes) -> float:
        """Let `evil` send a packet; return how many bytes reach the victim for each of its bytes, in 4 s."""
        self.bench.seen.clear()
        self.bench.inject(self.cable, self.relays[0], packet)
        self.bench.advance(4.0)
        got = [
            data
            for _, far, data in self.bench.seen
            if far is self.victim and data[0] != Kind.LINK and data[8:28] == self.victim.peer_id
        ]
        return sum(map(len, got)) / len(packet)


Make = Callable[[Scene], bytes]


def _from_victim(kind: Kind, to: PeerId, body: bytes, scene: Scene, **options: int) -> bytes:
    return wire.packet(kind, to, scene.victim.peer_id, body, **options)


def _resolve(bits: int, size: int) -> Make:
    def make(scene: Scene) -> bytes:
        body = control.resolve(b"tokn", bits)[:size]
        return _from_victim(Kind.RESOLVE, scene.target, body, scene)

    return make


def _find(padding: int, hops: int) -> Make:
    return lambda scene: _from_victim(Kind.FIND, scene.target, b"tokn" + bytes(padding), scene, hop_limit=hops)


def _claimants(scene: Scene) -> bytes:
    ids = [scene.target[:1] + bytes((number,)) * 19 for number in range(16)]
    return _from_victim(Kind.RESOLVE, scene.target, control.resolve(b"tokn", 22, ids), scene)


def _to_relay(kind: Kind, body: bytes) -> Make:
    return lambda scene: _from_victim(kind, scene.relays[0].peer_id, body, scene)


FORGED: dict[str, Make] = {
    "FIND, bare, asked of one": _find(0, 1),
    "FIND, bare, passed on": _find(0, 24),
    "FIND, padded": _find(FIND_PADDING, 24),
    "FIND, padded, asked of one": _find(FIND_PADDING, 1),
    "RESOLVE": _resolve(_BITS, 99),
    "RESOLVE, for one of all": _resolve(160, 99),
    "RESOLVE, ages": _claimants,
    "HANDSHAKE": _to_relay(Kind.HANDSHAKE, b"\x01" + b"abcd" + bytes(4) + bytes(range(32)) + b"abcd"),
    "SEALED": _to_relay(Kind.SEALED, b"abcd" + bytes(24)),
    "SEALED, no route": lambda scene: _from_victim(Kind.SEALED, bytes(20), b"abcd" + bytes(24), scene),
    "TRACE": _to_relay(Kind.TRACE, b"tokn"),
    "NO_SESSION": _to_relay(Kind.NO_SESSION, b"abcd"),
    "DENIED": _to_relay(Kind.DENIED, b"abcd"),
    "unknown": _to_relay(Kind.TRACED, b"abcd"),
}


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene()


@pytest.mark.parametrize("name", FORGED)
def test_a_made_up_sender_gets_at_most_five_times_what_was_sent(scene: Scene, name: str) -> None:
    assert scene.reflected(FORGED[name](scene)) <= MAX_REFLECTION


@pytest.mark.parametrize("name", ["FIND, padded", "RESOLVE", "TRACE"])
def test_the_scene_does_reflect(scene: Scene, name: str) -> None:
    assert scene.reflected(FORGED[name](scene)) > 0.9


def test_a_find_as_we_send_it_is_answered_in_full() -> None:
    bench = Bench(3)
    relays = [bench.node(f"relay{number}", serves=True) for number in range(12)]
    for one, other in combinations(relays, 2):
        bench.join(one, other)
    bench.advance(3.0)
    peer: Node = bench.node("peer")
    bench.seen.clear()
    bench.join(peer, relays[0])
    bench.advance(3.0)
    answers = [control.read_contacts(data[HEADER_BYTES + 4 :]) for data in bench.sent(Kind.FOUND)]
    assert max(map(len, answers)) == CONTACTS_PER_ANSWER
