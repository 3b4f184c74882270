"""A handshake without cryptography, for simulations of thousands of peers.

Lives here: messages as long as the real ones, read and written in the same order, refused for the same reasons as far
as a simulation can meet them. May not live here: anything that keeps a secret.

Law: an engine that is given this instead of `Handshake` does the same things at the same times; it asks for as much
entropy. `test_plain.py` holds both against each other. What it lacks is proof: whoever makes a message up is believed.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from peer_relay_socket.address import PeerId
from peer_relay_socket.engine.authentication import Handshake, StaticKey
from peer_relay_socket.engine.noise import DH_BYTES, TAG_BYTES, Buffer
from peer_relay_socket.errors import HandshakeError
from peer_relay_socket.identity import peer_id_of

_KEY_BYTES = 32
_PROOF_BYTES = _KEY_BYTES + 4 + 64
_FRONT = _PROOF_BYTES.to_bytes(2)


class PlainHandshake(Handshake):
    """One side of a handshake in which everything is said in clear, under a checksum of all that was said before."""

    __slots__ = ("_ephemeral", "_said")

    def __init__(
        self,
        *,
        initiator: bool,
        static: StaticKey,
        prologue: bytes,
        psk: bytes | None,
        entropy: Callable[[int], bytes],
        expected: PeerId | None = None,
        wall: float = 0.0,
    ) -> None:
        assert psk is None
        self._initiator = initiator
        self._static = static
        self._expected = expected
        self._position = 0
        self._ephemeral = entropy(DH_BYTES)
        self._said = prologue
        self.remote_id = None

    @property
    def complete(self) -> bool:
        return self._position == 3

    @property
    def our_turn(self) -> bool:
        return not self.complete and (self._position % 2 == 0) is self._initiator

    def write(self, payload: bytes = b"") -> bytes:
        if not self.our_turn:
            raise HandshakeError("it is not our turn to write")
        if self._position == 0:
            message = self._ephemeral + payload
        else:
            fresh = self._ephemeral if self._position == 1 else b""
            message = b"".join((fresh, self._static.public, bytes(TAG_BYTES), _FRONT, self._static.proof, payload))
            message += self._checksum(message)
        self._heard(message)
        return message

    def read(self, message: Buffer) -> bytes:
        if self.complete or self.our_turn:
            raise HandshakeError("a handshake message out of turn")
        message = bytes(message)
        if self._position == 0:
            if len(message) < DH_BYTES:
                raise HandshakeError("handshake message is too short")
            self._heard(message)
            return message[DH_BYTES:]
        body, tag = message[:-TAG_BYTES], message[-TAG_BYTES:]
        if tag != self._checksum(body):
            raise HandshakeError("ciphertext is not authentic")
        front = (DH_BYTES if self._position == 1 else 0) + DH_BYTES + TAG_BYTES + len(_FRONT)
        public_key = body[front : front + _KEY_BYTES]
        remote_id = peer_id_of(public_key)
        if remote_id == self._static.peer_id:
            raise HandshakeError("the other end has our own id")
        if self._expected is not None and remote_id != self._expected:
            raise HandshakeError(f"expected {self._expected.hex()[:8]}, but {remote_id.hex()[:8]} answered")
        self.remote_id = remote_id
        self._heard(message)
        return body[front + _PROOF_BYTES :]

    def keys(self) -> tuple[bytes, bytes]:
        if not self.complete:
            raise HandshakeError("the handshake is not complete")
        first, second = (sha256(self._said + name).digest() for name in (b"first", b"second"))
        return (first, second) if self._initiator else (second, first)

    def _checksum(self, body: bytes) -> bytes:
        return sha256(self._said + body).digest()[:TAG_BYTES]

    def _heard(self, message: bytes) -> None:
        self._said = sha256(self._said + message).digest()
        self._position += 1
