"""The engine of a peer that also speaks with peers of npm peer-relay: `Engine`, with its inputs overridden.

Lives here: which inputs and packets are the gateway's. May not live here: what the gateway makes of them (gateway.py).
A process that does not speak with npm peers imports nothing of this room.

Law: what is not the gateway's goes to `Engine` as it is.
"""

from __future__ import annotations

from ...address import Destination, PeerId, pinned_id
from ...codec.packet import Header
from ...errors import WireError
from ..behind import Behind
from ..core import Core
from ..direct import Path
from ..engine import Engine
from ..link import LinkState
from .gateway import Gateway
from .peers import NpmPeers


class GatewayEngine(Engine):
    """One peer of the overlay, and of the npm network beside it."""

    def _make_behind(self, core: Core) -> Behind:
        core.config.assume_reachable = True  # npm peers cannot be asked to dial back
        self._peers = NpmPeers(core)
        return self._peers

    def _complete(self) -> None:
        parts = (self._links, self._router, self._searches, self._resolver, self._sessions, self._membership)
        self._gateway = Gateway(self._core, self._peers, *parts, self._own_address.assume)

    # --- outputs ---------------------------------------------------------------------------------------------

    def take_texts(self) -> list[tuple[int, str]]:
        """Return (link, text) for all texts that are to be sent to npm peers, in order, and forget them."""
        if self._peers.sought:
            self._gateway.ask_neighbours()
        links = self._gateway.links
        texts = links.texts
        if texts:
            links.texts = []
        return texts

    # --- inputs: links ---------------------------------------------------------------------------------------

    def link_opened(
        self,
        link: int,
        *,
        url: str | None,
        remote_host: str,
        now: float,
        peer_id: PeerId | None = None,
        unit: int | None = None,
        native: bool = True,
    ) -> None:
        """A connection stands, as `Engine.link_opened`."""
        self._core.now = now
        if native or (url is not None and pinned_id(url) is not None):
            super().link_opened(
                link, url=url, remote_host=remote_host, now=now, peer_id=peer_id, unit=unit, native=native
            )
        else:
            self._gateway.opened(link, url, remote_host, peer_id)

    def link_closed(self, link: int, now: float, reason: str = "") -> None:
        """A connection is gone."""
        super().link_closed(link, now, reason)
        self._gateway.links.closed(link)

    def link_full(self, link: int, full: bool, now: float, waiting: int = 0) -> None:
        """A connection takes no more for now, or takes it again."""
        super().link_full(link, full, now, waiting)
        self._gateway.link_full(link, full)

    def dial_failed(self, url: str, now: float, reason: str = "") -> None:
        """A Dial effect came to nothing."""
        self._core.now = now
        self._gateway.neighbours.dialled(url)
        super().dial_failed(url, now, reason)

    def described(self, attempt: int, sdp: str, now: float) -> None:
        """The description that a Describe effect asked for."""
        self._core.now = now
        if not self._gateway.neighbours.rtc.described(attempt, sdp):
            super().described(attempt, sdp, now)

    def direct_failed(self, attempt: int, reason: str, now: float) -> None:
        """The attempt that a Describe effect began has ended."""
        self._core.now = now
        if not self._gateway.neighbours.rtc.failed(attempt, reason):
            super().direct_failed(attempt, reason, now)

    def link_text(self, link: int, text: str, now: float) -> None:
        """A neighbour sent one text: npm's wire, which its first message decides."""
        self._core.now = now
        state = self._links.all.get(link)
        if state is not None:
            if not state.untouched or (state.url is not None and pinned_id(state.url) is not None):
                super().link_text(link, text, now)
                return
            self._links.release(link)
            self._gateway.opened(link, state.url, state.remote_host)
        self._gateway.text_heard(link, text)

    def receive(self, link: int, bundle: bytes, now: float) -> None:
        """A neighbour sent one bundle; npm's wire in binary frames is text all the same."""
        if link in self._gateway.links.all:
            self.link_text(link, bundle.decode("utf-8", "replace"), now)
        else:
            super().receive(link, bundle, now)

    # --- inputs: the program ---------------------------------------------------------------------------------

    def path(self, peer_id: PeerId) -> tuple[Path, int]:
        """Return how `peer_id` is reached, and the number of the first link, or 0."""
        path = self._gateway.path(peer_id)
        return super().path(peer_id) if path is None else (path, 0)

    def room(self, destination: Destination) -> int:
        """Return how many bytes `send` takes for `destination` now."""
        peer_id = self._unresolved.whole(destination)
        if peer_id is not None and self._peers.speaks(peer_id):
            return self._gateway.room(peer_id)
        return super().room(destination)

    def connect(self, peer_id: PeerId, now: float) -> None:
        """Link to `peer_id` directly."""
        self._core.now = now
        if peer_id == self.peer_id or peer_id in self._links.by_id:
            super().connect(peer_id, now)
            return
        self._gateway.connect(peer_id)
        if self._peers.speaks(peer_id):
            self._membership.want(peer_id)
            return
        super().connect(peer_id, now)
        if not self._peers.trust.has_key(peer_id):
            self._gateway.tried(peer_id)

    def disconnect(self, peer_id: PeerId, now: float) -> None:
        """Drop the link to `peer_id`; it stays reachable through others."""
        super().disconnect(peer_id, now)
        self._gateway.disconnect(peer_id)

    def _send_whole(self, peer_id: PeerId, record: bytes) -> None:
        if self._peers.trust.has_key(peer_id):
            super()._send_whole(peer_id, record)
        elif self._peers.speaks(peer_id):
            self._gateway.send(peer_id, record)
        else:
            super()._send_whole(peer_id, record)
            self._gateway.tried(peer_id)

    # --- what the parts report ---------------------------------------------------------------------------------

    def peer_proved(self, peer_id: PeerId) -> None:
        """`peer_id` has shown its key."""
        self._gateway.proved(peer_id)
        super().peer_proved(peer_id)

    def link_up(self, link: LinkState) -> None:
        """A neighbour is there."""
        super().link_up(link)
        if len(self._links.by_id) == 1:
            self._gateway.look_for_wanted()

    def link_down(self, link: LinkState) -> None:
        """A neighbour is gone."""
        super().link_down(link)
        self._gateway.wake_blocked()

    def _discovered(self, peer_id: PeerId, behind: bool | None, link: LinkState) -> None:
        super()._discovered(peer_id, behind, link)
        if behind is not None:
            self._gateway.discovered(peer_id, behind)

    def _legacy(self, link: LinkState, bundle: bytes, offset: int, header: Header) -> None:
        to = header.to
        if not (self._peers.names.is_us(to) or self._peers.reaches(to)):
            super()._legacy(link, bundle, offset, header)
            return
        try:
            self._gateway.packet_heard(to, header.sender, bundle[header.body : header.end], link)
        except WireError:
            self._core.counters["dropped: malformed npm message"] += 1
