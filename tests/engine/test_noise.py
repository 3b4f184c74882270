"""The framework against answers of other implementations, and against bytes that mean harm.

The published vectors are not in this tree. To run them, point NOISE_VECTORS at a directory that holds ``cacophony.txt``
and ``snow.txt`` (github.com/mcginty/snow, tests/vectors): every one whose protocol is implemented is replayed.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from peer_relay_socket.engine.noise import MAX_MESSAGE, CipherState, HandshakeState, tokens_of
from peer_relay_socket.errors import HandshakeError

NAMES = ("Noise_XX_25519_AESGCM_SHA256", "Noise_XXpsk3_25519_AESGCM_SHA256", "Noise_XX_25519_ChaChaPoly_SHA256")
KNOWN_ANSWERS = json.loads((Path(__file__).parent / "vectors" / "noise_known_answers.json").read_text())["vectors"]
LOW_ORDER_POINTS = (  # https://cr.yp.to/ecdh.html#validate
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
)


def key(seed: int) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(bytes((seed,)) * 32)


def pair(name: str = NAMES[0], **changes: Any) -> tuple[HandshakeState, HandshakeState]:
    psks = [b"k" * 32] * name.count("psk")
    first = HandshakeState(name, initiator=True, static=key(1), ephemeral=key(2), psks=psks)
    second = HandshakeState(
        name, **{"initiator": False, "static": key(3), "ephemeral": key(4), "psks": psks, **changes}
    )
    return first, second


def exchange(first: HandshakeState, second: HandshakeState) -> None:
    for _ in range(3):
        second.read_message(first.write_message())
        first, second = second, first


def published() -> list[dict[str, Any]]:
    directory = os.environ.get("NOISE_VECTORS")
    if directory is None:
        return []
    files = (Path(directory) / "cacophony.txt", Path(directory) / "snow.txt")
    return [vector for file in files for vector in json.loads(file.read_text())["vectors"] if implemented(vector)]


def implemented(vector: dict[str, Any]) -> bool:
    _, pattern, dh, _, hash_name = vector["protocol_name"].split("_")
    try:
        tokens_of(pattern)
    except ValueError:
        return False
    return (dh, hash_name) == ("25519", "SHA256")


def replay(first: HandshakeState, second: HandshakeState, vector: dict[str, Any]) -> None:
    """Write and read every message of `vector`, those after the handshake too, and compare."""
    for number, message in enumerate(vector["messages"]):
        payload, ciphertext = bytes.fromhex(message["payload"]), bytes.fromhex(message["ciphertext"])
        writer, reader = (first, second) if number % 2 == 0 else (second, first)
        if not writer.complete:
            assert writer.write_message(payload) == ciphertext
            assert reader.read_message(ciphertext) == payload
            ciphers = [] if not writer.complete else [writer.split(), reader.split()]
            continue
        direction = number % 2
        assert ciphers[0][direction].encrypt(b"", payload) == ciphertext
        assert ciphers[1][direction].decrypt(b"", ciphertext) == payload
    assert first.complete
    assert second.complete
    assert first.handshake_hash == second.handshake_hash
    if "handshake_hash" in vector:
        assert first.handshake_hash.hex() == vector["handshake_hash"]


@pytest.mark.parametrize("vector", KNOWN_ANSWERS, ids=lambda vector: vector["protocol_name"])
def test_handshake_gives_the_known_answers(vector: dict[str, Any]) -> None:
    sides = [
        HandshakeState(
            vector["protocol_name"],
            initiator=role == "initiator",
            static=X25519PrivateKey.from_private_bytes(bytes.fromhex(vector[f"{role}_static"])),
            ephemeral=X25519PrivateKey.from_private_bytes(bytes.fromhex(vector[f"{role}_ephemeral"])),
            prologue=bytes.fromhex(vector["prologue"]),
            psks=[bytes.fromhex(psk) for psk in vector["psks"]],
        )
        for role in ("initiator", "responder")
    ]
    replay(sides[0], sides[1], vector)


@pytest.mark.skipif("NOISE_VECTORS" not in os.environ, reason="NOISE_VECTORS names no directory of published vectors")
def test_handshake_passes_the_published_vectors() -> None:
    vectors = published()
    assert {vector["protocol_name"] for vector in vectors} >= set(NAMES)
    for vector in vectors:
        sides = [
            HandshakeState(
                vector["protocol_name"],
                initiator=role == "init",
                static=X25519PrivateKey.from_private_bytes(bytes.fromhex(vector[f"{role}_static"])),
                ephemeral=X25519PrivateKey.from_private_bytes(bytes.fromhex(vector[f"{role}_ephemeral"])),
                prologue=bytes.fromhex(vector[f"{role}_prologue"]),
                psks=[bytes.fromhex(psk) for psk in vector.get(f"{role}_psks", ())],
            )
            for role in ("init", "resp")
        ]
        replay(sides[0], sides[1], vector)


@pytest.mark.parametrize(
    ("pattern", "tokens"),
    [
        ("XX", (("e",), ("e", "ee", "s", "es"), ("s", "se"))),
        ("XXpsk0", (("psk", "e"), ("e", "ee", "s", "es"), ("s", "se"))),
        ("XXpsk3", (("e",), ("e", "ee", "s", "es"), ("s", "se", "psk"))),
        ("XXpsk0+psk2", (("psk", "e"), ("e", "ee", "s", "es", "psk"), ("s", "se"))),
    ],
)
def test_tokens_of_places_each_modifier(pattern: str, tokens: tuple[tuple[str, ...], ...]) -> None:
    assert tokens_of(pattern) == tokens


@pytest.mark.parametrize("pattern", ["", "NN", "XXpsk4", "XXpsk", "XXfallback", "XXpsk1+fallback", "psk0"])
def test_tokens_of_refuses_what_is_not_implemented(pattern: str) -> None:
    with pytest.raises(ValueError, match="not implemented"):
        tokens_of(pattern)


@pytest.mark.parametrize(
    "name", ["Noise_XX_448_AESGCM_SHA256", "Noise_XX_25519_AESGCM_BLAKE2s", "Noise_XX_25519_AES_SHA256"]
)
def test_handshake_state_refuses_algorithms_that_are_not_implemented(name: str) -> None:
    with pytest.raises(ValueError, match="not implemented"):
        HandshakeState(name, initiator=True, static=key(1), ephemeral=key(2))


@pytest.mark.parametrize("psks", [[], [b"short"], [bytes(32), bytes(32)]])
def test_handshake_state_refuses_psks_that_do_not_fit(psks: list[bytes]) -> None:
    with pytest.raises(ValueError, match="pre-shared"):
        HandshakeState(NAMES[1], initiator=True, static=key(1), ephemeral=key(2), psks=psks)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("number", [0, 1, 2])
def test_every_altered_byte_is_refused_no_later_than_the_next_message(name: str, number: int) -> None:
    first, second = pair(name)
    for _ in range(number):
        second.read_message(first.write_message(b"payload"))
        first, second = second, first
    message = first.write_message(b"payload")
    for position in range(len(message)):
        altered = bytearray(message)
        altered[position] ^= 1
        reader, writer = second.copy(), first.copy()
        if number == 0 and "psk" not in name:  # not encrypted, so the transcript gives it away one message later
            reader.read_message(altered)
            altered[:] = reader.write_message()
            reader = writer
        with pytest.raises(HandshakeError):
            reader.read_message(altered)


@pytest.mark.parametrize("name", NAMES)
def test_every_truncation_and_extension_is_refused(name: str) -> None:
    first, second = pair(name)
    if "psk" not in name:
        second.read_message(first.write_message())
        first, second = second, first
    message = first.write_message(b"payload")
    for size in range(len(message)):
        with pytest.raises(HandshakeError):
            second.copy().read_message(message[:size])
    with pytest.raises(HandshakeError):
        second.copy().read_message(message + b"\0")
    assert second.read_message(memoryview(message)) == b"payload"


@given(st.binary(max_size=300), st.integers(0, 2), st.sampled_from(NAMES))
def test_random_bytes_raise_nothing_but_handshake_error(data: bytes, number: int, name: str) -> None:
    first, second = pair(name)
    for _ in range(number):
        second.read_message(first.write_message())
        first, second = second, first
    try:
        second.read_message(data)
        second.write_message()
    except HandshakeError:
        return
    assert number == 0  # message 1 is whatever one likes


@pytest.mark.parametrize("point", LOW_ORDER_POINTS, ids=lambda point: point.hex()[:8])
@pytest.mark.parametrize("high_bit", [0, 0x80])  # RFC 7748 §5: ignored, so it must not hide the point
def test_low_order_ephemeral_is_refused(point: bytes, high_bit: int) -> None:
    sent = point[:31] + bytes((point[31] | high_bit,))
    _, second = pair()
    second.read_message(sent)
    with pytest.raises(HandshakeError, match="low-order"):
        second.write_message()
    first, _ = pair()
    first.write_message()
    with pytest.raises(HandshakeError, match="low-order"):
        first.read_message(sent + bytes(64))


@pytest.mark.parametrize("size", [0, 1, 31])
def test_message_1_without_a_whole_key_is_refused(size: int) -> None:
    _, second = pair()
    with pytest.raises(HandshakeError, match="short"):
        second.read_message(bytes(size))


def test_message_out_of_turn_is_refused() -> None:
    first, second = pair()
    with pytest.raises(HandshakeError):
        second.write_message()
    with pytest.raises(HandshakeError):
        first.read_message(bytes(100))
    with pytest.raises(HandshakeError):
        first.split()
    message = first.write_message()
    with pytest.raises(HandshakeError):
        first.write_message()
    second.read_message(message)
    with pytest.raises(HandshakeError):
        second.read_message(message)


def test_finished_handshake_takes_no_more_messages() -> None:
    first, second = pair()
    for _ in range(3):
        second.read_message(first.write_message())
        first, second = second, first
    assert first.complete
    for side in (first, second):
        with pytest.raises(HandshakeError):
            side.write_message()
        with pytest.raises(HandshakeError):
            side.read_message(bytes(100))


def test_refused_message_ends_the_state_but_not_its_copy() -> None:
    first, second = pair()
    second.read_message(first.write_message())
    message = second.write_message()
    spare = first.copy()
    with pytest.raises(HandshakeError):
        first.read_message(message[:-1])
    for step in (lambda: first.read_message(message), first.write_message, first.split):
        with pytest.raises(HandshakeError):
            step()
    assert not first.complete
    assert spare.read_message(message) == b""


@pytest.mark.parametrize(
    "changes",
    [{"prologue": b"other"}, {"psks": [b"K" * 32]}],
    ids=lambda changes: next(iter(changes)),
)
def test_sides_that_disagree_do_not_complete(changes: dict[str, Any]) -> None:
    first, second = pair(NAMES[1], **changes)
    with pytest.raises(HandshakeError, match="not authentic"):
        exchange(first, second)
    assert not second.complete


def test_message_above_the_limit_is_neither_written_nor_read() -> None:
    first, second = pair()
    with pytest.raises(HandshakeError, match="largest"):
        first.copy().write_message(bytes(MAX_MESSAGE - 31))
    with pytest.raises(HandshakeError, match="largest"):
        second.copy().read_message(bytes(MAX_MESSAGE + 1))
    assert len(second.read_message(first.write_message(bytes(MAX_MESSAGE - 32)))) == MAX_MESSAGE - 32


def test_cipher_state_stops_before_the_reserved_counter() -> None:
    cipher = CipherState("AESGCM", bytes(32))
    cipher.counter = 2**64 - 2
    cipher.encrypt(b"", b"last")
    with pytest.raises(HandshakeError, match="run out"):
        cipher.encrypt(b"", b"one more")
    with pytest.raises(HandshakeError, match="run out"):
        cipher.decrypt(b"", bytes(20))


def test_cipher_state_keeps_its_counter_over_a_forgery() -> None:
    sender, receiver = CipherState("ChaChaPoly", bytes(32)), CipherState("ChaChaPoly", bytes(32))
    with pytest.raises(HandshakeError):
        receiver.decrypt(b"", b"")
    with pytest.raises(HandshakeError):
        receiver.decrypt(b"", bytes(40))
    assert receiver.decrypt(b"ad", sender.encrypt(b"ad", b"text")) == b"text"
