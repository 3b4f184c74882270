"""The ways into a socket, beside the short one in udp_socket.py.

Lives here: waiting for a datagram as CPython and Linux's udp_recvmsg do, and cutting it to the caller's buffers. May
not live here: argument parsing, control messages.
"""

from __future__ import annotations

import _socket
import errno
import struct
import time
from typing import TYPE_CHECKING, Final

from ..bridge.ports import failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..bridge.endpoint import Endpoint
    from ..bridge.mailbox import Address

_MSG_PEEK: Final = int(_socket.MSG_PEEK)
_MSG_TRUNC: Final = int(_socket.MSG_TRUNC)
_MSG_DONTWAIT: Final = int(_socket.MSG_DONTWAIT)
_MSG_ERRQUEUE: Final = 0x2000
_SO_RCVTIMEO: Final = (int(_socket.SOL_SOCKET), int(_socket.SO_RCVTIMEO))


def receive(sock: _socket.socket, endpoint: Endpoint, flags: int) -> tuple[bytes, Address | None]:
    """Return the next datagram and its source, waiting as the socket's timeout says; MSG_PEEK leaves it there.

    Signal handlers run while it waits, and what they raise comes out of here.

    Returns: (b"", None) after shutdown, when nothing waits and the socket blocks.
    Raises: OSError: the pending error, EAGAIN, EBADF once another thread closed the socket. TimeoutError.
    """
    inbox = endpoint.inbox
    started = None
    while True:
        if inbox.attention:
            error = inbox.take_error()
            if error:
                inbox.settle(sock)
                raise failure(error)
        if not flags & _MSG_ERRQUEUE:
            try:
                if flags & _MSG_PEEK:
                    return inbox.ready[0]
                item = inbox.ready.popleft()
            except IndexError:
                pass
            else:
                if inbox.observed and not inbox.ready:
                    inbox.settle(sock)
                return item
        # Unlike UDP: closing a socket wakes the threads that wait in it.
        if inbox.closed or _socket.socket.fileno(sock) < 0:
            raise failure(errno.EBADF)
        timeout, late = _patience(sock, endpoint)
        if timeout is None and inbox.shut:
            return (b"", None)
        if timeout == 0 or flags & _MSG_ERRQUEUE or (flags & _MSG_DONTWAIT and sock.gettimeout() is None):
            raise failure(errno.EAGAIN)
        now = time.monotonic()
        started = now if started is None else started
        left = None if timeout is None else started + timeout - now
        if left is not None and left <= 0:
            raise late
        inbox.wait(left)


def _patience(sock: _socket.socket, endpoint: Endpoint) -> tuple[float | None, OSError]:
    """Return how long a receive may wait, and what it raises then."""
    timeout = sock.gettimeout()
    if timeout is None:
        remembered = endpoint.options.get(_SO_RCVTIMEO)
        if isinstance(remembered, bytes):
            seconds, micros = struct.unpack("@ll", remembered)
            if seconds or micros:
                return seconds + micros / 1e6, failure(errno.EAGAIN)
    return timeout, TimeoutError("timed out")


def cut(data: bytes, room: int, flags: int) -> bytes:
    """Return what recv shows of `data` in a buffer of `room` bytes; with MSG_TRUNC its whole length, the rest zeros
    (CPython hands out whatever its heap held there)."""
    if len(data) <= room:
        return data
    return data[:room] + bytes(len(data) - room) if flags & _MSG_TRUNC else data[:room]


def fill(data: bytes, buffers: Sequence[memoryview], room: int) -> int:
    """Copy at most `room` bytes of `data` into `buffers`, one after the other. Returns: how many."""
    done = 0
    end = min(room, len(data))
    for buffer in buffers:
        if done >= end:
            break
        size = min(len(buffer), end - done)
        buffer[:size] = data[done : done + size]
        done += size
    return done
