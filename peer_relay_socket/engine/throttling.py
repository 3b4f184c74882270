"""Links from which more is read than their share: they are not read for a while.

Lives here: when a link is throttled, and for how long. May not live here: what is charged for what came (overlay.py).

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
        self._overdrawn: list[LinkState] = []
        """Links from which more was read than they have to spare; settled before the next effects are taken."""

    def overdrawn(self, link: LinkState) -> None:
        """More was read from `link` than it had to spare: give it what time brought, and if that is not enough, ask
        the driver not to read it for a while (in `settle`: a read may hold thousands of messages).

        Not reading makes the neighbour's TCP slow, so that its program waits or drops, and nothing is lost on the way.
        """
        if link not in self._overdrawn:
            self._overdrawn.append(link)

    def settle(self) -> None:
        """See to links from which too much was read: once for all that came in one piece."""
        overdrawn, self._overdrawn = self._overdrawn, []
        for link in overdrawn:
            if link.number in self._links.all:
                self._throttle(link)

    def _throttle(self, link: LinkState) -> None:
        core = self._core
        wait = link.traffic.settle(core.now)
        if wait <= 0.0:
            return
        core.counters["link throttled"] += 1
        core.effects.append(Throttle(link.number, wait))
        link.received_at = core.now + wait  # we shall not hear it so long, and that is our doing
        if link.up and not link.throttled:
            link.throttled = True
            rates = link.traffic.packets.rate, link.traffic.bytes.rate
            self._links.tell(link, LinkOp.LIMITS, control.link_limits(*rates))
