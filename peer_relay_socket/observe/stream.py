"""What the page of a node shows as it changes: records with rates, and what was lost in the last ten minutes.

Lives here: rates, the memory of losses, and the events of `/stream`, one a second while a client listens. May not live
here: HTTP (admin.py), the records (bridge/status.py).

Law: an event is made once for all clients. A client that reads slowly misses events, and none waits for it; one that
takes nothing for ADMIN_TIME seconds is let go.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ..limits import ADMIN_TIME, DROPS_STEP, DROPS_STEPS, STREAM_INTERVAL

if TYPE_CHECKING:
    from ..bridge.status import PeerStatus

Counters: TypeAlias = Mapping[str, int]
_LEAST: Final = 0.05
"""Seconds that a client waits for the next event while another one has it made."""


class Losses:
    """The counters of peers as they were every DROPS_STEP seconds, for DROPS_STEPS steps."""

    def __init__(self) -> None:
        self._seen: deque[dict[str, Counters]] = deque(maxlen=DROPS_STEPS + 1)

    def note(self, counters: dict[str, Counters]) -> None:
        """A step is over: these are the counters of each peer, by its id."""
        self._seen.append(counters)

    def since(self, peer_id: str, now: Counters) -> dict[str, int]:
        """Return by how much each counter of a peer has grown in the time that is remembered."""
        before = next((each[peer_id] for each in self._seen if peer_id in each), now)
        return {name: grown for name, count in now.items() if (grown := count - before.get(name, 0)) > 0}

    def steps(self, peer_id: str, now: Counters) -> list[int]:
        """Return how much a peer lost in each step, the oldest first; the last one is not over."""
        sums = [_lost(each[peer_id]) for each in self._seen if peer_id in each]
        sums.append(_lost(now))
        return [max(0, after - before) for before, after in pairwise(sums)]


def _lost(counters: Counters) -> int:
    return sum(count for name, count in counters.items() if name.startswith("dropped: "))


class Rates:
    """Bytes per second of links, from one record to the next."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, int]] = {}
        self._at = 0.0

    def take(self, peers: list[PeerStatus], now: float) -> dict[str, dict[str, tuple[float, float]]]:
        """Return, for each peer and link, bytes per second in and out since the last call."""
        last, passed = self._last, now - self._at
        self._last, self._at = {}, now
        rates: dict[str, dict[str, tuple[float, float]]] = {}
        for peer in peers:
            of_peer = rates[peer["id"]] = {}
            for link in peer["links"]:
                key, total = peer["id"] + link["id"], (link["rx_bytes"], link["tx_bytes"])
                self._last[key] = total
                if key in last and passed > 0:
                    rx, tx = (max(0, after - before) / passed for before, after in zip(last[key], total, strict=True))
                    of_peer[link["id"]] = round(rx, 1), round(tx, 1)
        return rates


class Stream:
    """The events of `/stream`. Loop thread only.

    Args:
        records: returns the records of all peers.
        why_not_ready: "" for a node that is ready.
    """

    def __init__(self, records: Callable[[], Awaitable[list[PeerStatus]]], why_not_ready: Callable[[], str]) -> None:
        self._records = records
        self._why_not_ready = why_not_ready
        self.losses = Losses()
        self._rates = Rates()
        self.clients = 0
        self._event = b""
        self._made_at = -STREAM_INTERVAL

    async def serve(self, writer: asyncio.StreamWriter) -> None:
        """Write events until the client is gone, or too slow.

        Raises: OSError, TimeoutError.
        """
        loop = asyncio.get_running_loop()
        self.clients += 1
        try:
            while True:
                writer.write(await self._current())
                await asyncio.wait_for(writer.drain(), ADMIN_TIME)
                await asyncio.sleep(max(_LEAST, self._made_at + STREAM_INTERVAL - loop.time()))
        finally:
            self.clients -= 1

    async def _current(self) -> bytes:
        """Return the last event, made anew if it is STREAM_INTERVAL seconds old."""
        now = asyncio.get_running_loop().time()
        if now >= self._made_at + STREAM_INTERVAL:
            self._made_at = now
            self._event = b"data: " + json.dumps(self.event(await self._records(), now)).encode() + b"\n\n"
        return self._event

    def event(self, peers: list[PeerStatus], now: float) -> dict[str, Any]:
        """Return what an event tells."""
        rates = self._rates.take(peers, now)
        return {
            "not_ready": self._why_not_ready(),
            "step_s": DROPS_STEP,
            "peers": peers,
            "rates": rates,
            "grown": {peer["id"]: self.losses.since(peer["id"], peer["counters"]) for peer in peers},
            "lost": {peer["id"]: self.losses.steps(peer["id"], peer["counters"]) for peer in peers},
        }
