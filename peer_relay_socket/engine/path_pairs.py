"""What a peer knows of the paths to each peer with which it has traffic through relays.

Lives here: the record of one pair. May not live here: decisions (paths.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..address import PeerId

if TYPE_CHECKING:
    from .timers import Timer


class PathPair:
    """What is known of the paths to one peer."""

    __slots__ = (
        "answered",
        "began_at",
        "chosen",
        "counter",
        "noticed_at",
        "offered",
        "packets",
        "peer_id",
        "rival",
        "suspect",
        "theirs",
        "timer",
        "trials",
        "tried",
        "wins",
    )

    def __init__(self, peer_id: PeerId, counter: int, now: float) -> None:
        self.peer_id = peer_id
        self.counter = counter
        """Packets sealed so far, when that was looked at last,"""
        self.packets = 0
        """and how many of them since traffic began."""
        self.noticed_at = now
        self.began_at: float | None = None
        """Since when a better relay is looked for; None while the pair rests."""
        self.offered: list[tuple[PeerId, float]] = []
        """What the other end was told last."""
        self.theirs: dict[PeerId, float] = {}
        """The other end's round trips; at most MAX_ROUND_TRIPS."""
        self.chosen: PeerId | None = None
        self.rival: PeerId | None = None
        """A relay that was clearly better in the last `wins` measurements."""
        self.wins = 0
        self.suspect: PeerId | None = None
        """A chosen relay that fell silent; to blame if the peer answers by another way."""
        self.tried: list[PeerId] = []
        """Relays that are tried, zeros for the way that routing finds; empty while nothing is."""
        self.trials: dict[bytes, tuple[PeerId, float]] = {}
        """By token, which way and when; a few for each of `tried`."""
        self.answered: dict[PeerId, float] = {}
        """Seconds by each way that answered."""
        self.timer: Timer | None = None

    def arm(self, timer: Timer | None) -> None:
        """Have one timer at most."""
        if self.timer is not None:
            self.timer.cancel()
        self.timer = timer
