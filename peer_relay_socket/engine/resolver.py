"""Resolving: from a short address to the one peer it names, as ARP does.

Lives here: prefixes being asked for, the ids they were pinned to. May not live here: what is sent afterwards.

Law: an address is pinned to the id that the network first answered for, for as long as that peer answers; an address
that two peers claim is refused, never guessed. Answers are hints: the session handshake then proves the id.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from ..address import ID_BITS, PeerId, Prefix
from ..codec import packet as wire
from ..codec.packet import Header, Kind
from ..limits import (
    FLOOD_TRY,
    MAX_PINNED,
    MAX_RESOLVING,
    MIN_PREFIX_BITS,
    RESOLVE_RETRY,
    RESOLVE_TRIES,
    UNKNOWN_ADDRESS_TIME,
    make_room,
)
from .timers import Timer

if TYPE_CHECKING:
    from .core import Core
    from .link import LinkState
    from .links import Links
    from .routing import Router


class NpmPeers(Protocol):
    """What resolving asks about npm peers, where they are spoken to."""

    @property
    def linked(self) -> bool:
        """Whether there is any npm neighbour."""

    def matching(self, prefix: Prefix) -> list[PeerId]:
        """Return the npm peers that `prefix` may mean."""

    def look_for(self, prefix: Prefix) -> None:
        """Ask npm neighbours for peers near `prefix`."""

    def has_key(self, peer_id: PeerId) -> bool:
        """Return whether `peer_id` proved a key."""


Answer = Callable[["PeerId | None"], None]
"""Called once with the id, or None: nobody answers, or more than one does."""
_WARNING: Final = 30
_MAX_MATCHES: Final = 4


class _Question:
    __slots__ = ("callbacks", "final", "found", "npm", "once", "timer", "token", "tries")

    def __init__(self, token: bytes, callback: Answer, once: bool) -> None:
        self.token = token
        self.once = once
        """Whether "nobody" is taken for an answer the first time it is heard."""
        self.callbacks = [callback]
        self.found: dict[PeerId, None] = {}
        self.npm: dict[PeerId, None] = {}
        """Npm peers that it may mean: they count only if nobody with a key does."""
        self.final = False
        self.tries = 0
        self.timer: Timer | None = None


class Resolver:
    """Which peer a prefix means."""

    def __init__(self, core: Core, links: Links, router: Router) -> None:
        self._core = core
        self._links = links
        self._router = router
        self.pinned: dict[Prefix, PeerId] = {}
        """What short addresses mean. Others only look."""
        self._unknown: dict[Prefix, float] = {}
        self._questions: dict[Prefix, _Question] = {}
        self.npm: NpmPeers | None = None
        self.claims: Callable[[Prefix], list[PeerId]] = lambda _prefix: []
        """Names the peers that proved their keys to us and that an address may mean."""

    def known(self, prefix: Prefix) -> PeerId | None:
        """Return the id that `prefix` is pinned to."""
        return self.pinned.get(prefix)

    def pin(self, prefix: Prefix, peer_id: PeerId) -> None:
        """Remember what `prefix` means."""
        make_room(self.pinned, MAX_PINNED)
        self.pinned[prefix] = peer_id

    def unpin(self, peer_id: PeerId) -> None:
        """`peer_id` answers no more: its addresses may mean somebody else now."""
        for prefix in [prefix for prefix, pinned in self.pinned.items() if pinned == peer_id]:
            del self.pinned[prefix]

    def resolve(self, prefix: Prefix, callback: Answer, *, once: bool = False) -> None:
        """Find out who `prefix` is besides ourselves; `callback` is called once, perhaps at once."""
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
        if len(self._questions) >= MAX_RESOLVING:
            core.counters["refused: too many addresses being resolved"] += 1
            callback(None)
            return
        question = self._questions[prefix] = _Question(core.token(), callback, once)
        self._ask(prefix, question)

    def link_up(self) -> None:
        """There is a way out again: ask anew what was asked in vain."""
        for prefix, question in list(self._questions.items()):
            question.tries = 0
            if question.timer is not None:
                question.timer.cancel()
            self._ask(prefix, question)

    def _ask(self, prefix: Prefix, question: _Question) -> None:
        core = self._core
        npm = self.npm
        if npm is not None:
            question.npm |= dict.fromkeys(npm.matching(prefix)[:_MAX_MATCHES])
            if question.tries == 0 and npm.linked:
                npm.look_for(prefix)
        if not self._links.by_id:
            if npm is not None and npm.linked and not question.once:
                self._ask_npm_only(prefix, question)
            return  # link_up will come back; those who wait have limits of their own
        if question.tries >= RESOLVE_TRIES or (question.final and question.tries > 3):
            self._answer(prefix, question)
            return
        for link in self._links.by_id.values():
            if prefix.matches(link.peer_id):
                question.found[link.peer_id] = None
        alternate = question.tries % wire.ALTERNATES
        body = question.token + bytes((prefix.bits,))
        data = wire.packet(Kind.RESOLVE, prefix.value, core.peer_id, body, flags=alternate)
        if question.tries >= FLOOD_TRY:
            self._router.discover(prefix.value, prefix.bits)
        if self._router.is_nearest(int.from_bytes(prefix.value)):
            self._take(prefix, question, True, self.matches(prefix, core.peer_id))
            if prefix not in self._questions:
                return
        else:
            self._router.send(data, prefix.value, alternate)
        wait = RESOLVE_RETRY * (1 << question.tries)
        question.tries += 1
        question.timer = core.timers.at(core.now + wait, self._ask, prefix, question)

    def _ask_npm_only(self, prefix: Prefix, question: _Question) -> None:
        """Only npm peers are there to be asked."""
        if question.npm or question.tries >= RESOLVE_TRIES:
            self._answer(prefix, question)
            return
        core = self._core
        wait = RESOLVE_RETRY * (1 << question.tries)
        question.tries += 1
        question.timer = core.timers.at(core.now + wait, self._ask, prefix, question)

    def npm_heard(self) -> None:
        """Npm neighbours, or those they told of, are more than before."""
        if not self._links.by_id:
            for prefix, question in list(self._questions.items()):
                if question.timer is not None:
                    question.timer.cancel()
                self._ask(prefix, question)

    def is_anothers(self, peer_id: PeerId) -> bool:
        """Return whether the IPv4 spelling of `peer_id`, an npm peer, is that of somebody with a key, or ours."""
        core = self._core
        prefix = Prefix.of(peer_id, core.spelling.ipv4_bits)
        pinned = self.pinned.get(prefix)
        if prefix.matches(core.peer_id):
            return True
        return pinned is not None and pinned != peer_id and self.npm is not None and self.npm.has_key(pinned)

    def unpin_others(self, peer_id: PeerId) -> None:
        """`peer_id` has a key: what its addresses meant without one counts no more."""
        for prefix, pinned in list(self.pinned.items()):
            if pinned != peer_id and prefix.matches(peer_id) and self.npm is not None and not self.npm.has_key(pinned):
                del self.pinned[prefix]

    def matches(self, prefix: Prefix, asker: PeerId) -> list[PeerId]:
        """Return the neighbours, ourselves included, that `prefix` may mean to `asker`."""
        known = [*self._links.by_id, self._core.peer_id]
        return [peer_id for peer_id in known if peer_id != asker and prefix.matches(peer_id)][:_MAX_MATCHES]

    def resolve_heard(self, bundle: bytes, offset: int, header: Header, arrived: LinkState) -> None:
        """Answer a RESOLVE with whom we know, and pass it on unless nobody is nearer.

        Raises: PacketError.
        """
        core = self._core
        token, bits, _ = wire.split(bundle[header.body : header.end], 4, 1)
        if not MIN_PREFIX_BITS <= bits[0] <= ID_BITS:
            return
        prefix = Prefix(bits[0], header.to)
        mine = self.matches(prefix, header.sender)
        behind = [] if self.npm is None else [each for each in self.npm.matching(prefix) if each != header.sender]
        final = self._router.is_nearest(int.from_bytes(header.to)) or not core.config.serves
        if final or mine or behind:
            body = wire.resolved(token, final, mine, behind[:_MAX_MATCHES])
            self._router.send(wire.packet(Kind.RESOLVED, header.sender, core.peer_id, body), header.sender, 0)
        if not final:
            self._router.forward(bundle, offset, header, arrived)

    def resolved_heard(self, body: bytes) -> None:
        """Take an answer.

        Raises: PacketError.
        """
        token, final, ids, npm_ids = wire.read_resolved(body)
        for prefix, question in self._questions.items():
            if question.token == token:
                if self.npm is not None:
                    question.npm |= {each: None for each in npm_ids[:_MAX_MATCHES] if self._may_mean(prefix, each)}
                self._take(prefix, question, final, ids)
                return
        self._core.counters["dropped: unasked answer"] += 1

    def _may_mean(self, prefix: Prefix, peer_id: PeerId) -> bool:
        npm = self.npm
        return (
            prefix.matches(peer_id) and peer_id != self._core.peer_id and npm is not None and not npm.has_key(peer_id)
        )

    def discovered_npm(self, peer_id: PeerId) -> None:
        """A flood found a relay that has npm peer `peer_id` behind it."""
        for prefix, question in list(self._questions.items()):
            if self._may_mean(prefix, peer_id) and len(question.npm) < _MAX_MATCHES:
                question.npm[peer_id] = None
                self._take(prefix, question, question.final, [])

    def discovered(self, peer_id: PeerId) -> None:
        """A flood found `peer_id`."""
        for prefix, question in list(self._questions.items()):
            if prefix.matches(peer_id):
                self._take(prefix, question, True, [peer_id])

    def _take(self, prefix: Prefix, question: _Question, final: bool, ids: list[PeerId]) -> None:
        for peer_id in ids[:_MAX_MATCHES]:
            if prefix.matches(peer_id) and peer_id != self._core.peer_id:
                question.found[peer_id] = None
        question.final = question.final or final
        if question.final and (question.found or question.npm or question.once):
            self._answer(prefix, question)

    def _answer(self, prefix: Prefix, question: _Question) -> None:
        core = self._core
        del self._questions[prefix]
        if question.timer is not None:
            question.timer.cancel()
        question.found |= dict.fromkeys(self.claims(prefix)[:_MAX_MATCHES])
        found = question.found or ({} if question.once else question.npm)
        peer_id = next(iter(found)) if len(found) == 1 else None
        if peer_id is not None:
            self.pin(prefix, peer_id)
        else:
            if found:
                claims = ", ".join(each.hex()[:8] for each in found)
                core.note(_WARNING, f"address of {prefix.bits} bits is claimed by several peers ({claims}): refused")
            if len(self._unknown) >= MAX_PINNED:
                self._unknown.clear()
            self._unknown[prefix] = core.now + UNKNOWN_ADDRESS_TIME
        for callback in question.callbacks:
            callback(peer_id)
