"""How fast programs in a namespace may send. Pure: no I/O, no clock.

A TUN device drops what it has no room for, and its reader has no way to make a sender wait. A rate in front of it does
(netlink.py): so that rate follows what the overlay takes, a little below it while something waits, and rising while
nothing does.
"""

from __future__ import annotations

from ..limits import TUN_RATE, TUN_RATE_LEAST, TUN_RATE_MOST, TUN_WAITING


class Pace:
    """The rate of one device."""

    def __init__(self, rate: float = TUN_RATE) -> None:
        self.rate = rate
        """Bytes per second."""

    def tick(self, elapsed: float, read: int, left: int, waiting: int, *, behind: bool) -> bool:
        """Look at what happened since the last tick.

        Args: elapsed: seconds. read: bytes that programs sent. left: bytes that went on their way. waiting: bytes that
            did not yet. behind: whether about half of what the device has room for may wait in it.
        Returns: whether `rate` is another.
        """
        before = self.rate
        if (waiting > TUN_WAITING or behind) and left:  # a peer that takes nothing at all slows none of the others
            self.rate = max(TUN_RATE_LEAST, min(self.rate, 0.8 * left / elapsed))
        elif waiting <= TUN_WAITING and not behind and read > 0.7 * self.rate * elapsed:
            self.rate = min(TUN_RATE_MOST, 1.25 * self.rate)
        return self.rate != before
