"""The bytes of one TCP or TLS connection: read and written by asyncio, or past it by a thread that has the loop's turn.

Lives here: where bytes are read into, the two ways of reading, the ways of writing that are not asyncio's. May not live
here: what the bytes mean, and how a connection begins and ends (connection.py).

Law: what was read is never lost, and no frame goes out in halves, whatever a signal handler raises amid it.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from weakref import WeakKeyDictionary

from .. import limits
from ..system import readv
from .readers import Readers, readers_of

_read_buffers: WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = WeakKeyDictionary()
"""What every link on a loop reads into: between `get_buffer` and `buffer_updated` no other link runs. Beside one per
link (5,000 idle links x 256 KiB) or one allocation per read (asyncio.Protocol: 35-45 µs per 60 kB message, not 12)."""


class Stream(asyncio.BufferedProtocol, ABC):
    """The byte side of a connection."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        if self._loop not in _read_buffers:
            _read_buffers[self._loop] = memoryview(bytearray(limits.LINK_READ_SIZE))
        self._view = self._free = _read_buffers[self._loop]
        self._raw: asyncio.Transport | None = None
        self._transport: asyncio.Transport | None = None  # above TLS, if there is any
        self._fd = -1  # of a connection that can be read and written past asyncio: there is no TLS between
        self._buffered = False  # asyncio may have something to write
        self._readers: Readers | None = None  # where it is read; None: asyncio reads it
        self._unread: list[bytes] = []  # what `read_fast` read and has not taken: one read
        self._calm = False  # open, and the last read was a few small messages
        self._lost: OSError | None = None  # what reading ended with
        self._midway = False  # in `send_now`; if it stays so, nothing tells how much of a frame is out

    @abstractmethod
    def _frame_bytes(self, data: memoryview) -> None:
        """Take bytes of an open connection, or of one that says goodbye; say whether it is `_calm`."""

    @abstractmethod
    def read_fast(self) -> bool:
        """See `Source.read_fast`. What a signal handler raises comes out of it, and costs one message at most."""

    @abstractmethod
    def _report(self, error: Exception) -> None:
        """Tell of what went wrong in here."""

    @abstractmethod
    def _drop(self) -> None:
        """Let go of the connection."""

    # --- writing -------------------------------------------------------------------------------------------------

    @property
    def backlog(self) -> int:
        """See `Link.backlog`. Under TLS it counts encrypted bytes too, so it may be some kilobytes over."""
        if self._transport is None or self._raw is None:
            return 0
        size = self._transport.get_write_buffer_size()
        if self._raw is not self._transport:
            size += self._raw.get_write_buffer_size()
        return size

    def _write(self, data: bytes) -> None:
        """Give `data` to asyncio, for a connection that stands."""
        assert self._transport is not None
        self._transport.write(data)
        self._buffered = True

    def _drained(self) -> bool:
        """Return whether asyncio has nothing left of what it was given."""
        self._buffered = self._transport is None or self._transport.get_write_buffer_size() > 0
        return not self._buffered

    # --- reading -------------------------------------------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where asyncio reads into: less than there is where the last read held a crowd of messages."""
        return self._free

    def _take_over(self) -> None:
        """From now on, where there is no TLS, let the thread that has the loop's turn read and write."""
        readers = readers_of(self._loop)
        if self._transport is None or self._transport is not self._raw:
            return
        self._fd = self._transport.get_extra_info("socket").fileno()
        if readers is not None:
            self._transport.pause_reading()
            self._readers = readers
            readers.add(self._fd, self)

    def _start_reading(self) -> None:
        assert self._transport is not None
        if self._readers is None:
            self._transport.resume_reading()
        elif not self._transport.is_closing():
            self._readers.add(self._fd, self)
            if self._unread:
                self._loop.call_soon(self.read)

    def _stop_reading(self) -> None:
        assert self._transport is not None
        if self._readers is None:
            self._transport.pause_reading()
        else:
            self._calm = False
            self._readers.remove(self._fd)

    def _end_reading(self) -> None:
        """The connection is about to be closed."""
        if self._readers is not None:
            self._readers.remove(self._fd)
        self._fd = -1  # the number may soon be another's

    def read(self) -> None:
        """See `Source.read`."""
        transport, readers = self._transport, self._readers
        if transport is None or readers is None or not readers.reads(self._fd):
            return
        if transport.is_closing():
            readers.remove(self._fd)
            return
        data = self._unread.pop() if self._unread else b""
        if data:
            self._take(memoryview(data))
            return
        size = 0
        try:
            if self._lost is None:
                size = readv(self._fd, (self._free,))
        except BlockingIOError:
            return
        except OSError as error:
            self._lost = error
        if self._lost is not None:
            transport.abort()
        elif size:
            self._take(self._view[:size])
        else:
            readers.remove(self._fd)
            with contextlib.suppress(OSError):  # what closing our half may find
                self.eof_received()
            transport.close()

    def _take(self, data: memoryview) -> None:
        try:
            self._frame_bytes(data)
        except Exception as error:
            self._report(error)
            self._drop()
        self._calm = self._calm and self._readers is not None and self._readers.reads(self._fd)
