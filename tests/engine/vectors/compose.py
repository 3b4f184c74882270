"""Makes composition.json: what our handshake must write, computed by an implementation of Noise that is not ours.

    pip install noiseprotocol; python tests/engine/vectors/compose.py > tests/engine/vectors/composition.json

It imports nothing of this package. What the messages carry is put together here a second time, from the description in
engine/authentication.py: the proof (public key, expiry, signature), its length, the prologue, the network key; and from
that in engine/seal.py the tag of a bundle.
"""

import hashlib
import hmac
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from noise.connection import Keypair, NoiseConnection

HOUR = 500_000
PSK = hashlib.sha256(b"the network").digest()


def secret(name: str) -> bytes:
    """Return 32 bytes."""
    return hashlib.sha256(name.encode()).digest()


def identity_proof(name: str, static_public: bytes) -> tuple[bytes, bytes]:
    """Return (peer id, what a handshake message carries of an identity)."""
    key = Ed25519PrivateKey.from_private_bytes(secret(f"{name} identity"))
    public = key.public_key().public_bytes_raw()
    expiry = HOUR.to_bytes(4, "big")
    proof = public + expiry + key.sign(b"peer-relay.3 static" + static_public + expiry)
    return hashlib.sha256(b"peer-relay.2 id" + public).digest()[:20], len(proof).to_bytes(2, "big") + proof


def compose(protocol: str, prologue: bytes, psk: bytes | None) -> dict[str, object]:
    """Play one handshake; return everything that is known of it."""
    ends = []
    for name in ("initiator", "responder"):
        end = NoiseConnection.from_name(protocol.encode())
        end.set_as_initiator() if name == "initiator" else end.set_as_responder()
        end.set_prologue(prologue)
        if psk is not None:
            end.set_psks(psk=psk)
        end.set_keypair_from_private_bytes(Keypair.STATIC, secret(f"{name} static"))
        end.set_keypair_from_private_bytes(Keypair.EPHEMERAL, secret(f"{name} ephemeral"))
        end.start_handshake()
        ends.append(end)
    ids, proofs = [], []
    for name, end in zip(("initiator", "responder"), ends, strict=True):
        peer_id, proof = identity_proof(name, end.noise_protocol.keypairs["s"].public_bytes)
        ids.append(peer_id.hex())
        proofs.append(proof)
    messages = []
    for number, payload in enumerate((b"first", b"second", b"third")):
        writer, reader = (ends[0], ends[1]) if number != 1 else (ends[1], ends[0])
        content = payload if not number else proofs[number == 1] + payload
        message = writer.write_message(content)
        assert reader.read_message(message) == content
        messages.append({"payload": payload.hex(), "message": bytes(message).hex()})
    protocol_state = ends[0].noise_protocol
    keys = [protocol_state.cipher_state_encrypt.k, protocol_state.cipher_state_decrypt.k]
    tag_key = hmac.digest(keys[0], b"peer-relay.3 bundles", "sha256")
    covered = b"what the tag of the first bundle vouches for"
    tag = hashlib.blake2b(bytes(8) + covered, key=tag_key, digest_size=16).digest()
    return {
        "protocol": protocol,
        "prologue": prologue.hex(),
        "psk": None if psk is None else psk.hex(),
        "hour": HOUR,
        "secrets": {
            f"{name} {kind}": secret(f"{name} {kind}").hex()
            for name in ("initiator", "responder")
            for kind in ("identity", "static", "ephemeral")
        },
        "ids": ids,
        "messages": messages,
        "keys": [key.hex() for key in keys],
        "covered": covered.hex(),
        "tag": (bytes(8) + tag).hex(),
    }


def main() -> None:
    link, session = b"peer-relay.3 link", b"peer-relay.3 session" + bytes(20) + b"\x01" * 20
    kinds = [("Noise_XX_25519_AESGCM_SHA256", None), ("Noise_XXpsk3_25519_AESGCM_SHA256", PSK)]
    vectors = [compose(name, prologue, psk) for name, psk in kinds for prologue in (link, session)]
    print(json.dumps({"source": "noiseprotocol 0.3.1 and compose.py", "vectors": vectors}, indent=1))


if __name__ == "__main__":
    main()
