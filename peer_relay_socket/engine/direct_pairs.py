"""What a peer knows of the way to each peer that it exchanges packets with, as far as a direct link is concerned.

Lives here: the record of one pair and the table of all. May not live here: decisions (direct.py, signalling.py).

Law: past MAX_DIRECT_PAIRS a new pair costs the longest known one its record, but none that is under way or wished for.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

from ..address import PeerId
from ..limits import DIRECT_BYTES, DIRECT_PACKETS, MAX_DIRECT_PAIRS
from .membership import Seeker

if TYPE_CHECKING:
    from .core import Core
    from .membership import Membership
    from .timers import Timer

NOTHING_TRIED: Final = "too little traffic so far"
WEBRTC_OFF: Final = "WebRTC is turned off here"
DISCONNECTED: Final = "the program disconnected it"


class Stage(IntEnum):
    """How far an attempt has come."""

    IDLE = 0
    DIALLING = 1
    DESCRIBING = 2
    SIGNALLED = 3
    CONNECTING = 4


class Pair:
    """What is known of the way to one peer."""

    __slots__ = (
        "asked",
        "bytes",
        "failures",
        "handle",
        "last_reason",
        "near",
        "near_token",
        "not_before",
        "offering",
        "packets",
        "peer_id",
        "reason",
        "refused",
        "relayed_since",
        "repeat",
        "signal",
        "stage",
        "their_offer",
        "their_wish",
        "timer",
        "token",
        "window_end",
        "wish",
    )

    def __init__(self, peer_id: PeerId, now: float) -> None:
        self.peer_id = peer_id
        self.window_end = 0.0
        self.packets = self.bytes = 0
        self.stage = Stage.IDLE
        self.not_before = 0.0
        self.failures = 0
        self.reason = NOTHING_TRIED
        self.relayed_since = now
        self.handle = 0
        """How the driver knows the attempt under way."""
        self.token = b""
        """How the other side knows it."""
        self.offering = False
        self.signal = b""
        """What we last signalled, to be said again."""
        self.their_offer: str | None = None
        """What we answer; None where we offer."""
        self.near = False
        """Whether a relay that we dialled sees both of us in one place."""
        self.near_token = b""
        """How that relay's answer is known; empty while none is awaited."""
        self.asked = False
        """Whether membership was asked to link to it, on our account alone."""
        self.wish = b""
        """The token of our program's wish for a link; empty where it has none."""
        self.their_wish = b""
        """The same of the other side's program."""
        self.refused = b""
        """Their wish that our program's `disconnect` ended: its repetitions mean nothing."""
        self.last_reason = ""
        """The reason that the program was last told of."""
        self.timer: Timer | None = None
        self.repeat: Timer | None = None

    def takes(self, size: int) -> bool:
        """Count a packet, if that is all that there is to do for it; else return False."""
        if self.packets + 1 >= DIRECT_PACKETS or self.bytes + size >= DIRECT_BYTES:
            return False
        self.packets += 1
        self.bytes += size
        return True

    def stop_timers(self) -> None:
        for timer in (self.timer, self.repeat):
            if timer is not None:
                timer.cancel()
        self.timer = self.repeat = None

    def unseek(self, membership: Membership) -> None:
        """Let `membership` no longer link to the peer on our account alone."""
        if self.asked:
            self.asked = False
            membership.unseek(self.peer_id, Seeker.DIRECT)


class Pairs(dict[PeerId, Pair]):
    """By peer, longest known first."""

    def __init__(self, core: Core) -> None:
        super().__init__()
        self._core = core

    def of(self, peer_id: PeerId) -> Pair:
        """Return what is known of `peer_id`, from now on if nothing was."""
        pair = self.get(peer_id)
        if pair is None:
            if len(self) >= MAX_DIRECT_PAIRS:
                for other in self.values():
                    if other.stage is Stage.IDLE and not other.asked and not other.wish:
                        del self[other.peer_id]
                        break
            pair = self[peer_id] = Pair(peer_id, self._core.now)
        return pair
