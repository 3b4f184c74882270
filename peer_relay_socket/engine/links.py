"""Links: from an open connection to an authenticated neighbour, and until it goes.

Lives here: the link handshake, one link per neighbour, what neighbours say of the link itself. May not live here: whom
to link to (membership), what travels over links (routing, sessions), when a link is dead (keepalive), how much is read
from it (throttling).

Law: a link is *up* only after both ends proved the key behind the id they claim, on this very connection. The Noise
initiator waits for a READY under the new keys before it believes the responder, which makes a replayed handshake
worthless.

Who proves what, when (authentication.py tells about each message). The acceptor speaks first, always::

    without a network key                           with one
    A -> C  message 1                               A -> C  "go ahead", one byte
    C -> A  message 2: C's key, C's hello           C -> A  message 1
    A -> C  message 3: A's key, A's hello           A -> C  message 2: A's key
    C -> A  READY: C was here now; both up          C -> A  message 3: C's key and the network key, C's hello
                                                    A -> C  READY: the network key, A's hello; both up

With a key, the connector has to show that it knows the key before the acceptor uses the key at all. So a stranger that
only connects, which any host on the Internet can, learns an id and nothing by which to test guesses of the key. Price:
half a round trip.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from ..address import PeerId
from ..codec import control
from ..codec import packet as wire
from ..codec.control import Hello
from ..codec.packet import LinkOp
from ..errors import HandshakeError, WireError
from ..limits import (
    LINK_ANSWER,
    LINK_HANDSHAKE_TIME,
    LINK_PART_TIME,
    MAX_HALF_OPEN_LINKS,
    MAX_HALF_OPEN_PER_HOST,
    MAX_LINKS,
    MAX_LINKS_PER_HOST,
    MAX_REASON,
)
from ..scope import Crowds, Scope
from .authentication import LINK_PROLOGUE
from .bundles import Bundles
from .effects import SUPERSEDED, CloseLink, PeerDown, PeerUp
from .keepalive import Keepalive
from .link import LinkEvents, LinkState, seen_at
from .seal import CheckingKey, OpeningKey, SealingKey, TaggingKey
from .timers import Due

if TYPE_CHECKING:
    from .core import Core

_GO_AHEAD: Final = bytes((wire.LINK_HANDSHAKE,))
"""How every message of the handshake begins; alone, the first word of an acceptor that waits for message 1."""
_SEALED: Final = int(wire.Kind.SEALED)
_MAX_PREAMBLE: Final = 4096
"""Bytes of one handshake message: Noise, identity and a hello of at most MAX_URLS URLs."""


def _tag_key(key: bytes) -> bytes:
    """Return the key that vouches for bundles, of the key that seals LINK packets in the same direction."""
    return hmac.digest(key, b"peer-relay.3 bundles", "sha256")


class Links:
    """All connections, and who is at their ends."""

    def __init__(self, core: Core, events: LinkEvents) -> None:
        self._core = core
        self._events = events
        self.all: dict[int, LinkState] = {}
        self.by_id: dict[PeerId, LinkState] = {}
        """Links that are up."""
        self.bundles = Bundles(core.counters)
        self._keepalive = Keepalive(core, self.tell, self.drop)
        self._half_open: dict[int, LinkState] = {}
        """Accepted connections whose other end has not proved itself, at most MAX_HALF_OPEN_LINKS."""
        self._accepted: Crowds[LinkState] = Crowds(MAX_LINKS_PER_HOST)
        self._opening: Crowds[LinkState] = Crowds(MAX_HALF_OPEN_PER_HOST)
        """The accepted connections, and those in `_half_open`, by host and prefix."""

    # --- what happened to a connection -----------------------------------------------------------------------

    def opened(
        self, number: int, url: str | None, remote_host: str, expected: PeerId | None, unit: int | None = None
    ) -> None:
        """A connection stands; begin to find out who is there. `unit`: of a WebRTC link, what it carries at once."""
        core = self._core
        link = LinkState(number, url, remote_host, core)
        if unit is not None:
            link.direct = link.protected = True
            link.unit = unit - wire.BUNDLE_TAG
        refusal = self._refusal(link)
        if refusal:
            self.refuse(number, refusal)
            self._events.link_turned_away(link, refusal)
            return
        self.all[number] = link
        link.handshake = core.handshake(
            initiator=self._begins(link),
            static=core.static,
            prologue=LINK_PROLOGUE,
            psk=core.config.psk,
            entropy=core.entropy,
            wall=core.wall / 1e6,
            expected=expected,
        )
        link.timer = core.timers.at(
            Due.LINK_HANDSHAKE, core.now + LINK_HANDSHAKE_TIME, self.drop, link, "handshake took too long"
        )
        if url is None:
            self._half_open[number] = link
            self._accepted.add(link, link.crowd_host)
            self._opening.add(link, link.crowd_host)
            if self._begins(link):
                self._say(link)
            else:
                link.asked_at = core.now
                self.bundles.put_message(link, _GO_AHEAD)

    def refuse(self, number: int, reason: str) -> None:
        """Close a connection that never became a link."""
        self._core.counters["link refused: " + reason] += 1
        self._core.effects.append(CloseLink(number, reason))

    def _refusal(self, link: LinkState) -> str:
        """Return why `link` is one too many, "" if it is not."""
        host = link.crowd_host
        if link.url is None:
            if self._accepted.is_full(host):
                return "too many links from one host"
            if self._opening.is_full(host):
                return "too many handshakes from one host"
            if len(self._half_open) >= MAX_HALF_OPEN_LINKS and not self._make_way(self._opening, host):
                return "too many handshakes"
        if len(self.all) >= MAX_LINKS and (link.url is not None or not self._make_way(self._accepted, host)):
            return "too many links"
        return ""

    def _make_way(self, crowds: Crowds[LinkState], host: str) -> bool:
        """Drop a link of the most crowded prefix for one from `host`; return whether there was one to drop."""
        victim = crowds.to_give_way(host, lambda link: not link.protected)
        if victim is None:
            return False
        self._core.counters["link dropped: the most crowded network gives way"] += 1
        self.drop(victim, "others have fewer links from one network")
        return True

    def closed(self, number: int, reason: str) -> None:
        """The connection is gone, and this is what the other end said."""
        link = self.all.pop(number, None)
        if link is not None:
            link.reason = reason[:MAX_REASON]
            self._forget(link)

    def drop(self, link: LinkState, reason: str) -> None:
        """Close `link` from our side."""
        if self.all.pop(link.number, None) is not None:
            self._core.effects.append(CloseLink(link.number, reason))
            if link.up:
                link.reason = reason
            self._forget(link)

    def part(self, link: LinkState, reason: str) -> None:
        """Send nothing more by `link`, and close it once the neighbour has heard so: what it sent before still counts.

        Otherwise each datagram that a relay passes on to a peer that lets go of it at that moment is lost.
        """
        self.tell(link, LinkOp.GOODBYE)
        link.parting = True
        link.reason = reason
        self._down(link)
        link.timer = self._core.timers.at(Due.LINK_PARTED, self._core.now + LINK_PART_TIME, self.drop, link, reason)

    def release(self, number: int) -> LinkState:
        """Forget a connection that never became a link, without closing it: it speaks another wire."""
        link = self.all.pop(number)
        if link.timer is not None:
            link.timer.cancel()
        return link

    def _forget(self, link: LinkState) -> None:
        if link.url is None:
            self._half_open.pop(link.number, None)
            self._accepted.remove(link, link.crowd_host)
            self._opening.remove(link, link.crowd_host)
        failed = not link.up and not link.parting
        self._down(link)
        if failed:
            self._core.handshakes["link failed"] += 1
            if link.url is not None:
                self._events.link_failed(link)

    def _down(self, link: LinkState) -> None:
        """Count `link` among those that are up no more."""
        for timer in (link.timer, link.watch):
            if timer is not None:
                timer.cancel()
        if link.up:
            link.up = False
            if self.by_id.get(link.peer_id) is link:
                del self.by_id[link.peer_id]
                self._core.effects.append(PeerDown(link.peer_id))
            self._events.link_down(link)

    # --- handshake -------------------------------------------------------------------------------------------

    def greet(self, link: LinkState, message: bytes) -> None:
        """Take one message of the link handshake.

        Raises: WireError; the link is then worthless.
        """
        handshake = link.handshake
        if handshake is None or len(message) > _MAX_PREAMBLE or message[:1] != _GO_AHEAD:
            raise HandshakeError("not a link handshake")
        self._keepalive.answered(link)
        if handshake.our_turn:
            if message != _GO_AHEAD:
                raise HandshakeError("they speak first, as a network without a key does")
            self._say(link)
            return
        payload = handshake.read(message[1:])
        if handshake.remote_id is not None and not self._admits(handshake.remote_id):
            self._core.counters["refused: peer not admitted"] += 1
            name = handshake.remote_id.hex()[:8]
            raise HandshakeError(f"{name} is not admitted: see allow_links and deny_links there")
        keyed, begins = self._keyed, self._begins(link)
        if handshake.remote_id is not None and not (keyed and begins):
            # The first message proves nothing, so neither does what it carries.
            self._read_hello(link, payload)
        if not handshake.complete:
            self._say(link)
        if handshake.complete:
            send_key, receive_key = handshake.keys()
            link.sealing, link.opening = SealingKey(send_key), OpeningKey(receive_key)
            link.tagging, link.checking = TaggingKey(_tag_key(send_key)), CheckingKey(_tag_key(receive_key))
            link.peer_id = handshake.remote_id or b""
            link.value = int.from_bytes(link.peer_id)
            link.handshake = None
            if not begins:  # they have shown that they live, and know the network key; they wait for this
                link.our_hello = self._hello(link) if keyed else link.our_hello
                self.tell(link, LinkOp.READY, self._hello(link, with_load=True) if keyed else b"")
                self._up(link)

    @property
    def _keyed(self) -> bool:
        """Whether there is a network key."""
        return self._core.config.psk is not None

    def _begins(self, link: LinkState) -> bool:
        """Return whether we are the Noise initiator on `link`: the end that accepted is; with a network key, the end
        that dialled."""
        return (link.url is None) is not self._keyed

    def _say(self, link: LinkState) -> None:
        """Write the next message of the handshake, with our hello where no stranger can read it: in the last one, or,
        in networks that any stranger may link to, in the second."""
        handshake = link.handshake
        assert handshake is not None
        last = handshake.remote_id is not None
        link.our_hello = self._hello(link) if last or not (self._keyed or self._begins(link)) else b""
        link.asked_at = self._core.now
        said = link.our_hello and self._hello(link, with_load=True)
        self.bundles.put_message(link, _GO_AHEAD + handshake.write(said))

    def _hello(self, link: LinkState, *, with_load: bool = False) -> bytes:
        serves, urls = self._events.hello_for(link)
        core = self._core
        machine = core.machine_proof(core.peer_id) if link.scope is Scope.LOOPBACK else b""
        udp = core.config.udp if link.url is None and link.scope is not Scope.LOOPBACK else None
        load = tuple(self._load()) if with_load else ()
        return control.hello(Hello(serves, core.config.ipv4_network, urls, machine, udp, link.public_host, *load))

    def _load(self) -> bytes:
        """Return what a hello and a PONG say of our load: nothing of a peer that does not relay."""
        core = self._core
        if not core.config.serves:
            return b""
        return bytes((core.load(len(self.all)), min(core.ordinary, 255))).rstrip(b"\0")

    def _read_hello(self, link: LinkState, payload: bytes) -> None:
        hello = control.read_hello(payload)
        if hello.ipv4_network != self._core.config.ipv4_network:
            networks = f"{self._core.config.ipv4_network} and {hello.ipv4_network}"
            raise HandshakeError(f"the IPv4 networks differ, {networks}: set ipv4_network alike")
        if self._core.config.machine is not None and not (link.up or link.direct) and link.scope is Scope.LOOPBACK:
            handshake = link.handshake
            peer_id = handshake.remote_id if handshake is not None and handshake.remote_id else link.peer_id
            if not hmac.compare_digest(self._core.machine_proof(peer_id), hello.machine):
                link.is_from_elsewhere(self._core)
        link.serves = hello.serves
        link.udp = hello.udp
        link.seen = hello.seen
        link.load = hello.load or link.load
        link.ordinary = hello.ordinary or link.ordinary
        link.urls = ()
        if hello.serves:
            link.urls = tuple(url for url in (seen_at(url, link.remote_host) for url in hello.urls) if url)
        link.vouch()

    def _up(self, link: LinkState) -> None:
        core = self._core
        if link.timer is not None:
            link.timer.cancel()
        self._half_open.pop(link.number, None)
        self._opening.remove(link, link.crowd_host)
        other = self.by_id.get(link.peer_id)
        if other is not None:
            # One link per neighbour. Of two that crossed, both ends keep the one dialled by the lower id. Otherwise
            # the newer counts: who dials a neighbour again has lost the older link, its end here may be dead.
            opposite = (other.url is None) != (link.url is None)
            crossed = opposite and link.opened_at < other.opened_at + LINK_HANDSHAKE_TIME
            ours_wins = core.peer_id < link.peer_id
            if crossed and (link.url is not None) != ours_wins:
                self.drop(link, "already linked")
                return
            link.protected = link.protected or other.protected
        link.set_allowances(self._core)
        self._events.peer_proved(link.peer_id)
        link.up = True
        core.handshakes["link agreed"] += 1
        self.by_id[link.peer_id] = link
        self._keepalive.begin(link)
        if other is None:
            core.effects.append(PeerUp(link.peer_id))
        else:
            self.drop(other, SUPERSEDED)
        self._events.link_up(link)

    def has_another(self, number: int) -> bool:
        """Return whether another link leads to the neighbour at the end of link `number`, or may: whose the links are
        that we accept, their handshakes tell, and the other end is done with those before us. False for a link that we
        accepted: this looks at all links, and strangers close theirs as often as they like."""
        link = self.all.get(number)
        if link is None or link.url is None:
            return False
        return any(
            other.peer_id == link.peer_id or (other.url is None and not other.up)
            for other in self.all.values()
            if other is not link
        )

    # --- talking to a neighbour ------------------------------------------------------------------------------

    def emit(
        self, link: LinkState, data: bytes, rest: bytes | memoryview = b"", source: LinkState | None = None
    ) -> None:
        """Put one packet, in one piece or two, into the link's next bundle, or send it by the link's lane.

        Args: source: the link that it came over, if it is others' traffic: where much waits, it may be dropped.
        """
        if link.lane is not None and data[0] == _SEALED and link.lane.carry(data, rest):
            link.tx_packets += 1
            link.tx_bytes += len(data) + len(rest)
            return
        if link.full and source is not None and not link.queue.admit(source.number, len(data) + len(rest)):
            self._core.counters["dropped: fills the queue of a slow neighbour"] += 1
            return
        if link.watch is None and link.up:
            now = self._core.now
            link.watch = self._core.timers.at(Due.LINK_ANSWER, now + LINK_ANSWER, self._keepalive.unanswered, link, now)
        self.bundles.put(link, data, rest)

    def tell(self, link: LinkState, operation: LinkOp, operand: bytes = b"") -> None:
        """Send a LINK packet."""
        self.bundles.put_link_packet(link, self._core.peer_id, bytes((operation,)) + operand)

    def heard(self, link: LinkState, plain: bytes) -> None:
        """Take what a LINK packet of the neighbour's holds.

        Raises: WireError when it makes no sense.
        """
        if not plain:
            raise WireError("empty link packet")
        operation, operand = plain[0], plain[1:]
        if link.parting:
            if operation == LinkOp.GOODBYE:
                self.drop(link, link.reason)
        elif operation == LinkOp.READY:
            self._keepalive.answered(link)
            if not link.up:
                if self._keyed:
                    self._read_hello(link, operand)
                self._up(link)
        elif not link.up:
            raise HandshakeError("spoke before READY")
        elif not self._may_say(link, operation, len(operand)):
            self._core.counters["dropped: too much control traffic"] += 1
        elif operation == LinkOp.PING:
            self.tell(link, LinkOp.PONG, self._load())
        elif operation == LinkOp.GOODBYE:
            link.dismissed = True
            link.ended_by_program = operand[:1] == wire.BY_PROGRAM
            self.drop(link, "they said goodbye")
        elif operation == LinkOp.HELLO:
            before = link.serves, link.urls
            self._read_hello(link, operand)
            if (link.serves, link.urls) != before:
                link.set_allowances(self._core)
                self._events.link_changed(link)
        elif operation == LinkOp.PONG:
            link.load, link.ordinary = int.from_bytes(operand[:1]), int.from_bytes(operand[1:2])
            self._keepalive.answered(link)
        else:
            self._events.link_told(link, operation, operand)

    def _may_say(self, link: LinkState, operation: int, size: int) -> bool:
        core = self._core
        may_change = operation != LinkOp.HELLO or link.hellos.take(core.now)
        return may_change and core.work.allows_link(link, operation, size, core.now)

    def announce(self, only: LinkState | None = None) -> None:
        """Tell neighbours, or `only` one, whether and where we serve now, if that is news to them."""
        for link in list(self.by_id.values()) if only is None else [only]:
            hello = self._hello(link)
            if hello != link.our_hello:
                link.our_hello = hello
                self.tell(link, LinkOp.HELLO, hello)

    def _admits(self, peer_id: PeerId) -> bool:
        may_link = self._core.config.may_link
        return may_link is None or may_link(peer_id)

    def recheck(self) -> None:
        """Drop the links to peers that are not admitted any more."""
        for link in list(self.by_id.values()):
            if not self._admits(link.peer_id):
                self._core.counters["link dropped: not admitted any more"] += 1
                self.tell(link, LinkOp.GOODBYE)
                self.drop(link, "not admitted any more")

    def goodbye(self) -> None:
        """Tell every neighbour that we go."""
        for link in list(self.by_id.values()):
            self.tell(link, LinkOp.GOODBYE)
