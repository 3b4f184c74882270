"""What an engine and its links say of themselves, put together on the relay thread.

Lives here: how links' own measurements complete what the engine knows. May not live here: the record that others are
shown (status.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from ..address import Destination
from ..engine.direct import Path
from ..originals import time
from ..transport.link import Link

if TYPE_CHECKING:
    from ..engine.engine import Engine
    from ..engine.status import EngineStatus


class DriverStatus(NamedTuple):
    """What the relay thread knows."""

    engine: EngineStatus
    advertised: tuple[str, ...]
    listens: tuple[str, ...]
    ahead: float
    """Seconds by which the wall clock is ahead of the engine's."""
    now: float
    rtts: dict[int, float]
    """Round trip times that links measure themselves, by number."""
    clock_skew: float | None
    """Seconds by which our wall clock is ahead of those of the peers that we dialled; the middle one."""
    certificate_expires: float | None


def driver_status(
    engine: Engine | None,
    links: Mapping[int, Link],
    now: float,
    listens: tuple[str, ...],
    certificate_expires: float | None,
) -> DriverStatus | None:
    """Return what is known of the engine and its links; None without an engine."""
    if engine is None:
        return None
    rtts = {number: rtt for number, link in links.items() if (rtt := getattr(link, "rtt", None)) is not None}
    skews = sorted(skew for link in links.values() if (skew := getattr(link, "clock_skew", None)) is not None)
    skew = skews[len(skews) // 2] if skews else None
    return DriverStatus(
        engine.status(now), engine.advertised, listens, time.time() - now, now, rtts, skew, certificate_expires
    )


def path_to(engine: Engine | None, links: Mapping[int, Link], destination: Destination, now: float) -> Path:
    """Return how a peer is reached."""
    if engine is None:
        return Path("unknown", None, None, None, None, "this peer is closed")
    peer_id = engine.known(destination)
    if peer_id is None:
        return Path("unknown", None, None, None, None, "no peer is known by this address yet")
    path, number = engine.path(peer_id)
    link = links.get(number)
    if path.since is not None:
        path = path._replace(since=round(time.time() - (now - path.since), 3))
    if path.reached != "direct":
        return path
    rtt = getattr(link, "rtt", None)
    return path._replace(rtt=path.rtt if rtt is None else rtt, turn=getattr(link, "turn", None))


def their_words(reason: str) -> str:
    """Return what the other end gave as its reason in its close frame, "" if it gave none."""
    found = re.fullmatch(r"closed by the other end: \d+ \([^)]*\) (.+)", reason)
    return "" if found is None else found[1]
