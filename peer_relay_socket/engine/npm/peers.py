"""The npm peers that are known, by what is known of them.

Lives here: the tables that the overlay's questions (behind.py) and the gateway share. May not live here: what is sent.

Law: pure bookkeeping; each table names its limit, and no id in them proved a key.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

from ...address import PeerId, Prefix
from ...limits import MAX_NAMED, NPM_ASK_RATE
from ...rate import TokenBucket
from ..behind import Behind
from .id_index import IdIndex, IndexedTable
from .names import NpmNames
from .trust import NpmTrust

if TYPE_CHECKING:
    from ..core import Core
    from .links import NpmLink


class NpmPeers(Behind):
    """Neighbours, peers heard over them, and candidates for links."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.names = NpmNames(core)
        self._index = IdIndex()
        self.trust = NpmTrust(core, self.names, IndexedTable(self._index))
        self.neighbours: IndexedTable[NpmLink] = IndexedTable(self._index)
        """Links that are up, at most one per id and MAX_LINKS in all."""
        self.heard_over: IndexedTable[NpmLink] = IndexedTable(self._index)
        """The npm link over which a peer that is no neighbour was heard; at most NPM_WAYS."""
        self.candidates: IndexedTable[None] = IndexedTable(self._index)
        """Peers heard of and not linked to; at most NPM_CANDIDATES."""
        self.sought: dict[Prefix, None] = {}
        """Prefixes that npm neighbours are to be asked for, when the next texts are taken; at most MAX_RESOLVING, and
        NPM_ASK_RATE for others."""
        self._asking = TokenBucket(NPM_ASK_RATE, core.now)

    def known(self) -> Iterable[PeerId]:
        """Return the ids of which something is known, each at least once."""
        yield from self.neighbours
        yield from self.heard_over
        yield from self.candidates
        yield from self.trust.keyless

    def matching(self, prefix: Prefix, most: int) -> list[PeerId]:
        """Return npm peers that `prefix` may mean, `most` at most, of the first MAX_NAMED that begin so."""
        known = islice(self._index.matching(prefix), MAX_NAMED)
        return [each for each in known if self.trust.may_lack_a_key(each)][:most]

    def look_for(self, prefix: Prefix) -> None:
        """Ask npm neighbours for peers near `prefix`."""
        self.sought[prefix] = None

    def stand_in(self, prefix: Prefix) -> PeerId | None:
        """Return the npm peer that a DISCOVER looks for, if we can bring something to it."""
        if not self._core.config.serves:
            return None
        found = next((each for each in self.matching(prefix, MAX_NAMED) if self.reaches(each)), None)
        if found is None and self.neighbours and self._asking.take(self._core.now):
            self.look_for(prefix)  # so that the next question finds it known
        return found

    def may_be(self, peer_id: PeerId) -> bool:
        """Return whether `peer_id` may be an npm peer."""
        return not self.trust.has_key(peer_id)

    def reaches(self, peer_id: PeerId) -> bool:
        """Return whether `peer_id` is linked to us, or was heard over a link."""
        return peer_id in self.neighbours or peer_id in self.heard_over or peer_id in self.candidates

    def speaks(self, peer_id: PeerId) -> bool:
        """Return whether traffic to `peer_id` goes by npm's wire."""
        return peer_id in self.trust.keyless or peer_id in self.neighbours
