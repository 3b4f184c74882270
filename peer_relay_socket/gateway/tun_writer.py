"""What comes from peers, written to a TUN device as fast as the programs behind it read.

A socket of the kernel's default size holds some 90 datagrams of 1200 bytes: two packets in a row would lose some. What
does not fit waits here, for each port by itself, so that a program that does not read holds up no other.

Law: nothing here raises or blocks; what programs do not read is bounded, dropped and counted.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from ..bridge.inbox import cost
from ..limits import (
    DATAGRAM_OVERHEAD,
    KERNEL_OVERHEAD,
    TUN_BACKLOG,
    TUN_BURST,
    TUN_PATIENCE,
    TUN_PORT_BACKLOG,
    TUN_RETRY,
    TUN_RETRY_MOST,
    TUN_RUN,
    TUN_WAITING_PORTS,
)
from . import packets
from .packets import UdpHeader
from .short_timer import ShortTimer

if TYPE_CHECKING:
    from ..bridge.events import Filling
    from ..bridge.host_interface import HostInterface
    from .receive_queues import Queue


_NO_DEVICE: Final = "dropped: there is no device, or no more"


class Queues(Protocol):
    """What waits in the sockets of the programs behind a device."""

    def queue(self, key: bytes) -> Queue | None:
        """Return what waits where the datagrams of a `packets.udp_key` go; None when nothing is there."""

    def hears(self, port: int) -> bool:
        """Return whether there is a socket on `port`."""


class _Backlog:
    """What waits for one port."""

    __slots__ = ("read_at", "runs", "size")

    def __init__(self, now: float) -> None:
        self.runs: deque[tuple[UdpHeader, list[bytes]]] = deque()
        self.size = 0
        """In `cost` units; TUN_PORT_BACKLOG and one packet at most."""
        self.read_at = now
        """When there was room for some of it last."""

    def count(self) -> int:
        """Return how many datagrams wait."""
        return sum(len(datagrams) for _, datagrams in self.runs)

    def has_drained(self) -> bool:
        """Return whether little waits."""
        return self.size <= TUN_PORT_BACKLOG // 4


class DeviceWriter:
    """The writing side of one device. Relay thread only, but for `__init__`."""

    def __init__(self, interface: HostInterface) -> None:
        self._interface = interface
        self._write: Callable[[bytes], object] | None = None
        self._segments = True
        self._queues: Queues | None = None
        self._timer: ShortTimer | None = None
        self._backlogs: dict[int, _Backlog] = {}
        """By port; TUN_WAITING_PORTS at most, and TUN_BACKLOG and one packet together."""
        self._held = 0
        """What waits there, in `cost` units."""
        self._delay = TUN_RETRY
        self._looked_at = b""
        """The port whose socket was looked at last."""
        self._unlooked = 0
        """How much may be written there before it is looked at again, as the kernel counts it."""

    def attach(self, write: Callable[[bytes], object], segments: bool, queues: Queues) -> None:
        """Write to a device from now on. Args: as of `Link` and `Tun.attach`."""
        self._write, self._segments, self._queues = write, segments, queues
        self._timer = ShortTimer(self._interface.loop, self._write_backlogs)

    def detach(self) -> None:
        """Write to it no more."""
        self._write = None
        for backlog in self._backlogs.values():
            self._interface.host.count(_NO_DEVICE, backlog.count())
        self._backlogs.clear()
        self._held = 0
        if self._timer is not None:
            self._timer.close()
            self._timer = None

    def put(self, header: UdpHeader, port: int, datagrams: list[bytes]) -> Filling | None:
        """Write datagrams for `port`, now or once what came before them was read.

        Returns: what is filling up, where much waits for a program that reads.
        """
        backlog = self._backlogs.get(port)
        if backlog is None:
            if self._timer is None:
                self._interface.host.count(_NO_DEVICE, len(datagrams))
                return None
            datagrams = self._write_run(header, datagrams)
            if not datagrams:
                return None
            if not self._backlogs:
                self._delay = TUN_RETRY
                self._timer.start(TUN_RETRY)
            backlog = self._backlogs[port] = _Backlog(self._interface.loop.time())
        if backlog.size > TUN_PORT_BACKLOG:
            self._drop(len(datagrams))
            return None
        size = cost(datagrams)
        backlog.runs.append((header, datagrams))
        backlog.size += size
        self._held += size
        if self._held > TUN_BACKLOG or len(self._backlogs) > TUN_WAITING_PORTS:
            stalest = self._backlogs.pop(min(self._backlogs, key=lambda each: self._backlogs[each].read_at))
            self._held -= stalest.size
            self._drop(stalest.count())
        if backlog.has_drained() or self._interface.loop.time() > backlog.read_at + TUN_PATIENCE:
            return None
        return backlog

    def _drop(self, count: int) -> None:
        self._interface.host.count("dropped: programs do not read what comes", count)

    def _write_backlogs(self) -> None:
        """Write what waited and has room now; look again soon, and less often where nothing is read."""
        before = self._held
        for port, backlog in list(self._backlogs.items()):
            self._write_backlog(backlog)
            if not backlog.runs:
                del self._backlogs[port]
        self._delay = TUN_RETRY if self._held < before else min(2 * self._delay, TUN_RETRY_MOST)
        if self._backlogs and self._timer is not None:
            self._timer.start(self._delay)

    def _write_backlog(self, backlog: _Backlog) -> None:
        runs, before = backlog.runs, backlog.size
        while runs:
            header, datagrams = runs[0]
            left = self._write_run(header, datagrams)
            if len(left) < len(datagrams):
                backlog.size -= cost(datagrams) - cost(left)
            if left:
                runs[0] = header, left
                break
            runs.popleft()
        if backlog.size < before:
            self._held -= before - backlog.size
            backlog.read_at = self._interface.loop.time()

    def _write_run(self, header: UdpHeader, datagrams: list[bytes]) -> list[bytes]:
        """Write as many as there is room for. Returns: the rest."""
        port = header.key[-2:]
        if port != self._looked_at:
            self._looked_at, self._unlooked = port, 0
        while datagrams:
            now = datagrams[:TUN_RUN]
            size = cost(now) + len(now) * (KERNEL_OVERHEAD - DATAGRAM_OVERHEAD)
            if size > self._unlooked and not self._has_room(header, size):
                break
            self._unlooked -= size
            datagrams = datagrams[TUN_RUN:]
            if len(now) == 1 or not self._segments:
                for datagram in now:
                    self.write(header.frame(datagram))
            else:
                for data, each in packets.runs(now):
                    self.write(header.frame(data, each))
        return datagrams

    def _has_room(self, header: UdpHeader, size: int) -> bool:
        """Return whether the socket that datagrams go to takes `size` bytes, or is none, so that the kernel says so."""
        queue = self._queues.queue(header.key) if self._queues is not None else None
        if queue is None or not queue.waiting:
            self._unlooked = max(size, TUN_BURST)
            return True
        room = queue.most - queue.waiting
        self._unlooked = min(room, max(size, TUN_BURST))
        return size <= room

    def write(self, frame: bytes) -> None:
        """Write one frame, past all that waits."""
        if self._write is None:
            self._interface.host.count(_NO_DEVICE, 1)
            return
        try:
            self._write(frame)
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0)
            self._interface.host.count(f"dropped: the device does not take a packet ({name})")
