"""The records of all peers of this process, for whatever shows them.

Law: however many ask, records are made anew every STATUS_AGE seconds at most.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..bridge.host import open_hosts
from ..limits import STATUS_AGE

if TYPE_CHECKING:
    from ..bridge.status import PeerStatus


class Records:
    """The records as they were made last. Loop thread only."""

    def __init__(self) -> None:
        self.lag = 0.0
        """Seconds that a turn of the loop took when they were made."""
        self._peers: list[PeerStatus] = []
        self._made_at: float | None = None
        self._turn = asyncio.Lock()
        """Held while they are made: those asked for meanwhile are these, not the ones before, or at first none."""

    async def peers(self) -> list[PeerStatus]:
        """Return the records, at most STATUS_AGE seconds old."""
        loop = asyncio.get_running_loop()
        async with self._turn:
            now = loop.time()
            if self._made_at is None or now >= self._made_at + STATUS_AGE:
                await asyncio.sleep(0)
                self.lag = loop.time() - now
                self._peers = [await host.status_now() for host in open_hosts()]
                self._made_at = now
            return self._peers
