"""Links from which more is read than their share: they are not read for a while.

Lives here: which links are throttled, and that they are told. May not live here: what is charged for what came
(overlay.py), what all links together may send (work.py).

Law: nothing that came is dropped here; what would be too much stays with the neighbour, which is told so once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..codec import control
from ..codec.packet import LinkOp
from .effects import Throttle

if TYPE_CHECKING:
    from .core import Core
    from .link import LinkState
    from .links import Links


class Throttling:
    """Slows neighbours down."""

    def __init__(self, core: Core, links: Links) -> None:
        self._core = core
        self._links = links
        self._overdrawn: dict[LinkState, float] = {}
        """Links from which more was read than there is to spare, and how many packets; settled before the next effects
        are taken."""

    def overdrawn(self, link: LinkState, packets: float) -> None:
        """More was read from `link`, or from all, than there was to spare: give it what time brought, and if that is
        not enough, ask the driver not to read it for a while (in `settle`: a read may hold thousands of messages).

        Not reading makes the neighbour's TCP slow, so that its program waits or drops, and nothing is lost on the way.
        """
        self._overdrawn[link] = self._overdrawn.get(link, 0.0) + packets

    def settle(self) -> None:
        """See to links from which too much was read: once for all that came in one piece."""
        if not self._overdrawn:
            return
        overdrawn, self._overdrawn = self._overdrawn, {}
        for link, packets in overdrawn.items():
            if link.number in self._links.all:
                self._throttle(link, packets)

    def _throttle(self, link: LinkState, packets: float) -> None:
        core = self._core
        own = link.traffic.settle(core.now)
        wait = max(own, core.work.crowded(link, packets, core.now))
        if wait <= 0.0:
            return
        core.counters["link throttled"] += 1
        core.effects.append(Throttle(link.number, wait))
        link.received_at = core.now + wait  # we shall not hear it so long, and that is our doing
        if own > 0.0 and link.up and not link.throttled:
            link.throttled = True
            rates = link.traffic.packets.rate, link.traffic.bytes.rate
            self._links.tell(link, LinkOp.LIMITS, control.link_limits(*rates))
