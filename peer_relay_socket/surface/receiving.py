"""The ways into a socket.

Lives here: the recv methods of `Socket`, waiting for a datagram as CPython and Linux do, cutting it to
the caller's buffers. May not live here: control messages (ancillary.py).

Law: the short way, one datagram that waits for a caller without wishes, takes no lock.
"""

from __future__ import annotations

import _socket
import errno
import struct
from typing import TYPE_CHECKING, Any, Final

from ..address import AF_PEER
from ..bridge.ports import failure
from ..originals import stdlib_socket, time
from ..system import MSG_DONTWAIT, get_blocking
from . import ancillary, numbers
from .options import RCVTIMEO

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable, Iterable, Sequence

    from _typeshed import WriteableBuffer

    from ..bridge.endpoint import Endpoint
    from ..bridge.inbox import Address
    from ..bridge.inline_io import Leader

_plain: Final = _socket.socket
_MSG_PEEK: Final = int(_socket.MSG_PEEK)
_MSG_TRUNC: Final = int(_socket.MSG_TRUNC)
_MSG_ERRQUEUE: Final = 0x2000
_INT_MAX: Final = 0x7FFFFFFF
MOST_BUFFERS: Final = 1024
"""UIO_MAXIOV: what sendmsg(2) and recvmsg(2) take at once."""


def receive(sock: _socket.socket, endpoint: Endpoint, flags: int) -> tuple[bytes, Address | None]:
    """Return the next datagram and its source, waiting as the socket's timeout says; MSG_PEEK leaves it there.

    Signal handlers run while it waits, and what they raise comes out of here.

    Returns: (b"", None) after shutdown, when nothing waits and the socket blocks.
    Raises: OSError: the pending error, EAGAIN, EBADF once another thread closed the socket. TimeoutError.
    """
    inbox = endpoint.inbox
    waits, end = False, 0.0
    timeout: float | None = None
    patience: float | None = None
    leader: Leader | None = None
    while True:
        if inbox.needs_check:
            endpoint.check()
            error = inbox.take_error()
            if error:
                inbox.update_fd(sock)
                raise failure(error, inbox.why)
        if inbox.ready and not flags & _MSG_ERRQUEUE:
            try:
                if flags & _MSG_PEEK:
                    return inbox.ready[0]
                item = inbox.ready.popleft()
            except IndexError:  # another thread was faster
                pass
            else:
                if inbox.observed and not inbox.ready:
                    inbox.update_fd(sock)
                return item
        # Unlike UDP: closing a socket wakes the threads that wait in it.
        fd = _plain.fileno(sock)
        if inbox.closed or fd < 0:
            raise failure(errno.EBADF)
        if not waits:  # as the kernel: what changes while a call waits counts for the next call
            waits, timeout = True, sock.gettimeout()
            if timeout is None and get_blocking is not None and not get_blocking(fd):  # as `timeout_of`
                timeout = 0.0
            patience = _patience(endpoint) if timeout is None and RCVTIMEO in endpoint.options else timeout
            if patience is not None:
                end = time.monotonic() + patience
            loop_end = endpoint.host.outbox.loop_end
            in_hub: Callable[..., None] | None = getattr(sock, "_wait_in_hub", None)
            if loop_end is not None and in_hub is None:
                leader = loop_end.leader
        if patience is None:
            left = None
            if inbox.shut:
                return (b"", None)
        else:
            left = end - time.monotonic()
        if patience == 0 or (flags and flags & (MSG_DONTWAIT | _MSG_ERRQUEUE) and timeout is None):
            raise failure(errno.EAGAIN)
        if left is not None and left <= 0:
            raise failure(errno.EAGAIN) if timeout is None else TimeoutError("timed out")
        if leader is not None:
            if not leader.wait(inbox, left):
                leader = None
        elif in_hub is not None:
            in_hub(left, writing=False)
        else:
            taken = inbox.take(left)
            if taken is not None:
                if flags & _MSG_PEEK:
                    inbox.give_back(sock, taken)
                elif inbox.observed and not inbox.ready:
                    inbox.update_fd(sock)
                return taken


def plain(sock: _socket.socket) -> type[_socket.socket]:
    """Return the class whose methods serve `sock`, which has no endpoint: it is the standard library's, or closed.

    Raises: OSError: EBADF where it is closed and of a family that the standard library does not know.
    """
    if sock.family == AF_PEER and _plain.fileno(sock) < 0:
        raise failure(errno.EBADF)
    return _plain


def timeout_of(sock: _socket.socket) -> float | None:
    """Return how long a call on `sock` may wait, None = for ever. A descriptor may be made non-blocking past the socket
    object: by fcntl, os.set_blocking, or through a duplicate."""
    timeout = sock.gettimeout()
    if timeout is None and get_blocking is not None and not get_blocking(_socket.socket.fileno(sock)):
        return 0.0
    return timeout


def _patience(endpoint: Endpoint) -> float | None:
    """Return how long a receive of a socket that blocks may wait: SO_RCVTIMEO, if it is set."""
    remembered = endpoint.options.get(RCVTIMEO)
    if isinstance(remembered, bytes):
        seconds, micros = struct.unpack("@ll", remembered)
        if seconds or micros:
            return float(seconds + micros / 1e6)
    return None


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


class ReceivingSocket(stdlib_socket):
    """The receiving half of `Socket`."""

    __slots__ = ("_endpoint", "_holder")
    _endpoint: Endpoint | None
    """None: not a socket of the overlay, or closed; then every method is the standard library's."""
    _holder: weakref.ref[_socket.socket] | None

    def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        """Return the next datagram, cut to `bufsize`, and its source address. The rest of a longer one is lost.

        Raises: OSError: EAGAIN, ECONNREFUSED, EHOSTUNREACH, EBADF (closed by another thread). TimeoutError.
        """
        endpoint = self._endpoint
        if endpoint is None:
            return plain(self).recvfrom(self, bufsize, flags)
        inbox = endpoint.inbox
        if flags == 0 and bufsize.__class__ is int and 0 <= bufsize <= _INT_MAX:
            if inbox.ready and not inbox.needs_check:
                try:
                    item = inbox.ready.popleft()
                except IndexError:  # another thread was faster
                    item = receive(self, endpoint, 0)
                else:
                    if inbox.observed and not inbox.ready:
                        inbox.update_fd(self)
            else:
                item = receive(self, endpoint, 0)
            return item if len(item[0]) <= bufsize else (item[0][:bufsize], item[1])
        room, flags = numbers.size(bufsize), numbers.flags(flags)
        if room < 0:
            raise ValueError("negative buffersize in recvfrom")
        data, source = receive(self, endpoint, flags)
        return cut(data, room, flags), source

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Return the next datagram, cut to `bufsize`. Raises: as `recvfrom`."""
        endpoint = self._endpoint
        if endpoint is None:
            return plain(self).recv(self, bufsize, flags)
        inbox = endpoint.inbox
        if flags == 0 and bufsize.__class__ is int and bufsize > 0 and not inbox.needs_check:
            try:
                data, _ = inbox.ready.popleft()
            except IndexError:
                pass
            else:
                if inbox.observed and not inbox.ready:
                    inbox.update_fd(self)
                return data if len(data) <= bufsize else data[:bufsize]
        room, flags = numbers.size(bufsize), numbers.flags(flags)
        if room < 0:
            raise ValueError("negative buffersize in recv")
        if room == 0:
            return b""  # CPython does not ask the kernel for nothing
        return cut(receive(self, endpoint, flags)[0], room, flags)

    def recv_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> int:
        """Receive the next datagram into `buffer`. Returns: its size, cut to the buffer's. Raises: as `recvfrom`."""
        endpoint = self._endpoint
        if endpoint is None:
            return plain(self).recv_into(self, buffer, nbytes, flags)
        view = _writable(buffer, "recv_into")
        nbytes, flags = numbers.size(nbytes), numbers.flags(flags)
        if nbytes < 0:
            raise ValueError("negative buffersize in recv_into")
        if nbytes > len(view):
            raise ValueError("buffer too small for requested bytes")
        room = nbytes or len(view)
        if room == 0:
            return 0  # CPython does not ask the kernel for nothing
        return self._receive_into(endpoint, view, room, flags)[0]

    def recvfrom_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        """As `recv_into`. Returns: (size, source address)."""
        endpoint = self._endpoint
        if endpoint is None:
            return plain(self).recvfrom_into(self, buffer, nbytes, flags)
        view = _writable(buffer, "recvfrom_into")
        nbytes, flags = numbers.size(nbytes), numbers.flags(flags)
        if nbytes < 0:
            raise ValueError("negative buffersize in recvfrom_into")
        if nbytes > len(view):
            raise ValueError("nbytes is greater than the length of the buffer")
        return self._receive_into(endpoint, view, nbytes or len(view), flags)

    def _receive_into(self, endpoint: Endpoint, view: memoryview, room: int, flags: int) -> tuple[int, Address | None]:
        data, source = receive(self, endpoint, flags)
        size = fill(data, [view], room)
        return (len(data) if flags & _MSG_TRUNC else size), source

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /) -> tuple[bytes, list[Any], int, Any]:
        """Return (data, control messages, flags, source). Which messages come is asked for with setsockopt: IP_PKTINFO,
        IP_RECVTTL, IP_RECVTOS, IPV6_RECVPKTINFO, IPV6_RECVHOPLIMIT, IPV6_RECVTCLASS, SO_TIMESTAMP."""
        endpoint = self._endpoint
        if endpoint is None:
            kernel: Any = plain(self)  # Windows has no recvmsg
            got: tuple[bytes, list[Any], int, Any] = kernel.recvmsg(self, bufsize, ancbufsize, flags)
            return got
        room, ancbufsize, flags = numbers.size(bufsize), numbers.size(ancbufsize), numbers.flags(flags)
        if room < 0:
            raise ValueError("negative buffer size in recvmsg()")
        ancillary.check_room(ancbufsize)
        data, source = item = receive(self, endpoint, flags)
        controls, told = ancillary.received(endpoint, item, ancbufsize, flags)
        if len(data) > room:
            data, told = data[:room], told | _MSG_TRUNC
        return data, controls, told, source

    def recvmsg_into(
        self, buffers: Iterable[WriteableBuffer], ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[int, list[Any], int, Any]:
        """As `recvmsg`, scattering the datagram over `buffers`. Returns: (size, control messages, flags, source)."""
        endpoint = self._endpoint
        if endpoint is None:
            kernel: Any = plain(self)
            got: tuple[int, list[Any], int, Any] = kernel.recvmsg_into(self, buffers, ancbufsize, flags)
            return got
        ancbufsize, flags = numbers.size(ancbufsize), numbers.flags(flags)
        try:
            listed = list(buffers)
        except TypeError:
            raise TypeError("recvmsg_into() argument 1 must be an iterable") from None
        views = [_writable(buffer, "recvmsg_into") for buffer in listed]
        if len(views) > MOST_BUFFERS:
            raise failure(errno.EMSGSIZE)
        ancillary.check_room(ancbufsize)
        data, source = item = receive(self, endpoint, flags)
        room = sum(map(len, views))
        controls, told = ancillary.received(endpoint, item, ancbufsize, flags)
        size = fill(data, views, room)
        if len(data) > room:
            told |= _MSG_TRUNC
        return (len(data) if flags & _MSG_TRUNC else size), controls, told, source


def _writable(buffer: Any, call: str) -> memoryview:
    try:
        view = memoryview(buffer)
    except TypeError:
        view = None
    if view is None or view.readonly:
        if call == "recvmsg_into":
            raise TypeError("recvmsg_into() argument 1 must be an iterable of single-segment read-write buffers")
        kind = type(buffer).__name__
        raise TypeError(f"{call}() argument 1 must be read-write bytes-like object, not {kind}")
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")
