"""The file descriptor that makes fileno(), select, poll and epoll tell the truth.

Lives here: the hidden end of an AF_UNIX datagram pair (of UDP on loopback, where there is none) whose other end is the
fd that programs hold. May not live here: datagrams; the pair is a doorbell (as a carrier it holds only 167 datagrams).

Law: readable while a bell lies in the pair, unwritable while the plug lies in it. The caller holds the inbox's lock and
decides when; nothing here is atomic by itself.
"""

from __future__ import annotations

import _socket
import contextlib
from collections.abc import Callable
from typing import Final

from ..originals import os, selectors
from ..system import AF_UNIX, KERNEL_DONTWAIT, socketpair
from .descriptors import put_aside

_BELL: Final = b"!"
_PLUG: Final = bytes(2048)
_MOST_BELLS: Final = 8
"""One bell per batch, so that edge-triggered epoll sees each; net.unix.max_dgram_qlen may be as small as 10."""


def pair() -> tuple[int, int]:
    """Return a new fd for a program to hold, and its hidden end. Only `Readiness.close` closes the hidden end.

    Raises: OSError: EMFILE or ENFILE, as socket() does.
    """
    ours, hidden = _two()
    try:
        if AF_UNIX is not None:
            ours.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, 1)  # so that one plug is enough
        hidden.setblocking(False)
    except BaseException:
        ours.close()
        hidden.close()
        raise
    return ours.detach(), put_aside(hidden.detach())


def _two() -> tuple[_socket.socket, _socket.socket]:
    if AF_UNIX is not None:
        two: tuple[_socket.socket, _socket.socket] = socketpair(AF_UNIX, _socket.SOCK_DGRAM, 0)
        return two
    ours = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    hidden = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    try:
        for each in (ours, hidden):
            each.bind(("127.0.0.1", 0))
        hidden.connect(ours.getsockname())
        ours.connect(hidden.getsockname())
    except BaseException:
        ours.close()
        hidden.close()
        raise
    return ours, hidden


def identity(fd: int) -> tuple[int, int]:
    """Return what the program's end and its duplicates have in common, and nothing else that is open.

    Raises: OSError, OverflowError, TypeError, ValueError (a negative one) for what is no descriptor.
    """
    if AF_UNIX is not None:
        status = os.fstat(fd)
        return (status.st_dev, status.st_ino)
    sock = _socket.socket(fileno=fd)
    try:
        return (0, int(sock.getsockname()[1])) if sock.type == _socket.SOCK_DGRAM else (1, fd)
    finally:
        sock.detach()


def _write_socket(fd: int, data: bytes) -> None:
    """As os.write, where a socket's descriptor is no file's."""
    sock = _socket.socket(fileno=fd)
    try:
        sock.send(data)
    finally:
        sock.detach()


_write: Final[Callable[[int, bytes], object]] = _write_socket if AF_UNIX is None else os.write


def _is_held(hidden: int) -> bool:
    """Return whether the other end of a pair of UDP sockets is open, of which sending tells nothing: its port is taken.

    Raises: OSError where our end is closed.
    """
    sock = _socket.socket(fileno=hidden)
    try:
        other = sock.getpeername()
    finally:
        sock.detach()
    probe = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    try:
        probe.bind(other)
    except OSError:
        return True
    finally:
        probe.close()
    return False


def _has_something(sock: _socket.socket) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(_socket.socket.fileno(sock), selectors.EVENT_READ)
        return bool(selector.select(0))


def _none() -> None:
    return None


class Readiness:
    """The hidden end of one pair."""

    __slots__ = ("_hidden", "_holder", "plugged", "rung")

    def __init__(self, hidden: int, holder: Callable[[], _socket.socket | None]) -> None:
        """Args: holder: finds a socket object that holds the fd, to make room for one more bell."""
        self._hidden = hidden
        self._holder = holder
        self.rung = 0
        """How many bells lie in the pair."""
        self.plugged = False

    def ring(self) -> bool:
        """Make the fd readable, with a new edge for epoll.

        Returns: False when no process holds the fd any more.
        """
        if self.rung >= _MOST_BELLS:
            sock = self._holder()
            if sock is None:
                return True
            self._answer(sock)
        return self._strike()

    def _strike(self) -> bool:
        try:
            _write(self._hidden, _BELL)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self.rung += 1
        return True

    def _answer(self, sock: _socket.socket) -> None:
        self.rung -= 1
        try:
            if KERNEL_DONTWAIT or _has_something(sock):
                _socket.socket.recv(sock, 1, KERNEL_DONTWAIT)
        except OSError:  # a forked child answered the bell; nothing is left in the pair
            self.rung = 0

    def clear(self, sock: _socket.socket) -> None:
        """Make the fd, which `sock` holds, unreadable."""
        while self.rung:
            self._answer(sock)

    def plug(self, sock: _socket.socket) -> None:
        """Make the fd, which `sock` holds, unwritable."""
        if not self.plugged and AF_UNIX is not None:  # UDP on loopback is always writable
            try:
                _socket.socket.send(sock, _PLUG, KERNEL_DONTWAIT)
            except OSError:
                return
            self.plugged = True

    def unplug(self) -> None:
        """Make the fd writable again."""
        if self.plugged:
            self.plugged = False
            with contextlib.suppress(OSError):
                os.read(self._hidden, 1)

    def is_open(self) -> bool:
        """Return whether some process still holds the fd. Rings if so."""
        if AF_UNIX is None and not _is_held(self._hidden):
            return False
        return self._strike()

    def close(self) -> None:
        """Give the hidden end back."""
        hidden, self._hidden = self._hidden, -1  # first: a fork between the two must not close a number used anew
        with contextlib.suppress(OSError):
            _socket.close(hidden)
        self._holder = _none  # no cycle is left to the garbage collector
