"""Links that are not read for a moment, and why.

Lives here: the two reasons (a neighbour sent more than its share, a reader here is behind) and their end. May not live
here: what a share is (engine), what fills (inbox).

Law: a link is read again as soon as no reason is left, and no reader is waited for longer than READER_PATIENCE. A
reader that does not read at all is not waited for twice: what fills says so only while something is taken from it.
"""

from __future__ import annotations

import asyncio

from ..limits import READER_PATIENCE, READER_POLL
from ..transport.link import Link
from .events import Filling


class _Pause:
    """Why one link is not read."""

    __slots__ = ("patience_ends", "readers", "until")

    def __init__(self) -> None:
        self.until = 0.0
        """The neighbour's share allows for no more before."""
        self.readers: list[Filling] = []
        self.patience_ends = 0.0
        """When `readers` are no longer waited for."""

    def left(self, now: float) -> float:
        """Return the seconds until this may be over; 0 when it is."""
        if now < self.until:
            return self.until - now
        if now < self.patience_ends and not all(reader.has_drained() for reader in self.readers):
            return READER_POLL
        return 0.0


class LinkPauses:
    """Those of one peer. Loop thread only."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pauses: dict[Link, _Pause] = {}

    def throttle(self, link: Link, seconds: float) -> None:
        """Do not read `link` for so long: its owner sent more than its share."""
        pause = self._pause(link)
        pause.until = max(pause.until, self._loop.time() + seconds)

    def wait_for(self, link: Link, readers: list[Filling]) -> None:
        """Do not read `link` while the readers of what came over it catch up."""
        pause = self._pause(link)
        pause.readers = readers
        pause.patience_ends = self._loop.time() + READER_PATIENCE

    def forget(self, link: Link) -> None:
        """The link is gone."""
        self._pauses.pop(link, None)

    def _pause(self, link: Link) -> _Pause:
        pause = self._pauses.get(link)
        if pause is None:
            pause = self._pauses[link] = _Pause()
            link.pause_reading()
            self._loop.call_later(READER_POLL, self._look, link, pause)
        return pause

    def _look(self, link: Link, pause: _Pause) -> None:
        if self._pauses.get(link) is not pause:
            return
        left = pause.left(self._loop.time())
        if left > 0.0:
            self._loop.call_later(left, self._look, link, pause)
        else:
            del self._pauses[link]
            link.resume_reading()
