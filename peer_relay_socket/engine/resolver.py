"""Resolving: from a short address to the one peer it names, as ARP does.

Lives here: prefixes being asked for, the ids they were pinned to. May not live here: what waits for an answer
(unresolved.py), what others that ask are told (answering.py), which peers proved that an address is theirs
(address_claims.py).

Law: an answer is a hint. Each peer that is named is asked to prove its key, by a session's handshake; an address is
pinned to the one that did, until that peer is unreachable. An address that two peers proved to be theirs is the one's
that most relays knew first (seniority.py); where they cannot tell, it is refused, never guessed. Where it is short
enough to grind an id for, all alternates are asked before it is pinned. A peer that is named and proves nothing costs
RESOLVE_PROOF seconds, and leaves nothing behind.

One question::

    asking      RESOLVE towards the prefix, by another alternate each time; at last a flood
    proving     handshakes with the peers that were named; another RESOLVE when none has proved its key in time
    comparing   several were named, and one at least proved its key: relays say which they knew first
    answered    one proved its key, and the nearest relay has spoken: pinned. None, or several that are equal: no answer
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from ..address import PeerId, Prefix
from ..codec import control
from ..codec import packet as wire
from ..codec.packet import Kind
from ..limits import (
    FLOOD_TRY,
    GROUND_BITS,
    MAX_NAMED,
    MAX_NAMED_PER_LINK,
    MAX_PINNED,
    MAX_RESOLVING,
    RESOLVE_LAST,
    RESOLVE_PROOF,
    RESOLVE_RETRY,
    RESOLVE_TRIES,
    UNKNOWN_ADDRESS_TIME,
    make_room,
)
from .answering import MAX_MATCHES
from .question import Answer, Question
from .timers import Due
from .turns import Turns

if TYPE_CHECKING:
    from .address_claims import AddressClaims
    from .behind import Behind
    from .core import Core
    from .link import LinkState
    from .links import Links
    from .routing import Router
    from .searches import Searches
    from .seniority import Seniority
    from .session_table import SessionTable
    from .sessions import Sessions


_DEBUG: Final = 10
_WARNING: Final = 30


class Resolver:
    """Which peer a prefix means."""

    def __init__(
        self,
        core: Core,
        links: Links,
        router: Router,
        searches: Searches,
        sessions: Sessions,
        table: SessionTable,
        claims: AddressClaims,
        seniority: Seniority,
        behind: Behind,
    ) -> None:
        self._core = core
        self._links = links
        self._router = router
        self._searches = searches
        self._sessions = sessions
        self._table = table
        self._claims = claims
        self._seniority = seniority
        self._behind = behind
        self.pinned = claims.pinned
        """What short addresses mean. Others only look."""
        self.namer: PeerId | None = None
        """While callbacks run: the neighbour that named the answer first; None for what was known."""
        self._unknown: dict[Prefix, float] = {}
        """Addresses that no peer answered for, and until when that holds; at most MAX_PINNED."""
        self._questions: dict[Prefix, Question] = {}
        """The oldest first; at most MAX_RESOLVING."""
        self._turns = Turns(core, router, self._turn)

    def known(self, prefix: Prefix) -> PeerId | None:
        """Return the id that `prefix` is pinned to."""
        return self.pinned.get(prefix)

    def pin(self, prefix: Prefix, peer_id: PeerId) -> None:
        """Remember what `prefix` means."""
        make_room(self.pinned, MAX_PINNED)
        self.pinned[prefix] = peer_id

    def forget(self, prefix: Prefix) -> None:
        """Forget what `prefix` means, and that it means nothing."""
        self.pinned.pop(prefix, None)
        self._unknown.pop(prefix, None)

    def peer_proved(self, peer_id: PeerId) -> None:
        """`peer_id` proved its key, on a link or in a session."""
        for prefix, question in list(self._questions.items()):
            if question.named.get(peer_id) is False:
                question.named[peer_id] = True
                self._weigh(prefix, question)

    def peer_unreachable(self, peer_id: PeerId) -> None:
        """`peer_id` does not answer, or never was."""
        self.unpin(peer_id)
        for prefix, question in list(self._questions.items()):
            if question.named.get(peer_id) is False:
                del question.named[peer_id]
                self._weigh(prefix, question)

    def unpin(self, peer_id: PeerId) -> None:
        """`peer_id` answers no more: its addresses may mean another peer now."""
        for prefix in self._claims.addresses(peer_id):
            if self.pinned.get(prefix) == peer_id:
                del self.pinned[prefix]

    def resolve(self, prefix: Prefix, callback: Answer, *, once: bool = False) -> None:
        """Find out which peer besides ourselves `prefix` means; `callback` is called once, perhaps at once."""
        core = self._core
        known = self.pinned.get(prefix)
        if known is not None:
            callback(known)
            return
        question = self._questions.get(prefix)
        if question is not None:
            question.callbacks.append(callback)
            return
        if self._unknown.get(prefix, 0.0) > core.now:
            callback(None)
            return
        if len(self._questions) >= MAX_RESOLVING and not self._give_way():
            core.counters["refused: too many addresses being resolved"] += 1
            callback(None)
            return
        core.note(_DEBUG, f"looking for the peer whose id begins with {prefix.value.hex()[: (prefix.bits + 3) // 4]}")
        question = self._questions[prefix] = Question(callback, once, core.now)
        self._name(prefix, question, self._claims.claims(prefix), 0)
        self._ask(prefix, question)

    def _give_way(self) -> bool:
        """Give up any address that waits to be asked for, or else the one that was asked for first and names nobody.

        Any: of addresses that are sent to again and again, in one order, the same ones would else be given up always.
        """
        questions = self._questions
        idle = (each for each in chain(self._turns, questions) if not (questions[each].once or questions[each].named))
        prefix = next(idle, None)
        if prefix is None:
            return False
        self._core.counters["refused: too many addresses being resolved"] += 1
        self._close(prefix, None)
        return True

    def _tokens(self, prefix: Prefix, once: bool) -> list[bytes]:
        """Return a token for each alternate that is asked at once. Where an id can be ground that begins as another's,
        a relay with such an id is nearest to the prefix: only relays that are passed before it name the other peer."""
        count = 1
        if prefix.bits <= GROUND_BITS and not once:
            hops = [self._router.next_hop(prefix.value, alternate) for alternate in range(wire.ALTERNATES)]
            count = max(1, len(dict.fromkeys(hop for hop in hops if hop is not None)))
        return [self._core.token() for _ in range(count)]

    def link_up(self) -> None:
        """There is a link again: ask anew what was asked in vain."""
        for prefix, question in list(self._questions.items()):
            if question.comparing:
                continue
            question.tries = 0
            question.began = self._core.now
            if question.timer is not None:
                question.timer.cancel()
            self._ask(prefix, question)

    def _ask(self, prefix: Prefix, question: Question) -> None:
        core = self._core
        behind = self._behind
        question.behind |= dict.fromkeys(behind.matching(prefix, MAX_MATCHES))
        if question.tries == 0 and behind.neighbours:
            behind.look_for(prefix)
        if not self._links.by_id:
            if behind.neighbours and not question.once:
                self._ask_behind_only(prefix, question)
            return  # link_up will come back; what waits for the answer has limits of its own
        if question.tries >= RESOLVE_TRIES or (question.final and not question.named and question.tries > 3):
            self._last_chance(prefix, question)
            return
        for link in self._router.matching(prefix, MAX_MATCHES):
            self._name(prefix, question, [link.peer_id], 0)
        if self._questions.get(prefix) is not question:
            return  # a peer was given up at once
        left = question.began + RESOLVE_LAST - core.now
        if self._router.is_nearest(int.from_bytes(prefix.value)):
            self._turn(prefix)  # nobody else is asked
        elif left > 0.0:
            question.timer = core.timers.at(Due.RESOLVE_OVER, core.now + left, self._last_chance, prefix, question)
            self._turns.wait(prefix, question.tries)
        else:
            self._last_chance(prefix, question)

    def _turn(self, prefix: Prefix) -> None:
        """Send the next attempt."""
        core, question = self._core, self._questions[prefix]
        if question.timer is not None:
            question.timer.cancel()
        if question.tries >= FLOOD_TRY:
            self._searches.discover(prefix.value, prefix.bits)
        wait = RESOLVE_RETRY * (1 << question.tries)
        question.tries += 1
        question.timer = core.timers.at(Due.RESOLVE_AGAIN, core.now + wait, self._ask_again, prefix, question)
        if self._router.is_nearest(int.from_bytes(prefix.value)):
            question.found = True
            self._weigh(prefix, question)
            return
        if not question.tokens:
            question.tokens = dict.fromkeys(self._tokens(prefix, question.once), False)
        tokens = list(question.tokens)
        alternates: Iterable[int] = ((question.tries - 1) % wire.ALTERNATES,)
        if question.tries == 1:  # the others are asked once a peer proved its key, where many addresses wait
            alternates = range(len(tokens)) if self._turns.ample else (tokens[0][0] % len(tokens),)
        for alternate in alternates:
            self._send(prefix, tokens[alternate % len(tokens)], alternate)

    def _send(self, prefix: Prefix, token: bytes, alternate: int) -> None:
        self._turns.sent()
        body = control.resolve(token, prefix.bits)
        data = wire.packet(Kind.RESOLVE, prefix.value, self._core.peer_id, body, flags=alternate)
        self._router.send(data, prefix.value, alternate)

    def _ask_again(self, prefix: Prefix, question: Question) -> None:
        core = self._core
        patience = question.began + RESOLVE_PROOF
        if question.proved and not question.final and core.now < patience:
            for alternate, (token, answered) in enumerate(question.tokens.items()):
                if not answered:
                    self._send(prefix, token, alternate)
            again = min(patience, core.now + RESOLVE_RETRY * (1 << question.tries))
            question.tries += 1
            question.timer = core.timers.at(Due.RESOLVE_AGAIN, again, self._ask_again, prefix, question)
        elif question.proved:
            self._compare(prefix, question)
        else:
            self._ask(prefix, question)

    def _last_chance(self, prefix: Prefix, question: Question) -> None:
        """All was asked: peers that were named have until RESOLVE_LAST to prove their keys."""
        left = question.began + RESOLVE_LAST - self._core.now
        if question.pending and not question.proved and left > 0.0:
            question.timer = self._core.timers.at(
                Due.RESOLVE_OVER, self._core.now + left, self._answer, prefix, question
            )
        else:
            self._answer(prefix, question)

    def _ask_behind_only(self, prefix: Prefix, question: Question) -> None:
        """Only the peers behind us are there to be asked."""
        if question.behind or question.tries >= RESOLVE_TRIES:
            self._answer(prefix, question)
            return
        core = self._core
        wait = RESOLVE_RETRY * (1 << question.tries)
        question.tries += 1
        question.timer = core.timers.at(Due.RESOLVE_AGAIN, core.now + wait, self._ask, prefix, question)

    def behind_changed(self) -> None:
        """The peers behind us, or those that they named, are more than before."""
        if not self._links.by_id:
            for prefix, question in list(self._questions.items()):
                if question.comparing:
                    continue
                if question.timer is not None:
                    question.timer.cancel()
                self._ask(prefix, question)

    def is_taken(self, peer_id: PeerId) -> bool:
        """Return whether the IPv4 spelling of `peer_id`, which has no key, is that of a peer with a key, or ours."""
        prefix = self._claims.prefix(peer_id)
        pinned = self.pinned.get(prefix)
        if prefix.matches(self._core.peer_id):
            return True
        return pinned is not None and pinned != peer_id and not self._behind.may_be(pinned)

    def unpin_keyless(self, peer_id: PeerId) -> None:
        """`peer_id` has a key: what its addresses meant without one counts no more."""
        for prefix in self._claims.addresses(peer_id):
            pinned = self.pinned.get(prefix)
            if pinned is not None and pinned != peer_id and self._behind.may_be(pinned):
                del self.pinned[prefix]

    def resolved_heard(self, body: bytes, arrived: LinkState) -> None:
        """Take an answer.

        Raises: PacketError.
        """
        token, final, ids, behind, ages = control.read_resolved(body)
        if ages and self._seniority.answer_heard(token, ids, ages):
            return
        for prefix, question in self._questions.items():
            if token in question.tokens:
                question.behind |= {each: None for each in behind[:MAX_MATCHES] if self._may_mean(prefix, each)}
                self._name(prefix, question, ids, arrived.number, arrived.peer_id)
                if token in question.tokens:
                    question.tokens[token] = question.tokens[token] or final
                self._weigh(prefix, question)
                return
        self._core.counters["dropped: unasked answer"] += 1

    def _may_mean(self, prefix: Prefix, peer_id: PeerId) -> bool:
        return prefix.matches(peer_id) and peer_id != self._core.peer_id and self._behind.may_be(peer_id)

    def discovered_behind(self, peer_id: PeerId) -> None:
        """A flood found a relay that has `peer_id` behind it."""
        for prefix, question in list(self._questions.items()):
            if self._may_mean(prefix, peer_id) and len(question.behind) < MAX_MATCHES:
                question.behind[peer_id] = None
                self._weigh(prefix, question)

    def discovered(self, peer_id: PeerId, arrived: LinkState) -> None:
        """A flood found `peer_id`."""
        for prefix, question in list(self._questions.items()):
            if prefix.matches(peer_id):
                question.found = True
                self._name(prefix, question, [peer_id], arrived.number, arrived.peer_id)
                self._weigh(prefix, question)

    def _name(
        self, prefix: Prefix, question: Question, ids: list[PeerId], source: int, namer: PeerId | None = None
    ) -> None:
        """The prefix may mean `ids`, as was said over link `source` by `namer`, or is known (0, None): let each prove
        its key."""
        core, by_link = self._core, question.named_by
        for peer_id in ids:
            if peer_id in question.named or peer_id == core.peer_id or not prefix.matches(peer_id):
                continue
            if len(question.named) >= MAX_NAMED or by_link[source] >= MAX_NAMED_PER_LINK:
                core.counters["refused: too many peers named for an address"] += 1
                return
            by_link[source] += 1
            if namer is not None and namer != peer_id:
                question.namers[peer_id] = namer
            if peer_id in self._links.by_id or self._sessions.is_proved(peer_id):
                question.named[peer_id] = True
            else:
                question.named[peer_id] = False
                if self._sessions.prove(peer_id):
                    self._sessions.found(peer_id)
                else:
                    question.named.pop(peer_id, None)

    def _weigh(self, prefix: Prefix, question: Question) -> None:
        """Answer if nothing that is under way can change the answer; else give the peers that were named some time."""
        if self._questions.get(prefix) is not question or not question.final:
            return
        core = self._core
        if question.comparing:
            if question.first is not None and question.named.get(question.first, True):
                self._answer(prefix, question)
        elif not question.pending and (question.named or question.behind or question.once):
            self._compare(prefix, question)
        elif question.pending and question.timer is not None and question.timer.when < core.now + RESOLVE_PROOF:
            question.timer.cancel()
            then = self._answer if question.once else self._ask_again
            question.timer = core.timers.at(Due.RESOLVE_PROOF, core.now + RESOLVE_PROOF, then, prefix, question)

    def _compare(self, prefix: Prefix, question: Question) -> None:
        """Answer; but where an id can be ground, and several peers were named, first ask which was known first."""
        if question.once or prefix.bits > GROUND_BITS or len(question.named) < 2:
            self._answer(prefix, question)
        elif not question.comparing:
            question.comparing = True
            self._turns.leave(prefix)
            if question.timer is not None:
                question.timer.cancel()
            self._seniority.ask(prefix, list(question.named), partial(self._compared, prefix, question))

    def _compared(self, prefix: Prefix, question: Question, first: PeerId | None) -> None:
        """Relays knew `first` before the other peers that were named, or cannot tell."""
        if self._questions.get(prefix) is not question:
            return
        question.first = first
        if first is None or question.named.get(first, True):
            self._answer(prefix, question)
        else:
            until = max(self._core.now, question.began + RESOLVE_LAST)
            question.timer = self._core.timers.at(Due.RESOLVE_OVER, until, self._answer, prefix, question)

    def _answer(self, prefix: Prefix, question: Question) -> None:
        core = self._core
        found = dict.fromkeys(question.proved) or ({} if question.once else question.behind)
        if question.first is not None:
            found = {question.first: None} if question.named.get(question.first) else {}
        peer_id = next(iter(found)) if len(found) == 1 else None
        if peer_id is not None:
            self.pin(prefix, peer_id)
            self._table.address_settled(self._claims.claims(prefix))
        else:
            if found:
                claims = ", ".join(each.hex()[:8] for each in islice(found, MAX_NAMED))
                core.note(_WARNING, f"address of {prefix.bits} bits is claimed by several peers ({claims}): refused")
            if len(self._unknown) >= MAX_PINNED:
                self._unknown.clear()
            self._unknown[prefix] = core.now + UNKNOWN_ADDRESS_TIME
        self._close(prefix, peer_id)

    def _close(self, prefix: Prefix, peer_id: PeerId | None) -> None:
        """Forget the question, and say what came of it."""
        question = self._questions.pop(prefix)
        self._turns.leave(prefix)
        if question.timer is not None:
            question.timer.cancel()
        self.namer = None if peer_id is None else question.namers.get(peer_id)
        for callback in question.callbacks:
            callback(peer_id)
        self.namer = None
