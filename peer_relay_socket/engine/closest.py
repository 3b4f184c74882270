"""Closest: the relays nearest a peer's own id, over which it is found.

Lives here: which known relays should be linked as the nearest, which linked ones are beyond them. May not live here:
dialling and letting go (membership.py), links elsewhere in the network (slots.py, anchors.py).

Law: CLOSEST_LINKS of them; with a peer that cannot be dialled, CLOSE_PER_PREFIX at most are of one prefix or host where
there are others, so that one network's relays cannot surround it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..address import PeerId
from ..limits import CLOSE_PER_PREFIX, CLOSEST_LINKS
from ..scope import Scope, crowd_groups

if TYPE_CHECKING:
    from collections.abc import Container

    from .candidates import Candidate, Candidates
    from .core import Core
    from .link import LinkState
    from .links import Links
    from .routing import Router


class _Crowd:
    """Counts relays by host and prefix, and admits CLOSE_PER_PREFIX of each."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def admits(self, host: str) -> bool:
        """Return whether one more of `host` is not too many, and if so count it. "" is never too many."""
        groups = crowd_groups(host)
        if any(self._counts.get(group, 0) >= CLOSE_PER_PREFIX for group in groups):
            return False
        for group in groups:
            self._counts[group] = self._counts.get(group, 0) + 1
        return True


class Closest:
    """The relays nearest one peer."""

    def __init__(
        self, core: Core, links: Links, router: Router, candidates: Candidates, blocked: Container[PeerId]
    ) -> None:
        self._core = core
        self._links = links
        self._router = router
        self._candidates = candidates
        self._blocked = blocked

    def wanted(self) -> list[Candidate]:
        """Return the nearest candidates until CLOSEST_LINKS of them are, or may soon be, our neighbours.

        Nearer ones that fail are among them: they are tried again when their wait is over.
        """
        wanted: list[Candidate] = []
        passed: list[Candidate] = []
        crowd = _Crowd()
        sound = 0
        for _, peer_id in self._candidates.near:
            candidate = self._candidates[peer_id]
            if not candidate.urls or peer_id in self._blocked:
                continue
            if not self._core.config.serves and not crowd.admits(self._host_of(candidate)):
                passed.append(candidate)
                continue
            wanted.append(candidate)
            sound += peer_id in self._links.by_id or not candidate.failures
            if sound == CLOSEST_LINKS or len(wanted) == 4 * CLOSEST_LINKS:
                break
        wanted += passed[: max(0, CLOSEST_LINKS - sound)]
        return wanted

    def farther(self) -> list[LinkState]:
        """Return the linked relays, nearest first, that are not among our CLOSEST_LINKS, of which CLOSE_PER_PREFIX at
        most are of one prefix, where there are others."""
        crowd, near, passed, farther = _Crowd(), 0, [], []
        for link in self._router.by_distance(self._core.number):
            if near == CLOSEST_LINKS:
                farther.append(link)
            elif crowd.admits(link.crowd_host if link.scope is Scope.GLOBAL else ""):
                near += 1
            else:
                passed.append(link)
        return passed[CLOSEST_LINKS - near :] + farther

    def _host_of(self, candidate: Candidate) -> str:
        """Return the public address at which a candidate is, or would be, linked; "" where none is known."""
        link = self._links.by_id.get(candidate.peer_id)
        if link is not None:
            return link.crowd_host if link.scope is Scope.GLOBAL else ""
        host = urlsplit(candidate.urls[0]).hostname or ""
        return host if Scope.of(host) is Scope.GLOBAL else ""
