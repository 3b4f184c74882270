"""What waits for one slow neighbour, and which neighbours it is from: each may fill what the queue still has room for.

Lives here: whether one more packet is passed on to a link that is full. May not live here: the queue (transport), what
all queues together hold (bridge/backlogs.py).

Law: nobody holds more of a queue than is free. One neighbour that floods so fills half of it, n fill n parts of n + 1,
and what is left is there for all who send little.

Source: A. Choudhury, E. Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches", 1998.
"""

from __future__ import annotations

from ..limits import MAX_LINK_QUEUE, QUEUE_SHARE_LEAST


class QueueShares:
    """Those of one link, from when it becomes full until it no longer is."""

    __slots__ = ("_passed", "_total", "waiting")

    def __init__(self) -> None:
        self.waiting = 0
        """Bytes that wait: as the driver last saw it, and what was passed on since."""
        self._passed: dict[int, int] = {}
        """Bytes that came over each link, of about the last MAX_LINK_QUEUE; at most MAX_LINKS. What waits is taken to
        be from them in equal parts, for it leaves in the order in which it came."""
        self._total = 0

    def admit(self, source: int, size: int) -> bool:
        """Return whether `size` bytes that came over link `source` are passed on; then they count."""
        passed = self._passed.get(source, 0)
        if self.waiting * passed > (MAX_LINK_QUEUE - self.waiting) * self._total:
            return False
        self._passed[source] = passed + size
        self._total += size
        self.waiting += size
        if self._total > MAX_LINK_QUEUE:
            self._passed = {link: size // 2 for link, size in self._passed.items() if size > 2 * QUEUE_SHARE_LEAST}
            self._total = sum(self._passed.values())
        return True
