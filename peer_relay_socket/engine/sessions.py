"""Sessions: sealed traffic between two endpoints, whatever relays lie between.

Lives here: handshakes, packing, sealing, opening, flow control, noticing that a path went silent. May not live here:
routes (routing), who a short address is (resolver), ports (the driver knows them).

Law: nothing leaves for another endpoint unsealed but handshake messages, and nothing is believed that does not open.

Flow control: at most SESSION_WINDOW bytes are in flight; the receiver says how far it is every ACK_EVERY bytes or
ACK_DELAY seconds. The same acknowledgements show that the path lives: SESSION_SILENCE seconds of sending without
hearing anything move the session to the next disjoint way, and, after SESSION_STRIKES, to a new handshake. Nothing is
ever sent twice: datagrams keep UDP's manners.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..address import PeerId
from ..codec import packet as wire
from ..codec.packet import Header, Kind, Record
from ..errors import HandshakeError, SealError
from ..limits import (
    ACK_DELAY,
    ACK_EVERY,
    HANDSHAKE_RATE,
    HANDSHAKE_RETRY,
    HANDSHAKE_TRIES,
    LINK_HANDSHAKE_TIME,
    MAX_HALF_OPEN,
    MAX_SESSIONS,
    PACKET_TARGET,
    PENDING_BYTES,
    PENDING_TIME,
    PENDING_TOTAL,
    SESSION_IDLE,
    SESSION_PROBE,
    SESSION_REKEY,
    SESSION_SILENCE,
    SESSION_STRIKES,
)
from .authentication import Handshake, session_prologue
from .effects import Deliver, Message, Refused, Unreachable, Writable
from .seal import OpeningKey, SealingKey
from .session import Attempt, Keys, Session
from .timers import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable

    from .core import Core
    from .routing import Router

_REDISCOVER: Final = 2.0
"""Seconds between floods for one peer."""
_OLD_KEYS: Final = 2
"""Generations of keys that still receive besides the current one."""
_OVERHEAD: Final = 64
"""Bytes a packet costs beyond its records, for the window."""


class _HalfOpen:
    """A handshake that somebody else began: we answered and wait for the third message."""

    __slots__ = ("answer", "expires", "handshake", "peer_id", "question", "remote")

    def __init__(self, peer_id: PeerId, handshake: Handshake, remote: bytes, expires: float) -> None:
        self.peer_id = peer_id
        self.handshake = handshake
        self.remote = remote
        self.expires = expires
        self.question = b""
        self.answer = b""


class Sessions:
    """All sessions of one peer."""

    def __init__(self, core: Core, router: Router, on_join: Callable[[PeerId], None]) -> None:
        self._core = core
        self._router = router
        self._on_join = on_join
        self._sessions: dict[PeerId, Session] = {}
        self._keys: dict[bytes, tuple[Session, Keys]] = {}
        """By our index."""
        self._half_open: dict[bytes, _HalfOpen] = {}
        self._answered: dict[tuple[PeerId, bytes], bytes] = {}
        """(initiator, its index) of half-open handshakes, so that a repeated first message gets the same answer."""
        self._dirty: list[Session] = []
        self._pending_total = 0
        self._rate = TokenBucket(HANDSHAKE_RATE, core.now)
        core.timers.at(core.now + SESSION_IDLE / 4, self._sweep)

    # --- sending ---------------------------------------------------------------------------------------------

    def room(self, peer_id: PeerId) -> int:
        """Return how many bytes may be sent to `peer_id` now; not more than 0 means: a Writable effect will come."""
        session = self._sessions.get(peer_id)
        if session is None:
            return PENDING_BYTES
        if session.keys is None or not self._router.linked:
            room = PENDING_BYTES - session.pending_size
        else:
            link = self._router.next_hop(peer_id, session.variant)
            room = 0 if link is not None and link.full else session.room
        if room <= 0:
            session.blocked = True
        return room

    @property
    def idle(self) -> bool:
        """Whether no record waits for keys."""
        return not self._pending_total and not self._dirty

    def relieved(self) -> None:
        """A link takes bundles again: whoever was told to wait may look again."""
        for session in self._sessions.values():
            self._writable(session)

    def send(self, peer_id: PeerId, record: bytes) -> None:
        """Send one record, or keep it until there are keys. `flush` must follow."""
        session = self._sessions.get(peer_id) or self._session(peer_id)
        if session.keys is None or not self._router.linked:
            self._wait(session, record)
            if session.keys is None:
                self._begin(session)
            return
        if session.plain_size + len(record) > PACKET_TARGET and session.plain:
            self._seal(session)
        if not session.plain:
            self._dirty.append(session)
        session.plain.append(record)
        session.plain_size += len(record)

    def flush(self) -> None:
        """Seal and route what was sent since the last time."""
        dirty = self._dirty
        if dirty:
            self._dirty = []
            for session in dirty:
                if session.plain:
                    self._seal(session)

    def _seal(self, session: Session) -> None:
        """Turn the records that wait into one packet."""
        keys = session.keys
        if keys is None:  # the peer was given up in between
            session.plain, session.plain_size = [], 0
            return
        if keys.sealing.worn:
            self._begin(session)
        counter = keys.sealing.counter
        size = session.plain_size + _OVERHEAD
        plain = session.plain[0] if len(session.plain) == 1 else b"".join(session.plain)
        session.plain, session.plain_size = [], 0
        self._route(session, keys, plain)
        session.flights.append((counter, size))
        session.in_flight += size
        if session.silent_since is None:
            self._listen(session)

    def _listen(self, session: Session) -> None:
        """From now on we expect to hear something."""
        now = self._core.now
        session.silent_since = now
        if session.silence is None:
            session.silence = self._core.timers.at(now + SESSION_SILENCE, self._check_silence, session)

    def _route(self, session: Session, keys: Keys, plain: bytes) -> None:
        core = self._core
        session.idle_since = core.now
        try:
            body = keys.remote + keys.sealing.seal(plain)
        except SealError:  # new keys were asked for long ago and the other side never answered
            core.counters["dropped: keys worn out"] += 1
            return
        variant = session.variant
        data = wire.packet(Kind.SEALED, session.peer_id, core.peer_id, body, flags=variant)
        if not self._router.send(data, session.peer_id, variant):
            self._look_for(session)

    def _wait(self, session: Session, record: bytes) -> None:
        core = self._core
        too_much = session.pending_size + len(record) > PENDING_BYTES + PACKET_TARGET
        if too_much or self._pending_total > PENDING_TOTAL:
            core.counters["dropped: too much waits for this peer"] += 1
            return
        if not session.pending:
            core.timers.at(core.now + PENDING_TIME, self._expire_pending, session)
        session.pending.append((core.now + PENDING_TIME, record))
        session.pending_size += len(record)
        self._pending_total += len(record)

    def _expire_pending(self, session: Session) -> None:
        """Drop what has waited PENDING_TIME; whoever could not send meanwhile may now."""
        core = self._core
        pending = session.pending
        while pending and pending[0][0] <= core.now:
            _, record = pending.popleft()
            session.pending_size -= len(record)
            self._pending_total -= len(record)
            core.counters["dropped: waited too long"] += 1
        if pending:
            core.timers.at(pending[0][0], self._expire_pending, session)
        if session.pending_size < PENDING_BYTES:
            self._writable(session)

    def _release(self, session: Session) -> None:
        """There are keys: send what waited."""
        now = self._core.now
        pending = list(session.pending)
        self._drop_pending(session)
        for expires, record in pending:
            if expires > now:
                self.send(session.peer_id, record)
            else:
                self._core.counters["dropped: waited too long"] += 1
        self._writable(session)

    def _drop_pending(self, session: Session) -> None:
        self._pending_total -= session.pending_size
        session.pending.clear()
        session.pending_size = 0

    def _writable(self, session: Session) -> None:
        if session.blocked:
            session.blocked = False
            self._core.effects.append(Writable(session.peer_id))

    # --- beginning a session -----------------------------------------------------------------------------------

    def _session(self, peer_id: PeerId) -> Session:
        session = self._sessions.get(peer_id)
        if session is None:
            if len(self._sessions) >= MAX_SESSIONS:
                self.close(min(self._sessions.values(), key=lambda s: s.idle_since))
            session = self._sessions[peer_id] = Session(peer_id, self._core.now)
        return session

    def _begin(self, session: Session) -> None:
        """Start a handshake of ours, unless one is under way."""
        if session.attempt is not None:
            return
        core = self._core
        handshake = Handshake(
            initiator=True,
            static=core.static,
            prologue=session_prologue(core.peer_id, session.peer_id),
            psk=core.config.psk,
            entropy=core.entropy,
            expected=session.peer_id,
        )
        attempt = session.attempt = Attempt(handshake, self._index())
        attempt.last = b"\x01" + attempt.local + bytes(4) + handshake.write()
        self._try(session, attempt)

    def _index(self) -> bytes:
        while True:
            index = self._core.entropy(4)
            if index != bytes(4) and index not in self._keys and index not in self._half_open:
                return index

    def _try(self, session: Session, attempt: Attempt) -> None:
        """Send the attempt's last message (again); give up after HANDSHAKE_TRIES with a way out."""
        if session.attempt is not attempt:
            return
        core = self._core
        variant = attempt.tries % wire.VARIANTS
        if attempt.tries >= HANDSHAKE_TRIES:
            self._give_up(session)
            return
        data = wire.packet(Kind.HANDSHAKE, session.peer_id, core.peer_id, attempt.last, flags=variant)
        if self._router.send(data, session.peer_id, variant):
            attempt.tries += 1
        elif session.keys is None and (not session.pending or session.pending[0][0] <= core.now):
            self._give_up(session)  # no network, and nothing that could still wait for one
            return
        if attempt.tries > 2:  # a round trip across six links may take longer than the first retry
            self._look_for(session)
        wait = HANDSHAKE_RETRY * min(4, 1 << max(0, attempt.tries - 1)) * (0.75 + 0.5 * core.random.random())
        attempt.timer = core.timers.at(core.now + wait, self._try, session, attempt)

    def link_up(self) -> None:
        """There is a way that was not there: try at once what waits for one."""
        for session in list(self._sessions.values()):
            attempt = session.attempt
            if attempt is not None and attempt.timer is not None:
                attempt.timer.cancel()
                attempt.tries = 0
                self._try(session, attempt)
            if session.keys is not None:
                self._release(session)

    def _give_up(self, session: Session) -> None:
        core = self._core
        core.counters["unreachable peers"] += 1
        core.counters["dropped: peer unreachable"] += len(session.pending)
        core.effects.append(Unreachable(session.peer_id))
        self.close(session)

    def close(self, session: Session) -> None:
        """Forget a session and its keys."""
        attempt = session.attempt
        for timer in (session.ack_timer, session.silence, attempt.timer if attempt is not None else None):
            if timer is not None:
                timer.cancel()
        session.attempt = None
        self._drop_pending(session)
        for keys in [session.keys, *session.older]:
            if keys is not None:
                self._keys.pop(keys.local, None)
        session.keys = None
        session.older = []
        if self._sessions.get(session.peer_id) is session:
            del self._sessions[session.peer_id]
        self._writable(session)

    def no_route(self, peer_id: PeerId) -> None:
        """A relay says it knows no way to `peer_id`. Anybody can say so: it only makes us look harder."""
        session = self._sessions.get(peer_id)
        if session is not None:
            self._look_for(session)

    def _look_for(self, session: Session) -> None:
        core = self._core
        if core.now >= session.refound + _REDISCOVER or not session.refound:
            session.refound = core.now
            self._router.discover(session.peer_id)

    def discovered(self, peer_id: PeerId) -> None:
        """A flood found a way to `peer_id`: use it."""
        session = self._sessions.get(peer_id)
        if session is None:
            return
        session.variant = 0
        attempt = session.attempt
        if attempt is not None and attempt.timer is not None:
            attempt.timer.cancel()
            attempt.tries = min(attempt.tries, HANDSHAKE_TRIES - 2)
            attempt.tries -= attempt.tries % wire.VARIANTS  # the found way is variant 0's
            self._try(session, attempt)
        elif session.silent_since is not None and session.keys is not None:
            self._route(session, session.keys, wire.record(Record.PING))

    # --- handshake messages ------------------------------------------------------------------------------------

    def handshake_heard(self, sender: PeerId, body: bytes) -> None:
        """Take a HANDSHAKE packet addressed to us.

        Raises: WireError.
        """
        step, remote, local, message = wire.split(body, 1, 4, 4)
        if step == b"\x01":
            self._asked(sender, remote, message)
        elif step == b"\x02":
            self._answered_us(sender, remote, local, message)
        elif step == b"\x03":
            self._confirmed(sender, local, message)
        else:
            raise HandshakeError("no such handshake step")

    def _asked(self, sender: PeerId, remote: bytes, message: bytes) -> None:
        core = self._core
        session = self._sessions.get(sender)
        if sender == core.peer_id:
            raise HandshakeError("a handshake from ourselves")
        ours = session.attempt if session is not None else None
        if ours is not None and not ours.handshake.complete and core.peer_id > sender:
            return  # both began: the lower id answers, we are the higher
        half = self._half_open.get(self._answered.get((sender, remote), b""))
        if half is not None and half.question == message:
            self._say(sender, half.answer)
            return
        if not self._rate.take(core.now):
            core.counters["refused: too many handshakes"] += 1
            return
        self._expire_half_open()
        handshake = Handshake(
            initiator=False,
            static=core.static,
            prologue=session_prologue(sender, core.peer_id),
            psk=core.config.psk,
            entropy=core.entropy,
            expected=sender,
        )
        handshake.read(message)
        local = self._index()
        half = _HalfOpen(sender, handshake, remote, core.now + LINK_HANDSHAKE_TIME)
        half.question = message
        half.answer = b"\x02" + local + remote + handshake.write()
        self._half_open[local] = half
        self._answered[sender, remote] = local
        self._say(sender, half.answer)

    def _expire_half_open(self) -> None:
        now = self._core.now
        table = self._half_open
        while table:
            local, half = next(iter(table.items()))
            if half.expires > now and len(table) < MAX_HALF_OPEN:
                return
            del table[local]
            self._answered.pop((half.peer_id, half.remote), None)

    def _say(self, peer_id: PeerId, body: bytes, variant: int = 0) -> None:
        data = wire.packet(Kind.HANDSHAKE, peer_id, self._core.peer_id, body, flags=variant)
        self._router.send(data, peer_id, variant)

    def _answered_us(self, sender: PeerId, remote: bytes, local: bytes, message: bytes) -> None:
        session = self._sessions.get(sender)
        attempt = session.attempt if session is not None else None
        if session is None or attempt is None or attempt.local != local:
            return  # a late duplicate
        handshake = attempt.handshake
        if not handshake.complete:
            handshake.read(message)
            attempt.last = b"\x03" + attempt.local + remote + handshake.write()
            attempt.tries = 0
            session.variant = 0
            self._install(session, attempt.local, remote, handshake)
            # The third message is repeated until something sealed is heard under these keys.
            if attempt.timer is not None:
                attempt.timer.cancel()
            self._try(session, attempt)
            self._release(session)

    def _confirmed(self, sender: PeerId, local: bytes, message: bytes) -> None:
        half = self._half_open.get(local)
        if half is None or half.peer_id != sender:
            known = self._keys.get(local)
            if known is not None and known[0].peer_id == sender:
                self._acknowledge(known[0])  # our first sealed packet was lost: say again that we are there
            return
        half.handshake.read(message)
        del self._half_open[local]
        self._answered.pop((sender, half.remote), None)
        session = self._session(sender)
        if session.attempt is not None:  # theirs came through first
            if session.attempt.timer is not None:
                session.attempt.timer.cancel()
            session.attempt = None
        self._install(session, local, half.remote, half.handshake)
        self._acknowledge(session)
        self._release(session)

    def _install(self, session: Session, local: bytes, remote: bytes, handshake: Handshake) -> None:
        core = self._core
        send_key, receive_key = handshake.keys()
        keys = Keys(local, remote, SealingKey(send_key), OpeningKey(receive_key), core.now)
        if session.plain:
            self._seal(session)
        if session.keys is not None:
            session.older.append(session.keys)
            while len(session.older) > _OLD_KEYS:
                self._keys.pop(session.older.pop(0).local, None)
        session.keys = keys
        self._keys[local] = (session, keys)
        session.forget_flights()
        session.highest = 0
        session.unacked = 0
        session.idle_since = core.now
        self._heard(session)

    def no_session_heard(self, sender: PeerId, body: bytes) -> None:
        """The other side does not know our keys: it was restarted. A hint only: the handshake then proves it."""
        session = self._sessions.get(sender)
        if session is not None and session.keys is not None and session.keys.remote == body:
            self._begin(session)

    # --- receiving ---------------------------------------------------------------------------------------------

    def sealed_heard(self, bundle: bytes, header: Header) -> None:
        """Open a SEALED packet addressed to us and act on its records.

        Raises: WireError.
        """
        core = self._core
        index = bundle[header.body : header.body + 4]
        known = self._keys.get(index)
        if known is None or known[0].peer_id != header.sender:
            core.counters["dropped: unknown session"] += 1
            if index not in self._half_open and self._router.allow_notice():
                notice = wire.packet(Kind.NO_SESSION, header.sender, core.peer_id, index)
                self._router.send(notice, header.sender, 0)
            return
        session, keys = known
        plain = keys.opening.open(bundle[header.body + 4 : header.end])
        self._heard(session)
        session.idle_since = core.now
        if session.attempt is not None and session.attempt.local == index:
            if session.attempt.timer is not None:
                session.attempt.timer.cancel()
            session.attempt = None
        if keys is session.keys:
            counter = int.from_bytes(bundle[header.body + 4 : header.body + 12])
            if counter >= session.highest:
                session.highest = counter + 1
        elicits = False
        for kind, start, end in wire.read_records(plain):
            if kind == Record.DATAGRAMS:
                run = wire.read_datagrams(plain, start, end)
                core.effects.append(Deliver(header.sender, run.source_port, run.port, run.form, run.datagrams))
                elicits = True
            elif kind == Record.ACK:
                self._ack_heard(session, keys, plain[start:end])
            else:
                elicits = True
                self._record_heard(session, kind, plain[start:end])
        if elicits:
            self._owe_ack(session, header.end - header.body)

    def _record_heard(self, session: Session, kind: int, content: bytes) -> None:
        core = self._core
        if kind == Record.MESSAGE:
            core.effects.append(Message(session.peer_id, content))
        elif kind == Record.REFUSED:
            port, source_port, _ = wire.split(content, 2, 2)
            core.effects.append(Refused(session.peer_id, int.from_bytes(port), int.from_bytes(source_port)))
        elif kind == Record.PING:
            self._acknowledge(session)
        elif kind == Record.JOIN:
            self._on_join(session.peer_id)
        else:
            core.counters["skipped: unknown record"] += 1

    def _heard(self, session: Session) -> None:
        session.heard_at = self._core.now
        session.silent_since = None
        session.strikes = 0

    def _ack_heard(self, session: Session, keys: Keys, content: bytes) -> None:
        if keys is session.keys and len(content) == 8:
            session.acknowledged(int.from_bytes(content))
            if session.flights:
                self._listen(session)
            if session.room > 0:
                self._writable(session)

    # --- acknowledging -------------------------------------------------------------------------------------------

    def _owe_ack(self, session: Session, size: int) -> None:
        session.unacked += size
        if session.unacked >= ACK_EVERY:
            self._acknowledge(session)
        elif session.ack_timer is None:
            session.ack_timer = self._core.timers.at(self._core.now + ACK_DELAY, self._ack_due, session)

    def _ack_due(self, session: Session) -> None:
        session.ack_timer = None
        if session.unacked:
            self._acknowledge(session)

    def _acknowledge(self, session: Session) -> None:
        keys = session.keys
        session.unacked = 0
        if keys is not None:
            self._route(session, keys, wire.record(Record.ACK, session.highest.to_bytes(8)))

    # --- silence -------------------------------------------------------------------------------------------------

    def _check_silence(self, session: Session) -> None:
        core = self._core
        session.silence = None
        if session.silent_since is None or session.keys is None:
            return
        due = session.silent_since + SESSION_SILENCE + session.strikes * SESSION_PROBE
        if core.now < due:
            session.silence = core.timers.at(due, self._check_silence, session)
            return
        session.strikes += 1
        session.forget_flights()
        self._writable(session)
        if session.strikes > SESSION_STRIKES:
            session.silent_since = None
            session.strikes = 0
            self._begin(session)
            return
        session.variant = (session.variant + 1) % wire.VARIANTS
        if session.strikes > 1:
            self._look_for(session)
        self._route(session, session.keys, wire.record(Record.PING))
        session.silence = core.timers.at(core.now + SESSION_PROBE, self._check_silence, session)

    # --- upkeep --------------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        core = self._core
        for session in list(self._sessions.values()):
            if core.now - session.idle_since > SESSION_IDLE and session.attempt is None:
                self.close(session)
            elif session.keys is not None and (
                session.keys.sealing.worn or core.now - session.keys.made_at > SESSION_REKEY
            ):
                self._begin(session)
        self._expire_half_open()
        core.timers.at(core.now + SESSION_IDLE / 4, self._sweep)
