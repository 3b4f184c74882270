"""What waits for slow neighbours, on all links of this process together.

Lives here: the budget for that, and the end of links that take nothing. May not live here: what one link holds at most
(transport), which datagrams are dropped instead (engine, sockets).

Law: all backlogs together stay within LINK_BACKLOGS. When that is used up, a link whose neighbour is behind by more
than an equal share gets no more, so that slow neighbours cost the others nothing. To count costs nothing as long as
little was sent since the last look: what was sent since is the most that can have been added.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, TypeVar
from weakref import WeakKeyDictionary

from ..limits import LINK_BACKLOGS, LINK_BACKLOGS_LOOK, LINK_STALLED
from ..transport.link import Link
from .log import log

if TYPE_CHECKING:
    from ..engine.engine import Engine
    from ..engine.lane import Place

T = TypeVar("T", bytes, "bytes | memoryview", str)

LINKS_BEHIND: Final = "dropped: neighbours are behind by too much together"


class _Backlog:
    """What is known of one link."""

    __slots__ = ("at_look", "moved_at", "sent", "since", "taken")

    def __init__(self, now: float) -> None:
        self.sent = 0
        """Bytes ever sent on it."""
        self.at_look = 0
        """The backlog at the last look."""
        self.since = 0
        """Bytes sent since."""
        self.taken = 0
        """The most that the kernel was seen to have taken of `sent`."""
        self.moved_at = now
        """When `taken` last grew, or nothing waited."""

    def look(self, backlog: int, now: float) -> None:
        """Note what waits now."""
        taken = self.sent - backlog
        if taken > self.taken or not backlog:
            self.taken, self.moved_at = taken, now
        self.at_look, self.since = backlog, 0


class Backlogs:
    """Those of all links on one loop. Loop thread only."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, budget: int = LINK_BACKLOGS, stalled: float = LINK_STALLED
    ) -> None:
        self._loop = loop
        self._budget = budget
        self._stalled = stalled
        self._links: dict[Link, _Backlog] = {}
        """Links that were sent on since they were last seen without a backlog."""
        self._since = 0
        """Bytes sent since the last look."""
        self._margin = budget
        """How many that may be before the next look."""
        self._share: int | None = None
        """What one link may hold; None while the budget is not used up."""
        self._timer: asyncio.TimerHandle | None = None

    def send(self, link: Link, send: Callable[[T], None], message: T) -> bool:
        """Call `send`, a method of `link`, with `message`, or return False where `link` is behind by too much."""
        known, size = self._links.get(link), len(message)
        if known is None:
            known = self._links[link] = _Backlog(self._loop.time())
            if self._timer is None:
                self._timer = self._loop.call_later(self._stalled / 4, self._on_timer)
        if self._since + size > self._margin:
            self._look()
        if self._share is not None and known.at_look + known.since + size > self._share:
            return False
        dropped = link.dropped
        send(message)
        if link.dropped == dropped:
            known.sent += size
            known.since += size
            self._since += size
        return True

    def forget(self, link: Link) -> None:
        """The link is gone."""
        self._links.pop(link, None)

    def _look(self) -> list[Link]:
        """Count exactly. Returns: the links that took nothing for too long."""
        now, total, stalled = self._loop.time(), 0, []
        for link, known in self._links.items():
            backlog = link.backlog
            known.look(backlog, now)
            total += backlog
            if now >= known.moved_at + self._stalled:
                stalled.append(link)
        self._since = 0
        self._margin = max(self._budget - total, min(LINK_BACKLOGS_LOOK, self._budget // 8))
        self._share = None if total + self._margin <= self._budget else self._budget // max(1, len(self._links))
        return stalled

    def _on_timer(self) -> None:
        stalled = self._look()
        for link in [link for link, known in self._links.items() if not known.at_look]:
            del self._links[link]
        for link in stalled:
            log.info("! a neighbour took nothing for %g s: its link is dropped", self._stalled)
            link.abort()
        self._timer = self._loop.call_later(self._stalled / 4, self._on_timer) if self._links else None


_by_loop: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, Backlogs]] = WeakKeyDictionary()


def backlogs_of(loop: asyncio.AbstractEventLoop) -> Backlogs:
    """Return the one account of all peers on `loop`."""
    backlogs = _by_loop.get(loop)
    if backlogs is None:
        backlogs = _by_loop[loop] = Backlogs(loop)
    return backlogs


class LinkSending:
    """From one engine to its links. Loop thread only."""

    def __init__(
        self,
        links: Mapping[int, Link],
        loop: asyncio.AbstractEventLoop,
        send_frames: Callable[[list[tuple[Place, bytes]]], int],
    ) -> None:
        """Args: send_frames: sends what leaves by links' datagram lanes; returns how much of that is lost."""
        self._links = links
        self._send_frames = send_frames
        self._loop = loop
        self._backlogs = backlogs_of(loop)
        self.dropped = 0
        """Messages for which there was no room in the budget."""

    def transmit(self, engine: Engine) -> None:
        """Send what the engine has ready."""
        for number, chunks in engine.take_bundles():
            self.write(engine, number, chunks[0] if len(chunks) == 1 else b"".join(chunks))
        if engine.lanes.frames:
            for _ in range(self._send_frames(engine.lanes.take_frames())):
                engine.count("dropped: a datagram lane's frame that the kernel did not take")
        for number, text in engine.take_texts():
            link = self._links.get(number)
            if link is not None:
                self._send(engine, number, link, link.send_text, text)

    def write(self, engine: Engine, number: int, bundle: bytes | memoryview) -> None:
        """Send one bundle, if its link is still there."""
        link = self._links.get(number)
        if link is not None:
            self._send(engine, number, link, link.send, bundle)

    def _send(self, engine: Engine, number: int, link: Link, send: Callable[[T], None], message: T) -> None:
        if not self._backlogs.send(link, send, message):
            self.dropped += 1
        if link.full:
            engine.link_full(number, True, self._loop.time(), link.backlog)

    def forget(self, link: Link) -> None:
        """The link is gone."""
        self._backlogs.forget(link)
