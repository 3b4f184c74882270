"""Handshakes without cryptography against the real ones: the same sizes, the same refusals, the same runs."""

from __future__ import annotations

import pytest

from peer_relay_socket.engine.authentication import LINK_PROLOGUE, Handshake, StaticKey
from peer_relay_socket.errors import HandshakeError
from peer_relay_socket.identity import Identity
from tests.sim.plain import PlainHandshake
from tests.sim.population import Mix, Population
from tests.sim.scenarios import churn

ALICE, BOB = (Identity.from_seed(bytes((number,)) * 32) for number in (1, 2))


def pair(kind: type[Handshake], *, expected: bytes | None = None) -> tuple[Handshake, Handshake]:
    def side(identity: Identity, initiator: bool) -> Handshake:
        static = StaticKey(identity, lambda size: bytes((7 + initiator,)) * size)
        return kind(
            initiator=initiator,
            static=static,
            prologue=LINK_PROLOGUE,
            psk=None,
            entropy=lambda size: bytes((9 + initiator,)) * size,
            expected=expected,
        )

    return side(ALICE, True), side(BOB, False)


@pytest.mark.parametrize("kind", [Handshake, PlainHandshake])
def test_three_messages_of_known_size_name_both_ends(kind: type[Handshake]) -> None:
    alice, bob = pair(kind)
    sizes = []
    for writer, reader, payload in ((alice, bob, b""), (bob, alice, b"hello"), (alice, bob, b"hello too")):
        assert writer.our_turn
        assert not reader.our_turn
        message = writer.write(payload)
        sizes.append(len(message))
        assert reader.read(memoryview(message)) == payload
    assert sizes == [32, 198 + 5, 166 + 9]
    assert (alice.remote_id, bob.remote_id) == (BOB.peer_id, ALICE.peer_id)
    assert alice.complete
    assert alice.keys() == bob.keys()[::-1]
    assert len(set(alice.keys())) == 2


@pytest.mark.parametrize("kind", [Handshake, PlainHandshake])
def test_what_does_not_belong_is_refused_and_changes_nothing(kind: type[Handshake]) -> None:
    alice, bob = pair(kind)
    with pytest.raises(HandshakeError):
        bob.write()
    with pytest.raises(HandshakeError):
        bob.read(b"short")
    bob.read(alice.write())
    good = bob.write(b"hello")
    for bad in (good[:-1] + bytes((good[-1] ^ 1,)), b"", good[:20]):
        with pytest.raises(HandshakeError):
            alice.read(bad)
    assert alice.remote_id is None
    assert alice.read(good) == b"hello"


@pytest.mark.parametrize("kind", [Handshake, PlainHandshake])
def test_another_than_expected_is_refused(kind: type[Handshake]) -> None:
    alice, bob = pair(kind, expected=ALICE.peer_id)
    bob.read(alice.write())
    with pytest.raises(HandshakeError, match="expected"):
        alice.read(bob.write())


def test_an_overlay_does_the_same_at_the_same_times_with_either() -> None:
    shapes, traces, outcomes = set(), set(), []
    for plain in (False, True):
        population = Population(Mix(15, seed=3, plain=plain))
        population.join()
        outcomes.append((population.probe(15), churn(population, 20.0, replaced_per_hour=0.999).series))
        shapes.add(population.network.shape.hexdigest())
        traces.add(population.network.trace.hexdigest())
    assert outcomes[0] == outcomes[1]
    assert len(shapes) == 1
    assert len(traces) == 2
