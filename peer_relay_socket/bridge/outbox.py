"""Datagrams on their way from the calls that send them to the loop.

Lives here: `Flow` (what goes to one place) and `Outbox` (the flows that the loop has yet to look at). May not live
here: addresses, ports, errnos.

Law: what carries datagrams out is a list per flow, a deque of flows and one wake-up of the loop per burst, and no janus
queue: sending takes no lock. Signal handlers and the garbage collector send, too, in the middle of another send, and
the interpreter may raise what a signal handler raises between any two instructions; a janus lock left taken there would
stop the loop and with it every socket of the process. To append to a list, and to take from one, CPython does in one
step. The loop never waits for callers, and callers wait for the loop only when their send budget is used up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from ..address import Destination
from ..limits import DATAGRAM_OVERHEAD, FAST_PATH_GAP
from ..originals import time
from .inbox import cost

if TYPE_CHECKING:
    from .host import Host
    from .inline_io import Leader


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
