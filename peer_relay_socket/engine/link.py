"""One connection to a neighbour: all that is known of it.

Lives here: the record, whom it counts against, what its neighbour's URLs mean, who hears of it. May not live here:
what happens to it (links.py).

Law: nothing here decides anything; a fresh record is that of a stranger.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias
from urllib.parse import urlsplit

from ..address import PeerId
from ..limits import BUNDLE_TARGET, CONTROL_PER_LEAF, HELLO_RATE, LOOPBACK_FACTOR, RELAY_TRAFFIC_FACTOR
from ..rate import TokenBucket, TrafficBucket
from ..scope import Scope, host_group, is_learnable
from .queue_shares import QueueShares
from .work import allowance

if TYPE_CHECKING:
    from .authentication import Handshake
    from .core import Core
    from .lane import Lane
    from .seal import CheckingKey, OpeningKey, SealingKey, TaggingKey
    from .timers import Timer

Carrier: TypeAlias = Literal["websocket", "webrtc"]
"""What kind of connection a link is."""


class LinkState:
    """One connection to a neighbour."""

    __slots__ = (
        "asked_at",
        "checking",
        "contacts",
        "control",
        "direct",
        "dismissed",
        "ended_by_program",
        "full",
        "handshake",
        "hellos",
        "host",
        "known_urls",
        "lane",
        "limited",
        "load",
        "nearby",
        "number",
        "opened_at",
        "opening",
        "ordinary",
        "our_hello",
        "out",
        "out_covered",
        "out_size",
        "packed",
        "parting",
        "peer_id",
        "pinged",
        "pool",
        "protected",
        "proved_urls",
        "queue",
        "reason",
        "received_at",
        "remote_host",
        "rtt",
        "rx_bytes",
        "rx_packets",
        "scope",
        "sealing",
        "seen",
        "serves",
        "share",
        "tagging",
        "throttled",
        "timer",
        "traffic",
        "traffic_share",
        "tx_bytes",
        "tx_packets",
        "udp",
        "unit",
        "up",
        "url",
        "urls",
        "value",
        "watch",
    )

    def __init__(self, number: int, url: str | None, remote_host: str, core: Core) -> None:
        now = core.now
        scope = Scope.of(remote_host)
        self.number = number
        self.url = url
        """What we dialled; None when they dialled us."""
        self.remote_host = remote_host
        self.scope = Scope.GLOBAL if scope is None else scope
        self.opened_at = self.received_at = now
        self.host = host_of(remote_host, self.scope)
        """The host that this link counts against; "" for none."""
        is_nearby = core.config.is_nearby
        self.nearby = self.scope is Scope.LOOPBACK or (is_nearby is not None and is_nearby(remote_host))
        """Whether the neighbour is on this machine or a wire of it, and so may tell of what is there."""
        factor = LOOPBACK_FACTOR if self.scope is Scope.LOOPBACK else 1.0
        self.traffic = TrafficBucket(core.config.link_packets * factor, core.config.link_bytes * factor, now)
        """What we read from it. Charged without a look at the clock; `Throttling` settles what went below zero."""
        self.pool = core.work.traffic(self.scope)
        """What we read from all links together, charged alike."""
        self.traffic_share: TokenBucket | None = None
        """What we still read from it when that is used up; None before that happened."""
        self.control = TokenBucket(CONTROL_PER_LEAF * factor, now)
        """Packets that make us think; beyond, they are dropped."""
        self.share: TokenBucket | None = None
        """What it may say when all links together say too much; None before that happened."""
        self.hellos = TokenBucket(HELLO_RATE, now)
        self.throttled = self.limited = False
        """Whether the neighbour was told about our limits, and told us about its."""
        self.pinged = False
        """Whether we asked for a sign of life and have not looked since."""
        self.watch: Timer | None = None
        """Runs when what we sent should have been followed by something of theirs."""
        self.rx_bytes = self.rx_packets = self.tx_bytes = self.tx_packets = 0
        """What came over it and what was put into its bundles, since it was opened."""
        self.rtt: float | None = None
        """Seconds that the neighbour took to answer, when it was last asked: in the handshake, then by PING."""
        self.asked_at: float | None = None
        """When we said something that is answered at once, and have not heard the answer."""
        self.reason = ""
        """Why it ended, as far as is known."""
        self.up = False
        self.parting = False
        """We said goodbye, and take what was on its way here before that was heard; nothing is sent by it any more."""
        self.full = False
        """Whether the connection takes no more for now."""
        self.queue = QueueShares()
        """What waits, while it is full."""
        self.direct = False
        """A WebRTC link, made for the traffic with this one peer."""
        self.unit = BUNDLE_TARGET
        """Bytes that travel in one piece; packets are joined up to this size."""
        self.protected = False
        """Asked for by the program: never dropped as surplus."""
        self.dismissed = False
        """The neighbour said goodbye: it goes, or has links enough."""
        self.ended_by_program = False
        """The neighbour's program ended it: it stays ended until a program asks for it again."""
        self.handshake: Handshake | None = None
        self.timer: Timer | None = None
        self.sealing: SealingKey | None = None
        self.opening: OpeningKey | None = None
        self.tagging: TaggingKey | None = None
        self.checking: CheckingKey | None = None
        """What vouches for our bundles, and checks the neighbour's."""
        self.lane: Lane | None = None
        """Its datagram lane: one that may come, where we dialled it, or one that was granted, even if it has ended."""
        self.peer_id: PeerId = b""
        self.our_hello = b""
        """The hello that the neighbour knows."""
        self.value = 0
        """The neighbour's id as an integer."""
        self.serves = False
        """Whether the neighbour can be dialled, and so relays."""
        self.urls: tuple[str, ...] = ()
        """Where, as the neighbour has it."""
        self.known_urls: tuple[str, ...] = ()
        """Those of them that lead to it for all we know, so that others may be told."""
        self.proved_urls: tuple[str, ...] = ()
        """What led to it when it was tried; at most CLAIM_URLS."""
        self.udp: tuple[str, int] | None = None
        """Where it says that its UDP port is, for STUN and datagram lanes: an IPv4 address ("": where we dialled it)
        and a port."""
        self.seen = ""
        """The IP address at which it says that it sees us."""
        self.load = 0
        """It said last that it passes on less than 2**load packets a second for others,"""
        self.ordinary = 0
        """and is linked to so many peers that do not relay."""
        self.contacts: dict[Scope, bytes] = {}
        """What others are told of it, on the wire, by the scope of the link they are told over."""
        self.out: list[bytes | memoryview] = []
        """Chunks of the bundle being filled; when not empty the link is in `Bundles.dirty`."""
        self.out_covered: list[bytes | memoryview] = []
        """What its tag will vouch for."""
        self.out_size = 0
        self.packed: list[list[bytes | memoryview]] = []
        """Bundles already full."""

    @property
    def crowd_host(self) -> str:
        """The address whose host and prefixes this link counts for; "" for none."""
        return self.remote_host if self.host else ""

    @property
    def public_host(self) -> str:
        """The address on the Internet from which the neighbour dialled us; "" where it did not, or is nearer."""
        inbound = self.url is None and not self.direct and Scope.of(self.remote_host) is Scope.GLOBAL
        return self.remote_host if inbound else ""

    def is_from_elsewhere(self, core: Core) -> None:
        """The neighbour came by a loopback address and is not on this machine: a proxy or a tunnel hides it."""
        self.scope, self.nearby = Scope.GLOBAL, False
        self.pool = core.work.traffic(self.scope)
        self.traffic = TrafficBucket(core.config.link_packets, core.config.link_bytes, core.now)

    def set_allowances(self, core: Core) -> None:
        """Let the neighbour say what one of its role may, which it may change as it likes. A relay that we dialled, or
        that was reached where it says, sends what many say."""
        dialled = self.url is not None
        self.control.change(allowance(self.scope, serves=self.serves, dialled=dialled))
        factor = RELAY_TRAFFIC_FACTOR if self.serves and (dialled or self.proved_urls) else 1.0
        factor = LOOPBACK_FACTOR if self.scope is Scope.LOOPBACK else factor
        self.traffic.packets.change(core.config.link_packets * factor)
        self.traffic.bytes.change(core.config.link_bytes * factor)

    def charge(self, packets: float) -> None:
        """Count work that the neighbour made beside what it sent, in packets."""
        self.traffic.packets.level -= packets
        self.pool.level -= packets

    @property
    def untouched(self) -> bool:
        """Whether we dialled it and nothing was said on it yet."""
        return self.url is not None and self.opening is None and self.received_at == self.opened_at

    def vouch(self) -> None:
        """See which of the neighbour's URLs lead to it: we dialled it there, or it has been tried, or the URL names the
        address from which it is linked."""
        self.contacts = {}
        tried = [_plain(url) for url in (*self.proved_urls, self.url or "")]
        self.known_urls = tuple(url for url in self.urls if _plain(url) in tried or self._is_own(url))

    def _is_own(self, url: str) -> bool:
        try:
            return ip_address(urlsplit(url).hostname or "") == ip_address(self.remote_host)
        except ValueError:
            return False

    @property
    def carrier(self) -> Carrier:
        """What kind of connection it is."""
        return "webrtc" if self.direct else "websocket"


def _plain(url: str) -> str:
    """Return what of a URL says where it leads."""
    return url.partition("#")[0].rstrip("/").lower()


def host_of(remote_host: str, scope: Scope) -> str:
    """Return the host that a link counts against; "" for this machine, which no limit per host concerns."""
    if scope is Scope.LOOPBACK:
        return ""
    return host_group(remote_host)


def seen_at(url: str, remote_host: str) -> str | None:
    """Return `url` with "*" replaced by the address its owner was seen at, if any peer may safely dial it."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
        if host == "*":
            if Scope.of(remote_host) is None:  # hidden by a proxy
                return None
            shown = f"[{remote_host}]" if ":" in remote_host else remote_host
            url = url.replace("*", shown, 1)
        return url if is_learnable(url) else None
    except ValueError:
        return None


class LinkEvents(Protocol):
    """What the owner of the links is told, and asked."""

    def hello_for(self, link: LinkState) -> tuple[bool, tuple[str, ...]]:
        """Return whether we relay, and the URLs at which the neighbour may say that we can be dialled."""

    def peer_proved(self, peer_id: PeerId) -> None:
        """`peer_id` has shown its key; `link_up` follows."""

    def link_up(self, link: LinkState) -> None:
        """`link` is up."""

    def link_down(self, link: LinkState) -> None:
        """`link`, which was up, is gone."""

    def link_failed(self, link: LinkState) -> None:
        """A link that we dialled never came up."""

    def link_turned_away(self, link: LinkState, reason: str) -> None:
        """`link` was one too many."""

    def link_changed(self, link: LinkState) -> None:
        """`link`, which is up, has another hello."""

    def link_told(self, link: LinkState, operation: int, operand: bytes) -> None:
        """The neighbour told something that is not about the link itself."""
