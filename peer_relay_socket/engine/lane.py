"""One link's datagram lane: how far it has come, what may go by it, and how fast.

Lives here: the states, the keys, the pace of one direction. May not live here: which links have lanes, what their
frames say, timers (lanes.py), sockets (the driver's).

Law: nothing but challenges goes to an address that has not proved itself, nothing goes by a lane that is not known to
work, and what does not go by it takes the link.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Final, TypeAlias

from ..codec import lane as wire
from ..codec.packet import COVERED_FRONT, HEADER_BYTES, SEALED_LEAST, TAG_BYTES, Kind
from ..limits import (
    LANE_BEHIND,
    LANE_BURST,
    LANE_BURST_LEAST,
    LANE_CHALLENGES,
    LANE_COUNTED,
    LANE_FASTER,
    LANE_LOSS,
    LANE_PACKET,
    LANE_QUEUE,
    LANE_RATE,
    LANE_RATE_LEAST,
    LANE_SILENCE,
    LANE_SLOWER,
)
from ..rate import TokenBucket
from .seal import CheckingKey, TaggingKey

if TYPE_CHECKING:
    from .core import Core
    from .timers import Timer

Place: TypeAlias = tuple[str, int]
"""An IP literal and a UDP port."""

_SEALED: Final = int(Kind.SEALED)
_LEAST: Final = HEADER_BYTES + SEALED_LEAST
_DATA: Final = bytes((wire.DATA,))


class State(Enum):
    """How far a lane has come."""

    NONE = "there is none; traffic will ask for one"
    ASKED = "asked for over the link"
    PROBING = "both ends know it; no address has proved itself"
    LIVE = "packets go by it"


class Happening(Enum):
    """What moves a lane from one state to another."""

    WANTED = "there is traffic"
    GRANTED = "both ends have said their indexes"
    PROVED = "a frame went there and back"
    SILENT = "the dialler's frames come no more"
    ENDED = "it does not work, is idle, was refused, or its link is gone"


TRANSITIONS: Final[dict[State, dict[Happening, State]]] = {
    State.NONE: {Happening.WANTED: State.ASKED, Happening.GRANTED: State.PROBING, Happening.ENDED: State.NONE},
    State.ASKED: {Happening.GRANTED: State.PROBING, Happening.ENDED: State.NONE},
    State.PROBING: {Happening.PROVED: State.LIVE, Happening.SILENT: State.PROBING, Happening.ENDED: State.NONE},
    State.LIVE: {Happening.PROVED: State.LIVE, Happening.SILENT: State.PROBING, Happening.ENDED: State.NONE},
}
"""What follows; what is not here cannot happen. The dialler begins with NONE, the relay when it grants one."""

_LIVE: Final = State.LIVE


class Pace(TokenBucket):
    """How many bytes a second one end may send, by what the other end counts."""

    __slots__ = ("_counted", "_least", "_newest", "lost", "rtt")

    def __init__(self, now: float) -> None:
        super().__init__(LANE_RATE, now, burst=LANE_RATE * LANE_BURST)
        self.rtt: float | None = None
        """The round trip, smoothed."""
        self.lost = 0.0
        """The share of frames that was lost, when it was last counted."""
        self._least = 0.0
        self._newest = self._counted = 0

    def allows(self, size: int, now: float) -> bool:
        """Charge a packet, however it goes; return whether it may go by the lane."""
        return self.overdraw(now, size, self.rate * LANE_BEHIND)

    def has_room(self, now: float) -> bool:
        """Return whether a packet might go by the lane now."""
        self.refill(now)
        return self.level > 0.0

    def timed(self, rtt: float) -> None:
        """A frame took so long there and back."""
        if self.rtt is None:
            self.rtt = self._least = rtt
        self.rtt += (rtt - self.rtt) / 8
        self._least = min(rtt, self._least + (self.rtt - self._least) / 256)  # a path may have become longer

    def counted(self, newest: int, count: int) -> None:
        """The other end has heard `count` frames, the last of them number `newest`, less one."""
        sent, came = newest - self._newest, count - self._counted
        crowded = self.rtt is not None and self.rtt > self._least + LANE_QUEUE
        if sent >= LANE_COUNTED:
            self.lost = max(0.0, 1.0 - came / sent)
            self._newest, self._counted = newest, count
            crowded = crowded or self.lost > LANE_LOSS
        if crowded:
            self.rate = max(LANE_RATE_LEAST, self.rate * LANE_SLOWER)
        else:
            self.rate = min(LANE_RATE, self.rate * LANE_FASTER)
        self.burst = max(LANE_BURST_LEAST, self.rate * LANE_BURST)


class Lane:
    """The lane of one link."""

    __slots__ = (
        *("_core", "_frames", "_wanted", "answered_at", "challenges", "checking", "count", "failures"),
        *("heard_at", "live_since", "local", "pace", "place", "probes", "tokens", "remote", "rest_until", "seen"),
        *("state", "tagging", "timer", "used_at", "window_until"),
    )

    def __init__(self, core: Core, frames: list[tuple[Place, bytes]], wanted: Callable[[Lane], None] | None) -> None:
        """Args: frames: where frames go that are to leave. wanted: called at each packet while there is no lane; None
        at the end that grants."""
        now = core.now
        self._core = core
        self._frames = frames
        self._wanted = wanted
        self.state = State.NONE
        self.local = b""
        self.remote = b""
        """Our index, and the other end's."""
        self.place: Place | None = None
        """Where frames go: the relay's address, or the one that proved itself to the relay."""
        self.tagging: TaggingKey | None = None
        self.checking: CheckingKey | None = None
        self.count = 0
        """Frames that were heard."""
        self.pace = Pace(now)
        self.challenges = TokenBucket(LANE_CHALLENGES, now)
        self.tokens: dict[bytes, float] = {}
        """Tokens of probes that wait for an answer, or of the last challenge, and when they left; at most
        LANE_PROBES."""
        self.probes = 0
        """Probes since the last answer."""
        self.heard_at = self.answered_at = self.used_at = now
        """When a frame came from `place`; when a probe was answered, or `place` proved itself; when a packet went or
        came."""
        self.live_since = now
        self.failures = 0
        self.rest_until = 0.0
        self.seen = 0
        self.window_until = 0.0
        """Packets of the link so far, and until when more of them are waited for (`Lanes._wanted`)."""
        self.timer: Timer | None = None

    def move(self, happening: Happening) -> None:
        """Something happened."""
        self.state = TRANSITIONS[self.state][happening]

    def agree(self, remote: bytes, tagging: TaggingKey, checking: CheckingKey) -> None:
        """Both ends have said their indexes, and these are the keys."""
        self.move(Happening.GRANTED)
        self.tagging, self.checking = tagging, checking
        self.remote = remote
        self.count, self.probes = 0, 0
        self.pace = Pace(self._core.now)
        self.heard_at = self.answered_at = self.used_at = self._core.now

    @property
    def grants(self) -> bool:
        """Whether this is the end that grants: the other one's address proves itself."""
        return self._wanted is None

    @property
    def live(self) -> bool:
        """Whether packets go by it now."""
        if self.state is not _LIVE:
            return False
        if self._wanted is None and self._core.now > self.heard_at + LANE_SILENCE:
            self.move(Happening.SILENT)
            return False
        return True

    @property
    def has_room(self) -> bool:
        """Whether a packet might go by it now."""
        return self.live and self.pace.has_room(self._core.now)

    def carry(self, data: bytes, rest: bytes | memoryview) -> bool:
        """Send a SEALED packet, in one piece or two, if it may go by the lane."""
        if self.state is State.NONE and self._wanted is not None:
            self._wanted(self)
            return False
        size = len(data) + len(rest)
        if not _LEAST <= size <= LANE_PACKET or not self.live:
            return False
        now = self._core.now
        self.used_at = now
        tagging, place = self.tagging, self.place
        if not self.pace.allows(size, now) or tagging is None or place is None:
            return False
        packet = b"".join((data, rest)) if rest else data
        tag = tagging.tag(packet[:COVERED_FRONT] + packet[-TAG_BYTES:])
        self._frames.append((place, b"".join((_DATA, self.remote, packet, tag))))
        return True

    def say(self, value: wire.Sign, place: Place, size: int = 0) -> None:
        """Send a frame that is no bundle, of at least `size` bytes."""
        assert self.tagging is not None
        frame = wire.sign(self.remote, value, size)
        self._frames.append((place, frame + self.tagging.tag(frame)))

    @property
    def newest(self) -> int:
        """The highest counter heard, plus one."""
        return 0 if self.checking is None else self.checking.newest + 1
