"""What neighbours may make us do: prices, each link's allowance, and a budget for all of them together.

Lives here: whether one more control packet is taken, and whether more is read of a link while all together send too
much. May not live here: what a packet means.

Law: a packet's price is the work it makes, in units of some 20 µs of one core. A link has its own allowance; what all
take together is bounded; and where that is used up, each link still has an equal share, so that links which
ask much leave something to those that ask little.
"""

from __future__ import annotations

from typing import Final, Protocol

from ..codec.packet import Kind, LinkOp
from ..limits import (
    CONTROL_PER_CALLER,
    CONTROL_PER_LEAF,
    CONTROL_PER_RELAY,
    CONTROL_SHARE,
    CONTROL_TOTAL,
    LOOPBACK_FACTOR,
    TRAFFIC_SHARE,
    TRAFFIC_TOTAL,
)
from ..rate import TokenBucket
from ..scope import Scope

_PRICE: Final[dict[int, float]] = {Kind.HANDSHAKE: 2.5, Kind.RESOLVE: 2.5, Kind.FIND: 2.5, Kind.DISCOVER: 50.0}
"""Of a packet, where it is not 1."""
_LINK_PRICE: Final[dict[int, float]] = {LinkOp.HELLO: 100.0, LinkOp.PING: 2.0, LinkOp.DIAL_BACK: 2.0, LinkOp.LANE: 2.0}
"""Of a LINK packet, where it is not 1."""
_CONTACT: Final = 16
"""Bytes of NEIGHBOURS or FOUND that count for one more; a contact has 40 and more."""


class Asker(Protocol):
    """A link, as far as it asks for work."""

    control: TokenBucket
    share: TokenBucket | None


class Sender(Protocol):
    """A link, as far as what it sends is read."""

    number: int
    pool: TokenBucket
    traffic_share: TokenBucket | None


def allowance(scope: Scope, *, serves: bool, dialled: bool) -> float:
    """Return the rate of a link's allowance: a relay, which passes on what others say, may say more."""
    rate = CONTROL_PER_LEAF
    if serves:  # which is its own word, until it is dialled
        rate = CONTROL_PER_RELAY if dialled else CONTROL_PER_CALLER
    return rate * (LOOPBACK_FACTOR if scope is Scope.LOOPBACK else 1.0)


class Work:
    """The budget of one peer."""

    def __init__(self, now: float) -> None:
        self._pool = TokenBucket(CONTROL_TOTAL, now)
        self._traffic = TokenBucket(TRAFFIC_TOTAL, now)
        self._traffic_here = TokenBucket(TRAFFIC_TOTAL * LOOPBACK_FACTOR, now)
        self._crowd: dict[int, None] = {}
        """Links that waited for others' sake since `_since`, a second ago or so; at most MAX_LINKS."""
        self._since = now
        self._crowd_before = 0
        """How many they were in the second before."""

    def traffic(self, scope: Scope) -> TokenBucket:
        """Return what all links of `scope` together may send: this machine's have a budget of their own."""
        return self._traffic_here if scope is Scope.LOOPBACK else self._traffic

    def crowded(self, link: Sender, packets: float, now: float) -> float:
        """Return how long not to read `link`, which sent `packets`, because all together send too much: not at all
        while it has something left of its share; else as long as its equal part of the total takes, and longer the more
        is owed."""
        pool = link.pool
        if pool.level < 0.0:
            pool.refill(now)
        if pool.level >= 0.0:
            return 0.0
        if link.traffic_share is None:
            link.traffic_share = TokenBucket(TRAFFIC_SHARE, now, burst=4 * TRAFFIC_SHARE)
        if link.traffic_share.take(now, packets):
            return 0.0
        if now >= self._since + 1.0:
            self._since, self._crowd_before, self._crowd = now, len(self._crowd), {}
        self._crowd[link.number] = None
        return packets * max(len(self._crowd), self._crowd_before) * (1.0 + pool.wait) / pool.rate

    def allows(self, link: Asker, kind: int, size: int, now: float) -> bool:
        """Return whether to take a control packet of `kind` with a body of `size` bytes."""
        price = _PRICE.get(kind, 1.0)
        if kind == Kind.FOUND:
            price += size / _CONTACT
        return self._charge(link, price, now)

    def allows_link(self, link: Asker, operation: int, size: int, now: float) -> bool:
        """Return whether to take a LINK packet."""
        price = _LINK_PRICE.get(operation, 1.0)
        if operation == LinkOp.NEIGHBOURS:
            price += size / _CONTACT
        return self._charge(link, price, now)

    def _charge(self, link: Asker, price: float, now: float) -> bool:
        if not link.control.take(now, price):
            return False
        if self._pool.take(now, price):
            return True
        if link.share is None:
            link.share = TokenBucket(CONTROL_SHARE, now, burst=4 * CONTROL_SHARE)
        return link.share.take(now, price)
