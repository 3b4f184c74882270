"""Whether a neighbour still lives: signs of life that are asked for, and the end of links on which none comes.

Lives here: when a link is pinged, when it is dead, the round trip to its neighbour. May not live here: what a link is,
and what its end brings about (links.py).

Law: whatever comes from a neighbour is a sign of life, and nothing but silence ends a link here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..codec.packet import LinkOp
from ..limits import LINK_ANSWER, LINK_DEAD, LINK_PING_IDLE, LINK_PING_TURN
from .link import LinkState
from .timers import Due

if TYPE_CHECKING:
    from .core import Core


class Keepalive:
    """Looks after links that are up."""

    def __init__(
        self, core: Core, tell: Callable[[LinkState, LinkOp], None], drop: Callable[[LinkState, str], None]
    ) -> None:
        """Args: tell: sends a LINK packet. drop: ends a link, with the reason."""
        self._core = core
        self._tell = tell
        self._drop = drop

    def begin(self, link: LinkState) -> None:
        """`link` is up: watch its silence from now on, until `link.timer` is cancelled."""
        due = link.received_at + self._ping_after(link)
        link.timer = self._core.timers.at(Due.LINK_KEEPALIVE, due, self._check, link)

    def _check(self, link: LinkState) -> None:
        # The same sums as when the timer was set: a difference may round to just below its limit, for ever.
        core = self._core
        dead, ping = link.received_at + LINK_DEAD, link.received_at + self._ping_after(link)
        if core.now >= dead:
            self._drop(link, "silent")
            return
        due = ping
        if core.now >= ping:
            self._ping(link)
            due = dead
        link.timer = core.timers.at(Due.LINK_KEEPALIVE, due, self._check, link)

    def _ping_after(self, link: LinkState) -> float:
        """Return after how long a silence we ping. Who dialled goes first: when both had the same patience, a ping
        arrived just as the other side's was due, and each cost two."""
        first = link.url is not None or (link.direct and self._core.peer_id < link.peer_id)
        return LINK_PING_IDLE if first else LINK_PING_IDLE + LINK_PING_TURN

    def unanswered(self, link: LinkState, since: float) -> None:
        """We sent something at `since`: if nothing came meanwhile, ask for a sign of life, and then give up."""
        link.watch = None
        if link.received_at >= since or link.full:  # a full link is slow, not dead: what it owes us waits behind much
            link.pinged = False
        elif link.pinged:
            self._drop(link, "silent")
        else:
            link.pinged = True
            self._ping(link)
            link.watch = self._core.timers.at(
                Due.LINK_ANSWER, self._core.now + LINK_ANSWER, self.unanswered, link, self._core.now
            )

    def _ping(self, link: LinkState) -> None:
        """Ask the neighbour for a sign of life."""
        link.asked_at = self._core.now
        self._tell(link, LinkOp.PING)

    def answered(self, link: LinkState) -> None:
        """The neighbour answered what it was asked last."""
        if link.asked_at is not None:
            link.rtt = self._core.now - link.asked_at
            link.asked_at = None
