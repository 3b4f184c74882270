"""What crosses between calling threads and the loop: datagrams out, datagrams in, and the waiting for either.

Lives here: `Flow` and `Outbox` (callers to loop), `Inbox` (loop to callers), `Waiters` (blocked threads). This file is
the only importer of janus and, with runtime.py, the only one that names locks. May not live here: addresses, ports,
errnos.

Law: the datagram itself is appended to or popped from a plain container, which CPython makes atomic; locks and janus
are touched only at the edges of a batch, by who waits and who wakes them. One janus item says "a batch has come", never
"here is one datagram" (measured: 79-87 k/s with an item per datagram, 515-690 k/s with one per batch). Sending takes no
lock (but for the loop's turn, which is lent with care): the interpreter may raise what a signal handler raises between
any two instructions, and janus's lock, left taken, would stop the loop and with it every socket of the process.

UDP's manners: a full inbox drops and counts, an empty one waits; a sender whose budget is used up waits or is told so.
"""

from __future__ import annotations

import contextlib
import threading
from _thread import LockType, allocate_lock
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Protocol, TypeAlias

import janus

from ..address import Destination
from ..limits import DATAGRAM_OVERHEAD, FAST_PATH_GAP
from ..originals import time
from .readiness import Readiness
from .runtime import aside

if TYPE_CHECKING:
    import _socket

    from .host import Host
    from .inline_io import Leader

setattr(janus, "monotonic", time.monotonic)  # noqa: B010 - its timeouts are ours, whatever a program makes of `time`

Address: TypeAlias = "tuple[str | int, ...]"
"""A socket address as the standard library spells it: (host, port) or (host, port, flowinfo, scope)."""
Guard: TypeAlias = "AbstractContextManager[bool]"


def guard() -> Guard:
    """Return a reentrant lock: signal handlers and the garbage collector run socket calls inside socket calls."""
    return threading.RLock()


def cost(datagrams: Iterable[bytes]) -> int:
    """Return what `datagrams` count for against SO_RCVBUF or SO_SNDBUF: their bytes and a fixed overhead each."""
    total = 0
    for data in datagrams:
        total += len(data) + DATAGRAM_OVERHEAD
    return total


class Bell(Protocol):
    """What a thread waits for."""

    def release(self) -> object:
        """Wake it. Any thread."""


class Waiters:
    """Threads blocked until something changes; an edge is one janus item, or for the main thread a lock released.

    The main thread is where signal handlers run, and what they raise comes out at any instruction: within janus, whose
    lock then stays taken, it would stop whoever puts the next item, which is the loop. So the main thread does not
    enter janus. It waits for a bell, a bare lock, and has another thread do what takes janus to wake others.

    The janus queue is made when the first thread waits (8 kB and 20 µs that pollers never pay). `enter`, `leave`,
    `wake` and `wake_all` are called under the owner's guard, `wait` outside it. A wake-up may be stale: look again.
    """

    __slots__ = ("_inside", "_queue", "bells", "others")

    def __init__(self) -> None:
        self.bells: list[Bell] = []
        """What the main thread, or who leads, waits for: more than one while signal handlers wait, too. Always the same
        list, from which each is taken in one step."""
        self.others = 0  # threads that wait in the queue
        self._queue: janus.Queue[None] | None = None
        self._inside: list[int] = []  # threads that may hold janus's lock, where the garbage collector may call us

    @property
    def waiting(self) -> int:
        """How many waits nobody has ended yet."""
        return len(self.bells) + self.others

    def enter(self) -> LockType | janus.Queue[None]:
        """Count the calling thread as waiting; an edge after this is not missed. Returns: what `wait` takes."""
        if _is_main():
            bell = allocate_lock()
            bell.acquire()
            self.bells.append(bell)
            return bell
        self.others += 1
        if self._queue is None:
            self._queue = janus.Queue()
        return self._queue

    def leave(self, entered: LockType | janus.Queue[None]) -> None:
        """Undo `enter`."""
        if isinstance(entered, janus.Queue):
            self.others -= 1
        elif entered in self.bells:
            self.bells.remove(entered)

    def wake(self) -> None:
        """Let one waiting thread look again, and the main thread. Items never outnumber waiters."""
        self._ring()
        queue = self._queue
        if queue is not None and self.others:
            self._cross(partial(self._put, queue))

    def wake_all(self) -> None:
        """Let every waiting thread look again."""
        self._ring()
        queue, self._queue = self._queue, None
        if queue is not None:
            self._cross(queue.close)

    def _ring(self) -> None:
        bells = self.bells  # one that an exception kept its owner from taking back goes here
        while bells:
            try:
                bell = bells.pop()
            except IndexError:  # its owner was faster
                return
            bell.release()

    def _put(self, queue: janus.Queue[None]) -> None:
        if self.others > queue.sync_q.qsize():
            with contextlib.suppress(janus.SyncQueueShutDown):  # by now everybody was woken
                queue.sync_q.put_nowait(None)

    def _cross(self, call: Callable[[], None]) -> None:
        me = threading.get_ident()
        if me in self._inside or _is_main():
            aside(partial(self._cross, call))
            return
        self._inside.append(me)
        try:
            call()
        finally:
            self._inside.remove(me)

    def wait(self, entered: LockType | janus.Queue[None], timeout: float | None) -> bool:
        """Wait for an edge, at most `timeout` seconds. Signal handlers run, and what they raise comes out of here.

        Returns: False when the time is up.
        """
        if not isinstance(entered, janus.Queue):
            return entered.acquire(timeout=-1 if timeout is None else min(timeout, threading.TIMEOUT_MAX))
        me = threading.get_ident()
        self._inside.append(me)
        try:
            entered.sync_q.get(timeout=timeout)
        except janus.SyncQueueEmpty:
            return False
        except janus.SyncQueueShutDown:
            return True
        finally:
            self._inside.remove(me)
        return True


def _is_main() -> bool:
    return threading.get_ident() == threading.main_thread().ident


class Came(Protocol):
    """How much an owner of flows has heard."""

    @property
    def came(self) -> int:
        """Datagrams ever taken in."""


class FlowOwner(Protocol):
    """What sends by flows: an endpoint, or a host without sockets."""

    host: Host
    pending: int
    """What waits in its flows, in `cost` units."""

    @property
    def inbox(self) -> Came:
        """Where answers come."""

    def sent(self, size: int) -> None:
        """The loop took `size` (in `cost` units) out of a flow."""


class Flow:
    """One caller-side stream of datagrams to one place; an endpoint keeps one per address it sends to.

    Callers append to `waiting` and, if `queued` is false, call `post`. Two threads may both post: the
    second finds nothing to take, which is harmless.
    """

    __slots__ = (
        *("_heard", "_hurried_at", "burst", "destination", "endpoint", "form", "group", "port", "queued"),
        *("source_port", "waiting"),
    )

    def __init__(self, endpoint: FlowOwner, destination: Destination, source_port: int, port: int, form: int) -> None:
        self.endpoint = endpoint
        self.destination = destination
        self.source_port = source_port
        self.port = port
        self.form = form
        """How the sender spells addresses: 4, 6, or 0 for whole ids."""
        self.group: tuple[str, int] | None = None
        """Instead of `destination`: everybody who hears this address, past so many relays."""
        self.waiting: list[bytes] = []
        self.queued = False
        self.burst = False
        """Whether the loop found more than one datagram when it last looked."""
        self._hurried_at = 0.0
        self._heard = 0

    def hurry(self, data: bytes) -> bool:
        """Send `data`, before which nothing waits here, from the calling thread and at once if it is a lone datagram.

        A datagram is lone when the loop last found no more than one here, and something was heard or FAST_PATH_GAP
        seconds have gone since the last one. The first of a burst leaves at once and the rest is packed; neither a
        question nor its answer waits for the loop to wake. Any thread; never waits.

        Returns: False when it must go by the loop.
        """
        endpoint = self.endpoint
        now, heard = time.monotonic(), endpoint.inbox.came
        if self.burst or (heard == self._heard and now < self._hurried_at + FAST_PATH_GAP):
            return False
        self._hurried_at, self._heard = now, heard
        send_now = endpoint.host.outbox.send_now
        return send_now is not None and send_now(self, data)

    def take(self, room: int) -> list[bytes]:
        """Take the datagrams that wait, in order: all that fit in `room` bytes, and at least one if `room` is positive.

        Loop thread only. Gives what it took back to the endpoint's send budget.

        Returns: [] when nothing waits. The flow is not posted again for what is left: `waiting` tells.
        """
        waiting = self.waiting
        if not waiting or room <= 0:
            return []
        taken = waiting[:]
        self.burst = len(taken) > 1
        size = sum(map(len, taken))
        if size > room:
            size = count = 0
            for data in taken:
                size += len(data)
                if size > room and count:
                    size -= len(data)
                    break
                count += 1
            del taken[count:]
        del waiting[: len(taken)]
        self.endpoint.sent(size + DATAGRAM_OVERHEAD * len(taken))
        return taken

    def accept(self, datagrams: list[bytes]) -> None:
        """Let `datagrams` wait, and post the flow if it was not. Any thread; the budget is the caller's business."""
        self.waiting.extend(datagrams)
        self.endpoint.pending += cost(datagrams)
        if not self.queued:
            self.post()

    def post(self) -> None:
        """Hand the flow, which was not queued and has datagrams waiting, to the loop. Any thread.

        What a signal handler raises meanwhile leaves it un-queued: the next datagram posts it.
        """
        try:
            self.queued = True
            self.endpoint.host.outbox.post(self)
        except BaseException:
            self.queued = False
            raise

    def discard(self) -> int:
        """Throw away what waits (loop thread only). Returns: how many datagrams that were."""
        taken = self.waiting[:]
        del self.waiting[: len(taken)]
        self.endpoint.sent(cost(taken))
        return len(taken)


class Outbox:
    """The flows that have datagrams for the loop. Bounded by the send budgets of the endpoints behind them.

    Callers enter no lock here, so that what a signal handler raises, at whatever instruction of `post`, leaves nothing
    behind but a flow that the next datagram posts again. What holds at every instruction, in any interleaving: a flow
    is appended before the ring is looked at; `_rung` equals `_takes` only once a whole ring was struck that no `take`
    has answered yet; and `take` counts itself before it looks. So who finds the two equal is seen by a take to come.
    """

    __slots__ = ("_rung", "_takes", "lead", "posted", "ring", "send_now")

    def __init__(self) -> None:
        self.posted: deque[Flow] = deque()
        self._takes = 0  # how often the loop has looked
        self._rung = -1  # what `_takes` was when somebody last rang
        self.send_now: Callable[[Flow, bytes], bool] | None = None
        """Sends one datagram from the calling thread, or returns False. The driver's, as `ring`."""
        self.lead: Leader | None = None
        """Where a thread that waits for a datagram reads links itself; None until there are any."""
        self.ring: Callable[[], None] | None = None
        """Wakes the loop; called when the outbox goes from empty to not empty, sometimes more often. It takes no lock.
        The driver sets it, then takes once (what was posted before is there), and sets it back to None before it closes
        the loop."""

    def post(self, flow: Flow) -> None:
        """Hand `flow`, which has datagrams waiting and was marked `queued`, to the loop. Any thread, never waits."""
        self.posted.append(flow)
        takes = self._takes
        if self._rung != takes:
            ring = self.ring
            if ring is not None:
                ring()
                self._rung = takes

    def take(self) -> list[Flow]:
        """Take every flow posted so far, each marked un-queued before anybody reads its datagrams, so that a datagram
        appended later posts its flow again. Loop thread only."""
        self._takes += 1
        flows: list[Flow] = []
        for _ in range(len(self.posted)):
            flow = self.posted.popleft()
            flow.queued = False
            flows.append(flow)
        return flows

    def idle(self) -> bool:
        """Return whether nothing is posted."""
        return not self.posted


Mark: TypeAlias = "tuple[int, int] | tuple[int, int, str]"
"""Hop limit, traffic class, and the group that a datagram was sent to, if it was."""


class Marked(tuple[bytes, "Address | None"]):
    """A waiting datagram of which there is more to tell than (data, source): its `mark`."""

    mark: Mark


class Inbox:
    """What waits for one endpoint, what failed, and who waits for it; readable exactly when a receive would not block.

    `ready` holds (data, source) pairs. A receiver pops one without a lock unless `attention` is set; when `observed` is
    set and it took the last, it calls `settle`. Everything else is under one guard, so that two readers and the loop
    neither lose a wake-up nor fake one.
    """

    __slots__ = (
        *("_held", "_seen", "attention", "bound", "came", "closed", "dropped", "error", "inherited", "lock"),
        *("observed", "readers", "readiness", "ready", "shut"),
    )

    def __init__(self, readiness: Readiness, bound: int) -> None:
        self.readiness = readiness
        self.bound = bound
        """What may wait, in `cost` units; the datagram that passes it is still taken, as the kernel does."""
        self.ready: deque[tuple[bytes, Address | None]] = deque()
        self.lock = guard()
        self.readers = Waiters()
        self.attention = False
        """There is more to know than `ready` says: an error, a shutdown, a close."""
        self.observed = False
        """Somebody may poll the fd; before that nothing is rung."""
        self.closed = False
        self.inherited = False
        """This is a forked child's copy, to which nothing comes."""
        self.shut = False
        self.error = 0
        """Pending errno (SO_ERROR), reported once."""
        self.dropped = 0
        self._held = 0  # what waits, or more: receivers do not count down, `put` counts again when this passes `bound`
        self.came = 0
        """Datagrams ever taken in."""
        self._seen = -1  # how many of them receivers had taken when `crowded` last said yes

    def shut_down(self) -> None:
        """Let blocked receives, now and later, return at once."""
        with self.lock:
            self.shut = True
            self.alert()

    def put(self, source: Address | None, datagrams: list[bytes], mark: Mark | None = None) -> bool:
        """Let `datagrams` from `source` wait, in order; what passes `bound` is dropped and counted. Any thread.

        Args: mark: what there is to tell besides, if anything.

        Returns: False when nobody holds the socket any more.
        """
        size = len(datagrams[0]) + DATAGRAM_OVERHEAD if len(datagrams) == 1 else cost(datagrams)
        with self.lock:
            if self.closed:
                return False
            if self._held + size > self.bound:
                datagrams, size = self._fit(datagrams)
                if not datagrams:
                    return True
            self._held += size
            self.came += len(datagrams)
            self.ready.extend(zip(datagrams, repeat(source)) if mark is None else _marked(datagrams, source, mark))
            readers = self.readers
            if readers.bells or readers.others:
                readers.wake()
            return not self.observed or self.readiness.ring()

    def crowded(self) -> bool:
        """Whether more than half of `bound` waits and somebody reads (took something since this last said yes), so that
        it is worth holding back what comes. Loop thread only."""
        if self._held * 2 <= self.bound or self._count() * 2 <= self.bound:
            return False
        taken = self.came - len(self.ready)
        if taken == self._seen:
            return False
        self._seen = taken
        return True

    def relieved(self) -> bool:
        """Whether no more than a quarter of `bound` waits. Loop thread only."""
        return self._count() * 4 <= self.bound

    def _count(self) -> int:
        """Count what really waits."""
        with self.lock:
            self._held = cost([item[0] for item in self.ready.copy()])
            return self._held

    def _fit(self, datagrams: list[bytes]) -> tuple[list[bytes], int]:
        """Return the leading datagrams that there is room for and their cost, after counting what really waits."""
        held = self._count()
        count = 0
        for data in datagrams:
            if held > self.bound:
                break
            held += len(data) + DATAGRAM_OVERHEAD
            count += 1
        self.dropped += len(datagrams) - count
        return datagrams[:count], held - self._held

    def fail(self, error: int) -> None:
        """Make the next call report `error` (an errno). Any thread."""
        with self.lock:
            self.error = error
            self.alert()

    def alert(self) -> None:
        """Say that there is more to know than `ready` says: whoever waits looks again, the fd is readable."""
        with self.lock:
            self.attention = True
            self.readers.wake_all()
            if self.observed and not self.closed:
                self.readiness.ring()

    def take_error(self) -> int:
        """Return the pending errno, 0 for none, and forget it. The caller settles the fd afterwards."""
        with self.lock:
            error, self.error = self.error, 0
            self.attention = self.shut or self.closed or self.inherited
            return error

    def readable(self) -> bool:
        """Return whether a receive would return at once."""
        return bool(self.ready) or self.attention

    def settle(self, sock: _socket.socket) -> None:
        """Make the fd, which `sock` holds, say what is true now."""
        with self.lock:
            if self.closed or not self.observed:
                return
            if not self.readable():
                self.readiness.silence(sock)
            elif not self.readiness.rung:
                self.readiness.ring()

    def observe(self, sock: _socket.socket) -> None:
        """Keep the fd truthful from now on."""
        with self.lock:
            self.observed = True
            self.settle(sock)

    def wait(self, timeout: float | None) -> bool:
        """Wait until there is a datagram or an error, at most `timeout` seconds; may return early.

        Returns: False when the time is up.
        """
        with self.lock:
            if self.ready or self.error or self.closed:
                return True
            entered = self.readers.enter()
        try:
            return self.readers.wait(entered, timeout)
        finally:
            with self.lock:
                self.readers.leave(entered)
                if self.ready and self.readers.waiting:
                    self.readers.wake()  # the edge this thread consumed may have been for more than one datagram

    def follow(self, bell: Bell) -> bool:
        """Have `bell` rung when there is something; False if there is already. `unfollow` must follow.

        Neither takes the lock: `put` looks for bells after it put, and this looks after it hung up the bell; the list
        stays the same, and each bell is taken from it in one step.
        """
        self.readers.bells.append(bell)
        return not (self.ready or self.attention)

    def unfollow(self, bell: Bell) -> None:
        """Undo `follow`. Idempotent."""
        try:  # noqa: SIM105  # contextlib's takes as long as all the rest
            self.readers.bells.remove(bell)
        except ValueError:  # it was rung
            pass

    def flush(self) -> None:
        """Forget what waits."""
        with self.lock:
            self.ready.clear()

    def close(self) -> None:
        """Wake everybody; nothing is taken in any more."""
        with self.lock:
            self.closed = True
            self.alert()
            self.ready.clear()


def _marked(datagrams: list[bytes], source: Address | None, mark: Mark) -> list[tuple[bytes, Address | None]]:
    items: list[tuple[bytes, Address | None]] = []
    for data in datagrams:
        item = Marked((data, source))
        item.mark = mark
        items.append(item)
    return items
