"""One small message read or written past asyncio, by the thread that has the loop's turn.

Lives here: what a lone message costs, each of the two ways flat: one system call, one frame. May not live here: what is
not one plain frame (connection.py), which thread it is (bridge/inline_io.py).

Law: as of stream.py: nothing that was read is lost, no frame goes out in halves, whatever a signal handler raises.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from .. import limits
from ..originals import os
from .frames import PLAIN, FrameReader, apply_mask, binary_frame, pack_medium
from .link import Link, LinkHandler
from .stream import Stream

_FAST_READ: Final = (limits.LINK_READ_SMALL,)


class LoneMessages(Stream):
    """The byte side of a connection that carries messages."""

    def __init__(self, handler: LinkHandler, *, outbound: bool) -> None:
        super().__init__()
        self._handler = handler
        self._reader = FrameReader(masked=not outbound, max_size=limits.MAX_BUNDLE)
        self._open = False  # between link_opened and the start of any ending
        self.outbound = outbound
        self._mask_bit, self._head_size = (0, 4) if outbound else (0x80, 8)  # of medium frames that come

    @property
    def prompt(self) -> bool:
        """See `Link.prompt`. TLS is not: asyncio encrypts."""
        return self._open and self._fd >= 0 and not self._midway and (not self._buffered or self._drained())

    def send_now(self, bundle: bytes, /) -> bool:
        """See `Link.send_now`."""
        transport = self._transport
        if not self._open or self._fd < 0 or self._midway or (self._buffered and not self._drained()):
            return False
        if transport is None:  # it went meanwhile
            return False
        wrote: list[int] = []
        if not self.outbound and 125 < len(bundle) < 65536:  # nearly always at a relay
            frame = pack_medium(PLAIN, 126, len(bundle)) + bundle
        else:
            frame = binary_frame(bundle, masked=self.outbound)
        self._midway = True
        try:
            wrote.extend(map(os.write, (self._fd,), (frame,)))  # in C as a whole: a handler cannot hide the count
        except OSError:
            pass  # full, or gone; asyncio finds out which
        finally:
            if (not wrote or wrote[0] != len(frame)) and not transport.is_closing():
                self._write(frame[wrote[0] if wrote else 0 :])
            self._midway = False
        return True

    def read_fast(self) -> bool:
        """See `Source.read_fast`. Each message is taken out of `_unread` before what must not be done twice."""
        unread = self._unread
        if not self._calm or unread:
            return False
        try:
            unread.extend(map(os.read, (self._fd,), _FAST_READ))  # in C as a whole: what was read is not lost
        except BlockingIOError:
            return True
        except OSError as error:
            self._lost = error  # the kernel says it once
            return False
        link: Link = self  # type: ignore[assignment]  # what is made of this class is one
        try:
            data = unread[0]
        except IndexError:  # the loop has taken its turn back, and what was read with it
            return False
        bit, size = self._mask_bit, len(data) - self._head_size
        if size > 125 and data.startswith(pack_medium(PLAIN, bit | 126, size)):  # nearly always
            bundle = apply_mask(data[8:], data[4:8]) if bit else data[4:]
            return self._handler.fast_received(link, bundle, unread.clear)
        while (found := self._reader.first(data)) is not None:
            bundle, end = found
            if end == len(data):
                return self._handler.fast_received(link, bundle, unread.clear)
            rest = data[end:]
            if not self._handler.fast_received(link, bundle, partial(_shorten, unread, data, rest)):
                return False
            data = rest
        return False


def _shorten(unread: list[bytes], whole: bytes, rest: bytes) -> None:
    """Leave `rest` of `whole`, unless the loop's thread took `whole` meanwhile."""
    if unread and unread[0] is whole:
        unread[0] = rest
