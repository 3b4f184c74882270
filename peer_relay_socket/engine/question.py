"""One short address that is asked for, and what was heard of it.

Lives here: peers that were named, whether they proved their keys, what is still awaited. May not live here: when to ask
again, and what is taken for the answer (resolver.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..address import PeerId

if TYPE_CHECKING:
    from .timers import Timer

Answer = Callable[["PeerId | None"], None]
"""Called once with the id, or None: no peer answers, or more than one does."""


class Question:
    """A short address that is asked for."""

    __slots__ = (
        "began",
        "behind",
        "callbacks",
        "comparing",
        "first",
        "found",
        "named",
        "named_by",
        "namers",
        "once",
        "timer",
        "tokens",
        "tries",
    )

    def __init__(self, callback: Answer, once: bool, now: float) -> None:
        self.tokens: dict[bytes, bool] = {}
        """None before its turn, then one for each alternate, and whether the relay nearest to the prefix has answered
        on it."""
        self.once = once
        """Whether "no peer" is taken for an answer the first time it is heard."""
        self.began = now
        self.callbacks = [callback]
        self.named: dict[PeerId, bool] = {}
        """Peers that it may mean, and whether they proved their keys; at most MAX_NAMED."""
        self.named_by: Counter[int] = Counter()
        """How many of them were named over a link; at most MAX_NAMED_PER_LINK each."""
        self.namers: dict[PeerId, PeerId] = {}
        """The neighbour over whose link each of them was named first."""
        self.behind: dict[PeerId, None] = {}
        """Peers behind relays that it may mean: they count only if no peer with a key does. At most MAX_MATCHES."""
        self.found = False
        """Whether a search found a peer, or no relay is nearer to the prefix than we are."""
        self.tries = 0
        self.timer: Timer | None = None
        self.comparing = False
        """Whether relays are, or were, asked which of the peers they knew first."""
        self.first: PeerId | None = None
        """The peer that most of them knew first."""

    @property
    def final(self) -> bool:
        """Whether all that was asked at first has been answered."""
        return self.found or (bool(self.tokens) and all(self.tokens.values()))

    @property
    def proved(self) -> list[PeerId]:
        """Peers that it may mean and that proved their keys."""
        return [peer_id for peer_id, proved in self.named.items() if proved]

    @property
    def pending(self) -> bool:
        """Whether a peer that was named may still prove its key."""
        return not all(self.named.values())
