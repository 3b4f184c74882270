"""The ways out of a socket.

Lives here: the send methods of `Socket`; from a read address to a `Way`, the checks Linux makes on the path of
udp_sendmsg (in its order), waiting for send budget. May not live here: what an address means (addresses.py).

Law: the short way, one more datagram to an address that is known, takes no lock and makes no call.
"""

from __future__ import annotations

import _socket
import errno
from typing import TYPE_CHECKING, Any, Final, TypeGuard, overload

from ..address import Special
from ..bridge.binding import OWN
from ..bridge.endpoint import Endpoint, Group, HandBack, Local, Nowhere, Way
from ..bridge.fork import hand_back
from ..bridge.groups import spread
from ..bridge.matching import speaks
from ..bridge.outbox import Flow
from ..bridge.ports import failure
from ..bridge.real_udp import RealWay
from ..limits import DATAGRAM_OVERHEAD, MAX_DATAGRAM, MAX_LOOPBACK6
from ..originals import time
from ..system import MSG_DONTWAIT, MSG_MORE
from . import ancillary, numbers
from .addresses import Target, read
from .options import CORK, HOPS, HOPS6, LOOP, LOOP6, SEGMENT
from .receiving import MOST_BUFFERS, ReceivingSocket, plain, timeout_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from _typeshed import ReadableBuffer

    from ..bridge.inbox import Address
    from .ancillary import Control

_plain: Final = _socket.socket
_MSG_OOB: Final = int(_socket.MSG_OOB)


def send(
    sock: _socket.socket,
    endpoint: Endpoint,
    call: str,
    payload: bytes,
    flags: int,
    address: object,
    controls: Sequence[Control] = (),
) -> None:
    """Send `payload` to `address`, or to the connected peer if that is None.

    Raises: OSError: as Linux's udp_sendmsg; what the address parser raises.
    """
    way = _way(sock, endpoint, call, len(payload), flags, address)
    manner = ancillary.manner(endpoint, _narrow(endpoint, way), controls)
    if flags & MSG_MORE or endpoint.cork is not None or endpoint.options.get(CORK):
        _cork(endpoint, way, payload)
        if flags & MSG_MORE or endpoint.options.get(CORK):
            return
        uncork(sock, endpoint, flags)
        return
    if len(payload) > (MAX_LOOPBACK6 if isinstance(way, Local) and way.form == 6 else MAX_DATAGRAM):
        raise failure(errno.EMSGSIZE)
    transmit(sock, endpoint, way, payload, flags, manner)


def _narrow(endpoint: Endpoint, way: Way) -> bool:
    """Return whether what goes that way would be an IPv4 packet."""
    actual = way.way if isinstance(way, HandBack) else way
    return endpoint.family == _socket.AF_INET or (not isinstance(actual, Nowhere) and actual.form == 4)


def _way(sock: _socket.socket, endpoint: Endpoint, call: str, size: int, flags: int, address: object) -> Way:
    """Return the way to `address`, or to the connected peer if that is None, checking what the kernel checks first."""
    way = endpoint.flows.get(address) if _is_key(address) else None
    target = None if address is None or way is not None else read(sock, endpoint, call, address)
    if not endpoint.inbox.inherited:
        endpoint.host.ports.autobind(endpoint)
    if target is not None:
        check_family(endpoint, target)
    six = endpoint.family == _socket.AF_INET6
    if six and way is None and target is None:
        way = connected_way(endpoint)
    if not six or (target.form == 4 if target is not None else way is None or _narrow(endpoint, way)):
        if size > 0xFFFF:
            raise failure(errno.EMSGSIZE)
        if flags & _MSG_OOB:  # udpv6_sendmsg does not look
            raise failure(errno.EOPNOTSUPP)
    if target is None:
        return way or connected_way(endpoint)
    if target.port == 0:
        raise failure(errno.EINVAL)
    check_route(endpoint, target)
    way = way_to(endpoint, target)
    if _is_key(address) and not target.resolved:
        endpoint.remember(address, way)
    return way


def _is_key(address: object) -> TypeGuard[Address]:
    """Return whether a way can be remembered by `address`: not if its host is a bytearray."""
    return isinstance(address, tuple) and not any(isinstance(part, bytearray) for part in address)


def _cork(endpoint: Endpoint, way: Way, piece: bytes) -> None:
    """Add a piece to the datagram being put together; the first one says where it goes."""
    way, pieces = endpoint.cork or (way, [])
    if sum(map(len, pieces)) + len(piece) > MAX_DATAGRAM:
        raise failure(errno.EMSGSIZE)
    pieces.append(piece)
    endpoint.cork = (way, pieces)
    endpoint.fast_ok = False


def uncork(sock: _socket.socket, endpoint: Endpoint, flags: int = 0) -> None:
    """Send the datagram that was put together, if there is one."""
    if endpoint.cork is not None:
        way, pieces = endpoint.cork
        endpoint.cork = None
        endpoint.fast_ok = is_fast_ok(endpoint)
        transmit(sock, endpoint, way, b"".join(pieces), flags, ancillary.manner(endpoint, _narrow(endpoint, way)))


def is_fast_ok(endpoint: Endpoint) -> bool:
    """Return what `endpoint.fast_ok` is to be."""
    special = endpoint.cork is not None or endpoint.options.get(CORK) or endpoint.options.get(SEGMENT)
    return not endpoint.shut_write and not special


def connected_way(endpoint: Endpoint) -> Way:
    """Return the way to the connected peer. Raises: OSError: EDESTADDRREQ."""
    if endpoint.way is None:
        raise failure(errno.EDESTADDRREQ)
    return endpoint.way


def check_family(endpoint: Endpoint, target: Target) -> None:
    """Refuse IPv4 from a socket that is bound to IPv6 alone, and the other way round; say which the wildcard means.

    Raises: OSError: ENETUNREACH, EAFNOSUPPORT.
    """
    if target.mapped and endpoint.v6only:
        raise failure(errno.ENETUNREACH)
    if endpoint.mapped and target.form == 6:
        if target.special is not Special.WILDCARD:
            raise failure(errno.EAFNOSUPPORT)
        target.form, target.mapped = 4, True


def check_route(endpoint: Endpoint, target: Target) -> None:
    """Refuse what Linux finds no route for.

    Raises: OSError: ENETUNREACH, EACCES (broadcast without SO_BROADCAST), EINVAL (from loopback to elsewhere).
    """
    check_family(endpoint, target)
    if target.special is Special.BROADCAST and not endpoint.broadcast:
        raise failure(errno.EACCES)
    inside = target.special in (Special.LOOPBACK, Special.WILDCARD, Special.MULTICAST) or target.place == OWN
    if not inside and endpoint.local != OWN and speaks(endpoint.local):
        raise failure(errno.EINVAL)
    if target.special is Special.FOREIGN and endpoint.strict and not target.real:
        raise failure(errno.ENETUNREACH)


def way_to(endpoint: Endpoint, target: Target) -> Way:
    """Return how datagrams get from `endpoint`, bound by now, to `target`. A peer elsewhere starts the network."""
    if target.real:  # a forked child sends there itself
        return endpoint.real_way((target.text, target.port, *(target.rest or ())), target.form)
    if endpoint.inbox.inherited:
        return HandBack(endpoint, _way_to(endpoint, target))
    special = target.special
    far = special is Special.FOREIGN or (special is None and not isinstance(target.place, str))
    if far or (special in (Special.BROADCAST, Special.MULTICAST) and endpoint.host.config.broadcast_hops):
        endpoint.host.start()
    return _way_to(endpoint, target)


def _way_to(endpoint: Endpoint, target: Target) -> Flow | Local | Nowhere | Group:
    special, place = target.special, target.place
    if special in (Special.BROADCAST, Special.MULTICAST):
        return Group(str(place), target.port, target.form)
    if special is Special.FOREIGN:
        return Nowhere(target.text)
    if special is Special.WILDCARD:
        return Local(this_host(endpoint, target.form), target.port, target.form)
    if isinstance(place, str):
        return Local(place, target.port, target.form)
    return endpoint.flow(place, target.port, target.form)


def this_host(endpoint: Endpoint, form: int) -> str:
    """Return what Linux takes the wildcard for as a destination: the socket's own IPv4 address, or loopback."""
    if form == 6:
        return "::1"
    local = endpoint.local
    return local if isinstance(local, str) and speaks(local) and local != "::1" else "127.0.0.1"


def transmit(
    sock: _socket.socket,
    endpoint: Endpoint,
    way: Way,
    payload: bytes,
    flags: int,
    manner: ancillary.Manner,
) -> None:
    """Hand `payload` on, after reporting what is pending.

    Raises: OSError: the pending error, EPIPE after shutdown, EINVAL (too many segments); EAGAIN or TimeoutError when
        the send budget is used up.
    """
    inbox = endpoint.inbox
    if inbox.needs_check:
        error = inbox.take_error()
        inbox.update_fd(sock)
        if error:
            raise failure(error, inbox.why)
    if endpoint.shut_write:
        raise failure(errno.EPIPE)
    datagrams = ancillary.split(payload, manner.segment)
    host = endpoint.host
    if isinstance(way, Flow):
        if endpoint.pending >= endpoint.send_bound:
            _await_room(sock, endpoint, flags)
        way.accept(datagrams)
    elif isinstance(way, Group):
        if endpoint.pending >= endpoint.send_bound:
            _await_room(sock, endpoint, flags)
        relays, loop, hops = _reach(endpoint, way)
        traffic = 0 if manner.mark is None else manner.mark[1]
        spread(endpoint, way, datagrams, relays, loop, (hops, traffic))
    elif isinstance(way, RealWay):
        way.send(datagrams, 0 if flags & MSG_DONTWAIT else timeout_of(sock))
    elif isinstance(way, HandBack):
        mark = _reach(endpoint, way.way)[:2] if isinstance(way.way, Group) else manner.mark
        hand_back(way, datagrams, mark, 0 if flags & MSG_DONTWAIT else timeout_of(sock))
    elif isinstance(way, Local):
        host.ports.send_local(endpoint, way.place, way.port, way.form, datagrams, manner.mark)
    else:
        host.drop_foreign(way.host, len(datagrams))


def _reach(endpoint: Endpoint, group: Group) -> tuple[int, int, int]:
    """Return how many relays a datagram to `group` may pass, whether this host's own sockets hear it (0 or 1), and what
    hop limit they are told.

    A router is to a multicast what a relay is here, so IP_MULTICAST_TTL counts relays; groups that do not leave a link
    or a host (RFC 5771 §4, RFC 4291 §2.7) pass one or none.
    """
    if endpoint.host.spelling.is_broadcast(group.host):
        return 255, 1, 64
    options = endpoint.options
    four = group.form == 4
    loop = int(bool(options.get(LOOP if four else LOOP6, 1)))
    hops = options.get(HOPS if four else HOPS6, 1)
    most = 1 if group.host.startswith(("224.0.0.", "ff02:", "ff12:")) else 255
    if group.host.startswith(("ff01:", "ff11:")):
        most = 0
    hops = hops if isinstance(hops, int) else 1
    return min(most, hops), loop, hops


def _await_room(sock: _socket.socket, endpoint: Endpoint, flags: int) -> None:
    timeout = timeout_of(sock)
    deadline = None if timeout is None else time.monotonic() + timeout
    while not endpoint.has_room(sock):
        if endpoint.inbox.closed or _socket.socket.fileno(sock) < 0:
            raise failure(errno.EBADF)
        if timeout == 0 or (timeout is None and flags & MSG_DONTWAIT):
            raise failure(errno.EAGAIN)
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError("timed out")
        in_hub = getattr(sock, "_wait_in_hub", None)
        if in_hub is None:
            endpoint.wait_for_room(left)
        else:
            in_hub(left, writing=True)


class SendingSocket(ReceivingSocket):
    """The sending half of `Socket`."""

    __slots__ = ()

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
            return plain(self).sendto(self, *args)
        if len(args) == 2:
            data, address = args
            if data.__class__ is bytearray:
                data = bytes(data)
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
                    and endpoint.fast_ok
                    and not endpoint.inbox.needs_check
                ):
                    if not way.queued:
                        if way.try_send_now(data):
                            return size
                        way.waiting.append(data)
                        endpoint.pending += size + DATAGRAM_OVERHEAD
                        way.post()
                    else:
                        way.waiting.append(data)
                        endpoint.pending += size + DATAGRAM_OVERHEAD
                    return size
            flags: Any = 0
        elif len(args) == 3:
            data, flags, address = args
        else:
            return _plain.sendto(self, *args)  # raises what the standard library raises
        payload = _bytes(data)
        if address is None:
            return _plain.sendto(self, *args)  # raises TypeError
        send(self, endpoint, "sendto", payload, numbers.flags(flags), address)
        return len(payload)

    def send(self, data: ReadableBuffer, flags: int = 0, /) -> int:
        """Send `data` as one datagram to the connected peer. Returns and raises: as `sendto`; EDESTADDRREQ."""
        endpoint = self._endpoint
        if endpoint is None:
            return plain(self).send(self, data, flags)
        payload = _bytes(data)
        way = endpoint.way
        if (
            way.__class__ is Flow
            and not flags
            and endpoint.pending < endpoint.send_bound
            and len(payload) <= MAX_DATAGRAM
            and endpoint.fast_ok
            and not endpoint.inbox.needs_check
        ):
            if way.queued or not way.try_send_now(payload):
                way.accept([payload])
            return len(payload)
        send(self, endpoint, "send", payload, numbers.flags(flags), None)
        return len(payload)

    def sendall(self, data: ReadableBuffer, flags: int = 0, /) -> None:
        """As `send`: a datagram goes whole or not at all."""
        if self._endpoint is None:
            return plain(self).sendall(self, data, flags)
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
            kernel: Any = plain(self)  # Windows has no sendmsg
            sent: int = kernel.sendmsg(self, buffers, ancdata, flags, address)
            return sent
        try:
            parts = list(buffers)
        except TypeError:
            raise TypeError("sendmsg() argument 1 must be an iterable") from None
        if len(parts) > MOST_BUFFERS:
            raise failure(errno.EMSGSIZE)
        payload = b"".join([_bytes(part) for part in parts])
        controls = ancillary.checked(ancdata)
        send(self, endpoint, "sendmsg", payload, numbers.flags(flags), address, controls)
        return len(payload)


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
