"""The overlay of one peer as a pure state machine: what happened goes in, with the time; what is to be done comes out.

Lives here: the inputs and outputs. May not live here: the parts and what they do with each (overlay.py); I/O, clocks,
logging, threads, any randomness but what was handed in.

Law: no input raises on bytes a peer controls, each does bounded work, and the same inputs give the same outputs.

How to drive it (the real driver and the simulator do the same)::

    engine.<input>(..., now)             link_opened, link_closed, dial_failed, receive, send, ..., handle_timer
    for link, chunks in engine.take_bundles(): join the chunks and write them to that link
    for effect in engine.take_effects(): perform it
    arm one timer for engine.next_timer()
"""

from __future__ import annotations

from collections.abc import Sequence

from ..address import Destination, PeerId, Prefix
from ..codec import control
from ..codec import packet as wire
from ..codec.broadcast import Broadcast
from ..codec.packet import Record
from ..errors import WireError
from ..scope import Scope
from . import status
from .direct import Path
from .effects import Deliver, Effect, Message, PeerUp
from .memory import Remembered
from .overlay import Overlay
from .queue_shares import QueueShares
from .status import EngineStatus


class Engine(Overlay):
    """One peer of the overlay."""

    # --- outputs ---------------------------------------------------------------------------------------------

    def take_effects(self) -> list[Effect]:
        """Return what is to be done, in order, and forget it."""
        self._throttling.settle()
        effects = self._core.effects
        if effects:
            self._core.effects = []
        return effects

    def take_bundles(self) -> list[tuple[int, list[bytes | memoryview]]]:
        """Return (link, chunks that make one bundle) for all that is to be sent, in order, and forget it."""
        self._sessions.flush()
        bundles = self._links.bundles
        return bundles.take() if bundles.dirty else []

    def take_texts(self) -> list[tuple[int, str]]:
        """Return (link, text) for all texts that are to be sent: none, on the overlay's own wire."""
        return []

    def next_timer(self) -> float | None:
        """Return when `handle_timer` wants to be called."""
        return self._core.timers.next()

    @property
    def counters(self) -> dict[str, int]:
        """Drops and refusals by reason."""
        return dict(self._core.counters)

    def may_ask(self, host: str, now: float) -> bool:
        """Return whether a STUN request that came from an IP literal is answered."""
        self._core.now = now
        return self._sight.may_ask(host)

    def count(self, reason: str) -> None:
        """Count something that was dropped beside the engine."""
        self._core.counters[reason] += 1

    @property
    def idle(self) -> bool:
        """Whether nothing that was sent still waits inside for an address, a handshake or an acknowledgement's room."""
        return self._unresolved.idle and self._sessions.idle and self._broadcasts.idle

    @property
    def advertised(self) -> tuple[str, ...]:
        """URLs that neighbours are told to dial us at."""
        return self._reachability.advertised()

    def url_of(self, peer_id: PeerId) -> str | None:
        """Return where `peer_id` was, or may be, dialled, as far as is known."""
        link = self._links.by_id.get(peer_id)
        return self._membership.url_of(peer_id) if link is None or link.url is None else link.url

    def remembered(self, now: float) -> tuple[list[Remembered], dict[PeerId, int]]:
        """Return the relays that worked, and those in whose place another peer answered, with the time of that."""
        self._core.now = now
        return self._memory.remembered(), self._memory.disproved

    def network_key(self, purpose: bytes) -> bytes:
        """Return 32 bytes that are the same for all peers of this network; secret where it has a network key."""
        return self._core.network_key(purpose)

    @property
    def seen_hosts(self) -> frozenset[str]:
        """The hosts, as scope.py groups them, at which neighbours on the Internet see this peer."""
        return self._sight.seen

    @property
    def stun_servers(self) -> list[str]:
        """Neighbours that tell where they see us ("HOST:PORT", by UDP), the best first."""
        return self._sight.servers()

    @property
    def neighbours(self) -> list[PeerId]:
        """Ids of the peers we are linked to."""
        return list(self._links.by_id)

    # --- inputs: life ----------------------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """Begin to take part."""
        self._core.now = now
        self._reachability.start()
        self._membership.review()
        if self._core.config.serves and not self._core.config.bootstrap:
            self._own_address.assume()

    def serve(self, urls: tuple[str, ...], now: float) -> None:
        """We took the place that our bootstrap URLs name (the embedded node): others dial us now."""
        core = self._core
        core.now = now
        core.config.serves = True
        core.config.urls = urls
        self._membership.serve()
        self._router.links_changed()
        self._links.announce()
        self._broadcasts.give_up()
        self._own_address.assume()

    def recall(self, relays: Sequence[Remembered], now: float) -> None:
        """These relays worked in earlier runs; from now on the engine also goes back to those that worked in this one
        when it is cut off."""
        self._core.now = now
        self._memory.recall(relays)

    def recheck(self, now: float) -> None:
        """What `may_link` and `may_talk` answer has changed: part from the peers that they refuse now."""
        self._core.now = now
        self._links.recheck()
        self._sessions.recheck()

    def leave(self, now: float) -> None:
        """Say goodbye to every neighbour."""
        self._core.now = now
        self._links.goodbye()

    def handle_timer(self, now: float) -> None:
        """Do what was due at `now`."""
        self._core.now = now
        self._core.timers.run(now)

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
        """A connection stands. `link` names it from now on; `url` is what we dialled, None when they dialled us.

        Args: peer_id: the peer that must be there, and unit: how many bytes it carries at once; both of WebRTC links
            only. native: False where the other end is known not to speak our wire.
        """
        self._core.now = now
        if not native:
            self._links.refuse(link, "speaks another wire")
            return
        if peer_id is None and url is not None:
            peer_id = self._membership.expected(url)
        self._links.opened(link, url, remote_host, peer_id, unit)

    def link_closed(self, link: int, now: float, reason: str = "") -> None:
        """A connection is gone. `reason`: what the other end said of it, which is for people to read."""
        self._core.now = now
        self._links.closed(link, reason)

    def has_another(self, link: int) -> bool:
        """Return whether another link leads, or may lead, to the neighbour at the end of `link`."""
        return self._links.has_another(link)

    def link_full(self, link: int, full: bool, now: float, waiting: int = 0) -> None:
        """A connection takes no more for now, or takes it again; `room` of the peers reached over it follows.

        Args: waiting: bytes that wait on it; while it is full, said whenever a bundle was added.
        """
        self._core.now = now
        state = self._links.all.get(link)
        if state is not None:
            if full and not state.full:
                state.queue = QueueShares()
            state.full, state.queue.waiting = full, waiting
            if not full:
                self._table.unblock()

    def dial_failed(self, url: str, now: float, reason: str = "") -> None:
        """A Dial effect came to nothing."""
        self._core.now = now
        self._membership.blame(url, reason)
        self._membership.dial_failed(url)

    def network_changed(self, now: float) -> None:
        """This machine has other addresses than before, and all Dial effects under way were given up."""
        self._core.now = now
        self._membership.forgive()

    def suggest(self, peer_id: PeerId, url: str, scope: Scope, now: float) -> None:
        """A peer on a wire of this machine says that it can be dialled at `url`, which it has not proved."""
        self._core.now = now
        self._membership.suggest(peer_id, url, scope)

    def looked_up(self, place: str, urls: Sequence[str], now: float) -> None:
        """A Dial effect for a domain found the relays that it names."""
        self._core.now = now
        self._membership.looked_up(place, urls)

    def described(self, attempt: int, sdp: str, now: float) -> None:
        """The description that a Describe effect asked for."""
        self._core.now = now
        self._direct.signalling.described(attempt, sdp, now)

    def direct_failed(self, attempt: int, reason: str, now: float) -> None:
        """The attempt that a Describe effect began has ended."""
        self._core.now = now
        self._direct.signalling.failed(attempt, reason, now)

    def known(self, destination: Destination) -> PeerId | None:
        """Return the peer that `destination` means, as far as that is known without asking the network."""
        if not isinstance(destination, Prefix):
            return destination
        own = self._core.peer_id
        if destination.matches(own):
            return own
        known = dict.fromkeys((*self._links.by_id, *self._table.by_id))
        matching = [peer_id for peer_id in known if destination.matches(peer_id)]
        return self._resolver.known(destination) or (matching[0] if len(matching) == 1 else None)

    def path(self, peer_id: PeerId) -> tuple[Path, int]:
        """Return how `peer_id` is reached (`since` in the engine's time), and the number of the first link, or 0."""
        return self._direct.path(peer_id)

    def status(self, now: float) -> EngineStatus:
        """Return what there is to know about this peer, as it is now."""
        self._core.now = now
        parts = (self._core, self._links, self._router, self._table, self._direct, self._membership.anchors)
        tables = (self._membership.bootstraps, self._reachability.verdicts, self._unresolved.prefixes)
        return status.collect(*parts, *tables)

    def link_text(self, link: int, _text: str, now: float) -> None:
        """A neighbour sent one text, which the overlay's own wire has none of."""
        self._core.now = now
        state = self._links.all.get(link)
        if state is not None:
            hint = self._core.config.text_hint
            self._link_failed(state, f"speaks text, another wire{hint}" if state.untouched else "text out of turn")

    def receive(self, link: int, bundle: bytes, now: float) -> None:
        """A neighbour sent one bundle."""
        core = self._core
        core.now = now
        state = self._links.all.get(link)
        if state is None:  # we dropped it, and what was on its way still arrives
            return
        state.rx_bytes += len(bundle)
        try:
            if state.opening is None:
                state.received_at = now
                state.rx_packets += 1
                nonce = control.read_proof(bundle) if state.url is None else None
                if nonce is None:
                    self._links.greet(state, bundle)
                else:
                    self._links.drop(state, "thank you")
                    if not self._claimed_urls.reached(nonce):
                        self._reachability.proved(nonce)
            else:
                self._bundle(state, bundle)
        except WireError as error:
            if state.opening is None:
                self._link_failed(state, str(error))
            else:
                core.counters["link dropped: bad bytes"] += 1
                self._links.drop(state, str(error))

    def lane_heard(self, frame: bytes, host: str, port: int, now: float) -> None:
        """A frame of a datagram lane came by UDP, from an IP literal and a port."""
        core = self._core
        core.now = now
        link = self.lanes.link_of(frame)
        if link is None:
            core.counters["dropped: a frame of no datagram lane"] += 1
            return
        try:
            self.lanes.heard(link, frame, (host, port))
        except WireError as error:
            core.counters["link dropped: bad bytes"] += 1
            self._links.drop(link, str(error))

    # --- inputs: the program ---------------------------------------------------------------------------------

    def room(self, destination: Destination) -> int:
        """Return how many bytes `send` takes for `destination` now; when not above 0, a Writable effect will come."""
        peer_id = self._unresolved.whole(destination)
        if peer_id is not None:
            return self._sessions.room(peer_id)
        assert isinstance(destination, Prefix)
        return self._unresolved.room(destination)

    def has_lane(self, destination: Destination) -> bool:
        """Return whether a small packet to `destination` leaves by a datagram lane now."""
        peer_id = self._unresolved.whole(destination)
        return peer_id is not None and self._sessions.has_lane(peer_id)

    def make_room(self, destination: Destination, size: int) -> bool:
        """Drop the oldest that waits for `destination` to be found, until `send` takes `size` bytes for it.

        Returns: False where nothing waits for that, but the way there takes no more: a Writable effect will come.
        """
        peer_id = self._unresolved.whole(destination)
        if peer_id is not None:
            return self._sessions.make_room(peer_id, size)
        assert isinstance(destination, Prefix)
        return self._unresolved.make_room(destination, size)

    def send(
        self, destination: Destination, form: int, source_port: int, port: int, datagrams: Sequence[bytes], now: float
    ) -> None:
        """Send a run of datagrams (at most about PACKET_TARGET bytes, or a single one of any size)."""
        self._core.now = now
        if destination == self.peer_id:
            self._core.effects.append(Deliver(self.peer_id, source_port, port, form, list(datagrams)))
            return
        self._send_record(destination, wire.datagrams_record(form, source_port, port, datagrams))

    def broadcast(
        self, group: str, relays: int, form: int, source_port: int, port: int, datagrams: Sequence[bytes], now: float
    ) -> None:
        """Send datagrams to every peer that hears `group`, past at most `relays` relays, and past no more than the
        setting says. This peer's own sockets are not among them.

        Args: form: 4 or 6, the IP version of `group`.
        """
        self._core.now = now
        for data in datagrams:
            self._broadcasts.send(Broadcast(form, source_port, port, group, data), relays)

    def clock(self, wall: float, now: float) -> None:
        """The wall clock says `wall` (seconds since 1970)."""
        self._core.set_clock(wall, now)

    def send_message(self, destination: Destination, data: bytes, now: float) -> None:
        """Send JSON text."""
        self._core.now = now
        if destination == self.peer_id:
            self._core.effects.append(Message(self.peer_id, data))
            return
        self._send_record(destination, wire.record(Record.MESSAGE, data))

    def send_segment(self, destination: Destination, form: int, data: bytes, now: float) -> None:
        """Send a TCP segment, if there is room on the way; what is lost, TCP sends again. Args: form: 4 or 6."""
        self._core.now = now
        if destination != self.peer_id and self.room(destination) > 0:
            self._send_record(destination, wire.record(Record.SEGMENT, bytes((form,)) + data))

    def refuse(self, source: PeerId, port: int, source_port: int, now: float) -> None:
        """Tell `source` that nothing is bound to `port`, to which its `source_port` sent."""
        self._core.now = now
        if self._router.allow_notice():
            self._sessions.send(source, wire.record(Record.REFUSED, port.to_bytes(2) + source_port.to_bytes(2)))

    def connect(self, peer_id: PeerId, now: float) -> None:
        """Link to `peer_id`: dial it, have it dial us, or connect by WebRTC."""
        self._core.now = now
        if peer_id == self.peer_id:
            return
        if peer_id in self._links.by_id:
            self._core.effects.append(PeerUp(peer_id))
        self._direct.want(peer_id)

    def disconnect(self, peer_id: PeerId, now: float) -> None:
        """Drop the link to `peer_id`, which stays reachable through others; it stays ended until a program asks."""
        self._core.now = now
        self._direct.unwant(peer_id)
        self._membership.refuse(peer_id)

    def _send_record(self, destination: Destination, record: bytes) -> None:
        peer_id = self._unresolved.whole(destination)
        if peer_id is not None:
            self._send_whole(peer_id, record)
        elif isinstance(destination, Prefix):
            self._unresolved.add(destination, record)
