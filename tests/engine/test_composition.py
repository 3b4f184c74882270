"""What we made of Noise, the identity, the network key and the tags of bundles: against what another implementation of
Noise and a second description of the rest give (vectors/compose.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from peer_relay_socket.engine.authentication import LINK_PROLOGUE, Handshake, StaticKey, session_prologue
from peer_relay_socket.engine.links import _tag_key
from peer_relay_socket.engine.seal import TaggingKey
from peer_relay_socket.identity import Identity
from peer_relay_socket.limits import STATIC_KEY_HOURS

VECTORS = json.loads((Path(__file__).parent / "vectors" / "composition.json").read_text())["vectors"]


def _end(vector: dict[str, Any], role: str) -> tuple[Identity, Handshake]:
    secrets = {name: bytes.fromhex(value) for name, value in vector["secrets"].items()}
    identity = Identity.from_seed(secrets[f"{role} identity"])
    wall = 3600.0 * (vector["hour"] - STATIC_KEY_HOURS)
    handshake = Handshake(
        initiator=role == "initiator",
        static=StaticKey(identity, lambda _size: secrets[f"{role} static"], wall),
        prologue=bytes.fromhex(vector["prologue"]),
        psk=None if vector["psk"] is None else bytes.fromhex(vector["psk"]),
        entropy=lambda _size: secrets[f"{role} ephemeral"],
        wall=wall,
    )
    return identity, handshake


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector['protocol']} {vector['prologue'][:34]}")
def test_a_handshake_writes_what_another_implementation_writes(vector: dict[str, Any]) -> None:
    (alice, first), (bob, second) = _end(vector, "initiator"), _end(vector, "responder")
    assert [alice.peer_id.hex(), bob.peer_id.hex()] == vector["ids"]
    for number, expected in enumerate(vector["messages"]):
        writer, reader = (second, first) if number == 1 else (first, second)
        payload = bytes.fromhex(expected["payload"])
        message = writer.write(payload)
        assert message.hex() == expected["message"]
        assert reader.read(message) == payload
    assert (first.remote_id, second.remote_id) == (bob.peer_id, alice.peer_id)
    sends, receives = first.keys()
    assert [sends.hex(), receives.hex()] == vector["keys"]
    assert second.keys() == (receives, sends)
    tag = TaggingKey(_tag_key(sends)).tag(bytes.fromhex(vector["covered"]))
    assert tag.hex() == vector["tag"]


def test_the_prologues_are_those_in_use() -> None:
    assert {vector["prologue"] for vector in VECTORS} == {
        LINK_PROLOGUE.hex(),
        session_prologue(bytes(20), b"\x01" * 20).hex(),
    }
