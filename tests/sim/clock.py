"""Virtual time: what is to happen when, and nothing else that passes."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush


class Clock:
    """A number, and calls in the order of their times; those of one time in the order in which they were arranged."""

    def __init__(self) -> None:
        self.now = 0.0
        self.events = 0
        """How many calls were made."""
        self._heap: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._numbered = 0

    def at(self, when: float, call: Callable[..., None], *args: object) -> None:
        """Arrange for call(*args)."""
        self._numbered += 1
        heappush(self._heap, (when, self._numbered, call, args))

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Let `seconds` pass, or less if `until` comes true; return whether it did."""
        end = self.now + seconds
        heap = self._heap
        while heap and heap[0][0] <= end:
            when, _, call, args = heappop(heap)
            if when > self.now:
                self.now = when
            self.events += 1
            call(*args)
            if until is not None and until():
                return True
        self.now = end
        return until is not None and until()
