"""One UDP endpoint: what every duplicate of a socket shares.

Lives here: `Endpoint` (what holds it, its inbox, ways out, send budget) and the registry that finds it again by the
inode of a file descriptor. May not live here: which endpoint gets a datagram (ports.py), what calls mean (surface).

Law: an endpoint lives until the last duplicate of its fd is closed, in whatever way that happens.
"""

from __future__ import annotations

import _socket
import contextlib
import errno
import itertools
import weakref
from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias

from ..address import Destination
from ..errors import PeerClosedError
from ..limits import EXIT_TIME, FLOWS_PER_SOCKET, RECEIVE_BUFFER, SOCKET_BUFFER
from ..originals import os
from ..system import AF_UNIX
from .binding import Binding
from .child_channel import Channel
from .errands import patiently
from .host import Host
from .inbox import Address, Inbox, cost
from .outbox import Flow
from .ports import INBOX_FULL
from .readiness import Readiness, identity, pair
from .real_udp import RealUdp, RealWay
from .waiting import Waiters

SEVERAL: Final = "a server of several processes needs `peer-relay run --native` (Linux)"
_by_inode: Final[dict[tuple[int, int], Endpoint]] = {}
_by_serial: Final[weakref.WeakValueDictionary[int, Endpoint]] = weakref.WeakValueDictionary()
_serials: Final = itertools.count(1)


class Local:
    """What an endpoint remembers about an address of this host, where others have a `Flow`."""

    __slots__ = ("form", "place", "port")

    def __init__(self, place: str, port: int, form: int) -> None:
        self.place = place
        self.port = port
        self.form = form


class Nowhere:
    """What an endpoint remembers about an address that is no peer's: datagrams to it are counted and dropped."""

    __slots__ = ("host",)

    def __init__(self, host: str) -> None:
        self.host = host


class Group:
    """A way to all that hear a broadcast or multicast address."""

    __slots__ = ("flows", "form", "host", "port")

    def __init__(self, host: str, port: int, form: int) -> None:
        self.host = host
        self.port = port
        self.form = form
        self.flows: dict[int, Flow] = {}
        """To other hosts, by how many relays may be passed."""

    @property
    def waiting(self) -> bool:
        """Whether anything waits for the loop."""
        return any(flow.waiting for flow in self.flows.values())


class HandBack:
    """A way out of an endpoint that this process inherited by fork: through the process that owns it."""

    __slots__ = ("endpoint", "way")

    def __init__(self, endpoint: Endpoint, way: Flow | Local | Nowhere | Group) -> None:
        self.endpoint = endpoint
        self.way = way


Way: TypeAlias = "Flow | Local | Nowhere | Group | RealWay | HandBack"


class Endpoint(Binding):
    """An open socket as the rest of the host sees it.

    `pending` is counted without a lock; a lost update is put right by the exact count that is taken when the budget
    seems used up.
    """

    __slots__ = (
        *("_holders", "_inode", "_on_close", "channel", "cork", "fast_ok", "flows", "handle", "host", "pending"),
        *("proto", "real", "send_bound", "serial", "shut_write", "starved", "strict", "type", "waited_for_id", "way"),
        "writers",
    )

    def __init__(
        self,
        host: Host,
        handle: object,
        family: int,
        type_: int,
        proto: int,
        hidden: int,
        on_close: Callable[[], object] | None = None,
    ) -> None:
        super().__init__(family, Inbox(Readiness(hidden, self._holder), RECEIVE_BUFFER))
        self.host = host
        self.handle = handle
        """The surface's Peer; opaque here."""
        self.type = type_
        self.proto = proto
        self.shut_write = False
        self.cork: tuple[Way, list[bytes]] | None = None
        """Pieces of one datagram being put together with MSG_MORE or UDP_CORK, and where it goes."""
        self.fast_ok = True
        """Sending is nothing but appending to a flow: no shutdown, no cork, no segmentation."""
        self.strict = False
        """Addresses outside the overlay get ENETUNREACH instead of silence (direct="error")."""
        self.waited_for_id = False
        """getsockname has waited for the host's id once."""
        self.way: Way | None = None
        """Where send() goes: the connected peer."""
        self.flows: dict[Address, Way] = {}
        self.pending = 0
        """What waits in `flows`, in `cost` units."""
        self.send_bound = SOCKET_BUFFER
        self.starved = False
        self.writers = Waiters()
        self.real: dict[int, RealUdp] = {}
        """Kernel sockets for what `real_udp` names, by IP version."""
        self._on_close = on_close
        self.channel: Channel | None = None
        """In a forked child: to the process that owns this endpoint."""
        self.serial = next(_serials)
        """Its name among this process and its forked children."""
        self._holders: set[weakref.ref[_socket.socket]] = set()
        self._inode: tuple[int, int] | None = None

    # --- who holds it ------------------------------------------------------------------------------------------

    def hold(self, sock: _socket.socket) -> weakref.ref[_socket.socket]:
        """Count `sock` as a holder until `release`, or until it is garbage. Returns: what `release` takes."""
        holder = weakref.ref(sock, self._lost)
        self._holders.add(holder)
        return holder

    def _holder(self) -> _socket.socket | None:
        return next((sock for sock in (holder() for holder in tuple(self._holders)) if sock is not None), None)

    def release(self, holder: weakref.ref[_socket.socket], *, escaped: bool = False) -> None:
        """Forget one holder, whose fd is closed, or lives on without a socket object (`escaped`). Threads that wait
        look again whether their own sockets are still open."""
        self._holders.discard(holder)
        self.inbox.wake_all()
        self.writers.wake_all()
        if not self._holders and not escaped:
            self.host.collect(EXIT_TIME)
            self.close_if_abandoned()

    def _lost(self, holder: weakref.ref[_socket.socket]) -> None:
        self._holders.discard(holder)
        if not self._holders:
            self.close()

    def close_if_abandoned(self) -> bool:
        """Close when neither a socket object nor a bare fd, here or in another process, is left. Returns: whether."""
        with self.inbox.lock:
            if self._holders or (not self.inbox.closed and self.inbox.readiness.is_open()):
                return False
        self.close()
        return True

    def close(self) -> None:
        """Free the port and wake threads that wait. What was accepted for sending is still sent. Twice is harmless."""
        if not self.inbox.close():
            return
        self.writers.wake_all()
        if self._inode is not None:
            _by_inode.pop(self._inode, None)
        if self.inbox.dropped:
            self.host.count(INBOX_FULL, self.inbox.dropped)
        self.host.ports.remove(self)
        self.close_real()
        if self._on_close is not None:
            patiently(self._on_close)

    # --- fork --------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raises: PeerClosedError (ENETDOWN) where this is a forked child's copy."""
        if self.inbox.inherited:
            raise PeerClosedError(errno.ENETDOWN, f"this socket belongs to the process that forked this one; {SEVERAL}")

    def forked(self, channel: Channel | None) -> None:
        """This process is a fork, and this its copy: all the copy can do is to hand datagrams back through `channel`.

        Nothing of the owner's is touched but what the copy must not keep. The program's fds are always readable from
        now on, so that a thread that polls one wakes and gets the error. A duplicate of the owner's fd is kept
        until the copy is closed, so that the endpoint lives as long as a kernel socket would.
        """
        if self.inbox.closed:
            return
        if not self.inbox.inherited:
            self.channel = channel
        self.inbox.readiness.close()
        try:
            fd, hidden = pair()
        except OSError:
            self.inbox = Inbox(Readiness(-1, self._holder), RECEIVE_BUFFER)
        else:
            self.inbox = Inbox(Readiness(hidden, self._holder), RECEIVE_BUFFER)
            self.inbox.readiness.ring()
            self._replace_fds(fd)
            _socket.close(fd)
        self.inbox.observed = self.inbox.needs_check = self.inbox.inherited = True
        self.writers = Waiters()
        self.starved, self.pending, self.cork, self.waited_for_id = False, 0, None, True
        self.flows = {}
        if self.way is not None and not isinstance(self.way, HandBack | RealWay):
            self.way = HandBack(self, self.way)

    def _replace_fds(self, fd: int) -> None:
        sockets = [sock for sock in (holder() for holder in self._holders) if sock is not None]
        fds = [each for each in map(_socket.socket.fileno, sockets) if each >= 0]
        self._on_close = None
        if not fds:
            return  # only a bare fd is left; a program that makes a socket of it gets the error
        with contextlib.suppress(OSError):
            self._on_close = partial(_socket.close, _socket.dup(fds[0]))
        for each in fds:
            os.dup2(fd, each, inheritable=os.get_inheritable(each))
        self._register(fd)

    def _register(self, fd: int) -> None:
        if self._inode is not None:
            _by_inode.pop(self._inode, None)
        self._inode = identity(fd)
        _by_inode[self._inode] = self

    # --- sending -----------------------------------------------------------------------------------------------

    def flow(self, destination: Destination, port: int, form: int) -> Flow:
        """Return a new way to a port of a peer."""
        return Flow(self.host.outbox, self.inbox, self, destination, self.port, port, form)

    def real_way(self, address: Address, form: int) -> RealWay:
        """Return a new way to `address` by real UDP. Raises: OSError: as socket()."""
        version = 6 if self.family == _socket.AF_INET6 or ":" in str(address[0]) else 4
        with self.inbox.lock:
            real = self.real.get(version)
            if real is None:
                real = self.real[version] = RealUdp(self, version, self.host.config.real_udp, self.host.count)
            real.allow_broadcast(self.broadcast)
        return RealWay(real, address, form)

    def close_real(self) -> None:
        """Close what real UDP sockets there are: an answer to them would not be heard any more."""
        with self.inbox.lock:
            kept, self.real = self.real, {}
        if kept:
            self.flows = {address: way for address, way in list(self.flows.items()) if not isinstance(way, RealWay)}
        for each in kept.values():
            each.close()

    def remember(self, address: Address, way: Way) -> None:
        """Keep `way` for the next send to `address`."""
        if len(self.flows) >= FLOWS_PER_SOCKET:
            known = list(self.flows.items())
            self.flows = {key: way for key, way in known if isinstance(way, Flow | Group) and way.waiting}
        self.flows[address] = way

    def forget_local(self) -> None:
        """Look local destinations up again: our own address changed."""
        self.flows = {address: way for address, way in list(self.flows.items()) if isinstance(way, Flow)}

    def sent(self, size: int) -> None:
        """The loop took `size` (in `cost` units) out of a flow. Loop thread only."""
        self.pending = max(0, self.pending - size)  # what a lost update left below nothing would be budget for ever
        if self.starved:
            with self.inbox.lock:
                self._count()
                if self.pending <= self.send_bound // 2:
                    self.starved = False
                    self.inbox.readiness.unplug()
                    self.writers.wake_all()

    def _count(self) -> None:
        ways = {*list(self.flows.values()), self.way}
        flows = [way for way in ways if isinstance(way, Flow)]
        flows += [flow for way in ways if isinstance(way, Group) for flow in list(way.flows.values())]
        self.pending = sum(cost(flow.waiting[:]) for flow in flows)

    def overfull(self) -> bool:
        """Return whether more waits to be sent than the budget allows."""
        if self.pending < self.send_bound:
            return False
        with self.inbox.lock:
            self._count()
            return self.pending >= self.send_bound and not self.inbox.closed

    def has_room(self, sock: _socket.socket) -> bool:
        """Return whether one more datagram may wait; if not, the fd is unwritable until half the budget is free."""
        with self.inbox.lock:
            self.starved = True  # before counting: a take that this count misses sees it and looks again
            self._count()
            if self.pending < self.send_bound or self.inbox.closed:
                self.starved = False
                return True
            if self.inbox.observed:
                self.inbox.readiness.plug(sock)
            return False

    def observe(self, sock: _socket.socket) -> None:
        """Keep the fd, which `sock` holds, truthful from now on."""
        with self.inbox.lock:
            self.inbox.observe(sock)
            if self.starved:
                self.inbox.readiness.plug(sock)

    def wait_for_room(self, timeout: float | None) -> bool:
        """Wait until more may be sent, at most `timeout` seconds. Returns: False when the time is up."""
        with self.inbox.lock:
            if not self.starved or self.inbox.closed:
                return True
            bell = self.writers.enter()
        try:
            return self.writers.wait(bell, timeout)
        finally:
            self.writers.leave(bell)


def open_endpoint(
    host: Host, handle: object, family: int, type_: int, proto: int, on_close: Callable[[], object] | None = None
) -> tuple[int, Endpoint]:
    """Return a new fd for a program to hold and the endpoint behind it.

    Args: on_close: called once, when the endpoint is closed; it may wait for the loop.
    Raises: OSError: EMFILE or ENFILE, as socket() does.
    """
    fd, hidden = pair()
    endpoint = Endpoint(host, handle, family, type_, proto, hidden, on_close)
    host.ports.add(endpoint)
    endpoint._register(fd)
    _by_serial[endpoint.serial] = endpoint
    return fd, endpoint


def open_endpoints() -> list[Endpoint]:
    """Return every endpoint of this process that is open."""
    return list(_by_inode.values())


def is_of_another_process(fd: int) -> bool:
    """Return whether `fd`, of which this process knows no endpoint, can be none but an endpoint's of another process: a
    socket that is said to be UDP and is of the pairs in readiness.py."""
    with contextlib.suppress(OSError, TypeError, OverflowError):  # what else is wrong with it the caller finds
        asked = _socket.socket(fileno=_socket.dup(fd))
        with contextlib.closing(asked):
            return (asked.family, asked.type) == (AF_UNIX, _socket.SOCK_DGRAM)
    return False


def endpoint_by_serial(serial: int) -> Endpoint | None:
    """Return the open endpoint of that number."""
    endpoint = _by_serial.get(serial)
    return None if endpoint is None or endpoint.inbox.closed else endpoint


def endpoint_of(fd: int) -> Endpoint | None:
    """Return the endpoint whose fd, or a duplicate of it, `fd` is; None if it is anything else, or not open."""
    try:
        return _by_inode.get(identity(fd))
    except (OSError, OverflowError, TypeError, ValueError):
        return None
