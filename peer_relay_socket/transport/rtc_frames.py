"""Frames: bundles as packets that a path may lose. Pure functions and the table of what is half here.

Law: a bundle arrives whole or not at all; what waits for its other parts is bounded in bytes and in time.

A frame is one DTLS record beside SCTP (whose packets begin 0x13, the high byte of port 5000), or one message of an
unreliable data channel::

    0xB0 || bundle                                                       a whole bundle
    0xB1 || part (1) || last part (1) || bundle number (4) || bytes      one of several parts
    0xB2 || stamp (4) || zeros                                           ping, padded to the size it is to prove
    0xB3 || stamp (4) || size of the ping (2)                            its answer
    0xB4                                                                 goodbye
"""

from __future__ import annotations

from struct import Struct
from struct import error as struct_error
from typing import Final

from ..limits import RTC_REJOIN_BYTES, RTC_REJOIN_TIME

WHOLE: Final = 0xB0
PART: Final = 0xB1
PING: Final = 0xB2
PONG: Final = 0xB3
GOODBYE: Final = 0xB4

_PART: Final = Struct(">BBBI")
_PING: Final = Struct(">BI")
_PONG: Final = Struct(">BIH")
_MOST_PARTS: Final = 256


def split(bundle: bytes, number: int, unit: int) -> list[bytes]:
    """Return the frames of `bundle`, at most `unit` bytes each; [] when that takes more than 256.

    Args: number: of the bundle, never the same for two under way.
    """
    if len(bundle) < unit:
        return [b"\xb0" + bundle]
    step = unit - _PART.size
    pieces = [bundle[at : at + step] for at in range(0, len(bundle), step)]
    last = len(pieces) - 1
    if last >= _MOST_PARTS:
        return []
    return [_PART.pack(PART, part, last, number & 0xFFFFFFFF) + piece for part, piece in enumerate(pieces)]


def ping(stamp: int, size: int = 0) -> bytes:
    """Return a ping of at least `size` bytes."""
    return _PING.pack(PING, stamp).ljust(size, b"\0")


def pong(frame: bytes) -> bytes:
    """Return the answer to a ping; b"" to one that is cut short."""
    try:
        _, stamp = _PING.unpack_from(frame)
    except struct_error:
        return b""
    return _PONG.pack(PONG, stamp, min(len(frame), 0xFFFF))


def read_pong(frame: bytes) -> tuple[int, int]:
    """Return (stamp, size of the ping); (-1, 0) for one that is cut short."""
    try:
        _, stamp, size = _PONG.unpack_from(frame)
    except struct_error:
        return -1, 0
    return stamp, size


class _Partial:
    """A bundle some parts of which are here."""

    __slots__ = ("expires", "missing", "parts", "size")

    def __init__(self, count: int, expires: float) -> None:
        self.parts: list[bytes | None] = [None] * count
        self.missing = count
        self.size = 0
        self.expires = expires


class Rejoiner:
    """Makes bundles of parts that arrive in any order, some never."""

    def __init__(self) -> None:
        self._partials: dict[int, _Partial] = {}
        self.held = 0
        """Bytes that wait; at most RTC_REJOIN_BYTES and one part."""
        self.given_up = 0
        """Bundles that did not become whole."""

    def add(self, frame: bytes, now: float) -> bytes | None:
        """Take a PART frame; return the bundle if that completes it. Malformed and repeated parts are ignored."""
        try:
            _, part, last, number = _PART.unpack_from(frame)
        except struct_error:
            return None
        self._expire(now)
        partial = self._partials.get(number)
        if partial is None:
            partial = self._partials[number] = _Partial(last + 1, now + RTC_REJOIN_TIME)
        if part > last or len(partial.parts) != last + 1 or partial.parts[part] is not None:
            return None
        piece = frame[_PART.size :]
        partial.parts[part] = piece
        partial.missing -= 1
        partial.size += len(piece)
        self.held += len(piece)
        if partial.missing:
            while self.held > RTC_REJOIN_BYTES:
                self._give_up(next(iter(self._partials)))
            return None
        del self._partials[number]
        self.held -= partial.size
        return b"".join(piece for piece in partial.parts if piece is not None)

    def _expire(self, now: float) -> None:
        while self._partials:
            oldest = next(iter(self._partials))
            if self._partials[oldest].expires > now and len(self._partials) < _MOST_PARTS:
                return
            self._give_up(oldest)

    def _give_up(self, number: int) -> None:
        self.held -= self._partials.pop(number).size
        self.given_up += 1
