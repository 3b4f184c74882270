"""What crosses between calling threads and the loop: datagrams out, datagrams in, and the waiting for either.

Lives here: `Flow` and `Outbox` (callers to loop), `Inbox` (loop to callers), `Waiters` (blocked threads). This file is
the only importer of janus and, with runtime.py, the only one that names locks. May not live here: addresses, ports,
errnos.

Law: the datagram itself is appended to or popped from a plain container, which CPython makes atomic; locks and janus
are touched only at the edges of a batch. One janus item says "this flow has datagrams" or "a batch has come", never
"here is one datagram" (measured: 79-87 k/s with an item per datagram, 515-690 k/s with one per batch).

UDP's manners: a full inbox drops and counts, an empty one waits; a sender whose budget is used up waits or is told so.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from itertools import repeat
from time import monotonic
from typing import TYPE_CHECKING, TypeAlias

import janus

from ..address import Destination
from ..limits import DATAGRAM_OVERHEAD, LONE_GAP
from .readiness import Readiness

if TYPE_CHECKING:
    import _socket

    from .endpoint import Endpoint

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


class Waiters:
    """Threads blocked until something changes; an edge is one janus item.

    The janus queue is made when the first thread waits (8 kB and 20 µs that pollers never pay). `enter`, `leave`,
    `wake` and `wake_all` are called under the owner's guard, `wait` outside it. A wake-up may be stale: look again.

    A signal handler may call any of these in a thread that it interrupted in any of these. janus's lock is not
    reentrant, so then another thread does it.
    """

    __slots__ = ("_inside", "_queue", "waiting")

    def __init__(self) -> None:
        self.waiting = 0
        self._queue: janus.Queue[None] | None = None
        self._inside: list[int] = []  # threads that may hold janus's lock

    def enter(self) -> janus.Queue[None]:
        """Count the calling thread as waiting; an edge after this is not missed."""
        if threading.get_ident() in self._inside:
            self.wake_all()  # a handler waits inside a wait: not in the same queue
        self.waiting += 1
        if self._queue is None:
            self._queue = janus.Queue()
        return self._queue

    def leave(self) -> None:
        """Undo `enter`."""
        self.waiting -= 1

    def wake(self) -> None:
        """Let one waiting thread look again. Items never outnumber waiters."""
        queue = self._queue
        if queue is not None and self.waiting > queue.sync_q.qsize():
            self._cross(partial(queue.sync_q.put_nowait, None))

    def wake_all(self) -> None:
        """Let every waiting thread look again."""
        queue, self._queue = self._queue, None
        if queue is not None:
            self._cross(queue.close)

    def _cross(self, call: Callable[[], None]) -> None:
        me = threading.get_ident()
        if me in self._inside:
            threading.Thread(target=call, name="peer-relay-wake", daemon=True).start()
            return
        self._inside.append(me)
        try:
            call()
        finally:
            self._inside.remove(me)

    def wait(self, queue: janus.Queue[None], timeout: float | None) -> bool:
        """Wait for an edge, at most `timeout` seconds. Signal handlers run, and what they raise comes out of here.

        Returns: False when the time is up.
        """
        me = threading.get_ident()
        self._inside.append(me)
        try:
            queue.sync_q.get(timeout=timeout)
        except janus.SyncQueueEmpty:
            return False
        except janus.SyncQueueShutDown:
            return True
        finally:
            self._inside.remove(me)
        return True


class Flow:
    """One caller-side stream of datagrams to one place; an endpoint keeps one per address it sends to.

    Callers append to `waiting` and, if `queued` is false, call `post`. Two threads may both post: the
    second finds nothing to take, which is harmless.
    """

    __slots__ = (
        *("_heard", "_hurried_at", "burst", "destination", "endpoint", "form", "port", "queued", "source_port"),
        "waiting",
    )

    def __init__(self, endpoint: Endpoint, destination: Destination, source_port: int, port: int, form: int) -> None:
        self.endpoint = endpoint
        self.destination = destination
        self.source_port = source_port
        self.port = port
        self.form = form
        """How the sender spells addresses: 4, 6, or 0 for whole ids."""
        self.waiting: list[bytes] = []
        self.queued = False
        self.burst = False
        """Whether the loop found more than one datagram when it last looked."""
        self._hurried_at = 0.0
        self._heard = 0

    def hurry(self, data: bytes) -> bool:
        """Send `data`, before which nothing waits here, from the calling thread and at once if it is a lone datagram.

        Lone is what comes when the loop last found no more than one, and when something was heard, or LONE_GAP seconds
        have gone, since the last that hurried: of a burst the first hurries and the rest is packed, and neither a
        question nor its answer waits until a loop has woken up. Any thread; never waits.

        Returns: False when it must go by the loop.
        """
        endpoint = self.endpoint
        now, heard = monotonic(), endpoint.inbox.came
        if self.burst or (heard == self._heard and now < self._hurried_at + LONE_GAP):
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
    """The flows that have datagrams for the loop. Bounded by the send budgets of the endpoints behind them."""

    __slots__ = ("_aside", "_inside", "_queue", "_rung", "ring", "send_now")

    def __init__(self) -> None:
        self._queue: janus.Queue[Flow] = janus.Queue()
        self._rung = False
        self._inside: list[int] = []  # threads that may hold janus's lock, which is not reentrant
        self._aside: deque[Flow] = deque()  # what their signal handlers posted meanwhile
        self.send_now: Callable[[Flow, bytes], bool] | None = None
        """Sends one datagram from the calling thread, or returns False. The driver's, as `ring`."""
        self.ring: Callable[[], None] | None = None
        """Wakes the loop; called when the outbox goes from empty to not empty. The driver sets it, then takes once
        (what was posted before is there), and sets it back to None before it closes the loop."""

    def post(self, flow: Flow) -> None:
        """Hand `flow`, which has datagrams waiting and was marked `queued`, to the loop. Any thread, never waits."""
        me = threading.get_ident()
        if me in self._inside:
            self._aside.append(flow)  # the call that this thread was interrupted in takes it along
            return
        self._inside.append(me)
        try:
            self._queue.sync_q.put_nowait(flow)
        finally:
            self._inside.remove(me)
            if self._aside:
                self._bring_along()
        if not self._rung:
            ring = self.ring
            if ring is not None:
                self._rung = True
                ring()

    def _bring_along(self) -> None:
        while self._aside:
            try:
                flow = self._aside.popleft()
            except IndexError:
                return
            self.post(flow)

    def take(self) -> list[Flow]:
        """Take every flow posted so far, each marked un-queued before anybody reads its datagrams, so that a datagram
        appended later posts its flow again. Loop thread only."""
        self._rung = False
        flows: list[Flow] = []
        get = self._queue.sync_q.get_nowait
        me = threading.get_ident()
        self._inside.append(me)
        try:
            for _ in range(self._queue.sync_q.qsize()):
                flow = get()
                flow.queued = False
                flows.append(flow)
        finally:
            self._inside.remove(me)
        if self._aside:
            self._bring_along()
        return flows

    def idle(self) -> bool:
        """Return whether nothing is posted."""
        return self._queue.sync_q.empty()


class Marked(tuple[bytes, "Address | None"]):
    """A waiting datagram whose sender chose a hop limit or traffic class: (data, source), and those as `mark`."""

    mark: tuple[int, int]


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

    def put(self, source: Address | None, datagrams: list[bytes], mark: tuple[int, int] | None = None) -> bool:
        """Let `datagrams` from `source` wait, in order; what passes `bound` is dropped and counted. Any thread.

        Args: mark: the hop limit and traffic class the sender chose, if any.

        Returns: False when nobody holds the socket any more.
        """
        size = cost(datagrams)
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
            if self.readers.waiting:
                self.readers.wake()
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
            queue = self.readers.enter()
        try:
            return self.readers.wait(queue, timeout)
        finally:
            with self.lock:
                self.readers.leave()
                if self.ready and self.readers.waiting:
                    self.readers.wake()  # the edge this thread consumed may have been for more than one datagram

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


def _marked(
    datagrams: list[bytes], source: Address | None, mark: tuple[int, int]
) -> list[tuple[bytes, Address | None]]:
    items: list[tuple[bytes, Address | None]] = []
    for data in datagrams:
        item = Marked((data, source))
        item.mark = mark
        items.append(item)
    return items
