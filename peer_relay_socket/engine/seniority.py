"""Which of several peers with one address has had it longest, as relays saw it.

Lives here: when each peer first proved its key over a link of ours; asking other relays for that, and answering them.
May not live here: which peers claim an address, and what becomes of it (resolver.py).

Law: time cannot be ground. A relay speaks for its own links only. A question goes out by several links, to each with a
token of its own, and never over a claimant; the first relay that knows all claimants answers it, or the one nearest to
the address, and sends it no further. So each way is one voice, and the claimant wins that more than half of all ways
that were asked have known at least SENIORITY longer than any other. One relay that lies has one voice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..address import PeerId, Prefix
from ..codec import control
from ..codec import packet as wire
from ..codec.packet import Header, Kind
from ..limits import (
    MAX_RESOLVING,
    MAX_SENIORS_GONE,
    MAX_WITNESSES,
    SENIORITY,
    SENIORITY_KEPT,
    WITNESS_RETRY,
    WITNESS_TRIES,
)
from .timers import Due

if TYPE_CHECKING:
    from .core import Core
    from .link import LinkState
    from .links import Links
    from .routing import Router
    from .timers import Timer

_MOST: Final = 2**32 - 1


class _Poll:
    """One question, and what was answered."""

    __slots__ = ("answer", "claimants", "prefix", "timer", "tries", "votes", "ways")

    def __init__(self, prefix: Prefix, claimants: list[PeerId], answer: Callable[[PeerId | None], None]) -> None:
        self.prefix = prefix
        self.claimants = claimants
        self.answer = answer
        self.ways: dict[bytes, tuple[LinkState, int]] = {}
        """Link and alternate of each way, by token; at most MAX_WITNESSES."""
        self.votes: dict[bytes, PeerId | None] = {}
        """Whom each way named that has answered; None where it could not tell."""
        self.tries = 0
        self.timer: Timer | None = None


class Seniority:
    """What one relay saw, and how it asks others."""

    def __init__(self, core: Core, links: Links, router: Router) -> None:
        self._core = core
        self._links = links
        self._router = router
        self._since: dict[PeerId, float] = {}
        """When a peer first proved its key over a link of ours: of those that are linked, and of those in `_gone`."""
        self._gone: dict[PeerId, float] = {}
        """When the last link went, of peers that were linked for SENIORITY; at most MAX_SENIORS_GONE."""
        self._polls: list[_Poll] = []
        """At most MAX_RESOLVING."""

    # --- what we saw -----------------------------------------------------------------------------------------

    def link_up(self, link: LinkState) -> None:
        """A neighbour proved its key."""
        if self.age(link.peer_id) == 0.0:
            self._since[link.peer_id] = self._core.now
        self._gone.pop(link.peer_id, None)

    def link_down(self, link: LinkState) -> None:
        """A link is gone; one of less than SENIORITY leaves nothing behind."""
        peer_id = link.peer_id
        if peer_id in self._links.by_id:
            return
        if self.age(peer_id) < SENIORITY:
            self._since.pop(peer_id, None)
            return
        if len(self._gone) >= MAX_SENIORS_GONE:
            oldest = next(iter(self._gone))
            del self._gone[oldest], self._since[oldest]
        self._gone[peer_id] = self._core.now

    def age(self, peer_id: PeerId) -> float:
        """Return for how long we know that `peer_id` has its key; 0 if we do not."""
        since = self._since.get(peer_id)
        if since is None or self._core.now > self._gone.get(peer_id, self._core.now) + SENIORITY_KEPT:
            return 0.0
        return max(self._core.now - since, 1e-3)

    # --- asking ----------------------------------------------------------------------------------------------

    def ask(self, prefix: Prefix, claimants: list[PeerId], answer: Callable[[PeerId | None], None]) -> None:
        """Find out which of `claimants` has had the address longest; `answer` is called once, with it or None."""
        ages = [self.age(each) for each in claimants]
        own = self._eldest(claimants, ages)
        if own is not None and all(ages):
            answer(own)
            return
        links = self._without(int.from_bytes(prefix.value), MAX_WITNESSES, claimants)
        if not links or len(self._polls) >= MAX_RESOLVING:
            answer(None)
            return
        poll = _Poll(prefix, claimants, answer)
        for place, link in enumerate(links):
            poll.ways[self._core.token()] = link, min(place, wire.ALTERNATES)
        self._polls.append(poll)
        self._send(poll)

    def _without(self, target: int, count: int, peers: list[PeerId]) -> list[LinkState]:
        """Return the linked relays nearest to `target` that are none of `peers`, `count` at most."""
        nearest = self._router.nearest(target, count + len(peers))
        return [link for link in nearest if link.peer_id not in peers][:count]

    def _send(self, poll: _Poll) -> None:
        """Ask by each way that has not answered; after some time, count."""
        core = self._core
        if poll.tries >= WITNESS_TRIES:
            self._end(poll, None)
            return
        for token, (link, alternate) in poll.ways.items():
            if token not in poll.votes and link.up:
                body = control.resolve(token, poll.prefix.bits, poll.claimants)
                data = wire.packet(Kind.RESOLVE, poll.prefix.value, core.peer_id, body, flags=alternate)
                self._links.emit(link, data)
        wait = WITNESS_RETRY * (1 << poll.tries)
        poll.tries += 1
        poll.timer = core.timers.at(Due.WITNESS_AGAIN, core.now + wait, self._send, poll)

    def answer_heard(self, token: bytes, ids: list[PeerId], ages: list[int]) -> bool:
        """Count one answer. Returns: whether it was asked for."""
        poll = next((poll for poll in self._polls if token in poll.ways), None)
        if poll is None:
            return False
        if token not in poll.votes and ids == poll.claimants and len(ages) == len(ids):
            named = poll.votes[token] = self._eldest(ids, list(map(float, ages)))
            votes = list(poll.votes.values())
            if named is not None and 2 * votes.count(named) > len(poll.ways):
                self._end(poll, named)
            elif len(votes) == len(poll.ways):
                self._end(poll, None)
        return True

    @staticmethod
    def _eldest(claimants: list[PeerId], ages: list[float]) -> PeerId | None:
        """Return the claimant that is known SENIORITY longer than any other, if there is one."""
        first, second = sorted(ages, reverse=True)[:2]
        return claimants[ages.index(first)] if first >= second + SENIORITY else None

    def _end(self, poll: _Poll, named: PeerId | None) -> None:
        self._polls.remove(poll)
        if poll.timer is not None:
            poll.timer.cancel()
        poll.answer(named)

    # --- answering -------------------------------------------------------------------------------------------

    def question_heard(
        self, bundle: bytes, offset: int, header: Header, question: control.ResolveBody, arrived: LinkState
    ) -> None:
        """Say for how long we have known some claimants, or pass the question on to a nearer relay."""
        core = self._core
        claimants = question.claimants
        if core.peer_id in claimants:
            return
        ages = [self.age(each) for each in claimants]
        onward = None if all(ages) else self._onward(header, claimants)
        if onward is not None and onward is not arrived:
            self._router.pass_on(onward, bundle, offset, header)
            return
        seconds = [min(int(age), _MOST) for age in ages]
        body = control.resolved(question.token, True, claimants, ages=seconds)
        self._router.send(wire.packet(Kind.RESOLVED, header.sender, core.peer_id, body), header.sender, 0)

    def _onward(self, header: Header, claimants: list[PeerId]) -> LinkState | None:
        core = self._core
        if not core.config.serves or header.hop_limit <= 1:
            return None
        target = int.from_bytes(header.to)
        mine = core.number ^ target
        nearest = self._without(target, 1 + (header.flags & 3), [*claimants, header.sender])
        return next((link for link in reversed(nearest) if link.value ^ target < mine), None)
