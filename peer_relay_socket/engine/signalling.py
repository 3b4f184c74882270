"""Signalling: attempts to link two peers by WebRTC, which tell each other their descriptions in a session of theirs.

Lives here: one attempt from the offer to the answer, glare, which addresses the other side learns. May not live here:
when to attempt, and what comes of a failure (direct.py), WebRTC itself (transport).

Addresses are shown with care (EngineConfig.candidates). "auto": a peer to which our program sent nothing learns none,
unless its program asks for a link and ours listens for links; one that our program answers learns the public ones; one
that our program sent to first, or asks for a link, learns all. So does one that is near: a relay that we dialled sees
both of us at one address or in one private network. Private addresses of others are tried on the same terms, or where
the way to them lies in our own network.

Law: every attempt ends within DIRECT_ATTEMPT_TIME, in a link or in a reason; a stranger's offers are answered at
DIRECT_OFFER_RATE.

One attempt::

      describing  Describe -> description -> SIGNAL offer, repeated while nothing comes back
      signalled   SIGNAL answer -> Accept
      connecting  a link comes up, or fails, or DIRECT_ATTEMPT_TIME ends it

Glare: when both offer at once the offer of the lower id stands. A later offer of the other side replaces whatever we
were doing otherwise: it would not make one if it did not think that nothing is under way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..address import PeerId
from ..codec import control
from ..codec import packet as wire
from ..codec.packet import LinkOp, Record, Signal
from ..errors import PacketError
from ..foreign_text import one_line
from ..limits import DIRECT_ATTEMPT_TIME, DIRECT_OFFER_RATE, DIRECT_REPEAT, NEAR_TIME
from ..rate import TokenBucket
from ..scope import Scope, private_network
from .direct_pairs import DISCONNECTED, WEBRTC_OFF, Pair, Pairs, Stage
from .effects import Abandon, Accept, Describe
from .timers import Due

if TYPE_CHECKING:
    from collections.abc import Callable

    from .core import Core
    from .link import LinkState
    from .links import Links
    from .membership import Membership
    from .routing import Router
    from .session_table import SessionTable
    from .sessions import Sessions

_SAME_MACHINE: Final = "the relay is on this machine"
_NOT_TALKED: Final = "its program has sent you nothing"
_NOT_TALKED_HERE: Final = "our program has sent it nothing"


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


class Signalling:
    """The attempts of one peer to link by WebRTC."""

    def __init__(
        self,
        core: Core,
        links: Links,
        router: Router,
        table: SessionTable,
        sessions: Sessions,
        membership: Membership,
        pairs: Pairs,
        fail: Callable[[Pair, str], None],
    ) -> None:
        self._core = core
        self._links = links
        self._router = router
        self._table = table
        self._sessions = sessions
        self._membership = membership
        self._pairs = pairs
        self._fail = fail
        """Ends what is under way with a pair, for a reason."""
        self._attempts: dict[int, Pair] = {}
        """By handle; at most MAX_DIRECT_ATTEMPTS."""
        self._offers = TokenBucket(DIRECT_OFFER_RATE, core.now)

    def offer(self, pair: Pair) -> None:
        """Begin an attempt, or say why there can be none."""
        core = self._core
        hop = self._router.next_hop(pair.peer_id, 0)
        if not core.config.webrtc:
            self._fail(pair, WEBRTC_OFF)
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

    def _shows(self, pair: Pair) -> Scope | None:
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

    def _locate(self, pair: Pair, offer: str | None) -> None:
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

    def _describe(self, pair: Pair) -> None:
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

    def _attempt(self, pair: Pair, token: bytes, *, offering: bool) -> None:
        core = self._core
        pair.stop_timers()
        pair.handle = core.attempt()
        pair.token = token
        pair.offering = offering
        pair.stage = Stage.DESCRIBING
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
        if pair is None or pair.stage is not Stage.DESCRIBING:
            return
        step = Signal.OFFER if pair.offering else Signal.ANSWER
        pair.stage = Stage.SIGNALLED if pair.offering else Stage.CONNECTING
        pair.signal = wire.record(Record.SIGNAL, bytes((step,)) + pair.token + sdp.encode())
        self._sessions.send(pair.peer_id, pair.signal)
        if pair.offering:
            pair.repeat = core.timers.at(
                Due.DIRECT_REPEAT, core.now + DIRECT_REPEAT, self._say_again, pair, pair.handle
            )

    def _say_again(self, pair: Pair, handle: int) -> None:
        core = self._core
        if pair.handle == handle and pair.stage is Stage.SIGNALLED:
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
        if pair is None or pair.token != token or not pair.offering or pair.stage is not Stage.SIGNALLED:
            return
        if step[0] == Signal.ANSWER:
            pair.stage = Stage.CONNECTING
            self._core.effects.append(Accept(pair.handle, text))
        elif step[0] == Signal.REFUSAL:
            self._fail(pair, f"the other side refuses: {one_line(text)[:80]}")

    def _offered(self, peer_id: PeerId, token: bytes, sdp: str) -> None:
        core = self._core
        pair = self._pairs.of(peer_id)
        if pair.token == token and not pair.offering:
            if pair.stage is Stage.CONNECTING:
                self._sessions.send(peer_id, pair.signal)
            return  # its repetition
        mine_stands = pair.offering and core.peer_id < peer_id
        if mine_stands and pair.stage in (Stage.DESCRIBING, Stage.SIGNALLED):
            return
        refusal = ""
        link = self._links.by_id.get(peer_id)
        if not core.config.webrtc:
            refusal = "WebRTC is turned off"
        elif self._membership.is_blocked(peer_id):
            refusal = DISCONNECTED
        elif link is not None and not link.direct:
            refusal = "there is a link already"
        elif self._shows(pair) is None:
            refusal = _NOT_TALKED
        elif not core.may_attempt or not self._offers.take(core.now):
            refusal = "too many attempts at once"
        if refusal:
            self._refuse(pair, token, refusal)
            return
        pair.unseek(self._membership)
        self.end(pair)
        self._attempt(pair, token, offering=False)
        self._locate(pair, sdp)

    def _refuse(self, pair: Pair, token: bytes, reason: str) -> None:
        self._sessions.send(
            pair.peer_id, wire.record(Record.SIGNAL, bytes((Signal.REFUSAL,)) + token + reason.encode()[:200])
        )

    def failed(self, handle: int, reason: str, now: float) -> None:
        """The driver says that an attempt ended, whether or not it had come to a link."""
        self._core.now = now
        pair = self._attempts.get(handle)
        if pair is not None:
            if pair.stage is Stage.DESCRIBING and not pair.offering:
                self._refuse(pair, pair.token, reason)
            self._fail(pair, reason)

    def end(self, pair: Pair, *, linked: bool = False) -> None:
        """Stop what is under way with `pair`, but the connection where it is `linked` by it."""
        pair.stop_timers()
        if self._attempts.pop(pair.handle, None) is not None:
            self._core.attempt_ended()
            if not linked:
                self._core.effects.append(Abandon(pair.handle))
        pair.stage = Stage.IDLE
