"""Which ids may be npm peers', which have no keys.

Lives here: which peers proved a key, and which had time to and did not. May not live here: what follows from that
(gateway.py).

Law: an id that proved a key is never spoken to, nor heard, but sealed. Any other id that is said to be an npm peer's
first gets NPM_GRACE seconds to show a key across the overlay; only an npm peer that is linked to us gets none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ...address import PeerId
from ...limits import NPM_GRACE, NPM_KEYED, NPM_WAYS, make_room
from ..timers import Due

if TYPE_CHECKING:
    from ..core import Core
    from ..timers import Timer
    from .id_index import IndexedTable
    from .names import NpmNames


class NpmTrust:
    """What is known of keys."""

    def __init__(self, core: Core, names: NpmNames, keyless: IndexedTable[None]) -> None:
        self._core = core
        self._names = names
        self._keyed: dict[PeerId, None] = {}
        """Ids that proved a key to us; at most NPM_KEYED."""
        self.keyless = keyless
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

    def doubt(self, peer_id: PeerId, expired: Callable[[PeerId], None]) -> None:
        """`peer_id`, for which something sealed waits, is said to be npm's: call `expired` unless it shows a key."""
        if peer_id not in self._grace and self.may_lack_a_key(peer_id):
            self._grace[peer_id] = self._core.timers.at(Due.LEGACY_GRACE, self._core.now + NPM_GRACE, expired, peer_id)

    def fall_back(self, peer_id: PeerId) -> bool:
        """`peer_id` has shown no key. Returns: whether it is spoken to by npm's wire from now on."""
        self._grace.pop(peer_id, None)
        if not self.may_lack_a_key(peer_id):
            return False
        make_room(self.keyless, NPM_WAYS)
        self.keyless[peer_id] = None
        return True
