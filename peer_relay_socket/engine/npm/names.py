"""The ids by which npm peers know us: our own, and one more for those that lost a WebRTC link to us.

Lives here: which peer knows us by which. May not live here: anything that is sent.

Law: an npm peer that loses a WebRTC link never forgets it. Whatever it has for that id goes to the dead channel, which
is nearest, and nowhere else; no new link under that id is taken, and nothing mends it but a new page. So from then on
we speak to such a peer, and to it alone, as the id next to ours: it knows no channel of that name, sends to the two
nearest (npm's fan-out), of which the dead one is only the first, and every hub finds us nearest to it. WebRTC is not
tried with it again, for a second dead channel would take the second place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...address import ID_BYTES, PeerId
from ...limits import NPM_CANDIDATES, make_room
from ..xor import SECOND_ID

if TYPE_CHECKING:
    from ..core import Core


class NpmNames:
    """Our names."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._other = (core.number ^ SECOND_ID).to_bytes(ID_BYTES)
        self._deaf: dict[PeerId, None] = {}
        """Peers with a dead channel for our own id; at most NPM_CANDIDATES."""

    def for_peer(self, peer_id: PeerId) -> PeerId:
        """Return the id by which `peer_id` knows us."""
        return self._other if peer_id in self._deaf else self._core.peer_id

    def is_us(self, peer_id: PeerId) -> bool:
        """Return whether `peer_id` is a name of ours."""
        return peer_id == self._core.peer_id or (peer_id == self._other and bool(self._deaf))

    def is_deaf(self, peer_id: PeerId) -> bool:
        """Return whether `peer_id` has a dead channel for our own id."""
        return peer_id in self._deaf

    def channel_lost(self, peer_id: PeerId) -> None:
        """A WebRTC link to `peer_id`, which was up, is gone."""
        self._deaf.pop(peer_id, None)
        make_room(self._deaf, NPM_CANDIDATES)
        self._deaf[peer_id] = None

    def mended(self, peer_id: PeerId) -> None:
        """`peer_id` has a new channel for our own id, so the dead one is gone."""
        self._deaf.pop(peer_id, None)
