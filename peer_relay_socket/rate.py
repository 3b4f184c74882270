"""How much of something is let through per second: the one token bucket.

Lives here: counting against a rate. May not live here: the rates (limits.py), clocks (time comes as an argument).
"""

from __future__ import annotations


class TokenBucket:
    """`rate` units per second, at most `burst` of them at once: by default a second's worth.

    What is already done can be charged afterwards: `level` then falls below zero, and `wait` says for how long.
    """

    __slots__ = ("_at", "burst", "level", "rate")

    def __init__(self, rate: float, now: float, *, burst: float | None = None) -> None:
        self.rate = rate
        self.burst = rate if burst is None else burst
        self.level = self.burst
        """Units that are left as of the last `refill`; code that has no time for a call subtracts from it directly."""
        self._at = now

    def change(self, rate: float) -> None:
        """Let `rate` units per second through from now on; what was spent stays spent."""
        self.rate = self.burst = rate
        self.level = min(self.level, rate)

    def refill(self, now: float) -> None:
        """Add what time has brought."""
        self.level = min(self.burst, self.level + (now - self._at) * self.rate)
        self._at = now

    def take(self, now: float, cost: float = 1.0) -> bool:
        """Return whether an event of this cost is within the rate; it is charged only if so."""
        self.refill(now)
        if self.level < cost:
            return False
        self.level -= cost
        return True

    def charge(self, now: float, cost: float = 1.0) -> float:
        """Charge an event that has happened. Returns: seconds until the level is no longer below zero."""
        self.refill(now)
        self.level -= cost
        return self.wait

    def overdraw(self, now: float, cost: float, most: float) -> bool:
        """Charge an event that happens in any case; no more than `most` is ever owed. Returns: whether anything was
        left before."""
        self.refill(now)
        was_left = self.level > 0.0
        self.level = max(self.level - cost, -most)
        return was_left

    def spare(self, now: float, own: TokenBucket) -> float:
        """Return how much of this total may be taken by one of those that share it, of whose own allowance `own` was
        charged for it: the more of its own it has spent, the more is kept from it, up to half of the total. So those
        that ask much leave something to those that ask little."""
        self.refill(now)
        return self.level - self.burst / 2.0 * (1.0 - own.level / own.burst)

    @property
    def wait(self) -> float:
        """Seconds until the level is no longer below zero, as of the last `refill`."""
        return max(0.0, -self.level / self.rate)


class TrafficBucket:
    """Packets and bytes, each with its own rate."""

    __slots__ = ("bytes", "packets")

    def __init__(self, packets: float, size: float, now: float) -> None:
        """Args: packets: per second. size: bytes per second."""
        self.packets = TokenBucket(packets, now)
        self.bytes = TokenBucket(size, now)

    def take(self, now: float, size: int) -> bool:
        """Return whether one packet of `size` bytes is within both rates."""
        return self.packets.take(now) and self.bytes.take(now, size)

    def settle(self, now: float) -> float:
        """Add what time has brought to both. Returns: seconds until neither level is below zero."""
        self.packets.refill(now)
        self.bytes.refill(now)
        return max(self.packets.wait, self.bytes.wait)
