"""Connections to peers of npm peer-relay: from an open connection to a neighbour that talks, and until it goes.

Lives here: the id each end tells first, one link per id, keepalive, texts to be sent. May not live here: what envelopes
mean and where they go (gateway.py), JSON (codec).

Law: an id is only what the other end says it is. So it is never put among the neighbours of `Links`, which proved
theirs, and a link is refused whose id a peer proved, or that a link has already.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Final, Protocol

from ...address import PeerId, UnprovedId
from ...codec import npm as wire
from ...codec.npm import Envelope
from ...errors import HandshakeError, PacketError
from ...limits import (
    LINK_DEAD,
    LINK_HANDSHAKE_TIME,
    LINK_PING_IDLE,
    LOOPBACK_FACTOR,
    MAX_BUNDLE,
    MAX_HALF_OPEN_LINKS,
    MAX_LINKS,
    MAX_LINKS_PER_HOST,
    NPM_RTC_TEXT,
    NPM_SILENT,
    NPM_TEXT_PRICE,
    NPM_TEXT_UNIT,
    RELAY_TRAFFIC_FACTOR,
)
from ...rate import TokenBucket, TrafficBucket
from ...scope import Crowds, Scope
from ..effects import CloseLink, PeerDown, PeerUp, Throttle
from ..link import Carrier, host_of
from ..timers import Due

if TYPE_CHECKING:
    from ..core import Core
    from ..timers import Timer


WEBRTC: Final = "webrtc"
"""The carrier of a link that is not a WebSocket."""


class NpmLink:
    """One connection to an npm peer."""

    __slots__ = (
        *("carrier", "counted", "expected", "full", "largest", "number", "opened_at", "peer_id", "received_at"),
        *("pool", "traffic_share", "host", "remote_host", "rtc", "scope", "timer", "traffic", "up", "url", "value"),
    )

    def __init__(
        self, number: int, url: str | None, remote_host: str, expected: PeerId | None, core: Core, carrier: Carrier
    ) -> None:
        scope = Scope.of(remote_host)
        self.number = number
        self.remote_host = remote_host
        self.url = url
        """What we dialled; None when they dialled us."""
        self.scope = Scope.GLOBAL if scope is None else scope
        self.host = host_of(remote_host, self.scope)
        """The host that this link counts against; "" for none."""
        self.expected = expected
        """The peer that must answer; None where a bootstrap URL was dialled, or they dialled us."""
        self.peer_id: PeerId = b""
        self.value = 0
        self.counted = False
        """Whether it is among those that others opened."""
        self.up = False
        """Whether they have said more than their id: a node with no room for us never does."""
        self.full = False
        self.rtc = False
        """Whether they showed that they do WebRTC: a signal ends a node process that does not."""
        self.carrier = carrier
        self.largest = NPM_RTC_TEXT if carrier == WEBRTC else MAX_BUNDLE
        """Characters of one text."""
        self.opened_at = self.received_at = core.now
        factor = 1.0 if url is None else RELAY_TRAFFIC_FACTOR
        factor = LOOPBACK_FACTOR if self.scope is Scope.LOOPBACK else factor
        self.traffic = TrafficBucket(core.config.link_packets * factor, core.config.link_bytes * factor, core.now)
        """Texts and bytes that we read from it."""
        self.pool = core.work.traffic(self.scope)
        self.traffic_share: TokenBucket | None = None
        """As `LinkState`'s."""
        self.timer: Timer | None = None

    @property
    def crowd_host(self) -> str:
        """The address whose host and prefixes this link counts for; "" for none."""
        return self.remote_host if self.host else ""


class NpmLinkEvents(Protocol):
    """What the links report to their owner, and ask it."""

    def npm_refusal(self, peer_id: PeerId) -> str | None:
        """Return why a link to us as `peer_id` is refused, or None."""

    def npm_name(self, peer_id: PeerId) -> PeerId:
        """Return the id by which `peer_id` knows us."""

    def npm_greeted(self, link: NpmLink) -> None:
        """The ids are exchanged; envelopes may be sent."""

    def npm_link_up(self, link: NpmLink) -> None:
        """They talk to us."""

    def npm_link_down(self, link: NpmLink) -> None:
        """`link`, which was up, is gone."""

    def npm_link_failed(self, link: NpmLink, reason: str) -> None:
        """A link that we dialled never came up."""

    def npm_full(self, link: NpmLink) -> None:
        """A node that we dialled has no room for us; `npm_link_failed` came before."""

    def npm_link_idle(self, link: NpmLink) -> None:
        """Ask something of them, so that their answer shows that they live."""


class NpmLinks:
    """All connections to npm peers."""

    def __init__(self, core: Core, events: NpmLinkEvents, by_id: MutableMapping[PeerId, NpmLink]) -> None:
        """Args: by_id: the table of links that are up, at most one per id."""
        self._core = core
        self._events = events
        self.all: dict[int, NpmLink] = {}
        """At most MAX_LINKS."""
        self.by_id = by_id
        self.texts: list[tuple[int, str]] = []
        """(link, text) to be sent, in order."""
        self._accepted: Crowds[NpmLink] = Crowds(MAX_LINKS_PER_HOST)
        self._half_open: Crowds[NpmLink] = Crowds(MAX_LINKS_PER_HOST)
        """Links that others opened, and those of them that are not up, by host and prefix."""
        self._half_open_count = 0
        self._greeted: Counter[PeerId] = Counter()
        """Links by the id that their other end said; at most MAX_LINKS."""

    def opened(self, number: int, url: str | None, remote_host: str, expected: PeerId | None) -> None:
        """A connection stands whose other end speaks, or waits for, the npm wire."""
        core = self._core
        link = self.all[number] = NpmLink(number, url, remote_host, expected, core, "websocket")
        if self._is_refused(link, self._refusal(link)):
            return
        link.timer = core.timers.at(
            Due.LINK_HANDSHAKE, core.now + LINK_HANDSHAKE_TIME, self.drop, link, "said nothing for too long"
        )
        if url is None:
            self.say(link, wire.id_text(core.peer_id))

    def rtc_opened(self, number: int, remote_host: str, peer_id: PeerId) -> None:
        """A data channel stands. The id of its other end came with the signals, so neither end sends it."""
        link = self.all[number] = NpmLink(number, None, remote_host, None, self._core, WEBRTC)
        link.rtc = True
        if not self._is_refused(link, self._refusal(link) or self._events.npm_refusal(peer_id)):
            self._identified(link, peer_id)

    def _is_refused(self, link: NpmLink, refusal: str | None) -> bool:
        if refusal:
            self._core.counters["link refused: " + refusal] += 1
            self.drop(link, refusal)
        elif link.url is None:
            link.counted = True
            self._accepted.add(link, link.crowd_host)
            self._half_open.add(link, link.crowd_host)
            self._half_open_count += 1
        return bool(refusal)

    def knows(self, peer_id: PeerId) -> bool:
        """Return whether there is a connection to `peer_id`, up or not yet."""
        return peer_id in self.by_id or peer_id in self._greeted

    def _refusal(self, link: NpmLink) -> str:
        """Return why `link` is one too many, "" if it is not."""
        host = link.crowd_host
        if link.url is None:
            if self._accepted.is_full(host):
                return "too many links from one host"
            if self._half_open_count >= MAX_HALF_OPEN_LINKS and not self._make_way(self._half_open, host):
                return "too many handshakes"
        if len(self.all) > MAX_LINKS and (link.url is not None or not self._make_way(self._accepted, host)):
            return "too many links"
        return ""

    def _make_way(self, crowds: Crowds[NpmLink], host: str) -> bool:
        """Drop a link of the most crowded prefix for one from `host`; return whether there was one to drop."""
        victim = crowds.to_give_way(host, lambda _link: True)
        if victim is None:
            return False
        self._core.counters["link dropped: the most crowded network gives way"] += 1
        self.drop(victim, "others have fewer links from one network")
        return True

    def _no_longer_half_open(self, link: NpmLink) -> None:
        if link.counted and not link.up:
            self._half_open.remove(link, link.crowd_host)
            self._half_open_count -= 1

    def closed(self, number: int) -> None:
        """The connection is gone."""
        link = self.all.pop(number, None)
        if link is not None:
            self._forget(link, "closed")

    def drop(self, link: NpmLink, reason: str) -> None:
        """Close `link` from our side."""
        if self.all.pop(link.number, None) is not None:
            self._core.effects.append(CloseLink(link.number, reason))
            self._forget(link, reason)

    def _forget(self, link: NpmLink, reason: str) -> None:
        if link.timer is not None:
            link.timer.cancel()
        if link.peer_id:
            self._greeted[link.peer_id] -= 1
            if not self._greeted[link.peer_id]:
                del self._greeted[link.peer_id]
        self._no_longer_half_open(link)
        if link.counted:
            self._accepted.remove(link, link.crowd_host)
            link.counted = False
        if link.up:
            link.up = False
            del self.by_id[link.peer_id]
            self._core.effects.append(PeerDown(UnprovedId(link.peer_id)))
            self._events.npm_link_down(link)
        elif link.url is not None:
            self._events.npm_link_failed(link, reason)

    def say(self, link: NpmLink, text: str) -> None:
        """Send one text."""
        self.texts.append((link.number, text))

    def send(self, link: NpmLink, envelope: Envelope) -> None:
        """Send one envelope; what JSON has no room or word for is dropped and counted."""
        try:
            text = wire.envelope_text(envelope)
        except PacketError:
            text = ""
        if text and len(text) <= link.largest:
            self.say(link, text)
        else:
            self._core.counters["dropped: does not fit npm's wire"] += 1

    def heard(self, link: NpmLink, text: str) -> Envelope | None:
        """Take one text. Returns: the envelope it is, unless it was their id.

        Raises: HandshakeError: the link is worthless. PacketError: this text is.
        """
        core = self._core
        link.received_at = core.now
        traffic = link.traffic
        packets = 1.0 + len(text) / NPM_TEXT_UNIT
        traffic.packets.level -= packets
        link.pool.level -= packets + NPM_TEXT_PRICE
        traffic.bytes.level -= len(text)
        if traffic.packets.level < 0.0 or traffic.bytes.level < 0.0 or link.pool.level < 0.0:
            self._overdrawn(link, packets)
        if not link.peer_id:
            self._greet(link, text)
            return None
        envelope = wire.read_envelope(text)
        if not link.up:
            self._up(link)
        return envelope

    def _overdrawn(self, link: NpmLink, packets: float) -> None:
        """As `Throttling.overdrawn`: do not read a link for a while that sends more than its share."""
        core = self._core
        wait = max(link.traffic.settle(core.now), core.work.crowded(link, packets, core.now))
        if wait > 0.0:
            core.counters["link throttled"] += 1
            core.effects.append(Throttle(link.number, wait))
            link.received_at = core.now + wait  # we shall not hear it so long, and that is our doing

    def _greet(self, link: NpmLink, text: str) -> None:
        try:
            peer_id = wire.read_id(text)
        except PacketError as error:
            raise HandshakeError(f"no peer of npm's: {error}") from None
        refusal = self._events.npm_refusal(peer_id)
        if link.expected is not None and peer_id != link.expected:
            refusal = "another peer answers there"
        if refusal is not None:  # before our id is sent: a node forgets another peer by it
            raise HandshakeError(refusal)
        if link.url is not None:
            self.say(link, wire.id_text(self._events.npm_name(peer_id)))
        self._identified(link, peer_id)

    def _identified(self, link: NpmLink, peer_id: PeerId) -> None:
        core = self._core
        link.peer_id = peer_id
        self._greeted[peer_id] += 1
        link.value = int.from_bytes(peer_id)
        if link.timer is not None:
            link.timer.cancel()
        link.timer = core.timers.at(Due.LEGACY_SILENT, core.now + NPM_SILENT, self._silent, link)
        self._events.npm_greeted(link)

    def _silent(self, link: NpmLink) -> None:
        self.drop(link, "has no room for more peers (it sent its id and nothing else)")
        if link.url is not None:
            self._events.npm_full(link)

    def _up(self, link: NpmLink) -> None:
        core = self._core
        if link.peer_id in self.by_id:
            raise HandshakeError("already linked")
        if link.timer is not None:
            link.timer.cancel()
        self._no_longer_half_open(link)
        link.up = True
        self.by_id[link.peer_id] = link
        link.timer = core.timers.at(Due.LINK_KEEPALIVE, core.now + LINK_PING_IDLE, self._keep_alive, link)
        core.effects.append(PeerUp(UnprovedId(link.peer_id)))
        self._events.npm_link_up(link)

    def _keep_alive(self, link: NpmLink) -> None:
        core = self._core
        dead = link.received_at + LINK_DEAD
        if core.now >= dead:
            self.drop(link, "silent")
            return
        due = link.received_at + LINK_PING_IDLE
        if core.now >= due:
            self._events.npm_link_idle(link)
            due = dead
        link.timer = core.timers.at(Due.LINK_KEEPALIVE, due, self._keep_alive, link)
