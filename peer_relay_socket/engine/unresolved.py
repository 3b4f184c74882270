"""What is sent to a short address before it is known which peer has it.

Lives here: the records that wait, how many and for how long. May not live here: how an address is resolved
(resolver.py), what is done with a record afterwards.

Law: PENDING_BYTES for one address, PENDING_TIME for each, MAX_RESOLVING addresses at once; what is beyond is counted
and dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..address import Destination, PeerId, Prefix
from ..limits import PENDING_BYTES, PENDING_TIME
from .effects import Writable
from .pending import TOO_MUCH
from .timers import Due

if TYPE_CHECKING:
    from .core import Core
    from .resolver import Resolver
    from .routing import Router
    from .timers import Timer


class _Queue:
    """The records for one address."""

    __slots__ = ("blocked", "records", "size", "timer")

    def __init__(self) -> None:
        self.timer: Timer | None = None
        self.records: deque[bytes] = deque()
        self.size = 0
        self.blocked = False
        """Whether `room` said that there is none."""


class Unresolved:
    """The records for all addresses that are being resolved."""

    def __init__(self, core: Core, resolver: Resolver, router: Router, send: Callable[[PeerId, bytes], None]) -> None:
        """Args: send: called with each record once its peer is known."""
        self._core = core
        self._resolver = resolver
        self._router = router
        self._send = send
        self._queues: dict[Prefix, _Queue] = {}
        """As many as there are addresses being resolved: at most MAX_RESOLVING."""

    @property
    def idle(self) -> bool:
        """Whether nothing waits."""
        return not self._queues

    @property
    def prefixes(self) -> list[Prefix]:
        """Addresses that something waits for."""
        return list(self._queues)

    def whole(self, destination: Destination) -> PeerId | None:
        """Return the id that `destination` is or is known to mean."""
        return self._resolver.known(destination) if isinstance(destination, Prefix) else destination

    def room(self, prefix: Prefix) -> int:
        """Return how many bytes may be added for `prefix`; when not above 0, a Writable effect will come."""
        queue = self._queues.get(prefix)
        if queue is None:
            return PENDING_BYTES
        queue.blocked = queue.size >= PENDING_BYTES
        return PENDING_BYTES - queue.size

    def make_room(self, prefix: Prefix, size: int) -> bool:
        """Drop the oldest that waits for `prefix`, until `size` bytes may be added. Returns: whether they may."""
        queue = self._queues.get(prefix)
        while queue is not None and queue.records and queue.size + size > PENDING_BYTES:
            queue.size -= len(queue.records.popleft())
            self._core.counters[TOO_MUCH] += 1
        return True

    def add(self, prefix: Prefix, record: bytes) -> None:
        """Keep one record until `prefix` has an owner."""
        core = self._core
        queue = self._queues.get(prefix)
        if queue is not None:
            if queue.size > 2 * PENDING_BYTES:
                core.counters[TOO_MUCH] += 1
                return
            queue.records.append(record)
            queue.size += len(record)
            return
        queue = self._queues[prefix] = _Queue()
        queue.records.append(record)
        queue.size = len(record)
        queue.timer = core.timers.at(Due.UNRESOLVED, core.now + PENDING_TIME, self._answered, prefix, None)
        self._resolver.resolve(prefix, lambda peer_id: self._answered(prefix, peer_id))

    def _answered(self, prefix: Prefix, peer_id: PeerId | None) -> None:
        queue = self._queues.pop(prefix, None)
        if queue is None:
            return
        if queue.timer is not None:
            queue.timer.cancel()
        core = self._core
        if peer_id is None:
            core.counters["dropped: no peer has this address"] += len(queue.records)
            core.give_up(prefix, self._router.why_unknown())
        else:
            for record in queue.records:
                self._send(peer_id, record)
        if queue.blocked:
            core.effects.append(Writable(prefix))
