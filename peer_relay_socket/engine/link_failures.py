"""What the operator reads of links that failed: one line for each bootstrap URL and reason.

Lives here: which failure is worth a line. May not live here: what follows from a failure (links.py, membership.py).

Law: a URL that the program did not name, or that only another peer told, is noted at debug level.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..address import pinned_id

if TYPE_CHECKING:
    from .core import Core
    from .link import LinkState
    from .membership import Membership

_DEBUG: Final = 10
_WARNING: Final = 30


class LinkFailures:
    """The failures of one peer's links."""

    def __init__(self, core: Core, membership: Membership) -> None:
        self._core = core
        self._membership = membership
        self._noted: dict[tuple[str, str], None] = {}
        """(bootstrap URL, reason) of failures already noted: as many as there are URLs and texts."""
        self._shut_out: dict[str, None] = {}
        """Bootstrap URLs whose last link ended during its handshake."""

    def link_up(self, link: LinkState) -> None:
        """A link is up."""
        if link.url is not None:
            self._shut_out.pop(link.url, None)

    def refused(self, link: LinkState, reason: str) -> None:
        """The other end answered, but not as a peer of this network does."""
        self._core.counters["link failed"] += 1
        if link.url is None:
            self._core.note(_DEBUG, f"link from {link.remote_host} failed: {reason}")
            return
        hint = "" if link.handshake is None else "; have both sides the same network key, or none?"
        self._note_once(link.url, reason + hint)
        self._membership.wrong_peer_at(link.url)

    def ended(self, link: LinkState, waits: bool) -> None:
        """A link that we dialled never came up; `waits`: we had done our part of its handshake."""
        if not (link.handshake is not None or waits) or link.url is None:
            return
        why = "they closed it during the handshake"
        if link.url in self._shut_out:  # once is how a node looks that is just ending
            self._note_once(link.url, why + "; have both sides the same network key?")
        else:
            self._core.note(_DEBUG, f"link to {link.url} failed: {why}")
        if link.url in self._core.config.bootstrap:
            self._shut_out[link.url] = None

    def _note_once(self, url: str, reason: str) -> None:
        core = self._core
        level = _DEBUG
        self._membership.blame(url, reason)
        named = url in core.config.bootstrap and self._membership.expected(url) == pinned_id(url)
        if named and (url, reason) not in self._noted:
            self._noted[url, reason] = None
            level = _WARNING
        core.note(level, f"link to {url} failed: {reason}")
