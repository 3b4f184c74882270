"""Real UDP, where the user asked for it: kernel sockets that stand beside an endpoint.

Lives here: how a datagram leaves by one, and how an answer gets into the endpoint's inbox. May not live here: which
addresses are real (real_networks.py), what calls mean (surface).

Law: a datagram leaves or comes in here only if `real_udp` names its other end. Callers' threads send, the relay thread
reads; an endpoint has none of these sockets until it first sends to, or is connected to, a real address.
"""

from __future__ import annotations

import _socket
import contextlib
import errno
from collections.abc import Callable, Sequence
from typing import Final

from ..limits import REAL_UDP_NAP, REAL_UDP_READS, SPELLED_SOURCES
from ..originals import os, time
from ..real_networks import RealNetwork, are_real
from ..system import KERNEL_DONTWAIT
from .binding import Binding
from .inbox import Address
from .runtime import Runtime

_READS: Final = REAL_UDP_READS if KERNEL_DONTWAIT else 1
"""Where a read cannot be told not to wait, the loop has seen one datagram, and no more."""
_LONGEST: Final = 0xFFFF
_STRANGER: Final = "dropped: real UDP from an address that the setting real_udp does not name"


class KernelSocket(_socket.socket):
    """A real UDP socket of ours: the guard knows it by its class."""

    __slots__ = ()


class RealUdp:
    """The kernel sockets of one endpoint, for one IP version: one that sends, and a duplicate that the relay thread
    reads. A forked child's copy of the first still sends; the second is the parent's."""

    __slots__ = ("_binding", "_count", "_known", "_networks", "_owner", "_reading", "_runtime", "_sending")

    def __init__(
        self, binding: Binding, version: int, networks: Sequence[RealNetwork], count: Callable[[str], object]
    ) -> None:
        """Raises: OSError: EMFILE, EAFNOSUPPORT and what else socket() says."""
        self._binding = binding
        self._networks = networks
        self._count = count
        self._known: dict[Address, bool] = {}
        """Sources that wrote, and whether they may."""
        family = _socket.AF_INET6 if version == 6 else _socket.AF_INET
        self._sending = KernelSocket(family, _socket.SOCK_DGRAM)
        self._sending.setblocking(True)  # whatever the default timeout is
        if version == 6:
            self._sending.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, binding.v6only)
        self._owner = os.getpid()
        self._reading: KernelSocket | None = None
        if not binding.inbox.inherited:
            self._reading = KernelSocket(fileno=_socket.dup(self._sending.fileno()))
            self._reading.setblocking(True)  # it is read with MSG_DONTWAIT, which no timeout of its own may precede
            self._runtime = Runtime.current()
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits for answers any more
                self._runtime.call(self._begin)

    def connect(self, address: Address) -> None:
        """Have refusals of `address` reported. Raises: OSError: ENETUNREACH and the like."""
        self._sending.connect(address)

    def allow_broadcast(self, allowed: bool) -> None:
        """Take over the endpoint's SO_BROADCAST."""
        self._sending.setsockopt(_socket.SOL_SOCKET, _socket.SO_BROADCAST, allowed)

    def send(self, datagrams: Sequence[bytes], address: Address, timeout: float | None) -> None:
        """Send each of `datagrams`, waiting at most `timeout` seconds (None: as long as it takes).

        Raises: OSError: what the kernel says, EAGAIN with timeout 0. TimeoutError.
        """
        end = None if timeout is None else time.monotonic() + timeout
        for data in datagrams:
            while True:
                try:
                    self._sending.sendto(data, 0 if end is None else KERNEL_DONTWAIT, address)
                    break
                except BlockingIOError:
                    if not timeout:
                        raise
                    if end is not None and time.monotonic() >= end:
                        raise TimeoutError("timed out") from None
                    time.sleep(REAL_UDP_NAP)  # the kernel's queue to a device empties in microseconds

    def close(self) -> None:
        """Give the sockets back. Any thread; twice is harmless."""
        self._sending.close()
        if self._reading is None:
            return
        if self._owner == os.getpid():
            with contextlib.suppress(RuntimeError):
                self._runtime.call(self._end, self._reading)
                return
        self._reading.close()

    # --- relay thread ------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        if self._reading is not None and self._reading.fileno() >= 0:
            self._runtime.loop.add_reader(self._reading.fileno(), self._read, self._reading)

    def _end(self, reading: KernelSocket) -> None:
        if reading.fileno() >= 0:
            self._runtime.loop.remove_reader(reading.fileno())
            reading.close()

    def _read(self, reading: KernelSocket) -> None:
        try:
            for _ in range(_READS):
                data, source = reading.recvfrom(_LONGEST, KERNEL_DONTWAIT)
                self._take_in(data, source)
        except BlockingIOError:
            pass
        except OSError as error:  # ECONNREFUSED: nobody listens there
            self._binding.inbox.fail(error.errno or errno.EIO)

    def _take_in(self, data: bytes, source: Address) -> None:
        may = self._known.get(source)
        if may is None:
            if len(self._known) >= SPELLED_SOURCES:
                self._known.clear()
            may = self._known[source] = are_real(self._networks, str(source[0]), int(source[1]))
        peer = self._binding.peer
        if not may:
            self._count(_STRANGER)
        elif peer is None or peer[:2] == source[:2]:
            self._binding.inbox.put(source, [data])


class RealWay:
    """A way out of an endpoint by real UDP."""

    __slots__ = ("_real", "address", "form")

    def __init__(self, real: RealUdp, address: Address, form: int) -> None:
        self._real = real
        self.address = address
        self.form = form

    def connect(self) -> None:
        """As `RealUdp.connect`."""
        self._real.connect(self.address)

    def send(self, datagrams: Sequence[bytes], timeout: float | None) -> None:
        """As `RealUdp.send`."""
        self._real.send(datagrams, self.address, timeout)
