"""Frames of a link's datagram lane: what the UDP datagrams between a peer and its relay hold. Pure functions.

Law: nothing here raises, and nothing here knows a key or an address.

A lane carries SEALED packets beside the WebSocket of a link, and nothing that has to arrive. Each end gives the lane an
index of its own and says it over the link (LINK's LANE); frames to that end begin with it. No frame begins as STUN
does, which the port of a relay answers, too::

    0xC0 || index (4) || bundle                                  as packet.py draws it, tagged under keys of the lane's
    0xC1 || index (4) || step (1) || token (8) || challenge (8) || newest (8) || frames (8) || zeros
         || counter (8) || tag (16)                              the tag vouches for all before it

    step  1 PROBE      the dialler's; a token of its own, no challenge; with zeros at first, to see whether the longest
                       frame comes through
          2 CHALLENGE  the relay's, to where the probe came from: its token and as many bytes; no challenge where that
                       address has proved itself lately
          3 ECHO       the dialler's: token and challenge, as they came. From now on the relay sends there

    "No challenge" is zeros.

    newest, frames: the highest counter that was heard by the lane plus one, and how many frames were. What is missing
    was lost.

What is unknown is skipped: other first bytes from 0xC0 on, other steps, and what is there instead of the zeros.

Keys: BLAKE2b(key of the link's bundles in this direction; "peer-relay.3 lane" || index of the sender || of the
receiver), of 16 bytes. No tag of a bundle is made of such bytes: its counter would have to begin with "peer-rel".
Counter, tag and replay window are like those of bundles.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple

from .packet import BUNDLE_TAG

DATA: Final = 0xC0
SIGN: Final = 0xC1
INDEX_BYTES: Final = 4
FRONT_BYTES: Final = 1 + INDEX_BYTES
TOKEN_BYTES: Final = 8
_SIGN: Final = Struct(">B8s8sQQ")
SIGN_BYTES: Final = FRONT_BYTES + _SIGN.size + BUNDLE_TAG
"""Bytes of a frame that is no bundle, without zeros."""
NO_CHALLENGE: Final = bytes(TOKEN_BYTES)
KEY_LABEL: Final = b"peer-relay.3 lane"
NO_LANE: Final = bytes(INDEX_BYTES)
"""The operand of LANE that refuses or ends one."""


class Step(IntEnum):
    """What a frame that is no bundle says."""

    PROBE = 1
    CHALLENGE = 2
    ECHO = 3


class Sign(NamedTuple):
    """A frame that is no bundle."""

    step: int
    token: bytes
    challenge: bytes
    newest: int
    frames: int


def is_frame(data: bytes) -> bool:
    """Return whether a UDP datagram may be a lane's frame."""
    return data[:1] >= b"\xc0" and len(data) > FRONT_BYTES + BUNDLE_TAG


def sign(index: bytes, value: Sign, size: int = 0) -> bytes:
    """Return a frame without its tag, for which `size` bytes in all leave room."""
    front = bytes((SIGN,)) + index + _SIGN.pack(*value)
    return front.ljust(size - BUNDLE_TAG, b"\0")


def read_sign(frame: bytes) -> Sign | None:
    """Return what a frame says that is no bundle; None where it is cut short."""
    if len(frame) < SIGN_BYTES:
        return None
    return Sign(*_SIGN.unpack_from(frame, FRONT_BYTES))
