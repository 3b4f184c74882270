"""Links: from an open connection to an authenticated neighbour, and until it goes.

Lives here: the link handshake, one link per neighbour, keepalive. May not live here: whom to link to (membership),
what travels over links (routing, sessions).

Law: a link is *up* only after both ends proved the key behind the id they claim, on this very connection. The acceptor
speaks first and so is the Noise initiator; it waits for a READY under the new keys before it believes the connector,
which makes a replayed handshake worthless.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

from ..address import PeerId
from ..codec import packet as wire
from ..codec.packet import Header, Hello, Kind, LinkOp
from ..errors import HandshakeError, WireError
from ..limits import BUNDLE_TARGET, LINK_DEAD, LINK_HANDSHAKE_TIME, LINK_PING_IDLE, MAX_LINKS
from .authentication import Handshake
from .effects import CloseLink, PeerDown, PeerUp, Scope
from .seal import OpeningKey, SealingKey

if TYPE_CHECKING:
    from .core import Core
    from .timers import Timer

_PROLOGUE: Final = b"peer-relay.2 link"
_MAX_PREAMBLE: Final = 4096
"""Bytes of one handshake message: Noise, identity and a hello of at most MAX_URLS URLs."""


class LinkState:
    """One connection to a neighbour."""

    __slots__ = (
        "dismissed",
        "full",
        "handshake",
        "kept",
        "number",
        "opened_at",
        "opening",
        "out",
        "out_size",
        "packed",
        "peer_id",
        "pinged",
        "received_at",
        "remote_host",
        "scope",
        "sealing",
        "serves",
        "timer",
        "up",
        "url",
        "urls",
        "value",
    )

    def __init__(self, number: int, url: str | None, remote_host: str, now: float) -> None:
        scope = Scope.of(remote_host)
        self.number = number
        self.url = url
        """What we dialled; None when they dialled us."""
        self.remote_host = remote_host
        self.scope = Scope.GLOBAL if scope is None else scope
        self.opened_at = self.received_at = now
        self.pinged = False
        self.up = False
        self.full = False
        """Whether the connection takes no more for now."""
        self.kept = False
        """Asked for by the program: never dropped as surplus."""
        self.dismissed = False
        """The neighbour said goodbye: it goes, or has links enough."""
        self.handshake: Handshake | None = None
        self.timer: Timer | None = None
        self.sealing: SealingKey | None = None
        self.opening: OpeningKey | None = None
        self.peer_id: PeerId = b""
        self.value = 0
        """The neighbour's id as an integer."""
        self.serves = False
        """Whether the neighbour can be dialled, and so relays."""
        self.urls: tuple[str, ...] = ()
        """Where, as far as this link's scope vouches for it."""
        self.out: list[bytes | memoryview] = []
        """Chunks of the bundle being filled; when not empty the link is in `Links.dirty`."""
        self.out_size = 0
        self.packed: list[list[bytes | memoryview]] = []
        """Bundles already full."""


class LinkEvents(Protocol):
    """Who wants to know."""

    def link_up(self, link: LinkState) -> None:
        """`link` is up."""

    def link_down(self, link: LinkState) -> None:
        """`link`, which was up, is gone."""

    def link_failed(self, link: LinkState) -> None:
        """A link that we dialled never came up."""

    def link_told(self, link: LinkState, operation: int, operand: bytes) -> None:
        """The neighbour told something that is not about the link itself."""


class Links:
    """All connections, and who is at their ends."""

    def __init__(self, core: Core, events: LinkEvents) -> None:
        self._core = core
        self._events = events
        self.all: dict[int, LinkState] = {}
        self.by_id: dict[PeerId, LinkState] = {}
        """Links that are up."""
        self.dirty: list[LinkState] = []

    # --- what happened to a connection -----------------------------------------------------------------------

    def opened(self, number: int, url: str | None, remote_host: str, expected: PeerId | None) -> None:
        """A connection stands; begin to find out who is there."""
        core = self._core
        link = self.all[number] = LinkState(number, url, remote_host, core.now)
        if len(self.all) > MAX_LINKS:
            core.counters["link refused: too many"] += 1
            self.drop(link, "too many links")
            return
        link.handshake = Handshake(
            initiator=url is None,
            static=core.static,
            prologue=_PROLOGUE,
            psk=core.config.psk,
            entropy=core.entropy,
            expected=expected,
        )
        link.timer = core.timers.at(core.now + LINK_HANDSHAKE_TIME, self.drop, link, "handshake took too long")
        if url is None:
            self._say(link)

    def closed(self, number: int) -> None:
        """The connection is gone."""
        link = self.all.pop(number, None)
        if link is not None:
            self._forget(link)

    def drop(self, link: LinkState, reason: str) -> None:
        """Close `link` from our side."""
        if self.all.pop(link.number, None) is not None:
            self._core.effects.append(CloseLink(link.number, reason))
            self._forget(link)

    def _forget(self, link: LinkState) -> None:
        if link.timer is not None:
            link.timer.cancel()
        if link.up:
            link.up = False
            if self.by_id.get(link.peer_id) is link:
                del self.by_id[link.peer_id]
                self._core.effects.append(PeerDown(link.peer_id))
            self._events.link_down(link)
        elif link.url is not None:
            self._events.link_failed(link)

    # --- handshake -------------------------------------------------------------------------------------------

    def greet(self, link: LinkState, message: bytes) -> None:
        """Take one message of the link handshake.

        Raises: WireError; the link is then worthless.
        """
        handshake = link.handshake
        if handshake is None or len(message) > _MAX_PREAMBLE or message[:1] != bytes((wire.LINK_HANDSHAKE,)):
            raise HandshakeError("not a link handshake")
        payload = handshake.read(message[1:])
        if payload:
            self._read_hello(link, payload)
        if not handshake.complete:
            self._say(link)
        if handshake.complete:
            send_key, receive_key = handshake.keys()
            link.sealing, link.opening = SealingKey(send_key), OpeningKey(receive_key)
            link.peer_id = handshake.remote_id or b""
            link.value = int.from_bytes(link.peer_id)
            link.handshake = None
            if link.url is not None:  # the acceptor has shown that it lives; it waits for this
                self.tell(link, LinkOp.READY)
                self._up(link)

    def _say(self, link: LinkState) -> None:
        handshake = link.handshake
        assert handshake is not None
        core = self._core
        first = link.url is None and not handshake.remote_id
        payload = b"" if first else wire.hello(Hello(core.config.serves, core.config.ipv4_network, core.config.urls))
        self.emit(link, bytes((wire.LINK_HANDSHAKE,)) + handshake.write(payload))

    def _read_hello(self, link: LinkState, payload: bytes) -> None:
        hello = wire.read_hello(payload)
        if hello.ipv4_network != self._core.config.ipv4_network:
            raise HandshakeError(f"their IPv4 network is {hello.ipv4_network}")
        link.serves = hello.serves
        if hello.serves:
            link.urls = tuple(url for url in (_seen_at(url, link.remote_host) for url in hello.urls) if url)

    def _up(self, link: LinkState) -> None:
        core = self._core
        if link.timer is not None:
            link.timer.cancel()
        other = self.by_id.get(link.peer_id)
        if other is not None:
            # One link per neighbour. Of two dialled by the same side the newer counts (the older one's TCP may be
            # dead); of two that crossed, both ends keep the one dialled by the lower id.
            same_side = (other.url is None) == (link.url is None)
            ours_wins = core.peer_id < link.peer_id
            if not same_side and (link.url is not None) != ours_wins:
                self.drop(link, "already linked")
                return
            link.kept = other.kept
        link.up = True
        self.by_id[link.peer_id] = link
        if other is not None:  # only now: at no moment is the neighbour missing, or it would be dialled again
            self._supersede(other)
        link.timer = core.timers.at(core.now + LINK_PING_IDLE, self._keep_alive, link)
        if other is None:
            core.effects.append(PeerUp(link.peer_id))
        self._events.link_up(link)

    def _supersede(self, link: LinkState) -> None:
        del self.all[link.number]
        self._core.effects.append(CloseLink(link.number, "superseded"))
        self._forget(link)

    def _keep_alive(self, link: LinkState) -> None:
        core = self._core
        # Sums are compared, not a difference: rounding must not make a timer due that then finds nothing to do.
        if core.now >= link.received_at + LINK_DEAD:
            self.drop(link, "silent")
            return
        if core.now >= link.received_at + LINK_PING_IDLE:
            self.tell(link, LinkOp.PING)
            due = link.received_at + LINK_DEAD
        else:
            due = link.received_at + LINK_PING_IDLE
        link.timer = core.timers.at(due, self._keep_alive, link)

    # --- talking to a neighbour ------------------------------------------------------------------------------

    def emit(self, link: LinkState, data: bytes, rest: bytes | memoryview = b"") -> None:
        """Put one packet, in one piece or two, into the link's next bundle."""
        size = len(data) + len(rest)
        out = link.out
        if not out:
            self.dirty.append(link)
        elif link.out_size + size > BUNDLE_TARGET:
            link.packed.append(out)
            out = link.out = []
            link.out_size = 0
        link.out_size += size
        out.append(data)
        if rest:
            out.append(rest)

    def take_bundles(self) -> list[tuple[int, list[bytes | memoryview]]]:
        """Return (link, chunks of one bundle) for all that is to be sent, in order, and forget it."""
        bundles = []
        dirty, self.dirty = self.dirty, []
        for link in dirty:
            bundles += [(link.number, chunks) for chunks in link.packed]
            bundles.append((link.number, link.out))
            link.packed = []
            link.out = []
            link.out_size = 0
        return bundles

    def tell(self, link: LinkState, operation: LinkOp, operand: bytes = b"") -> None:
        """Send a LINK packet."""
        assert link.sealing is not None
        body = link.sealing.seal(bytes((operation,)) + operand)
        self.emit(link, wire.packet(Kind.LINK, link.peer_id, self._core.peer_id, body, hop_limit=1))

    def heard(self, link: LinkState, bundle: bytes, header: Header) -> None:
        """Take a LINK packet.

        Raises: WireError when it is not the neighbour's.
        """
        if link.opening is None:
            raise HandshakeError("spoke before the handshake")
        plain = link.opening.open(bundle[header.body : header.end])
        if not plain:
            raise WireError("empty link packet")
        operation, operand = plain[0], plain[1:]
        if operation == LinkOp.READY:
            if not link.up and link.handshake is None:
                self._up(link)
        elif operation == LinkOp.PING:
            self.tell(link, LinkOp.PONG)
        elif operation == LinkOp.GOODBYE:
            link.dismissed = True
            self.drop(link, "they said goodbye")
        elif operation != LinkOp.PONG:
            self._events.link_told(link, operation, operand)

    def goodbye(self) -> None:
        """Tell every neighbour that we go."""
        for link in list(self.by_id.values()):
            self.tell(link, LinkOp.GOODBYE)


def _seen_at(url: str, remote_host: str) -> str | None:
    """Return `url` with "*" replaced by the address its owner was seen at, if nobody need be afraid to dial it."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        if parts.scheme not in ("ws", "wss") or not host or not url.isascii():
            return None
        if host == "*":
            shown = f"[{remote_host}]" if ":" in remote_host else remote_host
            return url.replace("*", shown, 1)
        return url
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def reach(url: str) -> Scope:
    """Return how far the host of `url` reaches; a DNS name counts as global (what it resolves to is checked later)."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return Scope.LOOPBACK
    if host == "localhost" or host.endswith(".localhost"):
        return Scope.LOOPBACK
    scope = Scope.of(host)
    if scope is None:
        return Scope.LOOPBACK if _is_literal(host) else Scope.GLOBAL
    return scope


def _is_literal(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()
