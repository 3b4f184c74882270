"""Ports of an overlay host whose datagrams are passed on to kernel sockets, and those sockets on the relay thread.

Lives here: what `forward`, `expose` and `socks` share: the listeners on overlay ports, sending, local sockets read in
batches, and the table of sources with its limits. May not live here: what is passed on to where.

Law: everything runs on the relay thread, waits for nothing, and what cannot be passed on is dropped and counted.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import random
import socket
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from ..address import Destination, PeerId, Special, UnprovedId
from ..bridge.host_interface import HostInterface
from ..errors import ConfigError
from ..limits import (
    EPHEMERAL_PORTS,
    FLOWS_PER_SOCKET,
    GATEWAY_BATCH,
    GATEWAY_IDLE,
    GATEWAY_SOCKET_BUFFER,
    GATEWAY_SOURCES,
)

if TYPE_CHECKING:
    from ..bridge.events import Filling
    from ..bridge.outbox import Flow
    from ..config import PeerConfig
    from ..engine.effects import Deliver, Segment
    from ..engine.fast_path import Run

LocalAddress = tuple[str, int]

_NOT_TAKEN = "dropped: the kernel did not take a datagram for a local program"


class Listener(Protocol):
    """What hears one overlay port."""

    def heard(self, source: PeerId, source_port: int, form: int, datagrams: list[bytes]) -> bool:
        """Take in datagrams. Returns: False when the source is to be told that nothing listens here."""


class OverlayPorts:
    """The ports of one host; it is the receiver of all that comes for it."""

    def __init__(self, config: PeerConfig) -> None:
        """Raises: IdentityError, ConfigError as `Host`."""
        self.interface = HostInterface(config, self)
        self._listeners: dict[int, Listener] = {}
        self._flows: OrderedDict[tuple[Destination, int, int, int], Flow] = OrderedDict()
        self._dice = random.Random()

    def open(self, listener: Listener, port: int = 0) -> int:
        """Have `listener` hear `port`; 0 = any free one. Returns: the port.

        Raises: OSError: EADDRINUSE.
        """
        if not port:
            first, last = EPHEMERAL_PORTS
            start = self._dice.randint(first, last)
            free = (each for each in (*range(start, last + 1), *range(first, start)) if each not in self._listeners)
            port = next(free, 0)
        if not port or port in self._listeners:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        self._listeners[port] = listener
        return port

    def is_free(self, port: int) -> bool:
        """Return whether `open` would give `port`."""
        return 0 < port < 65_536 and port not in self._listeners

    def close(self, port: int) -> None:
        """Undo `open`."""
        self._listeners.pop(port, None)

    def count(self, reason: str, times: int = 1) -> None:
        """Count something that was dropped."""
        self.interface.host.count(reason, times)

    def send(self, destination: Destination, source_port: int, port: int, form: int, datagrams: list[bytes]) -> None:
        """Send `datagrams`, in order."""
        interface = self.interface
        key = (destination, source_port, port, form)
        flow = self._flows.get(key)
        if flow is None:
            while len(self._flows) >= FLOWS_PER_SOCKET:
                self._flows.popitem(last=False)
            flow = self._flows[key] = interface.flow(*key)
        else:
            self._flows.move_to_end(key)
        if len(datagrams) == 1 and not flow.waiting and interface.send_now(flow, datagrams[0]):
            return
        if interface.offer(flow, datagrams):
            interface.send((flow,))

    # --- Receiver ----------------------------------------------------------------------------------------------

    def hears(self, port: int) -> bool:
        """Return whether anything listens on `port`."""
        return port in self._listeners

    def deliver_lone(self, run: Run, datagram: bytes) -> bool:
        """No thread waits here: `deliver` does it."""
        return False

    def deliver(self, run: Deliver, filling: list[Filling] | None = None) -> bool:
        """Pass datagrams on to what listens on `port`."""
        source, source_port, port, form, datagrams, address_conflict = run
        if isinstance(source, UnprovedId):
            self.count("dropped: from a peer that proves no id", len(datagrams))
            return True
        listener = self._listeners.get(port)
        if listener is None:
            return False
        if address_conflict and form == 4:
            self.count("dropped: from a peer whose IPv4 address another peer has", len(datagrams))
            return True
        return listener.heard(source, source_port, form, datagrams)

    def deliver_segment(self, came: Segment) -> None:
        """A forwarded port has no TCP."""
        self.count("dropped: a TCP segment, which no forwarded port takes")

    def deliver_group(
        self, source: PeerId, source_port: int, port: int, form: int, group: str, datagram: bytes
    ) -> None:
        """Broadcasts and multicasts are not passed on: a forwarded port belongs to no group."""

    def unreachable(self, destination: Destination, port: int, source_port: int, error: int) -> None:
        """Nothing listens there; an unconnected kernel socket is not told either."""

    def unreachable_peer(self, destination: Destination, error: int, why: str = "") -> None:
        """No such peer is to be found."""
        self.count("unreachable: no such peer")

    def identity_changed(self) -> None:
        """Local programs know nothing of our own id."""


class LocalSocket:
    """A kernel UDP socket on the relay thread, read in batches."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        heard: Callable[[list[tuple[bytes, LocalAddress]]], object],
        count: Callable[[str], object],
        refused: Callable[[], object] | None = None,
    ) -> None:
        """Args: sock: bound; it is owned from now on. heard: is told what came, and from where. count: is told why a
        datagram was dropped. refused: is told that nothing listens where a connected socket sent to."""
        self._loop = loop
        self._sock = sock
        self._heard = heard
        self._count = count
        self._refused = refused
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, GATEWAY_SOCKET_BUFFER)
        loop.add_reader(sock.fileno(), self._readable)

    @property
    def address(self) -> LocalAddress:
        """Where it is bound."""
        host, port = self._sock.getsockname()[:2]
        return str(host), int(port)

    def _readable(self) -> None:
        came: list[tuple[bytes, LocalAddress]] = []
        try:
            for _ in range(GATEWAY_BATCH):
                data, source = self._sock.recvfrom(65_535)
                came.append((data, (source[0], source[1])))
        except BlockingIOError:
            pass
        except ConnectionRefusedError:
            if self._refused is not None:
                self._refused()
        except OSError:
            self._count(_NOT_TAKEN)  # another ICMP error for something we sent
        if came:
            self._heard(came)

    def send(self, datagrams: list[bytes], to: LocalAddress | None = None) -> None:
        """Send each to `to`, or where the socket is connected; what the kernel does not take is dropped, as between
        any two programs."""
        for data in datagrams:
            try:
                if to is None:
                    self._sock.send(data)
                else:
                    self._sock.sendto(data, to)
            except ConnectionRefusedError:
                if self._refused is not None:
                    self._refused()
            except OSError:
                self._count(_NOT_TAKEN)

    def close(self) -> None:
        """Idempotent."""
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()


K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Sources(Generic[K, V]):
    """What is kept for each source that was heard lately: at most GATEWAY_SOURCES; the stalest goes, and what was idle
    for GATEWAY_IDLE seconds. A source that talks is never forgotten for its age."""

    def __init__(self, loop: asyncio.AbstractEventLoop, forget: Callable[[K, V], object]) -> None:
        """Args: forget: is told what goes."""
        self._loop = loop
        self._forget = forget
        self._kept: OrderedDict[K, tuple[V, float]] = OrderedDict()
        self._timer = loop.call_later(GATEWAY_IDLE, self._sweep)

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: K) -> V | None:
        """Return what is kept for `key`, which counts as heard; None if nothing is."""
        entry = self._kept.get(key)
        if entry is None:
            return None
        self._kept[key] = entry[0], self._loop.time()
        self._kept.move_to_end(key)
        return entry[0]

    def add(self, key: K, value: V) -> None:
        """Keep `value` for `key`, which was not kept."""
        while len(self._kept) >= GATEWAY_SOURCES:
            self._drop_first()
        self._kept[key] = value, self._loop.time()

    def _drop_first(self) -> None:
        key, (value, _) = self._kept.popitem(last=False)
        self._forget(key, value)

    def _sweep(self) -> None:
        now = self._loop.time()
        while self._kept:
            _, used = next(iter(self._kept.values()))
            if now < used + GATEWAY_IDLE:
                self._timer = self._loop.call_at(used + GATEWAY_IDLE, self._sweep)
                return
            self._drop_first()
        self._timer = self._loop.call_later(GATEWAY_IDLE, self._sweep)

    def clear(self) -> None:
        """Forget all."""
        self._timer.cancel()
        while self._kept:
            self._drop_first()


def parse_local(text: str, *, host: str = "127.0.0.1") -> LocalAddress:
    """Return the address that `[HOST:]PORT` names. Raises: ConfigError."""
    name, _, port = text.rpartition(":")
    name = name.strip("[]") or host
    try:
        return str(ipaddress.ip_address(name)), parse_port(port)
    except ValueError:
        raise ConfigError(f"{text!r} is not [HOST:]PORT, HOST an IP address of this machine") from None


def parse_port(text: str) -> int:
    """Return the port (0..65535) that `text` names. Raises: ConfigError."""
    if text.isascii() and text.isdigit() and int(text) < 65_536:
        return int(text)
    raise ConfigError(f"{text!r} is not a port (0-65535)")


def parse_peer_port(text: str, parse: Callable[[str], Destination | Special]) -> tuple[Destination, int, int]:
    """Return the peer, its port, and how the peer is spelled (4 or 6), that `PEER:PORT` names.

    Args: parse: `Spelling.parse`. Raises: ConfigError.
    """
    name, _, digits = text.rpartition(":")
    name = name.strip("[]")
    destination = parse(name) if name else Special.WILDCARD
    if isinstance(destination, Special):
        raise ConfigError(f"{text!r} is not PEER:PORT, PEER an id, a .peer name or an address of the overlay")
    port = parse_port(digits)
    if not port:
        raise ConfigError(f"{text!r}: no peer listens on port 0")
    return destination, port, 6 if ":" in name else 4


def bound(address: LocalAddress) -> socket.socket:
    """Return a UDP socket bound to `address`. Raises: OSError whose file name is the address."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, os.strerror(error.errno or 0), f"{address[0]}:{address[1]}") from None
    return sock
