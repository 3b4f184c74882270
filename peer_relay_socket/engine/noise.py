"""The Noise Protocol Framework, revision 34: handshakes as a pure state machine.

Lives here: the three state objects of the specification's §5, pattern XX with any psk modifiers, DH 25519, AESGCM and
ChaChaPoly, SHA256. May not live here: identities, what a payload means, transport messages (seal.py), randomness
(the caller hands in private keys).

Law: bytes from the other side either advance the handshake or raise HandshakeError, nothing else.

Why our own: of the Noise packages on PyPI, dissononce's last release is of 2019 and noiseprotocol's of 2020 (it still
passes the vectors, but is untyped, lets foreign exceptions out on bad bytes and cannot take back a forged message),
while all we need of the framework is this file on `cryptography`; it passes the vectors of cacophony and snow.

Source: https://noiseprotocol.org/noise.html, revision 34; § below means its sections.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import cryptography.hazmat.backends.openssl.backend  # noqa: F401 - functions of X25519's import it when called
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from ..errors import HandshakeError

DH_BYTES: Final = 32
HASH_BYTES: Final = 32
TAG_BYTES: Final = 16
PSK_BYTES: Final = 32
MAX_MESSAGE: Final = 65_535
"""Largest Noise message (§3); both directions are held to it."""

Buffer: TypeAlias = bytes | bytearray | memoryview

_LAST_NONCE: Final = 2**64 - 1
"""Reserved for rekeying (§5.1): the counter may not reach it."""
_CIPHERS: Final[dict[str, tuple[type[AESGCM] | type[ChaCha20Poly1305], Callable[[int], bytes]]]] = {
    # §12.3 and §12.4: four zero bytes, then the counter; the two disagree about its byte order.
    "AESGCM": (AESGCM, struct.Struct(">4xQ").pack),
    "ChaChaPoly": (ChaCha20Poly1305, struct.Struct("<4xQ").pack),
}
_PATTERNS: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    # §7.5. A line is a message; the initiator writes the first, then they alternate.
    "XX": (("e",), ("e", "ee", "s", "es"), ("s", "se")),
}
_DH_TOKENS: Final[dict[str, tuple[str, str]]] = {
    # token -> (initiator's key, responder's key), §5.3
    "ee": ("e", "e"),
    "es": ("e", "s"),
    "se": ("s", "e"),
    "ss": ("s", "s"),
}


def public_bytes(private: X25519PrivateKey) -> bytes:
    """Return the 32-byte public key of `private`."""
    return private.public_key().public_bytes_raw()


def _dh(private: X25519PrivateKey, public: bytes) -> bytes:
    """Return the shared secret. Raises: HandshakeError when it is all zero (a low-order point, RFC 7748 §6.1)."""
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise HandshakeError("Diffie-Hellman: the other key is a low-order point") from None


def _hkdf(chaining_key: bytes, material: bytes, outputs: int) -> list[bytes]:
    """Return two or three 32-byte keys (§4.3; it is RFC 5869 with the chaining key as salt and no info)."""
    secret = hmac.digest(chaining_key, material, "sha256")
    keys = [hmac.digest(secret, b"\x01", "sha256")]
    for number in range(2, outputs + 1):
        keys.append(hmac.digest(secret, keys[-1] + bytes((number,)), "sha256"))
    return keys


def tokens_of(pattern: str) -> tuple[tuple[str, ...], ...]:
    """Return the tokens of each message of a pattern name such as ``XX``, ``XXpsk3`` or ``XXpsk0+psk2`` (§8, §9.4).

    Raises: ValueError for a pattern or modifier that is not implemented.
    """
    base = pattern.partition("psk")[0]
    if base not in _PATTERNS:
        raise ValueError(f"Noise pattern {pattern!r}: not implemented")
    messages = [list(tokens) for tokens in _PATTERNS[base]]
    for modifier in filter(None, pattern[len(base) :].split("+")):
        place = modifier.removeprefix("psk")
        if place == modifier or not place.isdecimal() or int(place) > len(messages):
            raise ValueError(f"Noise pattern {pattern!r}: modifier {modifier!r} is not implemented")
        if place == "0":
            messages[0].insert(0, "psk")
        else:
            messages[int(place) - 1].append("psk")
    return tuple(map(tuple, messages))


class CipherState:
    """A key and the counter of the messages it has sealed (§5.1). Without a key, bytes pass through unchanged."""

    __slots__ = ("_aead", "_cipher", "_nonce", "counter", "key")

    def __init__(self, cipher: str, key: bytes | None = None) -> None:
        self._cipher = cipher
        aead, self._nonce = _CIPHERS[cipher]
        self._aead = None if key is None else aead(key)
        self.counter = 0
        self.key = key
        """32 bytes, or None while there is none."""

    def copy(self) -> CipherState:
        """Return an independent state with the same key and counter."""
        twin = CipherState(self._cipher, self.key)
        twin.counter = self.counter
        return twin

    def encrypt(self, associated: bytes, plaintext: Buffer) -> bytes:
        """Return ciphertext and tag. Raises: HandshakeError when the counter has run out."""
        if self._aead is None:
            return bytes(plaintext)
        ciphertext = self._aead.encrypt(self._next_nonce(), plaintext, associated)
        self.counter += 1
        return ciphertext

    def decrypt(self, associated: bytes, ciphertext: Buffer) -> bytes:
        """Return the plaintext. Raises: HandshakeError when it is not authentic; the counter then stays (§5.1)."""
        if self._aead is None:
            return bytes(ciphertext)
        try:
            plaintext = self._aead.decrypt(self._next_nonce(), ciphertext, associated)
        except InvalidTag:  # also for what is shorter than a tag
            raise HandshakeError("ciphertext is not authentic") from None
        self.counter += 1
        return plaintext

    def _next_nonce(self) -> bytes:
        if self.counter >= _LAST_NONCE:
            raise HandshakeError("the counter of this key has run out")
        return self._nonce(self.counter)


class SymmetricState:
    """The chaining key, the transcript hash and the current cipher (§5.2)."""

    __slots__ = ("_chaining_key", "_cipher", "_cipher_name", "hash")

    def __init__(self, protocol_name: bytes, cipher: str) -> None:
        short = len(protocol_name) <= HASH_BYTES
        self.hash = protocol_name.ljust(HASH_BYTES, b"\0") if short else hashlib.sha256(protocol_name).digest()
        """Binds everything said so far; after the last message, the channel binding (§11.2)."""
        self._chaining_key = self.hash
        self._cipher_name = cipher
        self._cipher = CipherState(cipher)

    def copy(self) -> SymmetricState:
        """Return an independent state that has heard the same."""
        twin = object.__new__(SymmetricState)
        twin.hash = self.hash
        twin._chaining_key = self._chaining_key
        twin._cipher_name = self._cipher_name
        twin._cipher = self._cipher.copy()
        return twin

    @property
    def has_key(self) -> bool:
        """Whether what is written next is encrypted."""
        return self._cipher.key is not None

    def mix_hash(self, data: Buffer) -> None:
        """Take `data` into the transcript."""
        self.hash = hashlib.sha256(self.hash + data).digest()

    def mix_key(self, material: bytes) -> None:
        """Take a shared secret into the keys."""
        self._chaining_key, key = _hkdf(self._chaining_key, material, 2)
        self._cipher = CipherState(self._cipher_name, key)

    def mix_key_and_hash(self, material: bytes) -> None:
        """Take a pre-shared key into keys and transcript (§9.1)."""
        self._chaining_key, mixed, key = _hkdf(self._chaining_key, material, 3)
        self.mix_hash(mixed)
        self._cipher = CipherState(self._cipher_name, key)

    def encrypt_and_hash(self, plaintext: Buffer) -> bytes:
        """Return `plaintext` sealed under the transcript so far, and add the result to it."""
        ciphertext = self._cipher.encrypt(self.hash, plaintext)
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt_and_hash(self, ciphertext: Buffer) -> bytes:
        """Return what was sealed, and add `ciphertext` to the transcript. Raises: HandshakeError if not authentic."""
        plaintext = self._cipher.decrypt(self.hash, ciphertext)
        self.mix_hash(ciphertext)
        return plaintext

    def split(self) -> tuple[CipherState, CipherState]:
        """Return the ciphers of the two directions: the initiator's first."""
        first, second = _hkdf(self._chaining_key, b"", 2)
        return CipherState(self._cipher_name, first), CipherState(self._cipher_name, second)


class HandshakeState:
    """One side of one handshake (§5.3).

    A message that was refused leaves the state unusable, as §5.3 asks; who wants to survive a forged message reads it
    with a `copy` and keeps that if it was good.
    """

    __slots__ = (
        "_ephemeral",
        "_failed",
        "_initiator",
        "_messages",
        "_position",
        "_psk_mode",
        "_psks",
        "_static",
        "_symmetric",
        "remote_ephemeral",
        "remote_static",
    )

    def __init__(
        self,
        protocol_name: str,
        *,
        initiator: bool,
        static: X25519PrivateKey,
        ephemeral: X25519PrivateKey,
        prologue: bytes = b"",
        psks: Sequence[bytes] = (),
    ) -> None:
        """Begin.

        Args: protocol_name: such as ``Noise_XXpsk3_25519_AESGCM_SHA256``. ephemeral: a fresh key, used for nothing
            else. prologue: what both sides must agree on. psks: 32 bytes for each psk modifier, in the pattern's order.
        Raises: ValueError for a name that is not implemented or psks that do not fit it.
        """
        family, pattern, dh, cipher, hash_name = protocol_name.split("_")
        if (family, dh, hash_name) != ("Noise", "25519", "SHA256") or cipher not in _CIPHERS:
            raise ValueError(f"Noise protocol {protocol_name!r}: not implemented")
        self._messages = tokens_of(pattern)
        wanted = sum(tokens.count("psk") for tokens in self._messages)
        if len(psks) != wanted or any(len(psk) != PSK_BYTES for psk in psks):
            raise ValueError(f"Noise protocol {protocol_name!r}: wants {wanted} pre-shared keys of {PSK_BYTES} bytes")
        self._symmetric = SymmetricState(protocol_name.encode("ascii"), cipher)
        self._symmetric.mix_hash(prologue)
        self._initiator = initiator
        self._static = static
        self._ephemeral = ephemeral
        self._psks = tuple(psks)
        self._psk_mode = wanted > 0
        self._position = 0
        self._failed = False
        self.remote_ephemeral: bytes | None = None
        self.remote_static: bytes | None = None
        """The other side's static public key once it was received; whose it is, the payload has to say."""

    def copy(self) -> HandshakeState:
        """Return an independent handshake that stands where this one does."""
        twin = object.__new__(HandshakeState)
        for name in self.__slots__:
            setattr(twin, name, getattr(self, name))
        twin._symmetric = self._symmetric.copy()
        return twin

    @property
    def complete(self) -> bool:
        """Whether every message was written and read."""
        return self._position == len(self._messages) and not self._failed

    @property
    def our_turn(self) -> bool:
        """Whether the next message is ours to write."""
        writes_even = self._initiator
        return self._position < len(self._messages) and (self._position % 2 == 0) is writes_even

    @property
    def handshake_hash(self) -> bytes:
        """The transcript hash: equal on both sides, unique to this run (§11.2)."""
        return self._symmetric.hash

    def write_message(self, payload: Buffer = b"") -> bytes:
        """Return the next message.

        Raises: HandshakeError when it is not our turn, the message would pass MAX_MESSAGE, or the other side sent a
            low-order point.
        """
        if self._failed or not self.our_turn:
            raise HandshakeError("it is not our turn to write")
        parts: list[bytes] = []
        try:
            for token in self._take_tokens():
                if token == "e":
                    public = public_bytes(self._ephemeral)
                    parts.append(public)
                    self._heard_ephemeral(public)
                elif token == "s":
                    parts.append(self._symmetric.encrypt_and_hash(public_bytes(self._static)))
                else:
                    self._mix(token)
            parts.append(self._symmetric.encrypt_and_hash(payload))
            message = b"".join(parts)
            if len(message) > MAX_MESSAGE:
                raise HandshakeError(f"handshake message of {len(message)} bytes: the largest is {MAX_MESSAGE}")
        except HandshakeError:
            self._failed = True
            raise
        return message

    def read_message(self, message: Buffer) -> bytes:
        """Return the payload of the other side's next message.

        Raises: HandshakeError for a message out of turn, too long, too short, or not authentic.
        """
        if self._failed or self.complete or self.our_turn:
            raise HandshakeError("a handshake message out of turn")
        try:
            if len(message) > MAX_MESSAGE:
                raise HandshakeError(f"handshake message of {len(message)} bytes: the largest is {MAX_MESSAGE}")
            rest = memoryview(message)
            for token in self._take_tokens():
                if token == "e":
                    public, rest = self._cut(rest, DH_BYTES)
                    self.remote_ephemeral = public
                    self._heard_ephemeral(public)
                elif token == "s":
                    sealed, rest = self._cut(rest, DH_BYTES + (TAG_BYTES if self._symmetric.has_key else 0))
                    self.remote_static = self._symmetric.decrypt_and_hash(sealed)
                else:
                    self._mix(token)
            return self._symmetric.decrypt_and_hash(rest)
        except HandshakeError:
            self._failed = True
            raise

    def split(self) -> tuple[CipherState, CipherState]:
        """Return the ciphers of the two directions, the initiator's first. Raises: HandshakeError before the end."""
        if not self.complete:
            raise HandshakeError("the handshake is not complete")
        return self._symmetric.split()

    def _take_tokens(self) -> tuple[str, ...]:
        tokens = self._messages[self._position]
        self._position += 1
        return tokens

    @staticmethod
    def _cut(data: memoryview, size: int) -> tuple[bytes, memoryview]:
        if len(data) < size:
            raise HandshakeError("handshake message is too short")
        return bytes(data[:size]), data[size:]

    def _heard_ephemeral(self, public: bytes) -> None:
        self._symmetric.mix_hash(public)
        if self._psk_mode:  # §9.2: so that a psk is never used with a key that repeats
            self._symmetric.mix_key(public)

    def _mix(self, token: str) -> None:
        if token == "psk":
            psk, *rest = self._psks
            self._psks = tuple(rest)
            self._symmetric.mix_key_and_hash(psk)
            return
        initiator_key, responder_key = _DH_TOKENS[token]
        ours, theirs = (initiator_key, responder_key) if self._initiator else (responder_key, initiator_key)
        private = self._ephemeral if ours == "e" else self._static
        public = self.remote_ephemeral if theirs == "e" else self.remote_static
        if public is None:
            raise HandshakeError(f"token {token}: the other side's key is not known yet")
        self._symmetric.mix_key(_dh(private, public))
