"""Direct paths: when two peers that talk through a relay should try without, and what became of it.

Lives here: noticing sustained traffic, the order of attempts, signalling, glare, back-off, giving up links that idle.
May not live here: connections (transport), which link a packet takes (the router prefers the link to a peer, so that
traffic moves by itself when one comes up and falls back by itself when it goes).

A program may also ask for a link outright (`want`): the attempt begins when the other side was told of the wish, which
lifts what its program may have forbidden before, and is repeated until there is a link or the program ends the wish.
Such a link is not let go when it idles, by either side.

Addresses are shown with care (EngineConfig.candidates). "auto": a peer to which our program sent nothing learns none,
unless its program asks for a link and ours listens for links; one that our program answers learns the public ones; one
that our program sent to first, or asks for a link, learns all. So does one that is near: a relay that we dialled sees
both of us at one address or in one private network. Private addresses of others are tried on the same terms, or where
the way to them lies in our own network.

Law: traffic never waits for any of this. An attempt costs a bounded time and ends in a link that is up or in a reason;
a pair that fails is left alone for longer each time.

One attempt::

    traffic >= DIRECT_PACKETS or DIRECT_BYTES within DIRECT_WINDOW
      dialling    the other is looked for and dialled over WebSocket; one of ours that serves also asks it to dial us
      describing  Describe -> description -> SIGNAL offer, repeated while nothing comes back
      signalled   SIGNAL answer -> Accept
      connecting  a link comes up, or fails, or DIRECT_ATTEMPT_TIME ends it

Glare: when both offer at once the offer of the lower id stands. A later offer of the other side replaces whatever we
were doing otherwise: it would not make one if it did not think that nothing is under way.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from ..address import PeerId
from ..codec import control
from ..codec import packet as wire
from ..codec.packet import LinkOp, Record, Signal
from ..errors import PacketError
from ..limits import (
    DIRECT_ATTEMPT_TIME,
    DIRECT_BYTES,
    DIRECT_DIAL_TIME,
    DIRECT_FIND_TIME,
    DIRECT_IDLE,
    DIRECT_OFFER_RATE,
    DIRECT_PACKETS,
    DIRECT_REPEAT,
    DIRECT_RETRY_FIRST,
    DIRECT_RETRY_MAX,
    DIRECT_STEADY,
    DIRECT_WANTED_MAX,
    DIRECT_WINDOW,
    MAX_DIRECT_PAIRS,
    NEAR_TIME,
)
from ..rate import TokenBucket
from ..scope import Scope, private_network
from .effects import Abandon, Accept, ConnectFailed, Describe
from .timers import Due

if TYPE_CHECKING:
    from .core import Core
    from .link import Carrier, LinkState
    from .links import Links
    from .membership import Membership
    from .routing import Router
    from .session_table import SessionTable
    from .sessions import Sessions
    from .timers import Timer

_GROWTH: Final = 3.0
_NOTHING_TRIED: Final = "too little traffic so far"
_OFF: Final = "WebRTC is turned off here"
_DISCONNECTED: Final = "the program disconnected it"
_DISCONNECTED_THERE: Final = "the other side's program disconnected it"
_SAME_MACHINE: Final = "the relay is on this machine"
_NOT_TALKED: Final = "its program has sent you nothing"
_NOT_TALKED_HERE: Final = "our program has sent it nothing"


class Path(NamedTuple):
    """How a peer is reached."""

    reached: Literal["direct", "relayed", "own", "unknown"]
    """"direct", "relayed", "own" (this very peer) or "unknown" (nothing is exchanged with it)."""
    transport: Carrier | None
    """What carries the first hop: "websocket" or "webrtc"."""
    via: PeerId | None
    """The relay that takes the first hop; None unless relayed."""
    since: float | None
    """When that began, in seconds since the epoch."""
    rtt: float | None
    """Seconds to the peer and back when last measured."""
    why_not_direct: str | None
    """None while it is reached directly."""
    turn: str | None = None
    """IP address of the TURN server through which a WebRTC link goes; no peer is in between all the same."""


class _Stage(IntEnum):
    IDLE = 0
    DIALLING = 1
    DESCRIBING = 2
    SIGNALLED = 3
    CONNECTING = 4


class _Pair:
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
        self.stage = _Stage.IDLE
        self.not_before = 0.0
        self.failures = 0
        self.reason = _NOTHING_TRIED
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


def _are_near(one: LinkState, other: LinkState) -> bool:
    """Return whether two neighbours are in one place, as this relay sees them: on its machine, at one public address,
    or in one private network. Shared address space (RFC 6598) is no such network."""
    if one.direct or other.direct or one.scope is not other.scope:
        return False
    if one.scope is Scope.LOOPBACK:
        return True
    if not one.host or Scope.of(one.remote_host) is None or Scope.of(other.remote_host) is None:
        return False
    if one.scope is Scope.GLOBAL:
        return one.host == other.host
    return private_network(one.remote_host) == private_network(other.remote_host) is not None


class Direct:
    """The direct paths of one peer, tried and to be tried."""

    def __init__(
        self, core: Core, links: Links, router: Router, table: SessionTable, sessions: Sessions, membership: Membership
    ) -> None:
        self._core = core
        self._links = links
        self._router = router
        self._table = table
        self._sessions = sessions
        self._membership = membership
        self._pairs: dict[PeerId, _Pair] = {}
        """By peer, longest known first; at most MAX_DIRECT_PAIRS."""
        self._attempts: dict[int, _Pair] = {}
        """By handle; at most MAX_DIRECT_ATTEMPTS."""
        self._wanted: dict[PeerId, _Pair] = {}
        """Pairs with a wish of our program's."""
        self._offers = TokenBucket(DIRECT_OFFER_RATE, core.now)

    # --- when to try ---------------------------------------------------------------------------------------------

    def traffic(self, peer_id: PeerId, size: int) -> None:
        """A packet of `size` bytes is about to leave for `peer_id`."""
        if not self._core.config.direct or peer_id in self._links.by_id:
            return
        pair = self._pairs.get(peer_id) or self._pair(peer_id)
        now = self._core.now
        if pair.stage is not _Stage.IDLE or now < pair.not_before:
            return
        if now >= pair.window_end:
            pair.window_end = now + DIRECT_WINDOW
            pair.packets = pair.bytes = 0
        pair.packets += 1
        pair.bytes += size
        if pair.wish or pair.packets >= DIRECT_PACKETS or pair.bytes >= DIRECT_BYTES:
            pair.window_end = 0.0
            pair.stage = _Stage.DIALLING
            pair.stop_timers()
            pair.timer = self._core.timers.at(
                Due.DIRECT_BEGIN, now, self._dial, pair
            )  # later: we are amid the sending of a packet

    def counting(self, peer_id: PeerId) -> tuple[_Pair | None, float] | None:
        """Return where datagrams to `peer_id` are counted one by one, None for nowhere, and until when that holds; None
        where there is more to do than to count."""
        if not self._core.config.direct or peer_id in self._links.by_id:
            return None, math.inf
        pair = self._pairs.get(peer_id)
        now = self._core.now
        if pair is None or (pair.stage is _Stage.IDLE and now >= pair.not_before and pair.wish):
            return None
        if pair.stage is not _Stage.IDLE:
            return None, math.inf
        return (None, pair.not_before) if now < pair.not_before else (pair, pair.window_end)

    def _pair(self, peer_id: PeerId) -> _Pair:
        pair = self._pairs.get(peer_id)
        if pair is None:
            if len(self._pairs) >= MAX_DIRECT_PAIRS:
                for other in self._pairs.values():
                    if other.stage is _Stage.IDLE and not other.asked and not other.wish:
                        del self._pairs[other.peer_id]
                        break
            pair = self._pairs[peer_id] = _Pair(peer_id, self._core.now)
        return pair

    # --- what programs ask for -----------------------------------------------------------------------------------

    def want(self, peer_id: PeerId) -> None:
        """The program asks for a link to `peer_id`."""
        core = self._core
        known = self._membership.want(peer_id)
        if not core.config.direct:
            if core.config.serves and not known:
                self._sessions.send(peer_id, wire.record(Record.JOIN))
            return
        pair = self._wanted[peer_id] = self._pair(peer_id)
        pair.wish = core.entropy(8)
        pair.failures = 0
        pair.not_before = 0.0
        pair.last_reason = ""
        self._ask(pair)

    def _ask(self, pair: _Pair) -> None:
        """Tell the other side of the wish; the attempt begins as that leaves (`traffic`), thus when there are keys."""
        if pair.stage is _Stage.IDLE and pair.peer_id not in self._links.by_id:
            pair.stop_timers()
            pair.reason = "nothing was heard from it so far"
            pair.timer = self._core.timers.at(
                Due.DIRECT_OVER, self._core.now + DIRECT_ATTEMPT_TIME, self._fail, pair, "nothing was heard from it"
            )
        self._sessions.send(pair.peer_id, wire.record(Record.CONNECT, pair.wish))
        self._sessions.solicit(pair.peer_id)

    def unwant(self, peer_id: PeerId) -> None:
        """The program wants no link to `peer_id` any more."""
        self._end_wishes(peer_id, _DISCONNECTED)

    def surrendered(self, peer_id: PeerId) -> None:
        """`peer_id` has no key, so that there can be no link of ours."""
        self._end_wishes(peer_id, _NOTHING_TRIED)

    def _end_wishes(self, peer_id: PeerId, reason: str) -> None:
        self._wanted.pop(peer_id, None)
        pair = self._pairs.get(peer_id)
        if pair is None:
            return
        pair.wish = b""
        pair.refused, pair.their_wish = pair.their_wish, b""
        if pair.stage is not _Stage.IDLE or pair.timer is not None:
            self._abandon(pair)
            self._unseek(pair)
        pair.reason = reason

    def asked_for(self, peer_id: PeerId, token: bytes) -> None:
        """The program of `peer_id` asks for a link to us."""
        if not self._core.config.direct or not token:
            return
        pair = self._pair(peer_id)
        if token[:8] == pair.refused:
            return
        pair.their_wish = token[:8]
        self._membership.unblock(peer_id)
        if pair.reason in (_DISCONNECTED, _DISCONNECTED_THERE):
            pair.reason = _NOTHING_TRIED

    # --- WebSocket first -----------------------------------------------------------------------------------------

    def _dial(self, pair: _Pair) -> None:
        core = self._core
        if self._membership.is_blocked(pair.peer_id):
            self._fail(pair, _DISCONNECTED)
            return
        known = self._membership.seek(pair.peer_id)
        pair.asked = True
        if core.config.serves and not known:
            self._sessions.send(pair.peer_id, wire.record(Record.JOIN))
        patience = DIRECT_DIAL_TIME if known or core.config.serves else DIRECT_FIND_TIME
        pair.timer = core.timers.at(Due.DIRECT_DIALLED, core.now + patience, self._not_dialled, pair)

    def _not_dialled(self, pair: _Pair) -> None:
        self._unseek(pair)
        self._offer(pair)

    def _unseek(self, pair: _Pair) -> None:
        if pair.asked:
            pair.asked = False
            self._membership.unseek(pair.peer_id)

    # --- then WebRTC ---------------------------------------------------------------------------------------------

    def _offer(self, pair: _Pair) -> None:
        core = self._core
        hop = self._router.next_hop(pair.peer_id, 0)
        if not core.config.webrtc:
            self._fail(pair, _OFF)
        elif hop is None:
            self._fail(pair, "there is no way to signal")
        elif hop.scope is Scope.LOOPBACK and not pair.wish:
            self._fail(pair, _SAME_MACHINE)
        elif not core.may_attempt:
            self._fail(pair, "too many attempts at once")
        elif self._shows(pair) is None:
            self._fail(pair, _NOT_TALKED_HERE)
        else:
            self._attempt(pair, core.entropy(8), offering=True)
            self._locate(pair, None)

    def _shows(self, pair: _Pair) -> Scope | None:
        """Return how far our addresses must reach that the other side may learn; None: it learns none."""
        config = self._core.config
        if config.candidates != "auto":
            return Scope.PRIVATE if config.candidates == "all" else Scope.GLOBAL
        session = self._table.get(pair.peer_id)
        answered = session is not None and session.solicited
        asked = bool(pair.wish) or (session is not None and session.solicited and not session.heard_first)
        if not (asked or answered or (pair.their_wish and config.welcomes_links())):
            return None
        return Scope.PRIVATE if asked or pair.near else Scope.GLOBAL

    def _locate(self, pair: _Pair, offer: str | None) -> None:
        """Find out whether the other side is near, if that makes a difference; then describe."""
        core = self._core
        pair.their_offer, pair.near = offer, False
        hop = self._router.next_hop(pair.peer_id, 0)
        ours = hop is not None and hop.url is not None and not hop.direct
        if hop is None or not ours or core.config.candidates != "auto" or self._shows(pair) is Scope.PRIVATE:
            self._describe(pair)
            return
        pair.near_token = core.token()
        self._links.tell(hop, LinkOp.NEAR, control.near(pair.near_token, pair.peer_id))
        pair.repeat = core.timers.at(Due.DIRECT_NEAR, core.now + NEAR_TIME, self._describe, pair)

    def near_asked(self, link: LinkState, operand: bytes) -> None:
        """A neighbour asks whether another of ours is where it is itself.

        Raises: PacketError.
        """
        token, peer_id = control.read_near(operand)
        other = self._links.by_id.get(peer_id)
        near = other is not None and other is not link and _are_near(link, other)
        self._links.tell(link, LinkOp.NEARNESS, control.nearness(token, near))

    def near_answered(self, link: LinkState, operand: bytes) -> None:
        """A relay says whether another neighbour of its is near.

        Raises: PacketError.
        """
        token, near = control.read_nearness(operand)
        for pair in list(self._attempts.values()):
            if pair.near_token == token and link.url is not None:
                pair.near = near
                self._describe(pair)

    def _describe(self, pair: _Pair) -> None:
        pair.near_token = b""
        if pair.repeat is not None:
            pair.repeat.cancel()
        shows = self._shows(pair)
        if shows is None:  # the session with it has ended meanwhile
            self._fail(pair, _NOT_TALKED_HERE)
            return
        hop = self._router.next_hop(pair.peer_id, 0)
        farthest = Scope.GLOBAL if hop is None else max(Scope.PRIVATE, hop.scope)
        tries = Scope.PRIVATE if shows is Scope.PRIVATE else farthest
        self._core.effects.append(Describe(pair.handle, pair.peer_id, pair.their_offer, tries, shows=shows))

    def _attempt(self, pair: _Pair, token: bytes, *, offering: bool) -> None:
        core = self._core
        pair.stop_timers()
        pair.handle = core.attempt()
        pair.token = token
        pair.offering = offering
        pair.stage = _Stage.DESCRIBING
        pair.signal = b""
        self._attempts[pair.handle] = pair
        pair.timer = core.timers.at(
            Due.DIRECT_OVER, core.now + DIRECT_ATTEMPT_TIME, self._fail, pair, "the other side did not answer"
        )

    def described(self, handle: int, sdp: str, now: float) -> None:
        """The driver made the description that a Describe effect asked for."""
        core = self._core
        core.now = now
        pair = self._attempts.get(handle)
        if pair is None or pair.stage is not _Stage.DESCRIBING:
            return
        step = Signal.OFFER if pair.offering else Signal.ANSWER
        pair.stage = _Stage.SIGNALLED if pair.offering else _Stage.CONNECTING
        pair.signal = wire.record(Record.SIGNAL, bytes((step,)) + pair.token + sdp.encode())
        self._sessions.send(pair.peer_id, pair.signal)
        if pair.offering:
            pair.repeat = core.timers.at(
                Due.DIRECT_REPEAT, core.now + DIRECT_REPEAT, self._say_again, pair, pair.handle
            )

    def _say_again(self, pair: _Pair, handle: int) -> None:
        core = self._core
        if pair.handle == handle and pair.stage is _Stage.SIGNALLED:
            self._sessions.send(pair.peer_id, pair.signal)
            pair.repeat = core.timers.at(Due.DIRECT_REPEAT, core.now + 2 * DIRECT_REPEAT, self._say_again, pair, handle)

    def signal_heard(self, peer_id: PeerId, content: bytes) -> None:
        """Take a SIGNAL record of `peer_id`.

        Raises: PacketError.
        """
        if not self._core.config.direct:
            return
        step, token, rest = wire.split(content, 1, 8)
        try:
            text = rest.decode()
        except UnicodeDecodeError:
            raise PacketError("a signal that is not UTF-8") from None
        if step[0] == Signal.OFFER:
            self._offered(peer_id, token, text)
            return
        pair = self._pairs.get(peer_id)
        if pair is None or pair.token != token or not pair.offering or pair.stage is not _Stage.SIGNALLED:
            return
        if step[0] == Signal.ANSWER:
            pair.stage = _Stage.CONNECTING
            self._core.effects.append(Accept(pair.handle, text))
        elif step[0] == Signal.REFUSAL:
            self._fail(pair, f"the other side refuses: {text[:80]}")

    def _offered(self, peer_id: PeerId, token: bytes, sdp: str) -> None:
        core = self._core
        pair = self._pair(peer_id)
        if pair.token == token and not pair.offering:
            if pair.stage is _Stage.CONNECTING:
                self._sessions.send(peer_id, pair.signal)
            return  # its repetition
        mine_stands = pair.offering and core.peer_id < peer_id
        if mine_stands and pair.stage in (_Stage.DESCRIBING, _Stage.SIGNALLED):
            return
        refusal = ""
        link = self._links.by_id.get(peer_id)
        if not core.config.webrtc:
            refusal = "WebRTC is turned off"
        elif self._membership.is_blocked(peer_id):
            refusal = _DISCONNECTED
        elif link is not None and not link.direct:
            refusal = "there is a link already"
        elif self._shows(pair) is None:
            refusal = _NOT_TALKED
        elif not core.may_attempt or not self._offers.take(core.now):
            refusal = "too many attempts at once"
        if refusal:
            self._refuse(pair, token, refusal)
            return
        self._unseek(pair)
        self._abandon(pair)
        self._attempt(pair, token, offering=False)
        self._locate(pair, sdp)

    def _refuse(self, pair: _Pair, token: bytes, reason: str) -> None:
        self._sessions.send(
            pair.peer_id, wire.record(Record.SIGNAL, bytes((Signal.REFUSAL,)) + token + reason.encode()[:200])
        )

    # --- what comes of it ----------------------------------------------------------------------------------------

    def _abandon(self, pair: _Pair) -> None:
        """Stop what is under way."""
        pair.stop_timers()
        if self._attempts.pop(pair.handle, None) is not None:
            self._core.attempt_ended()
            self._core.effects.append(Abandon(pair.handle))
        pair.stage = _Stage.IDLE

    def failed(self, handle: int, reason: str, now: float) -> None:
        """The driver says that an attempt ended, whether or not it had come to a link."""
        self._core.now = now
        pair = self._attempts.get(handle)
        if pair is not None:
            if pair.stage is _Stage.DESCRIBING and not pair.offering:
                self._refuse(pair, pair.token, reason)
            self._fail(pair, reason)

    def _fail(self, pair: _Pair, reason: str) -> None:
        core = self._core
        self._abandon(pair)
        self._unseek(pair)
        pair.reason = reason
        core.counters["direct attempts failed"] += 1
        if pair.wish and pair.last_reason != reason:
            pair.last_reason = reason
            core.effects.append(ConnectFailed(pair.peer_id, reason))
        else:
            core.note(10, f"no direct path to {pair.peer_id.hex()[:8]}: {reason}")
        self._back_off(pair)

    def _back_off(self, pair: _Pair) -> None:
        core = self._core
        longest = DIRECT_WANTED_MAX if pair.wish else DIRECT_RETRY_MAX
        wait = min(longest, DIRECT_RETRY_FIRST * _GROWTH ** min(pair.failures, 10))
        pair.failures += 1
        pair.not_before = core.now + wait * (0.5 + 0.5 * core.random.random())
        pair.window_end = 0.0
        self._ask_later(pair)

    def _ask_later(self, pair: _Pair) -> None:
        if pair.wish:
            pair.timer = self._core.timers.at(Due.DIRECT_RETRY, pair.not_before, self._ask, pair)

    def link_up(self, link: LinkState) -> None:
        """A link to a peer is up, whichever end wanted it."""
        if len(self._links.by_id) == 1:  # the network is there: pairs that wait for it need not wait longer
            for wanted in list(self._wanted.values()):
                if wanted.stage is _Stage.IDLE and wanted.peer_id != link.peer_id:
                    wanted.not_before = 0.0
                    self._ask(wanted)
        pair = self._pairs.get(link.peer_id)
        if pair is None and not link.direct:
            return
        if pair is None:
            pair = self._pair(link.peer_id)
        pair.stop_timers()
        if self._attempts.pop(pair.handle, None) is not None:
            self._core.attempt_ended()
            if not link.direct:
                self._core.effects.append(Abandon(pair.handle))
        pair.stage = _Stage.IDLE
        if link.direct or pair.asked:
            pair.timer = self._core.timers.at(
                Due.DIRECT_IDLE, self._core.now + DIRECT_IDLE / 4, self._watch, pair, link
            )

    def _watch(self, pair: _Pair, link: LinkState) -> None:
        """Let go of a link that we made for traffic which has ended."""
        core = self._core
        if self._links.by_id.get(pair.peer_id) is not link:
            return
        if pair.wish or pair.their_wish or core.now - self._last_used(pair.peer_id) < DIRECT_IDLE:
            pair.timer = core.timers.at(Due.DIRECT_IDLE, core.now + DIRECT_IDLE / 4, self._watch, pair, link)
            return
        self._unseek(pair)
        if link.direct:
            pair.reason = _NOTHING_TRIED
            self._links.tell(link, LinkOp.GOODBYE)
            self._links.drop(link, "idle")

    def link_down(self, link: LinkState) -> None:
        """A link that was up is gone."""
        pair = self._pairs.get(link.peer_id)
        if pair is None:
            return
        core = self._core
        pair.relayed_since = core.now
        if link.peer_id in self._links.by_id:  # superseded by a newer one
            return
        if link.ended_by_program:
            self._end_wishes(link.peer_id, _DISCONNECTED_THERE)
            return
        pair.their_wish = b""
        self._unseek(pair)
        if pair.stage is _Stage.IDLE:
            pair.stop_timers()
            if pair.reason != _NOTHING_TRIED or core.now - self._last_used(pair.peer_id) < DIRECT_IDLE:
                pair.reason = "the direct link was lost"
            if core.now - link.opened_at >= DIRECT_STEADY:
                pair.failures = 0
                pair.not_before = core.now + 1.0 + core.random.random()
                self._ask_later(pair)
            else:
                self._back_off(pair)

    def _last_used(self, peer_id: PeerId) -> float:
        session = self._table.get(peer_id)
        return 0.0 if session is None else session.idle_since

    # --- telling -------------------------------------------------------------------------------------------------

    def path(self, peer_id: PeerId) -> tuple[Path, int]:
        """Return how `peer_id` is reached (`since` in the engine's time), and the number of the first link, or 0."""
        if peer_id == self._core.peer_id:
            return Path("own", None, None, None, 0.0, None), 0
        link = self._links.by_id.get(peer_id)
        session = self._table.get(peer_id)
        rtt = None if session is None else session.rtt
        if link is not None:
            return Path("direct", link.carrier, None, link.opened_at, rtt, None), link.number
        pair = self._pairs.get(peer_id)
        reason = pair.reason if pair is not None else _NOTHING_TRIED
        if pair is not None and pair.stage is not _Stage.IDLE:
            reason = f"being tried ({pair.stage.name.lower()})"
        if reason == _NOTHING_TRIED and not self._core.config.webrtc:
            reason += f"; {_OFF}"
        hop = self._router.next_hop(peer_id, 0)
        if session is None or session.keys is None or hop is None:
            return Path("unknown", None, None, None, None, reason), 0
        since = session.keys.made_at if pair is None else max(session.keys.made_at, pair.relayed_since)
        return Path("relayed", hop.carrier, hop.peer_id, since, rtt, reason), hop.number
