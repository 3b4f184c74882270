"""One session: what two endpoints know of each other.

Lives here: keys in use, what waits, what is in flight, how far the other side has come. May not live here: how sessions
begin (handshakes.py), what is done with them (sessions.py), routes.

Law: a session outlives its keys and its paths. New keys replace old ones without a gap: the old receive until they are
forgotten, and send until the new ones were heard.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Final

from ..address import PeerId
from ..limits import SESSION_WINDOW

if TYPE_CHECKING:
    from .authentication import Handshake
    from .seal import OpeningKey, SealingKey
    from .timers import Timer


class State(Enum):
    """How far a session has come. A *handshake* here is one that we began."""

    NEW = "no keys"
    OPENING = "no keys; a handshake waits for its answer"
    CONFIRMING = "seals under the keys of a handshake whose last message may not have arrived"
    OPEN = "seals under keys that the other side has"
    SUSPECT = "seals under keys that the other side may have lost"
    REKEYING = "as OPEN; a handshake waits for its answer"
    RECOVERING = "as SUSPECT; a handshake waits for its answer"
    SWITCHING = "as OPEN, until something opens under the keys of a handshake that was answered"
    CLOSED = "forgotten"


class Happening(Enum):
    """What moves a session from one state to another."""

    BEGUN = "we began a handshake"
    ANSWERED = "our handshake was answered, and by the right peer"
    CONFIRMED = "something opened under the keys of our handshake"
    COMPLETED = "the other side completed a handshake that it began"
    GIVEN_UP = "our handshake came to nothing"
    DOUBTED = "nothing is heard, or it is said that the other side lost our keys"
    HEARD = "something opened under the keys by which we seal"
    CLOSED = "it was forgotten"


TRANSITIONS: Final[dict[State, dict[Happening, State]]] = {
    State.NEW: {
        Happening.BEGUN: State.OPENING,
        Happening.COMPLETED: State.OPEN,
        Happening.CLOSED: State.CLOSED,
    },
    State.OPENING: {
        Happening.ANSWERED: State.CONFIRMING,
        Happening.COMPLETED: State.OPEN,
        Happening.CLOSED: State.CLOSED,
    },
    State.CONFIRMING: {
        Happening.CONFIRMED: State.OPEN,
        Happening.COMPLETED: State.OPEN,
        Happening.GIVEN_UP: State.OPEN,
        Happening.DOUBTED: State.SUSPECT,
        Happening.CLOSED: State.CLOSED,
    },
    State.OPEN: {
        Happening.BEGUN: State.REKEYING,
        Happening.COMPLETED: State.OPEN,
        Happening.DOUBTED: State.SUSPECT,
        Happening.CLOSED: State.CLOSED,
    },
    State.SUSPECT: {
        Happening.BEGUN: State.RECOVERING,
        Happening.COMPLETED: State.OPEN,
        Happening.DOUBTED: State.SUSPECT,
        Happening.HEARD: State.OPEN,
        Happening.CLOSED: State.CLOSED,
    },
    State.REKEYING: {
        Happening.ANSWERED: State.SWITCHING,
        Happening.COMPLETED: State.OPEN,
        Happening.GIVEN_UP: State.OPEN,
        Happening.DOUBTED: State.RECOVERING,
        Happening.CLOSED: State.CLOSED,
    },
    State.RECOVERING: {
        Happening.ANSWERED: State.CONFIRMING,
        Happening.COMPLETED: State.OPEN,
        Happening.GIVEN_UP: State.SUSPECT,
        Happening.DOUBTED: State.RECOVERING,
        Happening.HEARD: State.REKEYING,
        Happening.CLOSED: State.CLOSED,
    },
    State.SWITCHING: {
        Happening.CONFIRMED: State.OPEN,
        Happening.COMPLETED: State.OPEN,
        Happening.GIVEN_UP: State.OPEN,
        Happening.DOUBTED: State.SUSPECT,
        Happening.CLOSED: State.CLOSED,
    },
    State.CLOSED: {Happening.CLOSED: State.CLOSED},
}
"""What follows; what is not here cannot happen."""
SUSPECTED: Final = frozenset((State.SUSPECT, State.RECOVERING))
"""The states in which HEARD means something."""


class Keys:
    """One generation of keys; `local` and `remote` are the 4-byte indexes each side knows it by."""

    __slots__ = ("highest", "local", "made_at", "opening", "remote", "sealing")

    def __init__(self, local: bytes, remote: bytes, sealing: SealingKey, opening: OpeningKey, now: float) -> None:
        self.local = local
        self.remote = remote
        self.sealing = sealing
        self.opening = opening
        self.made_at = now
        self.highest = 0
        """Highest counter received under these, plus one. Of each generation its own: when both sides made new keys at
        once, they may for a while send under different ones."""


class Attempt:
    """A handshake of ours that is under way."""

    __slots__ = ("base", "began", "handshake", "keys", "last", "local", "revived", "said_at", "timer", "tries")

    def __init__(self, handshake: Handshake, local: bytes, now: float) -> None:
        self.handshake = handshake
        self.local = local
        self.last = b""
        """The packet body to repeat until something is heard."""
        self.began = now
        self.said_at = now
        """When `last` was sent last."""
        self.tries = 0
        self.base = 0
        """Try n takes the way `base + n`."""
        self.revived = 0
        """How often a search that found the peer gave it more tries."""
        self.keys: Keys | None = None
        """What it made, while the session still sends under older ones that work."""
        self.timer: Timer | None = None


class Session:
    """Everything about one remote peer that sealed traffic needs."""

    __slots__ = (
        "ack_timer",
        "acked_at",
        "address_conflict",
        "alternate",
        "attempt",
        "blocked",
        "denied",
        "flights",
        "found",
        "heard_at",
        "heard_first",
        "heard_under",
        "hinted_at",
        "idle_since",
        "in_flight",
        "keys",
        "liveness_timer",
        "missed_probes",
        "older",
        "outgoing",
        "outgoing_size",
        "peer_id",
        "pending",
        "pending_size",
        "pending_timer",
        "refound",
        "rtt",
        "silent_since",
        "solicited",
        "state",
        "surrendered",
        "unacked",
    )

    def __init__(self, peer_id: PeerId, now: float) -> None:
        self.peer_id = peer_id
        self.state = State.NEW
        """Changed by `move` only."""
        self.keys: Keys | None = None
        """What we seal with."""
        self.older: list[Keys] = []
        """What may still arrive sealed."""
        self.heard_under: Keys | None = None
        """The generation whose packets we owe an acknowledgement."""
        self.address_conflict = False
        """Whether its IPv4 address is that of another peer, which we knew before."""
        self.attempt: Attempt | None = None
        self.found = False
        """Whether a relay, or the peer itself, said that it is there; a hint."""
        self.denied = False
        """Whether it seems to refuse us; a hint."""
        self.pending: deque[tuple[float, bytes]] = deque()
        """Records that wait for keys, with the time until which they are worth sending."""
        self.surrendered = False
        """Whether a gateway took over what waited, while our handshake may still succeed."""
        self.pending_size = 0
        self.pending_timer: Timer | None = None
        self.outgoing: list[bytes] = []
        """Records of the packet being filled; when not empty the session is in `Sessions.dirty`."""
        self.outgoing_size = 0
        self.flights: deque[tuple[int, int]] = deque()
        """(counter, size) of packets not yet acknowledged, oldest first; while not empty, `silence` is armed."""
        self.in_flight = 0
        self.acked_at = now
        """When `flights` last shrank, or began."""
        self.blocked = False
        """Whether a sender was told that there is no room."""
        self.unacked = 0
        """Bytes received since we last said how far we are."""
        self.ack_timer: Timer | None = None
        self.liveness_timer: Timer | None = None
        self.silent_since: float | None = None
        """Since when we expect to hear something and do not; None while nothing is due."""
        self.heard_first = False
        """Whether their program's first datagram or message came before ours."""
        self.solicited = False
        """Whether the program of this host ever sent something there, so that it is no stranger."""
        self.missed_probes = 0
        self.alternate = 0
        """Which of the disjoint ways we use."""
        self.refound = 0.0
        """When we last flooded a search for this peer."""
        self.rtt: float | None = None
        """Seconds a handshake message and its answer took."""
        self.heard_at = now
        """When something last opened."""
        self.hinted_at: float | None = None
        """When we last believed a notice that the other side lost our keys."""
        self.idle_since = now

    @property
    def room(self) -> int:
        """Bytes that may be sent before the other side says more."""
        return SESSION_WINDOW - self.in_flight - self.outgoing_size

    def move(self, happening: Happening) -> None:
        """Take the step that TRANSITIONS has for `happening`."""
        self.state = TRANSITIONS[self.state][happening]

    def note_sent(self, counter: int, size: int, now: float) -> None:
        """Packet `counter` left, and counts for `size` against the window."""
        if not self.flights:
            self.acked_at = now
        self.flights.append((counter, size))
        self.in_flight += size

    def note_heard(self, keys: Keys, counter: int, now: float) -> None:
        """Packet `counter` of `keys` opened."""
        self.idle_since = self.heard_at = now
        self.missed_probes = 0
        self.silent_since = now if self.flights else None
        if counter >= keys.highest:
            keys.highest = counter + 1
        self.heard_under = keys

    def acknowledged(self, highest: int, now: float) -> None:
        """The other side has everything below `highest` that will ever arrive."""
        flights = self.flights
        if flights and flights[-1][0] < highest:  # all of them, as a rule
            flights.clear()
            self.acked_at = now
        while flights and flights[0][0] < highest:
            self.in_flight -= flights.popleft()[1]
            self.acked_at = now
        if not flights:
            self.silent_since = None
            self.in_flight = 0  # also what a lone packet, interrupted amid its bookkeeping, left uncounted

    def forget_flights(self) -> None:
        """Give up on what is in flight."""
        self.flights.clear()
        self.in_flight = 0
