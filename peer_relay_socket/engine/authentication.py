"""Who is at the other end: Noise XX whose payloads carry an Ed25519 key and its signature of the Noise static key.

Lives here: identities inside handshakes, the network key. May not live here: the framework itself (noise.py), what is
sealed afterwards (seal.py), timers, retransmission, whom to admit.

Law: `remote_id` is never set to an id whose key the other end did not use in *this* handshake.

The handshake on one page. I is the Noise initiator, R the responder. On a link the acceptor speaks first, so it is I;
with a network key it only says "go ahead", and the connector is I (links.py draws both). Of an end-to-end session, I is
the side that has something to send. `[x]` is encrypted, proof = Ed25519 public key || expiry (4 bytes: hours since
1970, 0 = never) || its signature of "peer-relay.3 static" || X25519 static key || expiry (so one signature serves many
handshakes of the process, as in libp2p's noise specification). A static key that leaks stands for its identity until it
expires, STATIC_KEY_HOURS at most, where both ends have a clock; a process without a clock signs for ever, and checks
nothing.

    message                               bytes        what the reader then knows
    1  I -> R  e, payload                 32 (psk 48)  nothing: any stranger can write it, and read its payload
    2  R -> I  e, [s], [proof, payload]   198          I: R holds its key, now, for this message 1 and this prologue
    3  I -> R  [s], [proof, payload]      166          R: I holds its key, now, and knows the network key, if any
    first sealed packet R -> I                         I: R knows the network key, which until now R merely claims

- What proves what. The signature ties the static key to an id for good; only "es" (message 2) and "se" (message 3),
  which take the static *private* key and the other side's fresh ephemeral one, prove that its holder is there now. So
  a replayed message 2 or 3 fails on the new ephemeral, a reflected one on its length or on "remote id = own id", a
  proof cut from another handshake on its static key, and a change to any byte, or to the prologue, on the transcript.
- What is bound. The prologue names the use and the parties (`LINK_PROLOGUE` and what was negotiated, or
  `session_prologue`), so a handshake made for one cannot be spent on another.
- What a recording allows. Ids are under "ee": to a listener the handshake is random bytes after two public ephemeral
  keys, also when both static keys leak later (forward secrecy). The network key enters the keys only beside "ee", "es"
  and "se", so a recording offers no way to test a guess of it, at any price.
- What an active stranger gets. From R, without proving anything: R's id and the payload of message 2, so neither may be
  secret (links send none there in a network with a key). From I, if I was not told whom to `expect`: I's message 3,
  under keys of which the stranger lacks only the network key: enough to test guesses at leisure, each at scrypt's price
  (limits.py). On links I is the peer that dials. So the attacker must lure a member to a place that the member was told
  to join through (a forged name, a path that can be redirected: wss:// and its certificate stop that); a stranger that
  merely connects is I itself and gets nothing to test. Sessions always `expect` an id. A network key of 64 random bits
  is out of reach all the same; a dictionary word, for an attacker who lured a member, is not. Only a PAKE would close
  that gap.
- Without the same network key. One side with, one without: the protocol names differ, and message 1 (no tag where one
  is due) or 2 fails. Two different ones: message 3 fails at R, before R gave out more than its id.

A message that is refused changes nothing: a relay that injects forgeries cannot end a handshake, only the timer can.
Cost: 0.2 ms of computing on each side for the three messages (timeit, CPython 3.11).
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from ..address import PeerId
from ..errors import HandshakeError
from ..identity import Identity, peer_id_of, verify
from ..limits import CLOCK_LEAST, NETWORK_KEY_SCRYPT_N, NETWORK_KEY_SCRYPT_P, NETWORK_KEY_SCRYPT_R, STATIC_KEY_HOURS
from .noise import DH_BYTES, PSK_BYTES, Buffer, HandshakeState, public_bytes

LINK_PROLOGUE: Final = b"peer-relay.3 link"
"""What a link's prologue begins with; what was negotiated follows."""

_PROTOCOL: Final = "Noise_XX_25519_AESGCM_SHA256"
_PROTOCOL_PSK: Final = "Noise_XXpsk3_25519_AESGCM_SHA256"
_STATIC_DOMAIN: Final = b"peer-relay.3 static"
_NETWORK_KEY_SALT: Final = b"peer-relay.3 network key"
"""Fixed, because no peer could send a random one before the handshake. It keeps out tables made for other protocols."""
_KEY_BYTES: Final = 32
_EXPIRY_BYTES: Final = 4
_PROOF_BYTES: Final = _KEY_BYTES + _EXPIRY_BYTES + 64
_LENGTH_BYTES: Final = 2


def session_prologue(initiator: PeerId, responder: PeerId) -> bytes:
    """Return the prologue of an end-to-end session between two peers."""
    return b"peer-relay.3 session" + initiator + responder


def network_psk(network_key: str) -> bytes:
    """Return the 32-byte pre-shared key of a network, the same for spellings of `network_key` that NFC makes equal.

    Blocks for the time that limits.NETWORK_KEY_SCRYPT_N states: call it once and keep the result.
    """
    secret = unicodedata.normalize("NFC", network_key).encode("utf-8", "surrogateescape")
    return hashlib.scrypt(
        secret,
        salt=_NETWORK_KEY_SALT,
        n=NETWORK_KEY_SCRYPT_N,
        r=NETWORK_KEY_SCRYPT_R,
        p=NETWORK_KEY_SCRYPT_P,
        dklen=PSK_BYTES,
    )


class StaticKey:
    """The X25519 key with which an identity takes part in handshakes, and the identity's signature of it. Immutable.

    Reused until it is half as old as it may become: what each handshake adds is the ephemeral key.
    """

    __slots__ = ("peer_id", "private", "proof", "public", "renewal")

    def __init__(self, identity: Identity, entropy: Callable[[int], bytes], wall: float = 0.0) -> None:
        """Args: wall: seconds since 1970, or less than CLOCK_LEAST where there is no clock."""
        has_clock = wall >= CLOCK_LEAST
        expiry = (int(wall // 3600) + STATIC_KEY_HOURS if has_clock else 0).to_bytes(_EXPIRY_BYTES)
        self.renewal = wall + 1800.0 * STATIC_KEY_HOURS if has_clock else CLOCK_LEAST
        """When another should take its place, in seconds since 1970."""
        self.private = X25519PrivateKey.from_private_bytes(entropy(DH_BYTES))
        self.public = public_bytes(self.private)
        self.peer_id: PeerId = identity.peer_id
        self.proof = identity.public_key + expiry + identity.sign(_STATIC_DOMAIN + self.public + expiry)
        """The identity's public key, the expiry and the signature: what the encrypted payloads carry."""


class Handshake:
    """One side of one handshake: Noise XX, or XXpsk3 when a network key is set. Not thread-safe.

    The initiator writes, reads, writes; the responder reads, writes, reads. The payload of message 1 is public and
    unauthenticated; the others are encrypted, but a stranger that wrote message 1 can read message 2 (see the module).
    """

    __slots__ = ("_expected", "_initiator", "_noise", "_position", "_static", "_wall", "remote_id")

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
        """Begin.

        Args: prologue: equal on both sides, or message 2 fails. psk: of `network_psk`. entropy: returns so many random
            bytes; asked once, for the ephemeral key. expected: the only id that is accepted.
            wall: seconds since 1970, by which the other end's static key may have expired.
        """
        self._noise = HandshakeState(
            _PROTOCOL if psk is None else _PROTOCOL_PSK,
            initiator=initiator,
            static=static.private,
            ephemeral=X25519PrivateKey.from_private_bytes(entropy(DH_BYTES)),
            prologue=prologue,
            psks=() if psk is None else (psk,),
        )
        self._initiator = initiator
        self._static = static
        self._expected = expected
        self._wall = wall
        self._position = 0
        self.remote_id: PeerId | None = None
        """Who the other end proved to be: the initiator knows after message 2, the responder after message 3."""

    @property
    def complete(self) -> bool:
        """Whether all three messages were written and read."""
        return self._noise.complete

    @property
    def our_turn(self) -> bool:
        """Whether the next message is ours to write."""
        return self._noise.our_turn

    def write(self, payload: bytes = b"") -> bytes:
        """Return the next message, to be sent as it is (to repeat it, keep it: it can be made only once).

        Raises: HandshakeError when it is not our turn, when the other side's ephemeral key is a low-order point (the
            responder finds that out here), or for a message above 65,535 bytes. The last two end the handshake.
        """
        carried = (
            payload if self._position == 0 else _PROOF_BYTES.to_bytes(_LENGTH_BYTES) + self._static.proof + payload
        )
        message = self._noise.write_message(carried)
        self._position += 1
        return message

    def read(self, message: Buffer) -> bytes:
        """Return the payload of the other side's next message.

        Raises: HandshakeError, and nothing else whatever the bytes, for a message that is malformed, altered, out of
            turn, made for another handshake, prologue or network key, signed wrongly, from an id other than the
            expected one, or from ourselves. The handshake then stands where it stood.
        """
        trial = self._noise.copy()
        payload = trial.read_message(message)
        if self._position > 0:
            public_key, payload = self._verified(payload, trial.remote_static)
            self.remote_id = peer_id_of(public_key)
        self._noise = trial
        self._position += 1
        return payload

    def keys(self) -> tuple[bytes, bytes]:
        """Return (send key, receive key), 32 bytes each. Raises: HandshakeError before the end."""
        first, second = self._noise.split()
        assert first.key is not None
        assert second.key is not None
        return (first.key, second.key) if self._initiator else (second.key, first.key)

    def _verified(self, payload: bytes, remote_static: bytes | None) -> tuple[bytes, bytes]:
        """Return the public key that signed `remote_static`, and the rest of the payload. Raises: HandshakeError."""
        proof_end = _LENGTH_BYTES + _PROOF_BYTES
        if len(payload) < proof_end or int.from_bytes(payload[:_LENGTH_BYTES]) != _PROOF_BYTES:
            raise HandshakeError("the handshake carries no identity")
        assert remote_static is not None  # every message after the first brings it
        public_key = payload[_LENGTH_BYTES : _LENGTH_BYTES + _KEY_BYTES]
        expiry = payload[_LENGTH_BYTES + _KEY_BYTES : _LENGTH_BYTES + _KEY_BYTES + _EXPIRY_BYTES]
        signature = payload[_LENGTH_BYTES + _KEY_BYTES + _EXPIRY_BYTES : proof_end]
        remote_id = peer_id_of(public_key)
        if remote_id == self._static.peer_id:
            raise HandshakeError("the other end has our own id")
        if self._expected is not None and remote_id != self._expected:
            raise HandshakeError(f"expected {self._expected.hex()[:8]}, but {remote_id.hex()[:8]} answered")
        if not verify(public_key, signature, _STATIC_DOMAIN + remote_static + expiry):
            raise HandshakeError("the identity did not sign this static key")
        if any(expiry) and self._wall >= CLOCK_LEAST and int.from_bytes(expiry) < self._wall // 3600:
            raise HandshakeError("their static key has expired; is a clock wrong?")
        return public_key, payload[proof_end:]
