"""What every part of the engine shares: who we are, what time it is, what happened, what is to be done.

Law: parts talk to each other through `Core` and their own methods; time comes only from `Core.now`, chance only from
`Core.random` and `Core.entropy`.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, Protocol

from ..address import DEFAULT_IPV4_NETWORK, Destination, PeerId, Prefix, Spelling
from ..identity import Identity
from ..limits import (
    BROADCAST_HOPS,
    CROWDED_LINKS,
    LINK_BYTES_RATE,
    LINK_PACKETS_RATE,
    LOAD_TIME,
    MAX_DIRECT_ATTEMPTS,
    MAX_ENDINGS,
    NOTE_CHARACTERS,
)
from .authentication import Handshake, StaticKey
from .effects import Effect, Note, Unreachable
from .timers import Timers
from .work import Work


class Chance(Protocol):
    """The part of `random.Random` the engine uses; a seeded one makes a run repeatable."""

    def random(self) -> float:
        """Return a float in [0, 1)."""

    def getrandbits(self, k: int, /) -> int:
        """Return an integer of `k` random bits."""


_MACHINE_DOMAIN: Final = b"peer-relay same machine "
_NETWORK_DOMAIN: Final = b"peer-relay network "


@dataclass(slots=True)
class EngineConfig:
    """What an engine is told at its birth."""

    bootstrap: tuple[str, ...] = ()
    """URLs to link to, for ever."""
    serves: bool = False
    """Whether others can dial this peer; only such peers relay."""
    urls: tuple[str, ...] = ()
    """Where they can; a host of "*" means "where you see me"."""
    listens: tuple[str, ...] = ()
    """Where it listens; `serves` and `urls` are then what neighbours have found out about that (reachability.py)."""
    ipv4_network: ipaddress.IPv4Network = DEFAULT_IPV4_NETWORK
    psk: bytes | None = None
    """32 bytes made from the network key."""
    direct: bool = False
    """Whether to try for direct links where traffic persists."""
    webrtc: bool = False
    """Whether these may be WebRTC's: the driver performs Describe, Accept and Abandon."""
    candidates: Literal["auto", "all", "public"] = "all"
    """Which addresses of ours a WebRTC description shows, and to whom (`Direct`)."""
    welcomes_links: Callable[[], bool] = bool
    """Whether the program listens for new links, so that a peer whose program asks for one is no stranger."""
    may_link: Callable[[PeerId], bool] | None = None
    """Whether to be linked to a peer, asked once it has proved its id; None = any peer. `Engine.recheck` asks again."""
    may_talk: Callable[[PeerId], bool] | None = None
    """Whether to exchange datagrams and messages with a peer; what is relayed for others is not asked about."""
    machine: bytes | None = None
    """What only programs on this machine know: a neighbour at a loopback address proves that it is one of them. None =
    its address is proof enough."""
    is_nearby: Callable[[str], bool] | None = None
    """Whether an IP literal, however public, is this machine's own or on a wire of it; None = none is."""
    udp: tuple[str, int] | None = None
    """Where the driver's UDP port is: an IPv4 address ("": where we are dialled) and a port."""
    lane: bool = False
    """Whether links may have datagram lanes: the driver sends what `Lanes.take_frames` returns."""
    broadcast_hops: int = BROADCAST_HOPS
    """Relays that our broadcasts pass, and others' that we pass on; 0 = none are sent or taken."""
    assume_reachable: bool = False
    """Whether others are taken to be able to dial us before a neighbour has tried."""
    text_hint: str = ""
    """Ends the message about a neighbour that speaks text: what to do about that."""
    link_packets: float = LINK_PACKETS_RATE
    """Packets per second that are read from one link."""
    link_bytes: float = LINK_BYTES_RATE
    """Bytes per second that are read from one link."""


class Ending(NamedTuple):
    """Why a destination was given up, and when."""

    state: str
    """"refused" or "unreachable"."""
    why: str
    at: float
    found: bool
    """Whether it was said to be there."""


@dataclass(slots=True)
class Core:
    """The shared state; made once per engine."""

    identity: Identity
    config: EngineConfig
    random: Chance
    entropy: Callable[[int], bytes]
    now: float
    """When the last input came, and which: each puts an object of its own here (fast_path.Armed)."""
    handshake: type[Handshake] = Handshake
    """What proves who is at the other end; a simulation of thousands may put something cheaper in its place."""
    static: StaticKey = field(init=False)
    work: Work = field(init=False)
    timers: Timers = field(default_factory=Timers)
    effects: list[Effect] = field(default_factory=list)
    counters: Counter[str] = field(default_factory=Counter)
    """Every drop and refusal, by reason: drops are counters, not log lines."""
    spelling: Spelling = field(init=False)
    peer_id: PeerId = field(init=False)
    endings: dict[Destination, Ending] = field(default_factory=dict)
    """Destinations given up lately, longest ago first; at most MAX_ENDINGS."""
    attempts: int = 0
    """WebRTC attempts begun so far."""
    attempts_open: int = 0
    """WebRTC attempts under way, a gateway's included; at most MAX_DIRECT_ATTEMPTS."""
    handshakes: Counter[str] = field(default_factory=Counter)
    """What handshakes came to:
    "link agreed", "link failed", "session agreed", "session refused", "session unanswered"."""
    forwarded_bytes: int = 0
    forwarded_packets: int = 0
    """What was passed on for others, headers included."""
    load_since: tuple[float, int] = (0.0, 0)
    """When `load` was measured last, and what had been passed on until then."""
    ordinary: int = 0
    """Neighbours that do not relay; the router counts them."""
    last_load: int = 0
    ahead: float = 0.0
    """Seconds by which the wall clock is ahead of `now`."""
    number: int = field(init=False)
    """The id as an integer, for the XOR metric."""

    def __post_init__(self) -> None:
        self.static = StaticKey(self.identity, self.entropy)
        self.work = Work(self.now)
        self.spelling = Spelling(self.config.ipv4_network)
        self.peer_id = self.identity.peer_id
        self.number = int.from_bytes(self.peer_id)

    def give_up(self, destination: Destination, why: str, *, refused: bool = False, found: bool = False) -> None:
        """`destination` cannot be reached: remember why, and tell the program."""
        self.remember_end(destination, why, refused=refused, found=found)
        whole = destination.value if isinstance(destination, Prefix) else destination
        self.note(10, f"gave up {whole.hex()[:8]}: {why}")
        self.effects.append(Unreachable(destination, why))

    def remember_end(self, destination: Destination, why: str, *, refused: bool = False, found: bool = False) -> None:
        """`destination` cannot be reached, which the program did not ask for: remember why."""
        self.endings.pop(destination, None)
        while len(self.endings) >= MAX_ENDINGS:
            del self.endings[next(iter(self.endings))]
        self.endings[destination] = Ending("refused" if refused else "unreachable", why, self.now, found)

    def machine_proof(self, peer_id: PeerId) -> bytes:
        """Return what shows that `peer_id` is on this machine; b"" where nothing can."""
        secret = self.config.machine
        return b"" if secret is None else hmac.digest(secret, _MACHINE_DOMAIN + peer_id, "sha256")[:16]

    def network_key(self, purpose: bytes) -> bytes:
        """Return 32 bytes that are the same for all peers of this network; secret where it has a network key."""
        name = f" {self.config.ipv4_network}".encode()
        return hmac.digest(self.config.psk or bytes(32), _NETWORK_DOMAIN + purpose + name, "sha256")

    def set_clock(self, wall: float, now: float) -> None:
        """The wall clock says `wall` at `now`."""
        self.now = now
        self.ahead = wall - now
        if wall >= self.static.renewal:
            self.static = StaticKey(self.identity, self.entropy, wall)

    def note(self, level: int, text: str) -> None:
        """Ask for a line in the log, of at most NOTE_CHARACTERS: peers have a say in some of them."""
        self.effects.append(Note(level, text if len(text) <= NOTE_CHARACTERS else text[: NOTE_CHARACTERS - 3] + "..."))

    @property
    def wall(self) -> int:
        """Microseconds since 1970, as far as we know."""
        return max(0, int((self.now + self.ahead) * 1e6))

    def load(self, links: int) -> int:
        """Return n where we pass on less than 2**n packets a second for others, as measured over LOAD_TIME or more; 255
        with so many links that we are near our limits."""
        since, before = self.load_since
        if self.now >= since + LOAD_TIME:
            self.last_load = int((self.forwarded_packets - before) / (self.now - since)).bit_length()
            self.load_since = self.now, self.forwarded_packets
        return 255 if links >= CROWDED_LINKS else self.last_load

    def attempt(self) -> int:
        """Return the number of a new WebRTC attempt: how the driver knows it."""
        self.attempts += 1
        self.attempts_open += 1
        return self.attempts

    def attempt_ended(self) -> None:
        """A WebRTC attempt became a link, or came to nothing."""
        self.attempts_open -= 1

    @property
    def may_attempt(self) -> bool:
        """Whether one more WebRTC attempt may begin."""
        return self.attempts_open < MAX_DIRECT_ATTEMPTS

    def token(self) -> bytes:
        """Return 4 unguessable bytes that tie an answer to its question."""
        return self.entropy(4)
