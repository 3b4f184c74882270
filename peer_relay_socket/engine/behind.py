"""Peers behind this one: they have no key of their own, and this peer answers for them.

Lives here: what the overlay asks about such peers, and the answers of a peer that has none behind it. May not live
here: what those peers are; a gateway engine says that by overriding this.

Law: a peer behind another never takes the place of a peer with a key, neither as the owner of an address nor as the end
of a route for what is sealed.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..address import PeerId, Prefix


class Behind:
    """None: the overlay alone."""

    neighbours: Mapping[PeerId, object] = {}
    """Peers behind this one that are linked to it."""

    def matching(self, _prefix: Prefix, _most: int) -> list[PeerId]:
        """Return peers behind this one that a prefix may mean, at most so many."""
        return []

    def look_for(self, _prefix: Prefix) -> None:
        """Ask the peers behind this one for others near a prefix."""

    def stand_in(self, _prefix: Prefix) -> PeerId | None:
        """Return the peer behind this one that a DISCOVER looks for, if something can be brought to it."""
        return None

    def may_be(self, _peer_id: PeerId) -> bool:
        """Return whether a peer may be one without a key, as far as this engine speaks with such peers."""
        return False
