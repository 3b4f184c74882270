"""Many timers behind one `next_timer`. Law: equal times run in the order they were set, so a run can be repeated."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any


class Timer:
    """One pending call; `cancel` is idempotent and may come late."""

    __slots__ = ("_args", "_callback", "when")

    def __init__(self, when: float, callback: Callable[..., None], args: tuple[Any, ...]) -> None:
        self.when = when
        self._callback: Callable[..., None] | None = callback
        self._args = args

    @property
    def pending(self) -> bool:
        """Whether it will still run."""
        return self._callback is not None

    def cancel(self) -> None:
        """Make it never run."""
        self._callback = None
        self._args = ()

    def run(self) -> None:
        """Run it, once, unless cancelled."""
        callback, args = self._callback, self._args
        self.cancel()
        if callback is not None:
            callback(*args)


class Timers:
    """A heap of timers."""

    __slots__ = ("_heap", "_made")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._made = 0

    def at(self, when: float, callback: Callable[..., None], *args: object) -> Timer:
        """Arrange for callback(*args) at `when`."""
        if self._made & 0xFFF == 0xFFF:  # every 4096th: drop what was cancelled long before its time
            self._heap = [entry for entry in self._heap if entry[2].pending]
            heapify(self._heap)
        timer = Timer(when, callback, args)
        self._made += 1
        heappush(self._heap, (when, self._made, timer))
        return timer

    def next(self) -> float | None:
        """Return when the earliest timer is due."""
        heap = self._heap
        while heap and not heap[0][2].pending:
            heappop(heap)
        return heap[0][0] if heap else None

    def run(self, now: float) -> None:
        """Run everything due at `now`; what that arranges for `now` or earlier waits for the next call."""
        due = []
        heap = self._heap
        while heap and heap[0][0] <= now:
            due.append(heappop(heap)[2])
        for timer in due:
            timer.run()
