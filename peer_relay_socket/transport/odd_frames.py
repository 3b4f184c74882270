"""Messages out of frames that are not plain: fragments and texts, joined with the help of websockets' core.

Lives here: what has come of a message whose end has not. May not live here: which frames are plain (frames.py), what
becomes of a message (connection.py).

Law: the core answers pings and refuses what breaks the protocol, also a message of more than MAX_BUNDLE; so that is the
most that is kept.
"""

from __future__ import annotations

from typing import Final

from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol

_CONT: Final = Opcode.CONT
_DATA: Final = (Opcode.BINARY, Opcode.TEXT, _CONT)


class OddFrames:
    """The odd frames of one connection."""

    def __init__(self, core: Protocol) -> None:
        self._core = core
        self._partial: bytearray | None = None
        self._is_text = False

    def messages(self, raw: bytes) -> list[tuple[bytes, bool]]:
        """Return the messages that these bytes complete, and whether each is a text."""
        self._core.receive_data(raw)
        found = []
        for frame in self._core.events_received():
            assert isinstance(frame, Frame)
            if frame.opcode in _DATA and (message := self._join(frame)) is not None:
                found.append((message, self._is_text))
        return found

    def forget(self) -> None:
        """Let go of the message whose end has not come; the rest of it completes nothing."""
        self._partial = None

    def _join(self, frame: Frame) -> bytes | None:
        """Add a frame to the message it belongs to; the message if that completes it."""
        if frame.opcode is not _CONT:
            self._is_text = frame.opcode is Opcode.TEXT
            if frame.fin:
                return bytes(frame.data)
            self._partial = bytearray()
        if self._partial is None:  # forgotten: of nothing at all, the core refuses a continuation
            return None
        self._partial += frame.data
        if not frame.fin:
            return None
        message, self._partial = bytes(self._partial), None
        return message
