"""Socket: what programs hold instead of a UDP `socket.socket`.

Lives here: the class, its life (open, duplicate, detach, close) and its names. May not live here: datagrams
(receiving.py, sending.py), options (options.py), asyncio.

Law: a datagram socket of a family the overlay speaks has an endpoint, and every method asks the endpoint; any other
socket has none, and every method is the standard library's. So one class also carries a program's TCP sockets.
"""

from __future__ import annotations

import _socket
import errno
import socket
from typing import TYPE_CHECKING, Any, ClassVar, Final, Unpack, overload

from ..address import AF_PEER, Special
from ..bridge.binding import OWN
from ..bridge.endpoint import SEVERAL, Endpoint, endpoint_of, is_of_another_process, open_endpoint
from ..bridge.matching import group_source, source_for
from ..bridge.ports import failure
from ..bridge.real_udp import RealWay
from ..config import Settings, SocketSettings, given_settings
from ..errors import PeerClosedError
from ..system import IPPROTO_UDPLITE, SOCK_CLOEXEC, SOCK_NONBLOCK
from . import addresses, numbers, options, sending
from .peer import Peer, default_peer
from .receiving import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import ReadableBuffer


_plain: Final = _socket.socket
_FAMILIES: Final = frozenset({int(_socket.AF_INET), int(_socket.AF_INET6), AF_PEER})
_FLAG_BITS: Final = SOCK_NONBLOCK | SOCK_CLOEXEC
_DGRAM: Final = int(_socket.SOCK_DGRAM)
_PROTOCOLS: Final = frozenset({0, int(_socket.IPPROTO_UDP), IPPROTO_UDPLITE})
_PINGS: Final = frozenset({int(_socket.IPPROTO_ICMP), int(_socket.IPPROTO_ICMPV6)})
_MSG_TRUNC: Final = int(_socket.MSG_TRUNC)
_SETTLE: Final = 1.0
"""Seconds that getsockname waits, once, for the network to confirm this host's short addresses."""


def is_overlay(family: int, type: int, proto: int) -> bool:
    """Return whether such a socket is one of the overlay. -1 stands for IPv4, and for the usual protocol."""
    families = family == -1 or family in _FAMILIES
    return families and type & ~_FLAG_BITS == _DGRAM and proto not in _PINGS


class Socket(sending.SendingSocket):
    """A UDP socket whose datagrams travel the relay network; everything else as `socket.socket`.

    Threads may share it, as they may a kernel socket. Source: socket(2), udp(7), ip(7), ipv6(7).

    Args:
        family: AF_INET, AF_INET6 or AF_PEER. type: SOCK_DGRAM. proto: 0 or IPPROTO_UDP. With other families or types
            this is a plain socket of the standard library.
        fileno: adopt an open descriptor; a duplicate of another Socket's shares its endpoint.
        direct: "drop" datagrams to IP addresses outside the overlay (counted), or "error": ENETUNREACH.
        settings: those of a private `Peer`, which is destroyed when the last duplicate is closed. Without them the
            socket is on the process's default Peer.

    Raises: as `Peer`; ValueError for another `direct`; OSError EPROTONOSUPPORT for another protocol.
    """

    __slots__ = ()
    _default_type: ClassVar[int] = _DGRAM

    def __init__(
        self,
        family: int = -1,
        type: int = -1,
        proto: int = -1,
        fileno: int | None = None,
        **settings: Unpack[SocketSettings],
    ) -> None:
        self._endpoint = None
        self._holder = None
        direct = settings.pop("direct", "drop")
        given = given_settings(settings)
        if direct not in ("drop", "error"):
            raise ValueError(f'direct: {direct!r} is neither "drop" nor "error"')
        if fileno is not None:
            known = endpoint_of(fileno)
            if known is None:
                if family in _FAMILIES and is_overlay(family, type, proto) and is_of_another_process(fileno):
                    raise PeerClosedError(errno.ENETDOWN, f"this socket is another process's; {SEVERAL}")
                super().__init__(family, type, proto, fileno)
            else:
                self._adopt(known, family, type, proto, fileno)
            return
        family = int(_socket.AF_INET) if family == -1 else family
        type = self._default_type if type == -1 else type
        proto = 0 if proto == -1 else proto
        if not is_overlay(family, type, proto):
            super().__init__(family, type, proto)
            return
        if proto not in _PROTOCOLS:
            raise failure(errno.EPROTONOSUPPORT)
        endpoint = self._open(int(family), int(type), int(proto), given)
        endpoint.strict = direct == "error"

    def _open(self, family: int, type: int, proto: int, settings: Settings) -> Endpoint:
        private = Peer(**settings) if settings else None
        peer = private or default_peer()
        try:
            on_close = None if private is None else private.destroy
            udp = proto or _socket.IPPROTO_UDP
            fd, endpoint = open_endpoint(peer._host, peer, family, type & ~_FLAG_BITS, udp, on_close)
        except BaseException:
            if private is not None:
                private.destroy()
            raise
        try:
            super().__init__(family, type, proto, fd)
        except BaseException:
            _socket.close(fd)
            endpoint.close()
            raise
        self._join(endpoint)
        if type & SOCK_NONBLOCK:
            _plain.setblocking(self, False)
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
        with endpoint.inbox.lock:  # so that no thread silences the bell of the socket that gets this fd number next
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
        if self._endpoint is not None and len(backlog) < 2:
            for number in backlog:
                numbers.flags(number)
            raise failure(errno.EOPNOTSUPP)
        super().listen(*backlog)

    def shutdown(self, how: int, /) -> None:
        """Stop receiving (SHUT_RD: blocked receives return b"") or sending (SHUT_WR: EPIPE), or both.

        Raises: OSError: ENOTCONN, EINVAL.
        """
        endpoint = self._endpoint
        if endpoint is None:
            return super().shutdown(how)
        endpoint.check()
        if not 0 <= numbers.flags(how) <= 2:
            raise failure(errno.EINVAL)
        if how != _socket.SHUT_RD:
            endpoint.shut_write = True
            endpoint.fast_ok = False
        if how != _socket.SHUT_WR:
            endpoint.inbox.shut_down()
        if endpoint.peer is None:
            raise failure(errno.ENOTCONN)  # yet it is shut down, as inet_shutdown has it
        return None

    # --- names -------------------------------------------------------------------------------------------------

    def bind(self, address: Any, /) -> None:
        """Take a local address: the wildcard, loopback, this host's own virtual address, a multicast group.

        Raises: OSError: EADDRINUSE, EADDRNOTAVAIL (an address that is not this host's), EINVAL (already bound).
        """
        endpoint = self._endpoint
        if endpoint is None:
            return plain(self).bind(self, address)
        target = addresses.read(self, endpoint, "bind", address)
        endpoint.check()
        if target.needs_scope:
            raise failure(errno.EINVAL)
        strange = target.special is Special.FOREIGN or (target.special is None and target.place != OWN)
        if strange and endpoint.family == _socket.AF_INET:  # IPv6 asks in the other order
            raise failure(errno.EADDRNOTAVAIL)
        if endpoint.port or (target.mapped and endpoint.v6only):
            raise failure(errno.EINVAL)
        if strange:
            raise failure(errno.EADDRNOTAVAIL)
        endpoint.host.ports.bind(endpoint, target.place, target.port, mapped=target.mapped)
        endpoint.forget_local()
        if target.special is not Special.LOOPBACK:
            endpoint.host.start()
        return None

    def connect(self, address: Any, /) -> None:
        """Choose the peer that send() sends to and receives hear. Nothing is sent; no peer needs to be there.

        Raises: OSError: EACCES, EINVAL, ENETUNREACH as Linux; never ECONNREFUSED, which the next call reports.
        """
        endpoint = self._endpoint
        if endpoint is None:
            return plain(self).connect(self, address)
        return self._connect(endpoint, addresses.read(self, endpoint, "connect", address))

    def connect_ex(self, address: Any, /) -> int:
        """As `connect`, returning the errno (0 for success) of what the kernel would refuse."""
        endpoint = self._endpoint
        if endpoint is None:
            return plain(self).connect_ex(self, address)
        target = addresses.read(self, endpoint, "connect_ex", address)
        try:
            self._connect(endpoint, target)
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    def _connect(self, endpoint: Endpoint, target: addresses.Target) -> None:
        endpoint.check()
        ports = endpoint.host.ports
        ports.autobind(endpoint)
        if target.needs_scope:
            raise failure(errno.EINVAL)
        sending.check_route(endpoint, target)
        if target.special is Special.WILDCARD:
            target.place = sending.this_host(endpoint, target.form)
            target.text = str(ports.spell(endpoint, target.place, 0, mapped=target.form == 4)[0])
        if target.special in (Special.BROADCAST, Special.MULTICAST):
            source = group_source(endpoint, str(target.place))
        else:
            source = source_for(target.place, target.form)
        way = endpoint.flows.get(target.address())
        endpoint.way = way = sending.way_to(endpoint, target) if way is None else way
        if isinstance(way, RealWay):
            way.connect()
        else:
            endpoint.close_real()
        ports.connect(endpoint, target.address(), target.place, target.port, source, target.mapped)
        endpoint.forget_local()

    def disconnect(self) -> None:
        """Undo `connect`, as connect(2) to AF_UNSPEC does, for which the standard library has no spelling."""
        endpoint = self._endpoint
        if endpoint is None:
            raise failure(errno.EBADF)
        endpoint.check()
        endpoint.way = None
        endpoint.close_real()
        endpoint.host.ports.disconnect(endpoint)
        if not endpoint.port:
            endpoint.flows.clear()
        endpoint.forget_local()

    def getsockname(self) -> Any:
        """Return the local address: the wildcard until a peer was chosen, then the one that peer sees.

        Waits up to a second, once, for the network to confirm a virtual address.
        """
        endpoint = self._endpoint
        if endpoint is None:
            return plain(self).getsockname(self)
        if endpoint.local == OWN and not endpoint.waited_for_id:
            endpoint.waited_for_id = True
            endpoint.host.settle(_SETTLE)
        return endpoint.host.ports.spell(endpoint, endpoint.local, endpoint.port, mapped=endpoint.mapped)

    def getpeername(self) -> Any:
        """Return the connected peer's address. Raises: OSError: ENOTCONN."""
        endpoint = self._endpoint
        if endpoint is None:
            return plain(self).getpeername(self)
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
        options.put(self, endpoint, level, optname, value, optlen)
        endpoint.fast_ok = sending.is_fast_ok(endpoint)
        if not endpoint.options.get(options.CORK):
            sending.uncork(self, endpoint)
        return None
