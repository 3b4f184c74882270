"""The links of one peer, each with the number by which its engine knows it.

Lives here: numbers, the end of all links, what links did not carry. May not live here: what comes over a link and what
goes out by it (driver.py, backlogs.py).

Law: a link has a number as long as the engine has not let go of it and it is not gone; no number is used twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter

from ..transport.link import Link


class LinkTable:
    """Loop thread only, but for `losses`."""

    def __init__(self) -> None:
        self.by_number: dict[int, Link] = {}
        self.numbers: dict[Link, int] = {}
        self._last = 0
        self._lost: Counter[str] = Counter()
        """What links did not carry that are gone."""
        self._empty: asyncio.Event | None = None
        """Set once all links are gone; None before `end`."""

    def add(self, link: Link) -> int:
        """Return the number of a new link."""
        self._last += 1
        self.by_number[self._last] = link
        self.numbers[link] = self._last
        return self._last

    def closed(self, link: Link) -> int | None:
        """`link` is gone. Returns: its number; None where it had none any more."""
        _count_losses(link, self._lost)
        number = self.numbers.pop(link, None)
        if number is not None:
            del self.by_number[number]
            if self._empty is not None and not self.by_number:
                self._empty.set()
        return number

    def close(self, number: int, reason: str) -> None:
        """The engine has let go of link `number`: close it."""
        link = self.by_number.pop(number, None)
        if link is not None:
            del self.numbers[link]
            link.close(1000, reason)

    def close_all(self) -> None:
        """The engine is no more: close every link it knew."""
        for link in list(self.by_number.values()):
            link.close()
        self.numbers.clear()
        self.by_number.clear()

    async def end(self, limit: float) -> None:
        """Close every link; abort those that are not gone within `limit` seconds."""
        for link in list(self.by_number.values()):
            link.close()
        self._empty = asyncio.Event()
        if self.by_number:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), limit)
        for link in list(self.by_number.values()):
            link.abort()

    def losses(self) -> Counter[str]:
        """Return what links, gone or not, did not carry. Any thread."""
        losses = Counter(self._lost)
        for link in list(self.by_number.values()):
            _count_losses(link, losses)
        return losses


def _count_losses(link: Link, counters: Counter[str]) -> None:
    counters["dropped: a link took no more"] += link.dropped
    counters["dropped: a WebRTC link lost parts"] += getattr(link, "missed", 0)
