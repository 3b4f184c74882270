"""What peers on one link say to each other before they know each other. Pure functions from bytes to meaning and back.

Law: a frame is read only with the key of its network: whoever lacks the key learns that a peer is there, which any link
shows, and nothing else. An answer is as long as its question, so nothing is amplified. What a frame says is a hint
until a link has proved it.

    "PRL1" || kind (1: 1 question, 2 answer) || token of the question (12) || nonce (12)
    || AES-256-GCM(key of the network; id (20) || TCP port (2) || flags (1: bit 0 TLS)), associated data: all before the
    nonce
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..address import ID_BYTES, PeerId
from ..errors import PacketError

_MAGIC: Final = b"PRL1"
TOKEN: Final = 12
"""Bytes of a token, and of a nonce."""
_HEAD: Final = len(_MAGIC) + 1 + TOKEN
_PLACE: Final = ID_BYTES + 3
FRAME: Final = _HEAD + TOKEN + _PLACE + 16
"""Bytes of every frame."""


class LanKind(IntEnum):
    """What a frame is."""

    QUESTION = 1
    ANSWER = 2


class LanFrame(NamedTuple):
    """A question, "I am here: who else is?", or an answer to one."""

    kind: LanKind
    token: bytes
    """Which question it is, or is about; TOKEN random bytes."""
    peer_id: PeerId
    port: int
    """Where the sender can be dialled, at the address that it sent from."""
    tls: bool


def lan_frame(key: bytes, nonce: bytes, frame: LanFrame) -> bytes:
    """Return FRAME bytes. Args: key: 32 bytes. nonce: TOKEN random bytes, never used twice with `key`."""
    head = _MAGIC + bytes((frame.kind,)) + frame.token
    place = frame.peer_id + frame.port.to_bytes(2) + bytes((frame.tls,))
    return head + nonce + AESGCM(key).encrypt(nonce, place, head)


def read_lan_frame(key: bytes, data: bytes) -> LanFrame:
    """Return what a frame says. Raises: PacketError for one of another network, or that is none."""
    if len(data) != FRAME or not data.startswith(_MAGIC) or data[4] not in LanKind.__members__.values():
        raise PacketError("no LAN frame")
    head, nonce = data[:_HEAD], data[_HEAD : _HEAD + TOKEN]
    try:
        place = AESGCM(key).decrypt(nonce, data[_HEAD + TOKEN :], head)
    except InvalidTag:
        raise PacketError("a LAN frame of another network") from None
    port = int.from_bytes(place[ID_BYTES : ID_BYTES + 2])
    if not port:
        raise PacketError("a LAN frame without a port")
    return LanFrame(LanKind(data[4]), head[-TOKEN:], place[:ID_BYTES], port, bool(place[-1] & 1))
