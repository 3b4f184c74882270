"""Both ends prove their key, and nobody else can."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from peer_relay_socket.engine.authentication import (
    LINK_PROLOGUE,
    Handshake,
    StaticKey,
    network_psk,
    session_prologue,
)
from peer_relay_socket.engine.core import Core, EngineConfig
from peer_relay_socket.engine.noise import HandshakeState
from peer_relay_socket.errors import HandshakeError
from peer_relay_socket.identity import Identity
from peer_relay_socket.limits import CLOCK_LEAST, STATIC_KEY_HOURS

PSK = hashlib.sha256(b"the network").digest()
ENTROPY = random.Random(20).randbytes
ALICE, BOB, MALLORY = (Identity.from_seed(bytes((seed,)) * 32) for seed in (1, 2, 3))
STATIC = {identity.peer_id: StaticKey(identity, ENTROPY) for identity in (ALICE, BOB, MALLORY)}


def side(identity: Identity, *, initiator: bool, **changes: Any) -> Handshake:
    settings: dict[str, Any] = {"static": STATIC[identity.peer_id], "prologue": LINK_PROLOGUE, "psk": None}
    return Handshake(**{"initiator": initiator, "entropy": ENTROPY, **settings, **changes})


def pair(**changes: Any) -> tuple[Handshake, Handshake]:
    return side(ALICE, initiator=True, **changes), side(BOB, initiator=False, **changes)


def advance(first: Handshake, second: Handshake, messages: int) -> tuple[Handshake, Handshake]:
    """Exchange so many messages and return (who writes next, who reads next)."""
    for _ in range(messages):
        second.read(first.write())
        first, second = second, first
    return first, second


both_kinds = pytest.mark.parametrize("psk", [None, PSK], ids=["XX", "XXpsk3"])


@both_kinds
def test_handshake_names_both_ends_and_agrees_on_keys(psk: bytes | None) -> None:
    alice, bob = pair(psk=psk)
    assert bob.read(alice.write(b"hello")) == b"hello"
    assert (alice.remote_id, bob.remote_id) == (None, None)
    assert alice.read(bob.write(b"from bob")) == b"from bob"
    assert alice.remote_id == BOB.peer_id
    assert (alice.complete, bob.complete, bob.remote_id) == (False, False, None)
    assert bob.read(alice.write(b"from alice")) == b"from alice"
    assert bob.remote_id == ALICE.peer_id
    assert alice.complete
    assert bob.complete
    assert alice.keys() == bob.keys()[::-1]
    assert alice.keys()[0] != alice.keys()[1]


@both_kinds
def test_message_sizes_are_those_of_the_module_docstring(psk: bytes | None) -> None:
    alice, bob = pair(psk=psk)
    sizes = []
    for _ in range(3):
        message = alice.write()
        sizes.append(len(message))
        bob.read(message)
        alice, bob = bob, alice
    assert sizes == [32 if psk is None else 48, 198, 166]


def test_two_runs_of_the_same_pair_share_nothing() -> None:
    runs = []
    for _ in range(2):
        alice, bob = pair()
        advance(alice, bob, 3)
        runs.append({*alice.keys()})
    assert not runs[0] & runs[1]


def test_network_psk_is_pinned_and_normalised() -> None:
    assert network_psk("café") == network_psk("cafe\u0301")
    assert network_psk("café") != network_psk("cafe")
    # Every member must come to the same bytes for ever.
    expected = hashlib.scrypt(b"k", salt=b"peer-relay.3 network key", n=16384, r=8, p=1, dklen=32)
    assert network_psk("k") == expected


def test_static_key_proof_is_the_identity_and_its_signature() -> None:
    static = STATIC[ALICE.peer_id]
    never = bytes(4)
    assert static.proof == ALICE.public_key + never + ALICE.sign(b"peer-relay.3 static" + static.public + never)


@both_kinds
@pytest.mark.parametrize("number", [0, 1, 2])
def test_every_altered_byte_of_every_message_is_refused(psk: bytes | None, number: int) -> None:
    writer, reader = advance(*pair(psk=psk), number)
    message = writer.write(b"payload")
    if number == 0 and psk is None:  # message 1 is public: an alteration comes out with message 2
        for position in range(len(message)):
            altered = bytearray(message)
            altered[position] ^= 0x80
            bob = side(BOB, initiator=False)
            bob.read(altered)
            reply = bob.write()
            with pytest.raises(HandshakeError):
                writer.read(reply)
        return
    for position in range(len(message)):
        altered = bytearray(message)
        altered[position] ^= 0x80
        with pytest.raises(HandshakeError):
            reader.read(altered)
        assert reader.remote_id is None
    assert reader.read(message) == b"payload"  # none of the forgeries spoilt the handshake


@both_kinds
@pytest.mark.parametrize("number", [0, 1, 2])
@given(data=st.one_of(st.binary(max_size=400), st.binary(min_size=198, max_size=198)))
def test_random_bytes_raise_nothing_but_handshake_error(psk: bytes | None, number: int, data: bytes) -> None:
    _, reader = advance(*pair(psk=psk), number)
    try:
        reader.read(data)
    except HandshakeError:
        assert reader.remote_id is None
        return
    assert number == 0


@given(
    st.integers(1, 2), st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=3), st.integers(0, 200)
)
def test_mutated_messages_are_refused_or_unchanged(number: int, edits: list[tuple[int, int]], size: int) -> None:
    writer, reader = advance(*pair(psk=PSK), number)
    message = writer.write()
    mutated = bytearray(message[:size] if size < len(message) and not edits else message)
    for position, value in edits:
        mutated[position % len(mutated)] = value
    try:
        reader.read(mutated)
    except HandshakeError:
        assert mutated != message
    else:
        assert mutated == message


@both_kinds
def test_replayed_messages_are_refused_by_a_new_handshake(psk: bytes | None) -> None:
    alice, bob = pair(psk=psk)
    recorded = [alice.write()]
    bob.read(recorded[0])
    recorded.append(bob.write())
    alice.read(recorded[1])
    recorded.append(alice.write())
    bob.read(recorded[2])

    again, _ = pair(psk=psk)
    again.write()
    with pytest.raises(HandshakeError):
        again.read(recorded[1])  # a recorder plays Bob
    _, again = pair(psk=psk)
    again.read(recorded[0])  # a recorder plays Alice: message 1 is anybody's
    again.write()
    with pytest.raises(HandshakeError):
        again.read(recorded[2])
    assert again.remote_id is None
    with pytest.raises(HandshakeError):
        bob.read(recorded[2])


@both_kinds
def test_reflected_messages_are_refused(psk: bytes | None) -> None:
    alice, bob = pair(psk=psk)
    first = alice.write()
    with pytest.raises(HandshakeError):
        alice.read(first)
    bob.read(first)
    second = bob.write()
    with pytest.raises(HandshakeError):
        bob.read(second)
    alice.read(second)
    with pytest.raises(HandshakeError):
        bob.read(second)
    third = alice.write()
    with pytest.raises(HandshakeError):
        alice.read(third)


@both_kinds
def test_own_id_is_refused_when_a_relay_joins_us_to_ourselves(psk: bytes | None) -> None:
    one, other = side(ALICE, initiator=True, psk=psk), side(ALICE, initiator=False, psk=psk)
    other.read(one.write())
    with pytest.raises(HandshakeError, match="our own id"):
        one.read(other.write())


def test_unexpected_id_is_refused_and_the_expected_one_still_accepted() -> None:
    alice = side(ALICE, initiator=True, expected=BOB.peer_id)
    bob, mallory = side(BOB, initiator=False), side(MALLORY, initiator=False)
    first = alice.write()
    for responder in (mallory, bob):
        responder.read(first)
    with pytest.raises(HandshakeError, match="expected"):
        alice.read(mallory.write())
    assert alice.remote_id is None
    alice.read(bob.write())
    assert alice.remote_id == BOB.peer_id
    bob.read(alice.write())
    assert alice.keys() == bob.keys()[::-1]


def test_responder_refuses_an_unexpected_initiator() -> None:
    mallory, bob = side(MALLORY, initiator=True), side(BOB, initiator=False, expected=ALICE.peer_id)
    bob.read(mallory.write())
    mallory.read(bob.write())
    with pytest.raises(HandshakeError, match="expected"):
        bob.read(mallory.write())
    assert not bob.complete


class Forger(StaticKey):
    """A static key of Mallory's with a proof of her choice."""

    __slots__ = ()

    def __init__(self, proof: bytes) -> None:
        super().__init__(MALLORY, ENTROPY)
        self.proof = proof


FORGERIES: dict[str, Callable[[], bytes]] = {
    "proof of another key": lambda: STATIC[ALICE.peer_id].proof,
    "own signature under another id": lambda: ALICE.public_key + STATIC[MALLORY.peer_id].proof[32:],
    "signature without the domain": lambda: (
        MALLORY.public_key + bytes(4) + MALLORY.sign(STATIC[MALLORY.peer_id].public)
    ),
    "another expiry": lambda: MALLORY.public_key + b"\0\0\0\1" + STATIC[MALLORY.peer_id].proof[36:],
    "zeros": lambda: bytes(100),
    "no signature": lambda: MALLORY.public_key + bytes(68),
    "truncated": lambda: STATIC[MALLORY.peer_id].proof[:-1],
    "nothing": lambda: b"",
}


@pytest.mark.parametrize("forgery", FORGERIES)
@pytest.mark.parametrize("initiator", [True, False])
def test_forged_identity_is_refused(forgery: str, initiator: bool) -> None:
    mallory = side(MALLORY, initiator=initiator, static=Forger(FORGERIES[forgery]()))
    bob = side(BOB, initiator=not initiator)
    first, second = (mallory, bob) if initiator else (bob, mallory)
    writer, reader = advance(first, second, 2 if initiator else 1)
    assert writer is mallory
    message = writer.write()
    with pytest.raises(HandshakeError, match="identity"):
        reader.read(message)
    assert bob.remote_id is None
    assert not bob.complete


@pytest.mark.parametrize("length", [0, 99, 100, 101, 65_535])
@pytest.mark.parametrize("size", [0, 1, 2, 34, 101, 102, 300])
def test_payload_without_a_whole_proof_is_refused(length: int, size: int) -> None:
    static = STATIC[MALLORY.peer_id]
    mallory = HandshakeState(
        "Noise_XX_25519_AESGCM_SHA256",
        initiator=False,
        static=static.private,
        ephemeral=X25519PrivateKey.from_private_bytes(ENTROPY(32)),
        prologue=LINK_PROLOGUE,
    )
    bob = side(BOB, initiator=True)
    mallory.read_message(bob.write())
    proof = length.to_bytes(2, "big") + static.proof + bytes(300)
    if length == 100:
        proof = proof[:101]
    message = mallory.write_message(proof[:size])
    with pytest.raises(HandshakeError, match="carries no identity"):
        bob.read(message)
    assert bob.remote_id is None


def test_different_prologues_do_not_complete() -> None:
    alice = side(ALICE, initiator=True, prologue=session_prologue(ALICE.peer_id, BOB.peer_id))
    bob = side(BOB, initiator=False, prologue=session_prologue(MALLORY.peer_id, BOB.peer_id))
    bob.read(alice.write())
    with pytest.raises(HandshakeError):
        alice.read(bob.write())


def test_link_message_cannot_be_spent_on_a_session() -> None:
    assert not session_prologue(ALICE.peer_id, BOB.peer_id).startswith(LINK_PROLOGUE)
    assert session_prologue(ALICE.peer_id, BOB.peer_id) != session_prologue(BOB.peer_id, ALICE.peer_id)


def test_wrong_network_key_is_refused_at_message_3() -> None:
    alice, bob = side(ALICE, initiator=True, psk=PSK), side(BOB, initiator=False, psk=bytes(32))
    writer, reader = advance(alice, bob, 2)
    message = writer.write(b"a secret of the network")
    with pytest.raises(HandshakeError, match="not authentic"):
        reader.read(message)
    assert reader.remote_id is None
    with pytest.raises(HandshakeError):
        reader.keys()


def test_responder_writes_the_same_bytes_whatever_its_network_key() -> None:
    # So what a stranger can draw from a responder holds nothing to test a guess of the key against.
    replies = []
    first = side(ALICE, initiator=True, psk=PSK).write()
    for psk in (PSK, bytes(32)):
        bob = side(BOB, initiator=False, psk=psk, entropy=random.Random(4).randbytes)
        bob.read(first)
        replies.append(bob.write())
    assert replies[0] == replies[1]


def test_initiator_without_the_network_key_fails_at_message_1() -> None:
    stranger, bob = side(MALLORY, initiator=True), side(BOB, initiator=False, psk=PSK)
    message = stranger.write(b"payload long enough to hold a tag")
    with pytest.raises(HandshakeError):
        bob.read(message)
    with pytest.raises(HandshakeError):
        bob.write()


def test_responder_without_the_network_key_fails_at_message_2() -> None:
    alice, stranger = side(ALICE, initiator=True, psk=PSK), side(MALLORY, initiator=False)
    stranger.read(alice.write())
    reply = stranger.write()
    with pytest.raises(HandshakeError):
        alice.read(reply)
    assert alice.remote_id is None
    with pytest.raises(HandshakeError):
        alice.write()


def test_recording_shows_no_key_and_no_id() -> None:
    alice, bob = pair(psk=PSK)
    recording = b""
    for _ in range(3):
        message = alice.write(b"payload-pattern")
        recording += message
        bob.read(message)
        alice, bob = bob, alice
    assert b"payload-pattern" not in recording  # with a network key even message 1 is under a key, if a public one
    for identity in (ALICE, BOB):
        for secret in (identity.public_key, identity.peer_id, STATIC[identity.peer_id].public):
            assert secret not in recording


def test_out_of_turn_and_early_calls_raise_handshake_error() -> None:
    alice, bob = pair()
    for early in (alice.keys, bob.write, lambda: alice.read(bytes(200))):
        with pytest.raises(HandshakeError):
            early()
    advance(alice, bob, 3)
    for late in (alice.write, bob.write, lambda: alice.read(bytes(200)), lambda: bob.read(bytes(200))):
        with pytest.raises(HandshakeError):
            late()
    assert alice.complete


def test_low_order_ephemeral_is_refused() -> None:
    _, bob = pair()
    bob.read(bytes(32))
    with pytest.raises(HandshakeError, match="low-order"):
        bob.write()


def test_payload_up_to_the_noise_limit_passes() -> None:
    alice, bob = pair()
    bob.read(alice.write(bytes(65_535 - 32)))
    payload = bytes(65_535 - 198)
    assert alice.read(bob.write(payload)) == payload
    with pytest.raises(HandshakeError, match="largest"):
        alice.write(bytes(65_535))


def test_entropy_is_asked_once_for_each_key() -> None:
    asked: list[int] = []

    def entropy(size: int) -> bytes:
        asked.append(size)
        return ENTROPY(size)

    static = StaticKey(ALICE, entropy)
    alice = side(ALICE, initiator=True, static=static, entropy=entropy)
    advance(alice, side(BOB, initiator=False), 3)
    assert asked == [32, 32]


# --- static keys expire ------------------------------------------------------------------------------------------

WALL = CLOCK_LEAST + 1e6


@pytest.mark.parametrize(
    ("made_at", "checked_at", "refused"),
    [
        (WALL, WALL, False),
        (WALL, WALL + 3600 * (STATIC_KEY_HOURS - 1), False),
        (WALL, WALL + 3600 * (STATIC_KEY_HOURS + 2), True),
        (WALL, WALL - 1e9, False),  # the other's clock was never set
        (0.0, WALL + 1e9, False),  # ours was never set, so it signed for ever
    ],
)
@pytest.mark.parametrize("initiator", [True, False])
def test_a_static_key_stands_for_its_identity_until_it_expires(
    initiator: bool, made_at: float, checked_at: float, refused: bool
) -> None:
    alice = side(ALICE, initiator=initiator, static=StaticKey(ALICE, ENTROPY, made_at))
    bob = side(BOB, initiator=not initiator, wall=checked_at)
    first, second = (alice, bob) if initiator else (bob, alice)
    writer, reader = advance(first, second, 2 if initiator else 1)
    assert writer is alice
    if refused:
        with pytest.raises(HandshakeError, match="expired"):
            reader.read(writer.write())
        assert bob.remote_id is None
    else:
        reader.read(writer.write())
        assert bob.remote_id == ALICE.peer_id


def test_a_process_renews_its_static_key_at_half_its_life() -> None:
    core = Core(ALICE, EngineConfig(), random.Random(1), ENTROPY, 0.0)
    without_clock = core.static
    core.set_clock(WALL, 1.0)
    first = core.static
    assert first is not without_clock
    core.set_clock(WALL + 1800 * STATIC_KEY_HOURS - 1, 2.0)
    assert core.static is first
    core.set_clock(WALL + 1800 * STATIC_KEY_HOURS + 1, 3.0)
    assert core.static.public != first.public
