"""How npm peers become neighbours: candidates, the handshake by offer and answer, WebSocket or WebRTC.

Lives here: which peers to offer a link, what to answer, where to dial. May not live here: which peers are believed
(gateway.py), connections (links.py), signals (rtc.py).

Law: what a peer says is only acted on where we asked for it, and a URL only where it is no nearer than that peer.

    handshake-offer ->         when two cross, only the higher id answers, so that the lower one connects
    <- handshake-answer        where it can be dialled, whether it does WebRTC
    the offerer connects       by WebRTC if both do it, else to the URL; unlike npm's, also to the URL when WebRTC fails

On one machine (Scope.LOOPBACK) the URL comes first: it always works there, and WebRTC needs another address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ...address import PeerId
from ...codec import npm as wire
from ...codec.npm import Answer
from ...limits import NPM_CANDIDATES, NPM_LINKS, NPM_OFFER_AGAIN, NPM_OFFER_TIME, NPM_SIGNAL_TIME, make_room
from ...scope import Scope, is_learnable, reach
from ..effects import Dial
from ..timers import Due
from .rtc import NpmRtc

if TYPE_CHECKING:
    from ..core import Core
    from .links import NpmLinks
    from .peers import NpmPeers


class Say(Protocol):
    """Sends an envelope to a peer that has no key, wherever it is."""

    def __call__(self, peer_id: PeerId, kind: str, data: Any) -> None:
        """Send one envelope."""


class NpmNeighbours:
    """Npm peers that are, or may be, linked to us."""

    def __init__(self, core: Core, links: NpmLinks, peers: NpmPeers, say: Say) -> None:
        self._core = core
        self._links = links
        self._names = peers.names
        self._say = say
        self._may_lack_a_key = peers.trust.may_lack_a_key
        self.candidates = peers.candidates
        """As all tables here, at most NPM_CANDIDATES."""
        self._offers: dict[PeerId, float] = {}
        """Peers that we offered a link, or answered, and until when that counts as under way."""
        self._crossed: dict[PeerId, None] = {}
        """Peers that should answer our offer, since theirs crossed it."""
        self._asked: dict[PeerId, float] = {}
        """Peers that are not to be offered a link on our own account, and until when."""
        self._wished: dict[PeerId, None] = {}
        """Peers that the program wants to be linked to."""
        self._urls: dict[PeerId, Dial] = {}
        """Where peers that answered our offer can be dialled."""
        self._dials: dict[str, PeerId] = {}
        """URLs from answers that are being dialled, and the peer that should be there; at most NPM_LINKS."""
        self.rtc = NpmRtc(core, self._signal, self._rtc_failed)

    # --- which ------------------------------------------------------------------------------------------------

    def found(self, peers: list[PeerId]) -> None:
        """A neighbour named these."""
        for peer_id in peers:
            self.consider(peer_id)
        self._populate()

    def consider(self, peer_id: PeerId) -> None:
        """`peer_id` was heard of."""
        if peer_id in self._links.by_id or peer_id in self.candidates or not self._may_lack_a_key(peer_id):
            return
        make_room(self.candidates, NPM_CANDIDATES)
        self.candidates[peer_id] = None

    def _populate(self) -> None:
        """Offer links to the candidates nearest to us, until there are enough (npm's `_populate`)."""
        core = self._core
        now = core.now
        self._forget_old_offers()
        free = NPM_LINKS - len(self._links.by_id) - len(self._offers)
        if free <= 0:
            return
        idle = [each for each in self.candidates if each not in self._offers and self._asked.get(each, 0.0) <= now]
        for peer_id in sorted(idle, key=lambda each: int.from_bytes(each) ^ core.number)[:free]:
            self.offer(peer_id)

    def _forget_old_offers(self) -> None:
        """What expires first was put there first."""
        now = self._core.now
        while self._offers:
            peer_id, until = next(iter(self._offers.items()))
            if until > now:
                return
            del self._offers[peer_id]

    def _under_way(self, peer_id: PeerId) -> bool:
        return self._offers.get(peer_id, 0.0) > self._core.now

    def link_up(self, peer_id: PeerId) -> None:
        """`peer_id` is a neighbour now."""
        self._offers.pop(peer_id, None)
        self.candidates.pop(peer_id, None)
        self.rtc.forget(peer_id)

    def rtc_opened(self, peer_id: PeerId) -> None:
        """A data channel to `peer_id` is open: late candidates begin nothing."""
        self._offers.pop(peer_id, None)
        self.rtc.opened(peer_id)

    def forget(self, peer_id: PeerId) -> None:
        """`peer_id` is no npm peer."""
        self._offers.pop(peer_id, None)
        self.candidates.pop(peer_id, None)
        self.rtc.forget(peer_id)

    def wish(self, peer_id: PeerId) -> None:
        """The program wants this link: offer it, unless they are about to connect."""
        make_room(self._wished, NPM_CANDIDATES)
        self._wished[peer_id] = None
        if not self._under_way(peer_id):
            self.offer(peer_id)

    def unwish(self, peer_id: PeerId) -> None:
        """The program wants no link to `peer_id`."""
        self._wished.pop(peer_id, None)
        self.rtc.forget(peer_id)
        self._not_before(peer_id)

    def _not_before(self, peer_id: PeerId) -> None:
        """Do not offer `peer_id` a link on our own account for a while."""
        self._asked.pop(peer_id, None)
        make_room(self._asked, NPM_CANDIDATES)
        self._asked[peer_id] = self._core.now + NPM_OFFER_AGAIN

    # --- the handshake ---------------------------------------------------------------------------------------

    def offer(self, peer_id: PeerId) -> None:
        """Offer a link."""
        self._offers.pop(peer_id, None)
        make_room(self._offers, NPM_CANDIDATES)
        self._offers[peer_id] = self._core.now + NPM_OFFER_TIME
        self._not_before(peer_id)
        self._say(peer_id, wire.OFFER, None)

    def offered(self, peer_id: PeerId, scope: Scope) -> None:
        """`peer_id` asks for a link. When both ask, the higher id answers, so that the lower one dials."""
        core = self._core
        if peer_id in self._links.by_id:
            return
        under_way = self._under_way(peer_id)
        if under_way and peer_id > core.peer_id:
            if peer_id not in self._crossed:
                self._crossed[peer_id] = None
                core.timers.at(Due.LEGACY_ANSWER, core.now + NPM_SIGNAL_TIME, self._answer_late, peer_id, scope)
            return
        self._forget_old_offers()
        if len(self._offers) >= NPM_CANDIDATES:
            core.counters["refused: too many npm peers ask for links"] += 1
            return
        self._offers.pop(peer_id, None)
        self._offers[peer_id] = core.now + NPM_OFFER_TIME
        url = self._own_url(scope)
        rtc = self._prefers_rtc(peer_id, url, scope)
        self._say(peer_id, wire.ANSWER, Answer(url, rtc))
        if url is None and not under_way:
            core.timers.at(Due.LEGACY_OFFER, core.now + (NPM_SIGNAL_TIME if rtc else 0.0), self._offer_back, peer_id)

    def _answer_late(self, peer_id: PeerId, scope: Scope) -> None:
        """Two offers crossed, and theirs is the higher id: but it has not answered ours, which was lost, then."""
        if self._crossed.pop(peer_id, b"") is None and self._may_lack_a_key(peer_id):
            self._offers.pop(peer_id, None)
            self.offered(peer_id, scope)

    def _offer_back(self, peer_id: PeerId) -> None:
        """They cannot dial us, and do not connect by WebRTC: perhaps we can dial them."""
        if self._may_lack_a_key(peer_id) and not (self._links.knows(peer_id) or self.rtc.under_way(peer_id)):
            self.offer(peer_id)

    def _prefers_rtc(self, peer_id: PeerId, url: str | None, scope: Scope) -> bool:
        possible = self.rtc.able(peer_id) and not self._names.is_deaf(peer_id)
        return possible and (url is None or scope is not Scope.LOOPBACK)

    def _own_url(self, scope: Scope) -> str | None:
        """Return where a peer within `scope` can dial us."""
        for url in self._core.config.urls:
            if "*" in url:
                url = url.replace("*", "127.0.0.1")
            if reach(url) >= scope:
                return url
        return None

    def answered(self, peer_id: PeerId, answer: Answer, scope: Scope) -> None:
        """`peer_id` lets us connect to it, if we asked."""
        url = answer.url
        self._crossed.pop(peer_id, None)
        if peer_id in self._links.by_id or not self._under_way(peer_id):
            return
        if url is not None and (not is_learnable(url) or reach(url) < scope):
            self._core.counters["refused: a URL that no stranger may name"] += 1
            url = None
        self._urls.pop(peer_id, None)
        if url is not None:
            make_room(self._urls, NPM_CANDIDATES)
            self._urls[peer_id] = Dial(url, scope)
        if answer.wrtc and self._prefers_rtc(peer_id, url, scope):
            self.rtc.offer(peer_id, self._confidence(peer_id, scope))
        else:
            self._dial(peer_id)

    # --- WebSocket -------------------------------------------------------------------------------------------

    def _dial(self, peer_id: PeerId) -> bool:
        dial = self._urls.pop(peer_id, None)
        if dial is None or dial.url in self._dials or len(self._dials) >= NPM_LINKS:
            return False
        self._dials[dial.url] = peer_id
        self._core.effects.append(dial)
        return True

    def dialled(self, url: str) -> PeerId | None:
        """A dial has ended. Returns: the peer that should be at `url`, if an answer named it."""
        return self._dials.pop(url, None)

    # --- WebRTC ----------------------------------------------------------------------------------------------

    def signalled(self, peer_id: PeerId, signal: dict[str, Any], scope: Scope) -> None:
        """`peer_id` sent a signal."""
        if peer_id not in self._links.by_id:  # else it is late
            welcome = self._under_way(peer_id) and not self._names.is_deaf(peer_id)
            self.rtc.heard(peer_id, signal, self._confidence(peer_id, scope), welcome)

    def _confidence(self, peer_id: PeerId, scope: Scope) -> Scope:
        """Return how far the addresses that `peer_id` names must reach: into our own network only if the program wants
        this link, or if what they came by lies within that network. A stranger's signal is a list of places to send to.
        """
        return Scope.PRIVATE if peer_id in self._wished else max(Scope.PRIVATE, scope)

    def _signal(self, peer_id: PeerId, signal: dict[str, str]) -> None:
        self._say(peer_id, wire.SIGNAL, signal)

    def _rtc_failed(self, peer_id: PeerId) -> None:
        """No WebRTC with `peer_id`, for some time: a WebSocket then."""
        self._offers.pop(peer_id, None)
        if not self._links.knows(peer_id) and not self._dial(peer_id):
            self._offer_back(peer_id)
