"""What neighbours may make us do: prices, each link's allowance, and a budget for all of them together.

Lives here: whether one more control packet is taken. May not live here: what it means.

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
