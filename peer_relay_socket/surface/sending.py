"""The ways out of a socket, beside the short one in udp_socket.py.

Lives here: from a read address to a `Way`, the checks Linux makes on the path of udp_sendmsg (in its order), waiting
for send budget. May not live here: argument parsing.
"""

from __future__ import annotations

import _socket
import errno
import time
from typing import TYPE_CHECKING, Final

from ..address import Special
from ..bridge.endpoint import OWN, WILDCARD, Endpoint, Group, Local, Nowhere, Way
from ..bridge.mailbox import Flow
from ..bridge.ports import failure, source_for
from ..limits import DATAGRAM_OVERHEAD, MAX_DATAGRAM
from .addresses import Target, read

if TYPE_CHECKING:
    from collections.abc import Sequence

_MSG_OOB: Final = int(_socket.MSG_OOB)
_MSG_DONTWAIT: Final = int(_socket.MSG_DONTWAIT)


def send(
    sock: _socket.socket, endpoint: Endpoint, call: str, datagrams: Sequence[bytes], flags: int, address: object
) -> None:
    """Send each of `datagrams` to `address`, or to the connected peer if that is None.

    Raises: OSError: as Linux's udp_sendmsg; what the address parser raises.
    """
    known = endpoint.flows.get(address) if isinstance(address, tuple) else None
    target = None if address is None or known is not None else read(sock, endpoint, call, address)
    endpoint.host.ports.autobind(endpoint)
    longest = max(map(len, datagrams))
    if longest > 0xFFFF:
        raise failure(errno.EMSGSIZE)
    if flags & _MSG_OOB:
        raise failure(errno.EOPNOTSUPP)
    way: Way | None = known
    if target is not None:
        if target.port == 0:
            raise failure(errno.EINVAL)
        check_route(endpoint, target)
        way = way_to(endpoint, target)
        if isinstance(address, tuple):
            endpoint.remember(address, way)
    elif way is None:
        way = connected_way(endpoint)
    if longest > MAX_DATAGRAM:
        raise failure(errno.EMSGSIZE)
    transmit(sock, endpoint, way, datagrams, flags)


def connected_way(endpoint: Endpoint) -> Way:
    """Return the way to the connected peer. Raises: OSError: EDESTADDRREQ."""
    if endpoint.way is None:
        raise failure(errno.EDESTADDRREQ)
    return endpoint.way


def check_route(endpoint: Endpoint, target: Target) -> None:
    """Refuse what Linux finds no route for.

    Raises: OSError: ENETUNREACH, EACCES (broadcast without SO_BROADCAST), EINVAL (from loopback to elsewhere).
    """
    if target.mapped and endpoint.v6only:
        raise failure(errno.ENETUNREACH)
    if target.special is Special.BROADCAST and not endpoint.broadcast:
        raise failure(errno.EACCES)
    inside = target.special in (Special.LOOPBACK, Special.WILDCARD, Special.MULTICAST) or target.place == OWN
    if not inside and endpoint.local not in (WILDCARD, OWN) and source_for(endpoint.local, target.form) != OWN:
        raise failure(errno.EINVAL)
    if target.special is Special.FOREIGN and endpoint.strict:
        raise failure(errno.ENETUNREACH)


def way_to(endpoint: Endpoint, target: Target) -> Way:
    """Return how datagrams get from `endpoint`, bound by now, to `target`. A peer elsewhere starts the network."""
    special, place = target.special, target.place
    if special in (Special.BROADCAST, Special.MULTICAST):
        return Group(str(place), target.port, target.form)
    if special is Special.FOREIGN:
        endpoint.host.start()
        return Nowhere(target.text)
    if special is Special.WILDCARD:  # "this host": Linux takes it for loopback
        return Local("::1" if target.form == 6 else "127.0.0.1", target.port, target.form)
    if isinstance(place, str):
        return Local(place, target.port, target.form)
    endpoint.host.start()
    return Flow(endpoint, place, endpoint.port, target.port, target.form)


def transmit(sock: _socket.socket, endpoint: Endpoint, way: Way, datagrams: Sequence[bytes], flags: int) -> None:
    """Hand `datagrams` on, after reporting what is pending.

    Raises: OSError: the pending error, EPIPE after shutdown, EAGAIN or TimeoutError when the send budget is used up.
    """
    inbox = endpoint.inbox
    if inbox.attention:
        error = inbox.take_error()
        inbox.settle(sock)
        if error:
            raise failure(error)
    if endpoint.shut_write:
        raise failure(errno.EPIPE)
    host = endpoint.host
    if isinstance(way, Flow):
        if endpoint.pending >= endpoint.send_bound:
            _await_room(sock, endpoint, flags)
        way.waiting.extend(datagrams)
        endpoint.pending += sum(map(len, datagrams)) + DATAGRAM_OVERHEAD * len(datagrams)
        if not way.queued:
            way.queued = True
            host.outbox.post(way)
    elif isinstance(way, Local):
        host.ports.send_local(endpoint, way.place, way.port, way.form, list(datagrams))
    elif isinstance(way, Group):
        host.ports.send_group(endpoint, way.host, way.port, way.form, list(datagrams))
        host.drop_foreign(way.host, len(datagrams))
    else:
        host.drop_foreign(way.host, len(datagrams))


def _await_room(sock: _socket.socket, endpoint: Endpoint, flags: int) -> None:
    timeout = sock.gettimeout()
    deadline = None if timeout is None else time.monotonic() + timeout
    while not endpoint.has_room(sock):
        if endpoint.inbox.closed or _socket.socket.fileno(sock) < 0:
            raise failure(errno.EBADF)
        if timeout == 0 or (timeout is None and flags & _MSG_DONTWAIT):
            raise failure(errno.EAGAIN)
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError("timed out")
        endpoint.wait_for_room(left)
