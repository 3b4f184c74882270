"""Socket: what programs hold instead of a UDP `socket.socket`.

Lives here: the class, its life (open, duplicate, detach, close), its names, and the two short ways that most datagrams
take. May not live here: waiting (receiving.py, sending.py), options (options.py), asyncio.

Law: a datagram socket of a family the overlay speaks has an endpoint, and every method asks the endpoint; any other
socket has none, and every method is the standard library's. So one class also carries a program's TCP sockets.
"""

from __future__ import annotations

import _socket
import errno
import os
import socket
from operator import index
from typing import TYPE_CHECKING, Any, ClassVar, Final, overload

from ..address import AF_PEER, Special
from ..bridge.endpoint import OWN, Endpoint, endpoint_of, open_endpoint
from ..bridge.mailbox import Flow
from ..bridge.ports import failure, source_for
from ..limits import DATAGRAM_OVERHEAD, MAX_DATAGRAM
from . import addresses, ancillary, options, receiving, sending
from .peer import Peer, default_peer

if TYPE_CHECKING:
    import weakref
    from collections.abc import Callable, Iterable

    from _typeshed import ReadableBuffer, WriteableBuffer

    from ..bridge.mailbox import Address

_plain: Final = _socket.socket
_FAMILIES: Final = frozenset({int(_socket.AF_INET), int(_socket.AF_INET6), AF_PEER})
_FLAG_BITS: Final = int(_socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC)
_DGRAM: Final = int(_socket.SOCK_DGRAM)
_PINGS: Final = frozenset({int(_socket.IPPROTO_ICMP), int(_socket.IPPROTO_ICMPV6)})
_MSG_TRUNC: Final = int(_socket.MSG_TRUNC)
_SETTLE: Final = 1.0
"""Seconds that getsockname waits, once, for the network to confirm this host's short addresses."""


class Socket(socket.socket):
    """A UDP socket whose datagrams travel the relay network; everything else as `socket.socket`.

    Threads may share it, as they may a kernel socket. Source: socket(2), udp(7), ip(7), ipv6(7).

    Args:
        family: AF_INET, AF_INET6 or AF_PEER. type: SOCK_DGRAM. proto: 0 or IPPROTO_UDP. With other families or types
            this is a plain socket of the standard library.
        fileno: adopt an open descriptor; a duplicate of another Socket's shares its endpoint.
        port, bootstrap, wrtc, identity, npm_peers, network_key, ipv4_network, ice_servers, public_url, host: settings
            of a private `Peer`, destroyed when the last duplicate is closed. Without them the process's default Peer.
        direct: "drop" datagrams to IP addresses outside the overlay (counted), or "error": ENETUNREACH.
    """

    __slots__ = ("_endpoint", "_holder")
    _default_type: ClassVar[int] = _DGRAM

    def __init__(
        self,
        family: int = -1,
        type: int = -1,
        proto: int = -1,
        fileno: int | None = None,
        *,
        port: int | None = None,
        bootstrap: str | Iterable[str] = (),
        wrtc: bool | Callable[..., Any] | None = None,
        identity: str | os.PathLike[str] | None = None,
        npm_peers: bool | None = None,
        network_key: str | None = None,
        ipv4_network: str | None = None,
        ice_servers: Iterable[str] | None = None,
        public_url: str | None = None,
        host: str | None = None,
        direct: str = "drop",
    ) -> None:
        self._endpoint: Endpoint | None = None
        self._holder: weakref.ref[_socket.socket] | None = None
        if direct not in ("drop", "error"):
            raise ValueError(f'direct: {direct!r} is neither "drop" nor "error"')
        if fileno is not None:
            known = endpoint_of(fileno)
            if known is None:
                super().__init__(family, type, proto, fileno)
            else:
                self._adopt(known, family, type, proto, fileno)
            return
        family = int(_socket.AF_INET) if family == -1 else family
        type = self._default_type if type == -1 else type
        proto = 0 if proto == -1 else proto
        if family not in _FAMILIES or type & ~_FLAG_BITS != _DGRAM or proto in _PINGS:
            super().__init__(family, type, proto)
            return
        if proto not in (0, _socket.IPPROTO_UDP):
            raise failure(errno.EPROTONOSUPPORT)
        settings = {
            "port": port,
            "bootstrap": bootstrap or None,
            "wrtc": wrtc,
            "identity": identity,
            "npm_peers": npm_peers or None,
            "network_key": network_key,
            "ipv4_network": ipv4_network,
            "ice_servers": ice_servers,
            "public_url": public_url,
            "host": host,
        }
        given = {name: value for name, value in settings.items() if value is not None}
        endpoint = self._open(int(family), int(type), int(proto), given)
        endpoint.strict = direct == "error"

    def _open(self, family: int, type: int, proto: int, settings: dict[str, Any]) -> Endpoint:
        private = Peer(**settings) if settings else None
        peer = private or default_peer()
        try:
            fd, endpoint = open_endpoint(peer._host, peer, family, type & ~_FLAG_BITS, proto or _socket.IPPROTO_UDP)
        except BaseException:
            if private is not None:
                private.destroy()
            raise
        if private is not None:
            endpoint.on_close = private.destroy
        try:
            super().__init__(family, type, proto, fd)
        except BaseException:
            os.close(fd)
            endpoint.close()
            raise
        self._join(endpoint)
        return endpoint

    def _adopt(self, endpoint: Endpoint, family: int, type: int, proto: int, fd: int) -> None:
        family = endpoint.family if family == -1 else family
        type = endpoint.type if type == -1 else type
        proto = endpoint.proto if proto == -1 else proto
        super().__init__(family, type, proto, fd)
        self._join(endpoint)

    def _join(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._holder = endpoint.hold(self)

    @property
    def peer(self) -> Peer:
        """The Peer whose host this socket is on.

        Raises: OSError: EBADF when the socket is closed or is not one of the overlay.
        """
        if self._endpoint is None:
            raise failure(errno.EBADF)
        assert isinstance(self._endpoint.handle, Peer)
        return self._endpoint.handle

    # --- the end of it -----------------------------------------------------------------------------------------

    def _real_close(self, _ss: Any = _plain) -> None:
        endpoint, holder = self._endpoint, self._holder
        if endpoint is None or holder is None:
            _ss.close(self)
            return
        with endpoint.inbox.lock:  # so that nobody silences the bell of whoever gets this fd number next
            self._endpoint = self._holder = None
            _ss.close(self)
        endpoint.release(holder)

    def detach(self) -> int:
        """Give up the descriptor without closing it; `Socket(fileno=)` finds the endpoint again."""
        endpoint, holder = self._endpoint, self._holder
        if endpoint is None or holder is None:
            return super().detach()
        fd = self.fileno()
        with endpoint.inbox.lock:
            self._endpoint = self._holder = None
            super().detach()
        endpoint.release(holder, escaped=True)
        return fd

    def fileno(self) -> int:
        """Return the descriptor: readable exactly while a receive would not block, writable while a send would not.
        It carries no data."""
        endpoint = self._endpoint
        if endpoint is not None and not endpoint.inbox.observed:
            endpoint.observe(self)
        return super().fileno()

    def accept(self) -> tuple[Socket, Any]:
        """As the standard library's (for the TCP sockets of a patched program); the result is of this class."""
        if self._endpoint is not None:
            raise failure(errno.EOPNOTSUPP)
        fd, address = self._accept()  # type: ignore[attr-defined]  # socket.socket's own, untyped
        sock = self._sibling()(self.family, self.type, self.proto, fileno=fd)
        if socket.getdefaulttimeout() is None and self.gettimeout():
            sock.setblocking(True)
        return sock, address

    @classmethod
    def _sibling(cls) -> Callable[..., Socket]:
        """Return the class that accept() makes: not a program's subclass, as in the standard library."""
        return Socket

    def listen(self, *backlog: int) -> None:
        """As the standard library's; EOPNOTSUPP on a datagram socket."""
        if self._endpoint is not None:
            raise failure(errno.EOPNOTSUPP)
        super().listen(*backlog)

    def shutdown(self, how: int, /) -> None:
        """Stop receiving (SHUT_RD: blocked receives return b"") or sending (SHUT_WR: EPIPE), or both.

        Raises: OSError: ENOTCONN, EINVAL.
        """
        endpoint = self._endpoint
        if endpoint is None:
            return super().shutdown(how)
        if not 0 <= index(how) <= 2:
            raise failure(errno.EINVAL)
        if endpoint.peer is None:
            raise failure(errno.ENOTCONN)
        if how != _socket.SHUT_RD:
            endpoint.shut_write = True
            endpoint.flows.clear()
        if how != _socket.SHUT_WR:
            endpoint.inbox.shut_down()
        return None

    # --- names -------------------------------------------------------------------------------------------------

    def bind(self, address: Any, /) -> None:
        """Take a local address: the wildcard, loopback, this host's own virtual address, a multicast group.

        Raises: OSError: EADDRINUSE, EADDRNOTAVAIL (an address that is not this host's), EINVAL (already bound).
        """
        endpoint = self._endpoint
        if endpoint is None:
            return super().bind(address)
        target = addresses.read(self, endpoint, "bind", address)
        if endpoint.port or (target.mapped and endpoint.v6only):
            raise failure(errno.EINVAL)
        if target.special is Special.FOREIGN or (target.special is None and target.place != OWN):
            raise failure(errno.EADDRNOTAVAIL)
        endpoint.host.ports.bind(endpoint, target.place, target.port, mapped=target.mapped)
        if target.special is not Special.LOOPBACK:
            endpoint.host.start()
        return None

    def connect(self, address: Any, /) -> None:
        """Choose the peer that send() sends to and receives hear. Nothing is sent; nobody needs to be there.

        Raises: OSError: EACCES, EINVAL, ENETUNREACH as Linux; never ECONNREFUSED, which the next call reports.
        """
        endpoint = self._endpoint
        if endpoint is None:
            return super().connect(address)
        return self._connect(endpoint, addresses.read(self, endpoint, "connect", address))

    def connect_ex(self, address: Any, /) -> int:
        """As `connect`, returning the errno (0 for success) of what the kernel would refuse."""
        endpoint = self._endpoint
        if endpoint is None:
            return super().connect_ex(address)
        target = addresses.read(self, endpoint, "connect_ex", address)
        try:
            self._connect(endpoint, target)
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    def _connect(self, endpoint: Endpoint, target: addresses.Target) -> None:
        ports = endpoint.host.ports
        ports.autobind(endpoint)
        sending.check_route(endpoint, target)
        if target.special is Special.WILDCARD:
            target.place = target.text = "::1" if target.form == 6 else "127.0.0.1"
            if target.mapped:
                target.text = "::ffff:127.0.0.1"
        source = source_for(target.place, target.form)
        way = endpoint.flows.get(target.address())
        endpoint.way = sending.way_to(endpoint, target) if way is None else way
        ports.connect(endpoint, target.address(), target.place, target.port, source, target.mapped)

    def disconnect(self) -> None:
        """Undo `connect`, as connect(2) to AF_UNSPEC does, for which the standard library has no spelling."""
        endpoint = self._endpoint
        if endpoint is None:
            raise failure(errno.EBADF)
        endpoint.way = None
        endpoint.host.ports.disconnect(endpoint)
        if not endpoint.port:
            endpoint.flows.clear()

    def getsockname(self) -> Any:
        """Return the local address: the wildcard until a peer was chosen, then the one that peer sees.

        Waits up to a second, once, for the network to confirm a virtual address.
        """
        endpoint = self._endpoint
        if endpoint is None:
            return super().getsockname()
        if endpoint.local == OWN and not endpoint.settled:
            endpoint.settled = True
            endpoint.host.settle(_SETTLE)
        return endpoint.host.ports.spell(endpoint, endpoint.local, endpoint.port, mapped=endpoint.mapped)

    def getpeername(self) -> Any:
        """Return the connected peer's address. Raises: OSError: ENOTCONN."""
        endpoint = self._endpoint
        if endpoint is None:
            return super().getpeername()
        if endpoint.peer is None or not endpoint.peer_port:
            raise failure(errno.ENOTCONN)
        return endpoint.peer

    @overload
    def getsockopt(self, level: int, optname: int, /) -> int: ...
    @overload
    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes: ...
    def getsockopt(self, level: int, optname: int, buflen: int | None = None, /) -> int | bytes:
        """Return an option's value: honoured, or remembered as it was set. Raises: OSError: as the kernel."""
        endpoint = self._endpoint
        if endpoint is None:
            return super().getsockopt(level, optname) if buflen is None else super().getsockopt(level, optname, buflen)
        return options.get(self, endpoint, level, optname, buflen)

    @overload
    def setsockopt(self, level: int, optname: int, value: int | ReadableBuffer, /) -> None: ...
    @overload
    def setsockopt(self, level: int, optname: int, value: None, optlen: int, /) -> None: ...
    def setsockopt(self, level: int, optname: int, value: Any, *optlen: int) -> None:
        """Set an option: honoured, remembered, or refused with the kernel's errno."""
        endpoint = self._endpoint
        if endpoint is None:
            return super().setsockopt(level, optname, value, *optlen)
        return options.put(self, endpoint, level, optname, value, optlen)

    # --- sending -----------------------------------------------------------------------------------------------

    @overload
    def sendto(self, data: ReadableBuffer, address: Any, /) -> int: ...
    @overload
    def sendto(self, data: ReadableBuffer, flags: int, address: Any, /) -> int: ...
    def sendto(self, *args: Any) -> int:
        """Send `data` (0..65507 bytes) as one datagram: `sendto(data, address)` or `sendto(data, flags, address)`.

        Returns: len(data). The datagram is on its way, not delivered.
        Raises: OSError: EMSGSIZE, EINVAL (port 0), EACCES (broadcast), EAGAIN, and what is pending. TimeoutError.
        """
        endpoint = self._endpoint
        if endpoint is None:
            return super().sendto(*args)
        if len(args) == 2:
            data, address = args
            if data.__class__ is bytes:
                try:
                    way = endpoint.flows.get(address)
                except TypeError:  # unhashable: an address with a bytearray, or no address
                    way = None
                size = len(data)
                if (
                    way.__class__ is Flow
                    and endpoint.pending < endpoint.send_bound
                    and size <= MAX_DATAGRAM
                    and not endpoint.inbox.attention
                ):
                    way.waiting.append(data)
                    endpoint.pending += size + DATAGRAM_OVERHEAD
                    if not way.queued:
                        way.queued = True
                        endpoint.host.outbox.post(way)
                    return size
            flags: Any = 0
        elif len(args) == 3:
            data, flags, address = args
        else:
            return super().sendto(*args)  # raises what the standard library raises
        payload = _bytes(data)
        if address is None:
            return _plain.sendto(self, *args)  # raises TypeError
        sending.send(self, endpoint, "sendto", [payload], index(flags), address)
        return len(payload)

    def send(self, data: ReadableBuffer, flags: int = 0, /) -> int:
        """Send `data` as one datagram to the connected peer. Returns and raises: as `sendto`; EDESTADDRREQ."""
        endpoint = self._endpoint
        if endpoint is None:
            return super().send(data, flags)
        payload = _bytes(data)
        way = endpoint.way
        if (
            way.__class__ is Flow
            and not flags
            and endpoint.pending < endpoint.send_bound
            and len(payload) <= MAX_DATAGRAM
            and not endpoint.inbox.attention
            and not endpoint.shut_write
        ):
            way.waiting.append(payload)
            endpoint.pending += len(payload) + DATAGRAM_OVERHEAD
            if not way.queued:
                way.queued = True
                endpoint.host.outbox.post(way)
            return len(payload)
        sending.send(self, endpoint, "send", [payload], index(flags), None)
        return len(payload)

    def sendall(self, data: ReadableBuffer, flags: int = 0, /) -> None:
        """As `send`: a datagram goes whole or not at all."""
        if self._endpoint is None:
            return super().sendall(data, flags)
        self.send(data, flags)
        return None

    def sendmsg(
        self,
        buffers: Iterable[ReadableBuffer],
        ancdata: Iterable[tuple[int, int, ReadableBuffer]] = (),
        flags: int = 0,
        address: Any = None,
        /,
    ) -> int:
        """Send the `buffers` joined as one datagram, or as several of UDP_SEGMENT bytes. Control messages are checked.

        Returns: the bytes sent. Raises: as `sendto`; EINVAL for a control message that Linux refuses.
        """
        endpoint = self._endpoint
        if endpoint is None:
            return super().sendmsg(buffers, ancdata, flags, address)
        try:
            parts = list(buffers)
        except TypeError:
            raise TypeError("sendmsg() argument 1 must be an iterable") from None
        payload = b"".join([_bytes(part) for part in parts])
        controls = ancillary.checked(ancdata)
        flags = index(flags)
        segment = ancillary.segment_size(endpoint, controls)
        sending.send(self, endpoint, "sendmsg", ancillary.split(payload, segment), flags, address)
        return len(payload)

    # --- receiving ---------------------------------------------------------------------------------------------

    def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        """Return the next datagram, cut to `bufsize`, and its source address. The rest of a longer one is lost.

        Raises: OSError: EAGAIN, ECONNREFUSED, EHOSTUNREACH, EBADF (closed by another thread). TimeoutError.
        """
        endpoint = self._endpoint
        if endpoint is None:
            return super().recvfrom(bufsize, flags)
        inbox = endpoint.inbox
        if flags == 0 and bufsize.__class__ is int and bufsize >= 0 and not inbox.attention:
            try:
                item = inbox.ready.popleft()
            except IndexError:
                pass
            else:
                if inbox.observed and not inbox.ready:
                    inbox.settle(self)
                return item if len(item[0]) <= bufsize else (item[0][:bufsize], item[1])
        if index(bufsize) < 0:
            raise ValueError("negative buffersize in recvfrom")
        data, source = receiving.receive(self, endpoint, index(flags))
        return receiving.cut(data, index(bufsize), flags), source

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Return the next datagram, cut to `bufsize`. Raises: as `recvfrom`."""
        endpoint = self._endpoint
        if endpoint is None:
            return super().recv(bufsize, flags)
        inbox = endpoint.inbox
        if flags == 0 and bufsize.__class__ is int and bufsize > 0 and not inbox.attention:
            try:
                data, _ = inbox.ready.popleft()
            except IndexError:
                pass
            else:
                if inbox.observed and not inbox.ready:
                    inbox.settle(self)
                return data if len(data) <= bufsize else data[:bufsize]
        if index(bufsize) < 0:
            raise ValueError("negative buffersize in recv")
        flags = index(flags)
        if bufsize == 0:
            return b""  # CPython does not ask the kernel for nothing
        return receiving.cut(receiving.receive(self, endpoint, flags)[0], index(bufsize), flags)

    def recv_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> int:
        """Receive the next datagram into `buffer`. Returns: its size, cut to the buffer's. Raises: as `recvfrom`."""
        endpoint = self._endpoint
        if endpoint is None:
            return super().recv_into(buffer, nbytes, flags)
        view = _writable(buffer, "recv_into")
        if nbytes < 0:
            raise ValueError("negative buffersize in recv_into")
        if nbytes > len(view):
            raise ValueError("buffer too small for requested bytes")
        room = index(nbytes) or len(view)
        if room == 0:
            return 0  # CPython does not ask the kernel for nothing
        return self._receive_into(endpoint, view, room, index(flags))[0]

    def recvfrom_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        """As `recv_into`. Returns: (size, source address)."""
        endpoint = self._endpoint
        if endpoint is None:
            return super().recvfrom_into(buffer, nbytes, flags)
        view = _writable(buffer, "recvfrom_into")
        if nbytes < 0:
            raise ValueError("negative buffersize in recvfrom_into")
        if nbytes > len(view):
            raise ValueError("nbytes is greater than the length of the buffer")
        return self._receive_into(endpoint, view, index(nbytes) or len(view), index(flags))

    def _receive_into(self, endpoint: Endpoint, view: memoryview, room: int, flags: int) -> tuple[int, Address | None]:
        data, source = receiving.receive(self, endpoint, flags)
        size = receiving.fill(data, [view], room)
        return (len(data) if flags & _MSG_TRUNC else size), source

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /) -> tuple[bytes, list[Any], int, Any]:
        """Return (data, control messages, flags, source). Which messages come is asked for with setsockopt: IP_PKTINFO,
        IP_RECVTTL, IP_RECVTOS, IPV6_RECVPKTINFO, IPV6_RECVHOPLIMIT, IPV6_RECVTCLASS, SO_TIMESTAMP."""
        endpoint = self._endpoint
        if endpoint is None:
            return super().recvmsg(bufsize, ancbufsize, flags)
        if index(bufsize) < 0:
            raise ValueError("negative buffer size in recvmsg()")
        ancillary.check_room(ancbufsize)
        data, source = receiving.receive(self, endpoint, index(flags))
        controls, told = ancillary.received(endpoint, source, index(ancbufsize), index(flags))
        if len(data) > bufsize:
            data, told = data[:bufsize], told | _MSG_TRUNC
        return data, controls, told, source

    def recvmsg_into(
        self, buffers: Iterable[WriteableBuffer], ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[int, list[Any], int, Any]:
        """As `recvmsg`, scattering the datagram over `buffers`. Returns: (size, control messages, flags, source)."""
        endpoint = self._endpoint
        if endpoint is None:
            return super().recvmsg_into(buffers, ancbufsize, flags)
        try:
            listed = list(buffers)
        except TypeError:
            raise TypeError("recvmsg_into() argument 1 must be an iterable") from None
        views = [_writable(buffer, "recvmsg_into") for buffer in listed]
        ancillary.check_room(ancbufsize)
        data, source = receiving.receive(self, endpoint, index(flags))
        room = sum(map(len, views))
        controls, told = ancillary.received(endpoint, source, index(ancbufsize), index(flags))
        size = receiving.fill(data, views, room)
        if len(data) > room:
            told |= _MSG_TRUNC
        return (len(data) if flags & _MSG_TRUNC else size), controls, told, source


def _bytes(data: Any) -> bytes:
    """Return the bytes of any contiguous buffer. Raises: TypeError, BufferError: in CPython's words."""
    if data.__class__ is bytes:
        return data
    if isinstance(data, str):
        raise TypeError("a bytes-like object is required, not 'str'")
    try:
        view = memoryview(data)
    except TypeError:
        raise TypeError(f"a bytes-like object is required, not '{type(data).__name__}'") from None
    if not view.c_contiguous:
        raise BufferError("memoryview: underlying buffer is not C-contiguous")
    return view.tobytes()


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
