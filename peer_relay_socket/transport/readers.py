"""The poll set of plain TCP links, apart from the loop's own: the thread that has the loop's turn may read them.

Lives here: which links are read, waiting for any of them. May not live here: reading (stream.py), which thread waits
(bridge/inline_io.py).

Law: only the thread that has the loop's turn adds, removes or reads; any thread may wait. Level-triggered, so the next
thread that waits finds what was left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

from ..limits import LEADER_AFTER
from ..system import select

if TYPE_CHECKING:
    import asyncio


class Source(Protocol):
    """What is read."""

    def read_fast(self) -> bool:
        """Take what has come if it is a few small messages that need nothing of the loop. False: `read` is due."""

    def read(self) -> None:
        """Take what has come, whatever it is. On the loop's thread."""


class Readers:
    """Links to be read, by file descriptor."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.sources: dict[int, Source] = {}
        """Others only look."""
        self.poll = self.epoll.poll
        """Wait until something is to be read, at most so many seconds. Any thread; signal handlers run. Returns: file
        descriptors, each in a pair; only the thread that has the loop's turn finds their sources."""
        self.fd = self.epoll.fileno()
        """Readable when a link is."""
        self.fast_reads = 0
        """How many reads in a row found only what `read_fast` takes, as far as that says whether the next will."""

    def missed(self) -> bool:
        """A read found something else. Returns: whether reads past the loop still pay: one does not end it,
        two in a row do."""
        self.fast_reads = max(0, min(self.fast_reads, 2 * LEADER_AFTER) - LEADER_AFTER)
        return self.fast_reads >= LEADER_AFTER

    def add(self, fd: int, source: Source) -> None:
        """Read `source` when `fd` is readable. Harmless if that is so already."""
        if fd not in self.sources:
            self.sources[fd] = source
            self.epoll.register(fd, select.EPOLLIN)

    def remove(self, fd: int) -> None:
        """Read `fd` no more. Harmless if it is not read. To be called before it is closed."""
        if self.sources.pop(fd, None) is not None:
            self.epoll.unregister(fd)

    def reads(self, fd: int) -> bool:
        """Return whether `fd` is read."""
        return fd in self.sources

    def fds(self) -> list[int]:
        """Return the poll set's own and what is in it."""
        return [self.fd, *self.sources]


_of: WeakKeyDictionary[asyncio.AbstractEventLoop, Readers] = WeakKeyDictionary()


def equip(loop: asyncio.AbstractEventLoop, readers: Readers) -> None:
    """Have the plain links of `loop` read by way of `readers`; the code that runs the loop waits for these."""
    _of[loop] = readers


def readers_of(loop: asyncio.AbstractEventLoop) -> Readers | None:
    """Return the loop's readers; None where links are read as asyncio does."""
    return _of.get(loop)
