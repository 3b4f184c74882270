"""How sessions begin: three messages between two endpoints, over whatever relays.

Lives here: handshakes of ours with their retries, handshakes of others half way, which side yields when both begin at
once. May not live here: what is sealed afterwards (sessions.py), the messages' proof (authentication.py).

Law: only a message that proves itself changes anything. What any peer or relay may say without proof (a first message,
"no such session", "no such route", an answer to a search) makes us try, at a bounded rate, and never forget.

When both begin at once, the lower id answers and the higher insists: it repeats its own first message instead. A
message is answered over the link by which it came, and where it was a retry, what it proves moves the session there:
that way works, in one direction at least.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from ..address import PeerId
from ..codec import packet as wire
from ..codec.packet import Header, Kind
from ..errors import HandshakeError
from ..limits import (
    EARLY_BYTES,
    EARLY_PACKETS,
    HANDSHAKE_RATE,
    HANDSHAKE_RETRY,
    HANDSHAKE_TRIES,
    LINK_HANDSHAKE_TIME,
    MAX_HALF_OPEN,
    NO_SESSION_PATIENCE,
    PENDING_TIME,
)
from ..rate import TokenBucket
from .authentication import session_prologue
from .seal import OpeningKey, SealingKey
from .session import SUSPECTED, Attempt, Happening, Keys, Session
from .timers import Due

if TYPE_CHECKING:
    from collections.abc import Callable

    from .authentication import Handshake
    from .core import Core
    from .link import LinkState
    from .routing import Router
    from .session_table import SessionTable

_INDEX_BYTES: Final = 4
_MAX_MESSAGE: Final = 512
"""Bytes of one handshake message; ours have 198 at most. Half-open handshakes keep the first one."""
_REVIVALS: Final = 2
"""How often an answer to a search gives an attempt more tries: false answers keep no program waiting for long."""
_INSIST: Final = 0.05
"""Least seconds between repetitions of our first message that the other side's first message provokes."""


Early: TypeAlias = "tuple[bytes, Header, LinkState]"
"""A body of a SEALED packet, a header that says where in it it lies, and the link by which it came."""


class _HalfOpen:
    """A handshake that another peer began: we answered and wait for the third message."""

    __slots__ = ("answer", "early", "expires", "handshake", "peer_id", "question", "remote", "repeated")

    def __init__(self, peer_id: PeerId, handshake: Handshake, remote: bytes, expires: float) -> None:
        self.peer_id = peer_id
        self.handshake = handshake
        self.remote = remote
        self.expires = expires
        self.question = b""
        self.answer = b""
        self.repeated = False
        """Whether the question came more than once: something is lost on the way."""
        self.early: list[Early] = []
        """What was sealed with the keys that the third message confirms, and came before it; at most EARLY_PACKETS."""


class Handshakes:
    """The handshakes of one peer's sessions."""

    def __init__(self, core: Core, router: Router, table: SessionTable, unreachable: Callable[[PeerId], None]) -> None:
        """Args: unreachable: told of each peer whose handshake came to nothing."""
        self._core = core
        self._router = router
        self._table = table
        self._unreachable = unreachable
        self._half_open: dict[bytes, _HalfOpen] = {}
        """By our index, oldest first; at most MAX_HALF_OPEN."""
        self._answered: dict[tuple[PeerId, bytes], bytes] = {}
        """(initiator, its index) of half-open handshakes, so that a repeated first message gets the same answer."""
        self._rate = TokenBucket(HANDSHAKE_RATE, core.now)
        self._early: list[Early] = []
        self._early_bytes = 0
        """Of all half-open handshakes; at most EARLY_BYTES."""

    def came_early(self, index: bytes, body: bytes, header: Header, arrived: LinkState) -> bool:
        """Hold what is sealed for `index`, if the third message of that handshake is still to come: on a mesh a later
        packet may take a shorter way. Returns: whether it is."""
        half = self._half_open.get(index)
        if half is None or half.peer_id != header.sender:
            return False
        if len(half.early) < EARLY_PACKETS and self._early_bytes + len(body) <= EARLY_BYTES:
            self._early_bytes += len(body)
            half.early.append((body, header._replace(body=0, end=len(body)), arrived))
        else:
            self._core.counters["dropped: unknown session"] += 1
        return True

    def take_early(self) -> list[Early]:
        """Return what came before the handshake that has just been completed, and forget it."""
        early, self._early = self._early, []
        return early

    # --- ours ------------------------------------------------------------------------------------------------

    def begin(self, session: Session) -> None:
        """Start a handshake of ours, unless one is under way."""
        if session.attempt is not None:
            return
        session.move(Happening.BEGUN)
        core = self._core
        handshake = core.handshake(
            initiator=True,
            static=core.static,
            prologue=session_prologue(core.peer_id, session.peer_id),
            psk=core.config.psk,
            entropy=core.entropy,
            wall=core.wall / 1e6,
            expected=session.peer_id,
        )
        core.note(10, f"looking for {session.peer_id.hex()[:8]}: session handshake")
        attempt = session.attempt = Attempt(handshake, self._index(), core.now)
        self._table.note_waiting(session)
        attempt.last = b"\x01" + attempt.local + bytes(_INDEX_BYTES) + handshake.write(attempt.local)
        self._try(session, attempt)

    def _index(self) -> bytes:
        while True:
            index = self._core.entropy(_INDEX_BYTES)
            if index != bytes(_INDEX_BYTES) and not self._table.knows(index) and index not in self._half_open:
                return index

    def _try(self, session: Session, attempt: Attempt) -> None:
        """Send the attempt's last message (again); give up after HANDSHAKE_TRIES with a way out."""
        if session.attempt is not attempt:
            return
        core = self._core
        if attempt.tries >= HANDSHAKE_TRIES:
            self._give_up(session, attempt)
            return
        if self._repeat(session, attempt, (attempt.base + attempt.tries) % wire.ALTERNATES):
            attempt.tries += 1
        elif session.keys is None:
            if not session.pending or session.pending[0][0] <= core.now:
                self._give_up(session, attempt)  # no network, and nothing that could still wait for one
                return
        elif core.now >= attempt.began + PENDING_TIME:
            self._table.end_attempt(session, Happening.GIVEN_UP)  # no network: the next send will find out
            return
        if attempt.tries > 2:  # a round trip across six links may take longer than the first retry
            self._table.look_for(session)
        self._try_later(session, attempt)

    def _try_later(self, session: Session, attempt: Attempt) -> None:
        core = self._core
        if attempt.timer is not None:
            attempt.timer.cancel()
        wait = HANDSHAKE_RETRY * min(4, 1 << max(0, attempt.tries - 1)) * (0.75 + 0.5 * core.random.random())
        attempt.timer = core.timers.at(Due.SESSION_HANDSHAKE, core.now + wait, self._try, session, attempt)

    def _repeat(self, session: Session, attempt: Attempt, alternate: int) -> bool:
        attempt.said_at = self._core.now
        return self._say(session.peer_id, attempt.last, alternate)

    def _say(self, peer_id: PeerId, body: bytes, alternate: int) -> bool:
        data = wire.packet(Kind.HANDSHAKE, peer_id, self._core.peer_id, body, flags=alternate)
        return self._router.send(data, peer_id, alternate)

    def _reply(self, peer_id: PeerId, body: bytes, arrived: LinkState, alternate: int) -> None:
        """Answer by the way that the question came, on the same alternate: the others may swallow it."""
        data = wire.packet(Kind.HANDSHAKE, peer_id, self._core.peer_id, body, flags=alternate)
        self._router.send_by(arrived, data, peer_id)

    def retry_now(self, session: Session) -> None:
        """There is a way that was not there: try at once."""
        attempt = session.attempt
        if attempt is not None:
            attempt.tries = 0
            self._try(session, attempt)

    def found(self, session: Session) -> None:
        """A search found a way, that of alternate 0: try it at once. Any relay on the search's way can say so, hence
        the bound on what that adds to the attempt's life."""
        attempt = session.attempt
        if attempt is None or attempt.revived >= _REVIVALS:
            return
        attempt.revived += 1
        attempt.tries = min(attempt.tries, HANDSHAKE_TRIES - 2)
        attempt.base = -attempt.tries % wire.ALTERNATES
        self._try(session, attempt)

    def _give_up(self, session: Session, attempt: Attempt) -> None:
        core = self._core
        keys = session.keys
        if keys is not None and keys.local != attempt.local and session.heard_at > attempt.began:
            core.counters["new keys not agreed"] += 1
            self._table.end_attempt(session, Happening.GIVEN_UP)  # the old ones live; the next sweep tries again
            return
        core.handshakes["session refused" if session.denied else "session unanswered"] += 1
        if not session.surrendered and (session.solicited or session.pending or keys is not None):
            core.counters["unreachable peers"] += 1
            core.counters["dropped: peer unreachable"] += len(session.pending)
            core.give_up(session.peer_id, self._why(session), refused=session.denied, found=session.found)
        else:
            core.remember_end(session.peer_id, self._why(session), refused=session.denied, found=session.found)
        self._table.close(session)
        self._unreachable(session.peer_id)

    def _why(self, session: Session) -> str:
        """Return why the handshake with a peer came to nothing."""
        if session.denied:
            return "it refuses us"
        if session.found:
            return "it was found, but does not answer"
        return f"it does not answer, or {self._router.why_unknown()}"  # a whole id is not resolved

    def confirmed(self, session: Session, keys: Keys) -> None:
        """Something opened under `keys`: if our attempt made them, it is over."""
        attempt = session.attempt
        if attempt is None or attempt.local != keys.local:
            return
        fresh, attempt.keys = attempt.keys, None
        self._table.end_attempt(session, Happening.CONFIRMED)
        if fresh is not None:
            self._table.install(session, fresh)

    def denied(self, sender: PeerId, index: bytes) -> None:
        """`sender`, or a relay on the way, says that it does not talk to us: a reason to show, and no more."""
        session = self._table.get(sender)
        if session is not None and session.attempt is not None and session.attempt.local == index:
            session.denied = True

    def lost(self, sender: PeerId, index: bytes) -> None:
        """A notice says that `sender` does not know our keys, as after a restart. It is only a hint: every relay on the
        way can send one. A new handshake then proves it; a liar costs us one handshake each NO_SESSION_PATIENCE
        seconds."""
        core = self._core
        session = self._table.get(sender)
        if session is None or session.keys is None or session.keys.remote != index:
            return
        if session.hinted_at is not None and core.now < session.hinted_at + NO_SESSION_PATIENCE:
            core.counters["ignored: no session, again"] += 1
            return
        session.hinted_at = core.now
        attempt = session.attempt
        if attempt is not None and attempt.handshake.complete:  # with a process that is no more
            self._table.end_attempt(session, Happening.DOUBTED)
        else:
            session.move(Happening.DOUBTED)
        self.begin(session)

    # --- messages ----------------------------------------------------------------------------------------------

    def heard(self, header: Header, body: bytes, arrived: LinkState) -> Session | None:
        """Take a HANDSHAKE packet addressed to us.

        Returns: a session that has new keys, so that what waits may leave.
        Raises: WireError.
        """
        sender = header.sender
        step, remote, local, message = wire.split(body, 1, _INDEX_BYTES, _INDEX_BYTES)
        if len(message) > _MAX_MESSAGE:
            raise HandshakeError("handshake message too long")
        alternate = header.flags % 4 % wire.ALTERNATES
        if step == b"\x01":
            self._asked(sender, remote, message, arrived, alternate)
        elif step == b"\x02":
            return self._answer_heard(sender, local, message, arrived, alternate)
        elif step == b"\x03":
            return self._completed(sender, local, message, arrived, alternate)
        else:
            raise HandshakeError("no such handshake step")
        return None

    def _asked(self, sender: PeerId, remote: bytes, message: bytes, arrived: LinkState, alternate: int) -> None:
        core = self._core
        session = self._table.get(sender)
        ours = session.attempt if session is not None else None
        if session is not None and ours is not None and not ours.handshake.complete and core.peer_id > sender:
            # Both began: the lower id answers, and we are the higher. Our message may have been lost: repeat it.
            if core.now >= ours.said_at + _INSIST:
                ours.said_at = core.now
                self._reply(sender, ours.last, arrived, alternate)
            return
        if not self._table.accepts(sender):
            core.counters["refused: peer not accepted"] += 1
            if self._router.allow_notice():
                data = wire.packet(Kind.DENIED, sender, core.peer_id, remote)
                self._router.send_by(arrived, data, sender)
            return
        half = self._half_open.get(self._answered.get((sender, remote), b""))
        if half is not None and half.question == message:
            half.repeated = True
            self._reply(sender, half.answer, arrived, alternate)
            return
        if not self._rate.take(core.now):
            core.counters["refused: too many handshakes"] += 1
            return
        self.expire()
        handshake = core.handshake(
            initiator=False,
            static=core.static,
            prologue=session_prologue(sender, core.peer_id),
            psk=core.config.psk,
            entropy=core.entropy,
            wall=core.wall / 1e6,
            expected=sender,
        )
        if handshake.read(message)[:_INDEX_BYTES] != remote:
            raise HandshakeError("the index is not the sender's")
        local = self._index()
        half = _HalfOpen(sender, handshake, remote, core.now + LINK_HANDSHAKE_TIME)
        half.question = message
        half.answer = b"\x02" + local + remote + handshake.write(local)
        self._half_open[local] = half
        self._answered[sender, remote] = local
        self._reply(sender, half.answer, arrived, alternate)

    def expire(self) -> None:
        """Forget half-open handshakes whose time is over, and the oldest to make place for one more."""
        now = self._core.now
        table = self._half_open
        while table:
            local, half = next(iter(table.items()))
            if half.expires > now and len(table) < MAX_HALF_OPEN:
                return
            self._forget(local, half)

    def _forget(self, local: bytes, half: _HalfOpen) -> None:
        del self._half_open[local]
        self._early_bytes -= sum(len(body) for body, _, _ in half.early)
        if self._answered.get((half.peer_id, half.remote)) == local:
            del self._answered[half.peer_id, half.remote]

    def _answer_heard(
        self, sender: PeerId, local: bytes, message: bytes, arrived: LinkState, alternate: int
    ) -> Session | None:
        session = self._table.get(sender)
        attempt = session.attempt if session is not None else None
        if session is None or attempt is None or attempt.local != local or attempt.handshake.complete:
            return None  # a late duplicate
        handshake = attempt.handshake
        remote = handshake.read(message)[:_INDEX_BYTES]
        if len(remote) != _INDEX_BYTES:
            raise HandshakeError("the answer carries no index")
        attempt.last = b"\x03" + attempt.local + remote + handshake.write()
        keys = self._keys(attempt.local, remote, handshake)
        recovers = session.keys is None or session.state in SUSPECTED
        session.move(Happening.ANSWERED)
        if recovers:
            self._table.install(session, keys)
        else:
            attempt.keys = keys
            self._table.await_keys(session, keys)
        hop = self._router.next_hop(sender, 0)
        if attempt.tries > 1 or hop is None:
            self._router.adopt(sender, arrived)
        else:  # it carried the question: what comes up later, and promises more, has proved nothing
            self._router.adopt(sender, hop)
            session.rtt = self._core.now - attempt.said_at
        # The answer is on the alternate of the question: one to go on with, as others may swallow packets.
        session.alternate = attempt.base = alternate
        # The third message is repeated until something sealed is heard under these keys.
        attempt.tries = 0
        self._try(session, attempt)
        return session

    def _completed(
        self, sender: PeerId, local: bytes, message: bytes, arrived: LinkState, alternate: int
    ) -> Session | None:
        half = self._half_open.get(local)
        if half is None or half.peer_id != sender:
            self._reassure(sender, local)
            return None
        half.handshake.read(message)
        self._forget(local, half)
        if not self._table.accepts(sender):  # not any more
            return None
        session = self._table.session(sender)
        attempt = session.attempt
        if attempt is not None and attempt.keys is not None:  # they may have taken ours meanwhile: it still receives
            session.older.append(attempt.keys)
            attempt.keys = None
        self._table.end_attempt(session, Happening.COMPLETED)
        keys = self._keys(local, half.remote, half.handshake)
        self._table.install(session, keys)
        self._early = [(body, its, link if link.up else arrived) for body, its, link in half.early]
        session.alternate = 0
        if alternate or half.repeated or self._router.next_hop(sender, 0) is None:
            self._router.adopt(sender, arrived)
        else:
            session.rtt = self._core.now - (half.expires - LINK_HANDSHAKE_TIME)
        self._table.acknowledge(session, keys)
        return session

    def _reassure(self, peer_id: PeerId, index: bytes) -> None:
        """`peer_id` repeats the end of a handshake that we completed: our first sealed packet was lost."""
        session, keys = self._table.keys.get(index, (None, None))
        if session is not None and keys is not None and session.peer_id == peer_id and self._router.allow_notice():
            self._table.acknowledge(session, keys)

    def _keys(self, local: bytes, remote: bytes, handshake: Handshake) -> Keys:
        send_key, receive_key = handshake.keys()
        return Keys(local, remote, SealingKey(send_key), OpeningKey(receive_key), self._core.now)
