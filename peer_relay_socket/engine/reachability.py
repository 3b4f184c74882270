"""Whether others can dial us: found out by asking neighbours to try, so that only what works is advertised.

Lives here: asking, judging, what each neighbour is told of us; dialling back for others. May not live here: the
connections (the driver performs DialBack), what a peer that others can dial does with that (membership, router).

Law: a neighbour is dialled back only at the address from which it is linked to us, at a port it names, a few times a
second in all, and it learns the outcome only by being reached. So nothing can be scanned, amplified or aimed at a third
party with this. What neighbours tell us and we cannot check (the address at which they see us) is repeated to other
peers only when two neighbours at different addresses report the same address and both reached us.

One question::

    us                                        a neighbour
      DIAL_BACK nonce, port, "TLS?"    ->
                                       <-     DIALLING nonce, the URL it dials; empty: not now, or not that address
      (our listener)                   <=     opens a connection, hears our handshake begin, says PROOF nonce, closes

Up to DIAL_BACK_ASKED neighbours are asked at once, of those in one *scope* (scope.py): a neighbour in our LAN cannot
tell what the internet sees. Two that reached us, or the only one there is, make us reachable in that scope; what was
asked and did not come within DIAL_BACK_TIME speaks against it, and a peer believed reachable is asked about once more
before that ends. Asked anew: when the first neighbour in a scope that we dialled appears (our address may have
changed), while there was but one witness and others come, and from time to time.

Each neighbour is told what was proved in the scope of its link. One that dialled us needs no other proof; that it does
not come when asked means nothing, for it may be where nothing can be dialled from. A peer that any other peer has
dialled serves as a relay. Our own machine reaches wherever we listen.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..codec import control
from ..codec.packet import LinkOp
from ..limits import (
    DIAL_BACK_AGREE,
    DIAL_BACK_ASKED,
    DIAL_BACK_HOSTS,
    DIAL_BACK_PATIENCE,
    DIAL_BACK_RATE,
    DIAL_BACK_SPACING,
    DIAL_BACK_TIME,
    REACH_AGAIN,
    REACH_RETRY_FIRST,
    REACH_RETRY_MAX,
    make_room,
)
from ..rate import TokenBucket
from ..scope import Scope, reach
from .effects import DialBack
from .timers import Due

if TYPE_CHECKING:
    from collections.abc import Callable

    from .core import Core
    from .link import LinkState
    from .links import Links
    from .timers import Timer

_INFO, _WARNING = 20, 30


def _url(host: str, tls: bool, port: int) -> str:
    return f"{'wss' if tls else 'ws'}://{f'[{host}]' if ':' in host else host}:{port}"


def _host(url: str) -> str:
    """Return the host of a URL that a neighbour sent; "" if it has none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


class _Question:
    """What one neighbour was asked."""

    __slots__ = ("counts", "proved", "url")

    def __init__(self, counts: bool) -> None:
        self.counts = counts
        """Whether it means something if it does not come."""
        self.url = ""
        """What it said that it dials; "" while it has said nothing."""
        self.proved = False


class _Verdict:
    """What is known of one scope."""

    __slots__ = ("asked_at", "doubts", "pause", "questions", "reachable", "timer", "urls", "wait", "witnesses")

    def __init__(self) -> None:
        self.reachable: bool | None = None
        self.urls: tuple[str, ...] = ()
        """What to advertise; a host of "*" while only one neighbour has told how it sees us."""
        self.witnesses = 0
        """Neighbours that reached us, or should have, when we asked last."""
        self.doubts = 0
        """Rounds that spoke against what we believe."""
        self.questions: dict[bytes, _Question] = {}
        """Under way, by nonce; at most DIAL_BACK_ASKED."""
        self.asked_at = -DIAL_BACK_SPACING
        self.pause = DIAL_BACK_SPACING
        """Between this round of questions and the next, at least; grows while others come and none of them can tell."""
        self.wait = REACH_RETRY_FIRST
        self.timer: Timer | None = None


class Reachability:
    """What one peer knows of being dialled. With nothing in `EngineConfig.listens` it answers others and no more."""

    def __init__(self, core: Core, links: Links, changed: Callable[[], None]) -> None:
        """Args: changed: called when `EngineConfig.serves` has changed."""
        self._core = core
        self._links = links
        self._changed = changed
        self._verdicts: dict[Scope, _Verdict] = {scope: _Verdict() for scope in Scope if scope is not Scope.LOOPBACK}
        self._rate = TokenBucket(DIAL_BACK_RATE, core.now)
        self._dialled: dict[str, float] = {}
        """When we last dialled back to a host; at most DIAL_BACK_HOSTS."""
        self._noted: dict[Scope, bool] = {}
        """What the operator was told last."""
        self._count = dict.fromkeys(Scope, 0)
        """Neighbours that we dialled, by scope."""
        self._inbound = 0
        """Neighbours that dialled us."""

    def start(self) -> None:
        """Decide what to take for granted until neighbours have tried.

        It is taken for granted that other peers can dial us: where there is no neighbour to ask (any peer that comes
        has dialled us), where all places to join through are on this machine, and where neighbours cannot be
        asked (assume_reachable).
        """
        config = self._core.config
        if config.listens:
            config.serves = config.assume_reachable or all(reach(url) is Scope.LOOPBACK for url in config.bootstrap)
            config.urls = config.listens if config.serves else ()

    # --- what neighbours are told --------------------------------------------------------------------------------

    def hello_for(self, link: LinkState) -> tuple[bool, tuple[str, ...]]:
        """Return whether we relay, and where the neighbour may say that we can be dialled."""
        config = self._core.config
        verdict = self._verdicts.get(link.scope)
        if not config.serves:
            return False, ()
        if not config.listens:
            return True, config.urls
        if verdict is None:
            return True, config.listens
        if verdict.reachable:
            return True, verdict.urls
        return True, config.listens if link.url is None else ()

    def advertised(self) -> tuple[str, ...]:
        """Return every URL that some neighbour is told."""
        links = self._links.by_id.values()
        return tuple(dict.fromkeys(url for link in links for url in self.hello_for(link)[1]))

    def verdicts(self) -> list[tuple[Scope, bool | None, tuple[str, ...], int]]:
        """Return, by scope with neighbours that we dialled: whether others reach us there (None: not known), where,
        and how many neighbours were asked."""
        found = [(scope, verdict) for scope, verdict in self._verdicts.items() if self._count[scope]]
        return [(scope, verdict.reachable, verdict.urls, verdict.witnesses) for scope, verdict in found]

    # --- what happened -------------------------------------------------------------------------------------------

    def link_up(self, link: LinkState) -> None:
        """A neighbour appeared: perhaps one to ask."""
        if link.direct or not self._core.config.listens:
            return
        self._count[link.scope] += link.url is not None
        self._inbound += link.url is None
        verdict = self._verdicts.get(link.scope) if self._count[link.scope] else None
        if verdict is not None and verdict.witnesses < DIAL_BACK_AGREE and not verdict.questions:
            self._ask_soon(link.scope)
        self._weigh()
        self._links.announce(link)

    def link_down(self, link: LinkState) -> None:
        """A neighbour went. With the last of its scope goes what we knew: we may have moved."""
        if link.direct or not self._core.config.listens:
            return
        self._count[link.scope] -= link.url is not None
        self._inbound -= link.url is None
        if link.peer_id in self._links.by_id:  # superseded by a newer link
            return
        verdict = self._verdicts.get(link.scope)
        if verdict is not None and not self._count[link.scope]:
            self._stop(verdict)
            self._verdicts[link.scope] = _Verdict()
        self._weigh()

    # --- asking --------------------------------------------------------------------------------------------------

    def _ask_soon(self, scope: Scope, after: float = 0.0) -> None:
        core, verdict = self._core, self._verdicts[scope]
        due = max(core.now + after, verdict.asked_at + verdict.pause)
        if verdict.timer is not None and verdict.timer.pending and verdict.timer.when <= due:
            return
        self._stop(verdict)
        verdict.timer = core.timers.at(Due.DIAL_BACK_ASK, due, self._ask, scope)

    @staticmethod
    def _stop(verdict: _Verdict) -> None:
        if verdict.timer is not None:
            verdict.timer.cancel()

    def _ask(self, scope: Scope) -> None:
        """Ask some neighbours, at different addresses, to dial us: those we dialled first."""
        core, verdict = self._core, self._verdicts[scope]
        verdict.asked_at = core.now
        verdict.questions.clear()
        host, tls, port = self._listens()
        if host != "*" and reach(core.config.listens[0]) < scope:
            self._judge(scope, reached=0, asked=DIAL_BACK_AGREE)  # we do not listen where they are
            return
        by_host: dict[str, LinkState] = {}
        links = [link for link in self._links.by_id.values() if link.scope is scope and not link.direct]
        for link in sorted(links, key=lambda link: link.url is None):
            by_host.setdefault(link.host, link)
        for link in list(by_host.values())[:DIAL_BACK_ASKED]:
            nonce = core.entropy(8)
            verdict.questions[nonce] = _Question(link.url is not None)
            self._links.tell(link, LinkOp.DIAL_BACK, control.dial_back(nonce, tls, port))
        if verdict.questions:
            verdict.timer = core.timers.at(Due.DIAL_BACK_OVER, core.now + DIAL_BACK_TIME, self._over, scope)

    def _at(self, host: str) -> str:
        """Return the URL of where we listen, seen at `host`."""
        _, tls, port = self._listens()
        return _url(host, tls, port)

    def _listens(self) -> tuple[str, bool, int]:
        """Return (host, whether with TLS, port) of where we listen."""
        parts = urlsplit(self._core.config.listens[0])
        tls = parts.scheme == "wss"
        return parts.hostname or "", tls, parts.port or (443 if tls else 80)

    def answered(self, link: LinkState, operand: bytes) -> None:
        """A neighbour says what it is dialling, or that it is not.

        Raises: PacketError.
        """
        nonce, url = control.read_dialling(operand)
        verdict = self._verdicts.get(link.scope)
        question = None if verdict is None else verdict.questions.get(nonce)
        if verdict is None or question is None:
            return
        host = _host(url)
        if url == self._at(host) and Scope.of(host) is link.scope:
            question.url = url
        elif not question.proved:
            del verdict.questions[nonce]
            if not verdict.questions:
                self._over(link.scope)

    def proved(self, nonce: bytes) -> None:
        """A peer dialled us and said `nonce`."""
        for scope, verdict in self._verdicts.items():
            question = verdict.questions.get(nonce)
            if question is None:
                continue
            question.proved = True
            reached = sum(each.proved for each in verdict.questions.values())
            if reached >= min(DIAL_BACK_AGREE, len(verdict.questions)):
                self._over(scope)
            return
        self._core.counters["dropped: nobody asked to be dialled"] += 1

    def _over(self, scope: Scope) -> None:
        """Enough neighbours have reached us, or time is up."""
        verdict = self._verdicts[scope]
        self._stop(verdict)
        questions = [each for each in verdict.questions.values() if each.proved or (each.counts and each.url)]
        seen = Counter(each.url for each in questions if each.proved and each.url)
        verdict.questions = {}
        agreed = tuple(sorted(url for url, count in seen.items() if count >= DIAL_BACK_AGREE))
        reached = sum(each.proved for each in questions)
        if reached:
            verdict.urls = agreed or (self._at("*"),)
        self._judge(scope, reached=reached, asked=len(questions))

    # --- judging -------------------------------------------------------------------------------------------------

    def _judge(self, scope: Scope, *, reached: int, asked: int) -> None:
        core, verdict = self._core, self._verdicts[scope]
        verdict.witnesses = asked
        verdict.pause = DIAL_BACK_SPACING if asked >= DIAL_BACK_AGREE else min(2 * verdict.pause, REACH_AGAIN)
        wait = verdict.wait
        if asked and reached >= min(DIAL_BACK_AGREE, asked):
            verdict.reachable = True
            verdict.doubts = 0
            verdict.wait = REACH_RETRY_FIRST
            wait = REACH_AGAIN
        elif asked and verdict.reachable and not verdict.doubts:
            verdict.doubts = 1
            wait = DIAL_BACK_SPACING
        else:
            verdict.wait = min(REACH_RETRY_MAX, 2 * verdict.wait)
            if asked:
                verdict.reachable = False
                verdict.urls = ()
        self._ask_soon(scope, wait * (0.75 + 0.5 * core.random.random()))
        self._note(scope, asked)
        self._weigh()
        self._links.announce()

    def _weigh(self) -> None:
        """See whether we relay now: as the widest scope has it; while that is not known, and alone, as before."""
        config = self._core.config
        widest = next((scope for scope in reversed(Scope) if self._count[scope]), None)
        serves = config.serves or self._inbound > 0
        if widest is Scope.LOOPBACK:
            serves, config.urls = True, config.listens
        elif widest is not None and (verdict := self._verdicts[widest]).reachable is not None:
            serves = verdict.reachable or self._inbound > 0
            config.urls = tuple(url for url in verdict.urls if "*" not in url)
        if serves is not config.serves:
            config.serves = serves
            self._changed()
            self._links.announce()

    def _note(self, scope: Scope, asked: int) -> None:
        verdict = self._verdicts[scope]
        if verdict.reachable is None or self._noted.get(scope) is verdict.reachable:
            return
        self._noted[scope] = verdict.reachable
        name = scope.name.lower()
        if verdict.reachable:
            self._core.note(_INFO, f"others in the {name} network reach us at {', '.join(verdict.urls)}")
        else:
            text = f"{asked} peers in the {name} network could not dial us back at {self._core.config.listens[0]}"
            self._core.note(_WARNING, f"{text}: not advertised there. Forward the port, or set public_url")

    # --- for others ----------------------------------------------------------------------------------------------

    def asked(self, link: LinkState, operand: bytes) -> None:
        """A neighbour asks to be dialled back.

        Raises: PacketError.
        """
        core = self._core
        nonce, tls, port = control.read_dial_back(operand)
        url = ""
        if self._may_dial(link) and port:
            url = _url(link.remote_host, tls, port)
            core.effects.append(DialBack(url, link.scope, nonce, link.nearby))
        else:
            core.counters["refused: to dial back"] += 1
        self._links.tell(link, LinkOp.DIALLING, control.dialling(nonce, url))

    def _may_dial(self, link: LinkState) -> bool:
        """Whether to dial `link`'s address: it has one that is not this machine's, and it is time."""
        now, host = self._core.now, link.host
        if link.direct or link.scope is Scope.LOOPBACK or Scope.of(link.remote_host) is not link.scope or "%" in host:
            return False
        if now < self._dialled.get(host, -DIAL_BACK_PATIENCE) + DIAL_BACK_PATIENCE or not self._rate.take(now):
            return False
        self._dialled.pop(host, None)
        make_room(self._dialled, DIAL_BACK_HOSTS)
        self._dialled[host] = now
        return True
