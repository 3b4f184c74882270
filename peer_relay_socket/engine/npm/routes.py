"""Where envelopes of npm peers go: to npm neighbours, and across our overlay to other relays of ours.

Lives here: duplicates, learned routes, the search across the overlay, envelopes that wait for it. May not live here:
which peers are believed (gateway.py), connections (links.py).

Law: one envelope in is at most two out, none goes back where its path has been, and everything an npm peer can make
grow is bounded.

Order of choice for an envelope to X::

    the npm link to X                           unlike npm's relays, which then send a second copy elsewhere
    the npm link by which X was heard
    the overlay, where X is a neighbour, or a search (DISCOVER) found it
    unknown: the search begins, and the two npm neighbours nearest to X get it now (npm's rule)
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Final

from ...address import PeerId
from ...codec import npm as wire
from ...codec import packet
from ...codec.npm import Envelope
from ...codec.packet import Kind
from ...errors import PacketError
from ...limits import (
    MAX_RESOLVING,
    NPM_HOPS,
    NPM_NONCES,
    NPM_SEEK_BYTES,
    NPM_SEEK_TIME,
    NPM_WAY_TIME,
    NPM_WAYS,
    make_room,
)
from ..timers import Due

if TYPE_CHECKING:
    from ..core import Core
    from ..links import Links
    from ..routing import Router
    from ..searches import Searches
    from .links import NpmLink, NpmLinks

_FAN_OUT: Final = 2
"""npm's `concurrency`."""


class _Search:
    """Envelopes that wait until a relay answers for their peer."""

    __slots__ = ("packets", "size")

    def __init__(self) -> None:
        self.packets: list[bytes] = []
        self.size = 0


class NpmRoutes:
    """The forwarding table for npm peers."""

    def __init__(
        self,
        core: Core,
        links: NpmLinks,
        overlay: Links,
        router: Router,
        searches: Searches,
        heard_over: MutableMapping[PeerId, NpmLink],
    ) -> None:
        """Args: heard_over: the npm link over which a peer that is no neighbour was heard."""
        self._core = core
        self._links = links
        self._overlay = overlay
        self._router = router
        self._overlay_searches = searches
        self._heard_over = heard_over
        self._found: dict[PeerId, float] = {}
        """Peers that the overlay has a route to, and since when we know it; at most NPM_WAYS."""
        self._nonces: dict[tuple[PeerId, str], None] = {}
        """At most NPM_NONCES."""
        self._searches: dict[PeerId, _Search] = {}
        """At most MAX_RESOLVING."""
        self._waiting = 0

    # --- what is known ---------------------------------------------------------------------------------------

    def fresh(self, envelope: Envelope) -> bool:
        """Return whether `envelope` was never here before; now it was."""
        key = (envelope.sender, envelope.nonce)
        if key in self._nonces:
            return False
        make_room(self._nonces, NPM_NONCES)
        self._nonces[key] = None
        return True

    def learn(self, sender: PeerId, link: NpmLink) -> None:
        """`sender`, no neighbour, was heard by `link`."""
        if self._heard_over.get(sender) is not link:
            self._heard_over.pop(sender, None)
            make_room(self._heard_over, NPM_WAYS)
            self._heard_over[sender] = link

    def link_down(self, link: NpmLink) -> None:
        """Forget routes over `link`."""
        for peer_id in [peer_id for peer_id, via in self._heard_over.items() if via is link]:
            del self._heard_over[peer_id]

    def found(self, peer_id: PeerId) -> None:
        """The overlay has a route to `peer_id`: send what waits for it."""
        self._found.pop(peer_id, None)
        make_room(self._found, NPM_WAYS)
        self._found[peer_id] = self._core.now
        search = self._searches.pop(peer_id, None)
        if search is not None:
            self._waiting -= search.size
            for data in search.packets:
                self._router.send_behind(data, peer_id)

    def forget(self, peer_id: PeerId) -> None:
        """`peer_id` is no npm peer, or not where we thought."""
        self._heard_over.pop(peer_id, None)
        self._found.pop(peer_id, None)

    def full(self, to: PeerId) -> bool:
        """Return whether the link that `to` is reached by takes no more for now."""
        link = self._links.by_id.get(to) or self._heard_over.get(to)
        if link is not None:
            return link.full
        if to in self._found or to in self._overlay.by_id:
            hop = self._router.hop_behind(to)
            return hop is not None and hop.full
        return any(link.full for link in self._nearest(int.from_bytes(to), (), _FAN_OUT))

    # --- sending ---------------------------------------------------------------------------------------------

    def send(self, envelope: Envelope) -> None:
        """Send an envelope of our own, whose path is us."""
        self.fresh(envelope)  # if it comes back, it is known
        self._send(envelope, True)

    def forward(self, envelope: Envelope, *, overlay: bool = True) -> None:
        """Send on what another peer sent. `overlay` = False: it came over the overlay, and stays on this side."""
        core = self._core
        if not core.config.serves:
            core.counters["dropped: not a relay"] += 1
        elif len(envelope.path) >= NPM_HOPS:
            core.counters["dropped: hop limit"] += 1
        else:
            self._send(envelope._replace(path=(*envelope.path, core.peer_id)), overlay)

    def _send(self, envelope: Envelope, overlay: bool) -> None:
        to, path = envelope.to, envelope.path
        link = self._links.by_id.get(to)
        if link is None:
            link = self._heard_over.get(to)
            if link is not None and link.peer_id in path:
                link = None
        if link is not None:
            if envelope.kind == wire.SIGNAL and link.peer_id == to and not link.rtc:
                self._core.counters["dropped: a signal for a peer without WebRTC"] += 1
            else:
                self._links.send(link, envelope)
            return
        if overlay and self._router.linked and self._cross(envelope):
            return
        for near in self._nearest(int.from_bytes(to), path, _FAN_OUT):
            self._links.send(near, envelope)

    def _nearest(self, target: int, path: tuple[PeerId, ...], count: int) -> list[NpmLink]:
        others = [link for link in self._links.by_id.values() if link.peer_id not in path]
        return sorted(others, key=lambda link: link.value ^ target)[:count]

    def _cross(self, envelope: Envelope) -> bool:
        """Send `envelope` over the overlay; False when no route is known yet (it then waits for one)."""
        core = self._core
        to = envelope.to
        try:
            data = packet.packet(Kind.LEGACY, to, envelope.sender, wire.pack(envelope))
        except PacketError:
            core.counters["dropped: does not fit a packet"] += 1
            return False
        since = self._found.get(to)
        if since is None and to not in self._overlay.by_id:
            self._search(to, data)
            return False
        if since is not None and core.now - since > NPM_WAY_TIME:
            self._found[to] = core.now
            self._overlay_searches.discover(to)
        return self._router.send_behind(data, to)

    def _search(self, to: PeerId, data: bytes) -> None:
        core = self._core
        search = self._searches.get(to)
        if search is None:
            if len(self._searches) >= MAX_RESOLVING:
                core.counters["dropped: too many npm peers are looked for"] += 1
                return
            search = self._searches[to] = _Search()
            self._overlay_searches.discover(to)
            core.timers.at(Due.LEGACY_SEARCH, core.now + NPM_SEEK_TIME / 4, self._search_again, to, search)
            core.timers.at(Due.LEGACY_SEARCH_OVER, core.now + NPM_SEEK_TIME, self._give_up, to, search)
        if self._waiting + len(data) > NPM_SEEK_BYTES:
            core.counters["dropped: too much waits for this peer"] += 1
            return
        search.packets.append(data)
        search.size += len(data)
        self._waiting += len(data)

    def _search_again(self, to: PeerId, search: _Search) -> None:
        if self._searches.get(to) is search:
            self._overlay_searches.discover(to)

    def _give_up(self, to: PeerId, search: _Search) -> None:
        if self._searches.get(to) is search:
            del self._searches[to]
            self._waiting -= search.size
            self._core.counters["no route across the overlay"] += len(search.packets)
