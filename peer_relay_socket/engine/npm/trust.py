"""Which ids may be npm peers', who have no keys.

Lives here: who proved a key, who had time to and did not. May not live here: what follows from that (npm.py).

Law: an id that proved a key is never spoken to, nor heard, but sealed. Any other id that somebody says is an npm peer's
first gets NPM_GRACE seconds to show a key across the overlay; only an npm peer that is linked to us gets none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ...address import PeerId
from ...limits import NPM_GRACE, NPM_KEYED, NPM_WAYS, make_room

if TYPE_CHECKING:
    from ..core import Core
    from ..timers import Timer
    from .names import NpmNames


class NpmTrust:
    """What is known of keys."""

    def __init__(self, core: Core, names: NpmNames, fell_back: Callable[[PeerId], None]) -> None:
        """Args: fell_back: a peer has shown no key in time."""
        self._core = core
        self._names = names
        self._on_fell_back = fell_back
        self._keyed: dict[PeerId, None] = {}
        """Ids that proved a key to us; at most NPM_KEYED."""
        self.keyless: dict[PeerId, None] = {}
        """Ids that had their NPM_GRACE and showed none; at most NPM_WAYS."""
        self._grace: dict[PeerId, Timer] = {}
        """As many as there are sessions that wait for their first handshake."""

    def prove(self, peer_id: PeerId) -> bool:
        """`peer_id` has shown its key: from now on it is never believed without. Returns: whether that is new."""
        if peer_id in self._keyed:
            return False
        if len(self._keyed) < NPM_KEYED:
            self._keyed[peer_id] = None
        self.keyless.pop(peer_id, None)
        timer = self._grace.pop(peer_id, None)
        if timer is not None:
            timer.cancel()
        return True

    def has_key(self, peer_id: PeerId) -> bool:
        """Return whether `peer_id` proved a key."""
        return peer_id in self._keyed

    def may_lack_a_key(self, peer_id: PeerId) -> bool:
        """Return whether `peer_id` may be an npm peer's."""
        if peer_id in self._keyed or self._names.is_us(peer_id):
            return False
        return len(self._keyed) < NPM_KEYED or peer_id in self.keyless

    def doubt(self, peer_id: PeerId) -> None:
        """Somebody says that `peer_id`, for whom something sealed waits, is npm's: its time runs."""
        if peer_id not in self._grace and self.may_lack_a_key(peer_id):
            core = self._core
            self._grace[peer_id] = core.timers.at(core.now + NPM_GRACE, self.fall_back, peer_id)

    def fall_back(self, peer_id: PeerId) -> None:
        """`peer_id` has shown no key: what waits for it goes by npm's wire."""
        self._grace.pop(peer_id, None)
        if self.may_lack_a_key(peer_id):
            make_room(self.keyless, NPM_WAYS)
            self.keyless[peer_id] = None
            self._on_fell_back(peer_id)
