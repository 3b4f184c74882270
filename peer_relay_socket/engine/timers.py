"""Many timers behind one `next_timer`. Law: equal times run in the order they were set, so a run can be repeated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import Enum
from heapq import heapify, heappop, heappush
from typing import Any


class Due(Enum):
    """Every timer of the engine: what is due when it runs."""

    LINK_HANDSHAKE = "drop a connection whose handshake is not over"
    LINK_KEEPALIVE = "ping a silent neighbour, or drop the link"
    LINK_ANSWER = "see whether anything came since we sent"
    LINK_PARTED = "close a link to which we said goodbye"
    LANE = "probe a datagram lane, close it, or leave it"
    SESSION_HANDSHAKE = "repeat a handshake message, or give up"
    SESSION_SILENCE = "probe another way, or begin a new handshake"
    SESSION_ACK = "acknowledge what was heard"
    SESSION_PENDING = "drop records that waited too long for keys"
    SESSION_SWEEP = "forget idle sessions, renew worn keys"
    DIRECT_BEGIN = "begin an attempt, once the packet that caused it has left"
    DIRECT_DIALLED = "offer WebRTC, where no WebSocket came up"
    DIRECT_NEAR = "describe, though the relay has not said whether the other side is near"
    DIRECT_REPEAT = "repeat an offer"
    DIRECT_OVER = "give up an attempt"
    DIRECT_RETRY = "try again for a link that the program wants"
    DIRECT_IDLE = "see whether a direct link is still used"
    PATH_BEGIN = "see whether there is traffic enough to look for a better relay"
    PATH_TRY = "try relays, or ask once more"
    PATH_AGAIN = "measure a pair's paths again"
    PATH_SWEEP = "let go of links to relays that no pair needs"
    ROUND_TRIPS = "measure the next relays"
    RESOLVE_AGAIN = "ask for an address again"
    RESOLVE_TURN = "ask for the addresses whose turn it is"
    RESOLVE_PROOF = "go on without a candidate that did not prove its key"
    WITNESS_AGAIN = "ask relays again which claimant they knew first, or count"
    RESOLVE_OVER = "say what was found"
    UNRESOLVED = "drop datagrams that waited too long for an address"
    OWN_ADDRESS = "ask again whether our address is ours alone"
    LOOK_AROUND = "ask neighbours for peers to be linked to"
    REVIEW = "dial, after a wait"
    RECALL = "try more of the relays that worked in earlier runs"
    JOINING_OVER = "stop dialling a peer that asked for it"
    DIAL_BACK_ASK = "ask neighbours to dial us"
    CLAIM_AGAIN = "try a URL that a neighbour claims once more"
    DIAL_BACK_OVER = "judge by those that did"
    BROADCAST_PENDING = "drop broadcasts that waited for a link"
    LEGACY_GRACE = "treat a peer that may lack a key as one that does"
    LEGACY_SEARCH = "look for a legacy peer again"
    LEGACY_SEARCH_OVER = "stop looking for a legacy peer"
    LEGACY_SILENT = "drop a legacy link that says nothing"
    LEGACY_ANSWER = "answer a legacy peer's offer"
    LEGACY_OFFER = "offer WebRTC to a legacy peer"
    LEGACY_OFFER_OVER = "give up an attempt with a legacy peer"


class Timer:
    """One pending call; `cancel` is idempotent and may come late."""

    __slots__ = ("_args", "_callback", "due", "when")

    def __init__(self, due: Due, when: float, callback: Callable[..., None], args: tuple[Any, ...]) -> None:
        self.due = due
        self.when = when
        self._callback: Callable[..., None] | None = callback
        self._args = args

    @property
    def pending(self) -> bool:
        """Whether it will still run."""
        return self._callback is not None

    def cancel(self) -> None:
        """Make it never run."""
        self._callback = None
        self._args = ()

    def run(self) -> None:
        """Run it, once, unless cancelled."""
        callback, args = self._callback, self._args
        self.cancel()
        if callback is not None:
            callback(*args)


class Timers:
    """A heap of timers."""

    __slots__ = ("_heap", "_made")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._made = 0

    def at(self, due: Due, when: float, callback: Callable[..., None], *args: object) -> Timer:
        """Arrange for callback(*args) at `when`."""
        if self._made & 0xFFF == 0xFFF:  # every 4096th: drop what was cancelled long before its time
            self._heap = [entry for entry in self._heap if entry[2].pending]
            heapify(self._heap)
        timer = Timer(due, when, callback, args)
        self._made += 1
        heappush(self._heap, (when, self._made, timer))
        return timer

    def pending(self) -> Counter[Due]:
        """Return how many timers of each kind will still run."""
        return Counter(timer.due for _, _, timer in self._heap if timer.pending)

    def next(self) -> float | None:
        """Return when the earliest timer is due."""
        heap = self._heap
        while heap and not heap[0][2].pending:
            heappop(heap)
        return heap[0][0] if heap else None

    def run(self, now: float) -> None:
        """Run everything due at `now`; what that arranges for `now` or earlier waits for the next call."""
        due = []
        heap = self._heap
        while heap and heap[0][0] <= now:
            due.append(heappop(heap)[2])
        for timer in due:
            timer.run()
