"""What the operator reads of links that failed: why, once per place and minute, and that the place answers again.

Lives here: which failure is worth a line, and how loud. May not live here: what follows from a failure (links.py,
membership.py).

Law: a failure is a warning where no other link is up, else information; a URL that the program did not name is noted at
debug level. A caller that dials us and is refused is noted as information, once per host and minute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..address import pinned_id
from ..limits import FAILURE_AGAIN, MAX_FAILURES

if TYPE_CHECKING:
    from .core import Core
    from .link import LinkState
    from .links import Links
    from .membership import Membership

_DEBUG, _INFO, _WARNING = 10, 20, 30
_KEYS: Final = "have both sides the same network key, or none?"


class LinkFailures:
    """The failures of one peer's links."""

    def __init__(self, core: Core, links: Links, membership: Membership) -> None:
        self._core = core
        self._links = links
        self._membership = membership
        self._noted: dict[str, tuple[float, int]] = {}
        """By URL, or the host of a link from outside: when a failure was noted, and at what level; at most
        MAX_FAILURES, the longest known goes."""
        self._shut_out: dict[str, None] = {}
        """Bootstrap URLs whose last link ended during its handshake."""

    def link_up(self, link: LinkState) -> None:
        """A link is up."""
        if link.url is None:
            return
        self._shut_out.pop(link.url, None)
        noted = self._noted.pop(link.url, None)
        if noted is not None:
            self._core.note(noted[1], f"{link.url} answers again")

    def refused(self, link: LinkState, reason: str) -> str:
        """The other end answered, but not as a peer of this network does, or is not admitted.

        Returns: the reason, for the other end to read.
        """
        self._core.counters["link failed"] += 1
        # Reasons that name a cure of their own need no guess at another.
        reason += "" if link.handshake is None or ": " in reason else f"; {_KEYS}"
        if link.url is None:
            self._note_once(link.remote_host, _INFO, f"link from {link.remote_host} refused: {reason}")
        else:
            self._note(link.url, reason)
            self._membership.wrong_peer_at(link.url)
        return reason

    def turned_away(self, link: LinkState, reason: str) -> None:
        """A neighbour that dialled us was one too many."""
        self._note_once(link.remote_host, _INFO, f"link from {link.remote_host} refused: {reason}")

    def ended(self, link: LinkState, waits: bool) -> None:
        """A link that we dialled never came up; `waits`: we had done our part of its handshake."""
        if not (link.handshake is not None or waits) or link.url is None:
            return
        if link.reason:
            self._note(link.url, f"it refuses us: {link.reason}")
        elif link.url in self._shut_out:  # once is how a node looks that is just ending
            self._note(link.url, f"they closed it during the handshake; {_KEYS}")
        else:
            self._core.note(_DEBUG, f"link to {link.url} failed: they closed it during the handshake")
        if link.url in self._core.config.bootstrap:
            self._shut_out[link.url] = None

    def _note(self, url: str, reason: str) -> None:
        core = self._core
        self._membership.blame(url, reason)
        text = f"link to {url} failed: {reason}"
        if url in core.config.bootstrap and self._membership.expected(url) == pinned_id(url):
            self._note_once(url, _INFO if self._links.by_id else _WARNING, text)
        else:
            core.note(_DEBUG, text)

    def _note_once(self, place: str, level: int, text: str) -> None:
        core = self._core
        noted = self._noted.get(place)
        if noted is not None and core.now < noted[0] + FAILURE_AGAIN and level <= noted[1]:
            core.note(_DEBUG, text)
            return
        self._noted.pop(place, None)
        while len(self._noted) >= MAX_FAILURES:
            del self._noted[next(iter(self._noted))]
        self._noted[place] = core.now, level
        core.note(level, text)
