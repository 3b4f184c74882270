"""Datagrams on their way from the calls that send them to the loop.

Lives here: `Flow` (what goes to one place) and `Outbox` (the flows that the loop has yet to look at). May not live
here: addresses, ports, errnos.

Law: what carries datagrams out is a list per flow, a deque of flows and one wake-up of the loop per burst, and no janus
queue: sending takes no lock. Signal handlers and the garbage collector send, too, in the middle of another send, and
what a signal handler raises (inline_io) would leave a janus lock taken, and that would stop the loop and with it every
socket of the process. To append to a list, and to take from one, CPython does in one
step. The loop never waits for callers, and callers wait for the loop only when their send budget is used up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ..address import Destination
from ..limits import DATAGRAM_OVERHEAD, FAST_PATH_GAP
from ..originals import time
from ..rate import TokenBucket
from .inbox import cost
from .waiting import WITHOUT_WAITING

if TYPE_CHECKING:
    from ..engine.fast_path import Armed
    from ..transport.link import Link
    from .inline_io import Leader, LoopLock


class Heard(Protocol):
    """What a flow asks of its sender's inbox."""

    @property
    def came(self) -> int:
        """Datagrams ever taken in."""


class Budget(Protocol):
    """What bounds the datagrams that wait in flows: a socket's send buffer, say."""

    pending: int
    """What waits, in `cost` units; counted without a lock."""
    starved: bool
    """Whether a caller was told that there is no room, or waits for some."""

    def sent(self, size: int) -> None:
        """The loop took `size` (in `cost` units) out of a flow. Loop thread only."""


class LoopEnd(NamedTuple):
    """What a driver that runs gives to callers' threads."""

    wake: Callable[[], None]
    """Have the loop look at the outbox, soon. Any thread; takes no lock."""
    send_now: Callable[[Flow, bytes, float], bool]
    """Arm the flow and send one datagram at a time, which is now, or return False. The caller holds `loop_lock`."""
    send_later: Callable[[int, bytes], None]
    """Have the loop send a bundle by the link of a number."""
    leader: Leader | None
    """Where a thread that waits for a datagram reads links itself."""
    loop_lock: LoopLock
    """What a thread holds that runs as the loop."""


class Flow:
    """One caller-side stream of datagrams to one place; a socket keeps one per address it sends to.

    Callers append to `waiting` and, if `queued` is false, call `post`. Two threads may both post: the
    second finds nothing to take, which is harmless.
    """

    __slots__ = (
        *("_budget", "_came", "_inbox", "_outbox", "_sent_now_at", "armed", "burst", "destination", "form", "group"),
        *("link", "port", "queued", "source_port", "spent", "waiting"),
    )

    def __init__(
        self,
        outbox: Outbox,
        inbox: Heard,
        budget: Budget,
        destination: Destination,
        source_port: int,
        port: int,
        form: int,
    ) -> None:
        self._outbox = outbox
        self._inbox = inbox
        self._budget = budget
        self.destination = destination
        self.source_port = source_port
        self.port = port
        self.form = form
        """How the sender spells addresses: 4, 6, or 0 for whole ids."""
        self.group: tuple[str, int] | None = None
        """Instead of `destination`: all that hear this address, past so many relays."""
        self.waiting: list[bytes] = []
        self.queued = False
        self.burst = False
        """Whether the loop found more than one datagram when it last looked."""
        self.spent: TokenBucket | None = None
        """What its datagrams leave of what may take a datagram lane; None before there was one."""
        self.armed: Armed | None = None
        """What the driver last found a datagram needs to leave at once."""
        self.link: Link | None = None
        """The link by which it leaves then."""
        self._sent_now_at = 0.0
        self._came = 0
        """What `inbox.came` was then."""

    @property
    def holds_up(self) -> bool:
        """Whether a caller waits until this flow, or another one of its budget, is taken."""
        return self._budget.starved

    def try_send_now(self, data: bytes) -> bool:
        """Send `data`, before which nothing waits here, from the calling thread and at once if it is a lone datagram.

        A datagram is lone when the loop last found no more than one here, and something was heard or FAST_PATH_GAP
        seconds have gone since the last one. The first of a burst leaves at once and the rest is packed; neither a
        question nor its answer waits for the loop to wake. Any thread; never waits.

        Returns: False when it must go by the loop.
        """
        now, came = time.monotonic(), self._inbox.came
        if self.burst or (came == self._came and now < self._sent_now_at + FAST_PATH_GAP):
            return False
        self._sent_now_at, self._came = now, came
        end = self._outbox.loop_end
        if end is None:
            return False
        lock = end.loop_lock.lock
        acquired: list[bool] = []
        try:
            acquired.extend(map(lock.acquire, WITHOUT_WAITING))
            if not acquired[0] or self.waiting or self._outbox.posted:
                return False
            armed, link = self.armed, self.link
            if armed is None or link is None:
                return end.send_now(self, data, now)
            bundle = armed.seal(self.form, self.source_port, self.port, data, now)
            if not bundle:
                return end.send_now(self, data, now)
            if not link.send_now(bundle):
                end.send_later(armed.number, bundle)
            return True
        finally:
            if acquired and acquired[0]:
                lock.release()

    def take(self, room: int) -> list[bytes]:
        """Take the datagrams that wait, in order: all that fit in `room` bytes, and at least one if `room` is positive.

        Loop thread only. Gives what it took back to the budget.

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
        self._budget.sent(size + DATAGRAM_OVERHEAD * len(taken))
        return taken

    def accept(self, datagrams: list[bytes]) -> None:
        """Let `datagrams` wait, and post the flow if it was not. Any thread; the budget is the caller's business."""
        self.waiting.extend(datagrams)
        self._budget.pending += cost(datagrams)
        if not self.queued:
            self.post()

    def post(self) -> None:
        """Hand the flow, which was not queued and has datagrams waiting, to the loop. Any thread.

        What a signal handler raises meanwhile leaves it un-queued: the next datagram posts it.
        """
        try:
            self.queued = True
            self._outbox.post(self)
        except BaseException:
            self.queued = False
            raise

    def discard(self) -> int:
        """Throw away what waits (loop thread only). Returns: how many datagrams that were."""
        taken = self.waiting[:]
        del self.waiting[: len(taken)]
        self._budget.sent(cost(taken))
        return len(taken)


class Outbox:
    """The flows that have datagrams for the loop. Bounded by the send budgets of the sockets behind them.

    Callers enter no lock here, so that what a signal handler raises leaves nothing behind but a flow that the next
    datagram posts again. A flow is appended before the loop is woken; `_woken` equals
    `_takes` only once a whole wake-up was asked for that no `take` has answered yet; and `take` counts itself before it
    looks. So the flow of a caller that finds the two equal is seen by a take to come.
    """

    __slots__ = ("_takes", "_woken", "loop_end", "posted")

    def __init__(self) -> None:
        self.posted: deque[Flow] = deque()
        self._takes = 0  # how often the loop has looked
        self._woken = -1  # what `_takes` was when the loop was last woken
        self.loop_end: LoopEnd | None = None
        """None unless a driver runs."""

    def open(self, end: LoopEnd) -> None:
        """Wake the loop from now on. The driver takes once after this: what was posted before is there."""
        self.loop_end = end

    def close(self) -> None:
        """Leave the loop alone from now on: it ends."""
        self.loop_end = None

    def post(self, flow: Flow) -> None:
        """Hand `flow`, which has datagrams waiting and was marked `queued`, to the loop. Any thread, never waits."""
        self.posted.append(flow)
        takes = self._takes
        if self._woken != takes:
            end = self.loop_end
            if end is not None:
                end.wake()
                self._woken = takes

    def take(self) -> list[Flow]:
        """Take every flow posted so far, each marked un-queued before its datagrams are read, so that a datagram
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
