"""Datagrams on their way from the relay thread to the calls that receive them.

Lives here: `Inbox`, one per endpoint, and its janus queue, the bridge between the event loop and blocked threads. This
file is the only importer of janus. May not live here: addresses, ports, errnos.

Law: a datagram that crosses from the relay thread to a blocking caller crosses as part of a janus item, and an item is
a batch: what one packet brought (an item per datagram: 79-87 k/s; per batch: 515-690 k/s). The queue's storage is the
deque that receivers pop, so to take a datagram that is there costs no lock. What never changes threads, a datagram that
the caller itself read from a link, needs no bridge, and a socket that is polled and never blocks has none: its threads
are woken by the fd.

Three kinds of threads meet here:

- The relay thread puts items through `async_q`.
- Threads that block wait in `sync_q.get`.
- The main thread keeps out of janus: it waits at a bell, and pops the storage. Signal handlers run in it, and what they
  raise (inline_io) would, inside janus, leave its lock taken: the next put would stop the relay thread, and with it
  every socket of the process (plain janus was stuck after 3,300 handlers that raised).

What other threads put (a datagram to an own socket, a datagram that a caller read for another socket) is in the storage
before the call returns; threads that wait in janus are then woken by an item that names it. The main thread, and any
thread that the garbage collector interrupted inside janus, leaves that item to the thread of errands.

UDP's manners: a full inbox drops and counts, an empty one waits.
"""

from __future__ import annotations

import os
import threading
from asyncio import _get_running_loop
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Final, TypeAlias

import janus

from ..limits import DATAGRAM_OVERHEAD
from ..originals import thread, time
from .errands import aside
from .readiness import Readiness
from .runtime import RelayLoop
from .waiting import Waiters, guard, on_main_thread

if TYPE_CHECKING:
    import _socket

setattr(janus, "monotonic", time.monotonic)  # noqa: B010 - its timeouts are ours, whatever a program makes of `time`
get_ident: Final = thread.get_ident

Address: TypeAlias = "tuple[str | int, ...]"
"""A socket address as the standard library spells it: (host, port) or (host, port, flowinfo, scope)."""
Datagram: TypeAlias = "tuple[bytes, Address | None]"
"""A datagram and its source."""
Batch: TypeAlias = "list[Datagram]"
Mark: TypeAlias = "tuple[int, int] | tuple[int, int, str]"
"""Hop limit, traffic class, and the group that a datagram was sent to, if it was."""
_UNMARKED: Final = (64, 0)
"""What every datagram has of which nothing else is said."""

_in_janus: Final[set[int]] = set()
"""Threads that may hold a janus lock. Signal handlers do not run in them, but the garbage collector may."""


class Marked(tuple[bytes, "Address | None"]):
    """A datagram of which there is more to tell than (data, source)."""

    mark: Mark
    at: int
    """When it came, ns since 1970; 0 unless the inbox stamps."""


class _Stored(list[Datagram]):
    """A batch that the thread which puts it has laid into the storage already."""


class _Bridge(janus.Queue[Batch]):
    """The janus queue of one inbox: batches go in, and batches of one come out."""

    def __init__(self, storage: deque[Datagram]) -> None:
        self._storage = storage
        super().__init__()

    def _init(self, maxsize: int) -> None:
        """The storage is there."""

    def _qsize(self) -> int:
        return len(self._storage)

    def _put(self, item: Batch) -> None:
        if item.__class__ is not _Stored:
            self._storage.extend(item)

    def _get(self) -> Batch:
        try:
            return [self._storage.popleft()]
        except IndexError:  # a thread that need not wait was faster
            return []


class Inbox:
    """What waits for one endpoint, what failed, and who waits for it; readable exactly when a receive would not block.

    A receiver pops `ready` without a lock unless `needs_check` is set; when `observed` is set and it took the last, it
    calls `update_fd`. Everything else changes under one guard, so that two readers and the loop neither lose a wake-up
    nor fake one. Nothing waits for a lock of janus while it holds the guard.

    The bridge is made when it is first needed: 8 kB and 20 µs that pollers, and sockets that only send, never pay.
    """

    __slots__ = (
        *("blocked", "bridge", "_taken_before", "waiting_size", "bound", "came", "closed", "dropped", "error"),
        *("inherited", "lock", "needs_check", "observed", "readiness", "ready", "shut", "stamped", "waiters", "why"),
    )

    def __init__(self, readiness: Readiness, bound: int) -> None:
        self.readiness = readiness
        self.bound = bound
        """What may wait, in `cost` units; the datagram that passes it is still taken, as the kernel does."""
        self.ready: deque[Datagram] = deque()
        self.lock = guard()
        self.waiters = Waiters()
        """The main thread, and the thread that reads links itself."""
        self.needs_check = False
        """There is more to know than `ready` says: an error, a shutdown, a close."""
        self.observed = False
        """The fd may be polled; before that nothing is rung."""
        self.closed = False
        self.inherited = False
        """This is a forked child's copy, to which nothing comes."""
        self.shut = False
        self.stamped = False
        """Datagrams are to say when they came."""
        self.error = 0
        """Pending errno (SO_ERROR), reported once."""
        self.why = ""
        """What is known of its reason, in words."""
        self.dropped = 0
        self.came = 0
        """Datagrams ever taken in."""
        self.bridge: _Bridge | None = None
        """Made when it is first needed."""
        self.blocked: list[int] = []
        """Threads that wait in the bridge, or are about to, or have just done so."""
        self.waiting_size = 0
        """What waits, or more: receivers do not count down; `put` counts again when this passes `bound`."""
        self._taken_before = -1
        """How many datagrams receivers had taken when `is_filling` last said yes."""

    # --- taking in -----------------------------------------------------------------------------------------------

    def put(self, source: Address | None, datagrams: list[bytes], mark: Mark | None = None) -> bool:
        """Let `datagrams` from `source` wait, in order; what passes `bound` is dropped and counted. Any thread.

        Args: mark: what there is to tell besides, if anything.

        Returns: False when no process holds the socket any more.
        """
        size = len(datagrams[0]) + DATAGRAM_OVERHEAD if len(datagrams) == 1 else cost(datagrams)
        with self.lock:
            if self.closed:
                return False
            if self.waiting_size + size > self.bound:
                datagrams, size = self._fit(datagrams)
                if not datagrams:
                    return True
            self.waiting_size += size
            self.came += len(datagrams)
        if mark is None and not self.stamped:
            batch = list(zip(datagrams, repeat(source)))
        else:
            batch = _marked(datagrams, source, mark or _UNMARKED, time.time_ns() if self.stamped else 0)
        if _get_running_loop() is None:
            self.ready.extend(batch)
            if self.blocked:
                self._wake_blocked(_Stored(batch))
        else:
            self._store(batch)
        if self.waiters.bells:
            self.waiters.wake_all()
        if self.observed:
            with self.lock:  # so that no reader finds the last datagram gone and the fd still readable
                return not self.ready or self.readiness.ring()
        return True

    def _store(self, batch: Batch) -> None:
        """Lay `batch` into the storage, and wake threads that wait in the bridge: as many as there are datagrams."""
        if (
            _get_running_loop().__class__ is RelayLoop
            and (self.bridge is not None or not self.observed)
            and get_ident() not in _in_janus
        ):
            while not self._cross(batch):
                if self.closed:
                    return
        else:
            self.ready.extend(batch)
            if self.blocked:
                self._wake_blocked(_Stored(batch))

    def _cross(self, batch: Batch) -> bool:
        """Put `batch` through the bridge. Relay thread only. Returns: False when the bridge was closed meanwhile; what
        did not cross is still in `batch` then."""
        bridge = self.bridge or self.open_bridge()
        me = get_ident()
        _in_janus.add(me)
        try:
            _put_items(bridge.async_q.put_nowait, batch, len(self.blocked))
        except janus.AsyncQueueShutDown:
            return False
        finally:
            _in_janus.discard(me)
        return True

    def _wake_blocked(self, stored: _Stored) -> None:
        """Have threads that wait in the bridge look at what was stored. Any thread."""
        me = get_ident()
        if on_main_thread() or me in _in_janus:
            aside(partial(self._wake_blocked, stored))
            return
        bridge = self.bridge
        if bridge is None:  # all were woken
            return
        _in_janus.add(me)
        try:
            _put_items(bridge.sync_q.put_nowait, stored, len(self.blocked))
        except janus.SyncQueueShutDown:  # all were woken
            pass
        finally:
            _in_janus.discard(me)

    def open_bridge(self) -> _Bridge:
        """Return the bridge, made if need be. Any thread."""
        with self.lock:
            if self.bridge is None:
                self.bridge = _Bridge(self.ready)
            return self.bridge

    def _fit(self, datagrams: list[bytes]) -> tuple[list[bytes], int]:
        """Return the leading datagrams that there is room for and their cost, after counting what really waits."""
        waiting = self._count()
        count = 0
        for data in datagrams:
            if waiting > self.bound:
                break
            waiting += len(data) + DATAGRAM_OVERHEAD
            count += 1
        self.dropped += len(datagrams) - count
        return datagrams[:count], waiting - self.waiting_size

    def _count(self) -> int:
        """Count what really waits."""
        with self.lock:
            self.waiting_size = cost([item[0] for item in self.ready.copy()])
            return self.waiting_size

    def is_filling(self) -> bool:
        """Return whether more than half of `bound` waits and something was taken since this last said yes, so that to
        pause what comes helps a reader. Loop thread only."""
        if self.waiting_size * 2 <= self.bound or self._count() * 2 <= self.bound:
            return False
        taken = self.came - len(self.ready)
        if taken == self._taken_before:
            return False
        self._taken_before = taken
        return True

    def has_drained(self) -> bool:
        """Return whether no more than a quarter of `bound` waits. Loop thread only."""
        return self._count() * 4 <= self.bound

    # --- waiting -------------------------------------------------------------------------------------------------

    def take(self, timeout: float | None) -> Datagram | None:
        """Wait until there is a datagram or an error, at most `timeout` seconds. Signal handlers run, and what they
        raise comes out of here.

        Returns: a datagram that crossed to this thread. None for "look again": `ready` may hold one.
        """
        me = get_ident()
        with self.lock:
            if self.ready or self.error or self.closed:
                return None
            bridge = self.open_bridge()
            outside = on_main_thread() or me in _in_janus
            if outside:
                bell = self.waiters.enter()
            else:
                self.blocked.append(me)
        if outside:
            try:
                if not self.ready:  # a put looks for bells after it put, and this the other way round
                    self.waiters.wait(bell, timeout)
            finally:
                self.waiters.leave(bell)
            return None
        _in_janus.add(me)
        try:
            batch = bridge.sync_q.get(timeout=None if timeout is None else min(timeout, threading.TIMEOUT_MAX))
        except (janus.SyncQueueEmpty, janus.SyncQueueShutDown):
            return None
        finally:
            _in_janus.discard(me)
            self.blocked.remove(me)
        return batch[0] if batch else None

    def give_back(self, sock: _socket.socket, datagram: Datagram) -> None:
        """Undo `take`, for a receive that only looks."""
        self.ready.appendleft(datagram)
        if self.blocked:
            self._wake_blocked(_Stored((datagram,)))
        self.waiters.wake_all()
        self.update_fd(sock)

    def wake_all(self) -> None:
        """Have every thread that waits look again. Any thread."""
        self.waiters.wake_all()
        if self.blocked:
            with self.lock:
                bridge, self.bridge = self.bridge, None  # the storage stays, for the next one
            if bridge is not None:
                self._close(bridge)

    def _close(self, bridge: _Bridge) -> None:
        me = get_ident()
        if on_main_thread() or me in _in_janus:
            aside(partial(self._close, bridge))
            return
        _in_janus.add(me)
        try:
            bridge.shutdown()
        finally:
            _in_janus.discard(me)

    # --- what there is to know -----------------------------------------------------------------------------------

    def fail(self, error: int, why: str = "") -> None:
        """Make the next call report `error` (an errno), for reason `why`. Any thread."""
        with self.lock:
            self.error, self.why = error, why
        self._alert()

    def shut_down(self) -> None:
        """Let blocked receives, now and later, return at once."""
        with self.lock:
            self.shut = True
        self._alert()

    def close(self) -> bool:
        """Wake every thread that waits; nothing is taken in any more. Returns: False if it was closed."""
        with self.lock:
            if self.closed:
                return False
            self.closed = True
            self.readiness.close()
        self._alert()
        self.ready.clear()
        return True

    def _alert(self) -> None:
        """Say that there is more to know than `ready` says: what waits looks again, the fd is readable."""
        with self.lock:
            self.needs_check = True
            if self.observed and not self.closed:
                self.readiness.ring()
        self.wake_all()

    def take_error(self) -> int:
        """Return the pending errno, 0 for none, and forget it. The caller updates the fd afterwards."""
        with self.lock:
            error, self.error = self.error, 0
            self.needs_check = self.shut or self.closed or self.inherited
            return error

    def readable(self) -> bool:
        """Return whether a receive would return at once."""
        return bool(self.ready) or self.needs_check

    def update_fd(self, sock: _socket.socket) -> None:
        """Make the fd, which `sock` holds, say what is true now."""
        with self.lock:
            if self.closed or not self.observed:
                return
            if not self.readable():
                self.readiness.clear(sock)
            elif not self.readiness.rung:
                self.readiness.ring()

    def observe(self, sock: _socket.socket) -> None:
        """Keep the fd truthful from now on."""
        with self.lock:
            self.observed = True
            self.update_fd(sock)

    def flush(self) -> None:
        """Forget what waits."""
        self.ready.clear()


def cost(datagrams: Iterable[bytes]) -> int:
    """Return what `datagrams` count for against SO_RCVBUF or SO_SNDBUF: their bytes and a fixed overhead each."""
    total = 0
    for data in datagrams:
        total += len(data) + DATAGRAM_OVERHEAD
    return total


def _put_items(put: Callable[[Batch], None], batch: Batch, threads: int) -> None:
    """Put `batch` in as many items as wake `threads` threads, none of them empty: janus wakes one for each. What is in
    `batch` when `put` raises was not put."""
    for _ in range(min(threads, len(batch)) - 1):
        first = batch[:1]
        put(first if batch.__class__ is list else _Stored(first))
        del batch[0]
    put(batch)


def _marked(datagrams: list[bytes], source: Address | None, mark: Mark, at: int) -> Batch:
    items: Batch = []
    for data in datagrams:
        item = Marked((data, source))
        item.mark, item.at = mark, at
        items.append(item)
    return items


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_janus.clear)
