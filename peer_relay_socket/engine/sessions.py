"""Sessions: sealed traffic between two endpoints, whatever relays lie between.

Lives here: packing, sealing, opening, flow control. May not live here: handshakes (handshakes.py), what waits for them
(pending.py), noticing that a path went silent (liveness.py), routes (routing), who a short address is (resolver), ports
(the driver knows them).

Law: nothing leaves for another endpoint unsealed but handshake messages, and nothing is believed that does not open.

Flow control: at most SESSION_WINDOW bytes are in flight; the receiver says how far it is every ACK_EVERY bytes or
ACK_DELAY seconds. The same acknowledgements show that the path lives: SESSION_SILENCE seconds of sending without
hearing anything move the session to the next disjoint way, and, after SESSION_MISSED_PROBES, to a new handshake. What
is not acknowledged SESSION_SILENCE seconds after the last progress is lost, and no longer in flight. Nothing is sent
twice: datagrams keep UDP's manners.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final, Protocol

from ..address import PeerId
from ..codec import packet as wire
from ..codec.packet import Header, Kind, Record
from ..errors import SealError
from ..limits import (
    ACK_DELAY,
    ACK_EVERY,
    MAX_SESSIONS,
    PACKET_TARGET,
    PENDING_BYTES,
    SESSION_GRACE,
    SESSION_IDLE,
    SESSION_PROBE,
    SESSION_REKEY,
)
from .effects import Deliver, Message, Refused, Writable
from .handshakes import Handshakes
from .liveness import Liveness
from .pending import Pending
from .session import Keys, Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from .address_claims import AddressClaims
    from .core import Core
    from .link import LinkState
    from .routing import Router

_REDISCOVER: Final = 2.0
"""Seconds between floods for one peer."""
_OLD_KEYS: Final = 2
"""Generations of keys that still receive besides the current one."""
ENVELOPE: Final = wire.HEADER_BYTES + 4 + 8 + 16 + 16
"""Bytes of a SEALED packet around its datagrams: header, index, counter, tag, a record's header."""
OVERHEAD: Final = 64
"""Bytes a packet costs beyond its records, for the window."""
_EVICTION_SAMPLE: Final = 32
"""Sessions looked at to find one to forget when there are too many: bounded work, and nearly the longest idle."""


class SessionEvents(Protocol):
    """What the owner of the sessions is told."""

    def peer_proved(self, peer_id: PeerId) -> None:
        """`peer_id` has shown its key."""

    def peer_unreachable(self, peer_id: PeerId) -> None:
        """`peer_id` did not answer our handshake."""

    def join_heard(self, peer_id: PeerId) -> None:
        """`peer_id` asks us to dial it."""


class Sessions:
    """All sessions of one peer."""

    def __init__(self, core: Core, router: Router, claims: AddressClaims, events: SessionEvents) -> None:
        self._core = core
        self._router = router
        self._claims = claims
        self._events = events
        self.by_id: dict[PeerId, Session] = {}
        """At most MAX_SESSIONS. Others only look."""
        self.keys: dict[bytes, tuple[Session, Keys]] = {}
        """Those in use, by our index. Others only look."""
        self.on_traffic: Callable[[PeerId, int], None] = lambda peer_id, size: None
        """Told of each packet of records that is about to leave, and its size."""
        self.on_signal: Callable[[PeerId, bytes], None] = lambda peer_id, content: None
        self.on_probe: Callable[[PeerId, int, bytes], None] = lambda peer_id, kind, content: None
        self.on_connect: Callable[[PeerId, bytes], None] = lambda peer_id, token: None
        self.on_surrender: Callable[[PeerId], None] = lambda peer_id: None
        self._dirty: list[Session] = []
        self._blocked: dict[PeerId, Session] = {}
        """Those of whom somebody was told that there is no room."""
        self._pending = Pending(core, self.writable)
        self.handshakes = Handshakes(core, router, self)
        self._silence = Liveness(core, self)
        core.timers.at(core.now + SESSION_IDLE / 4, self._sweep)

    # --- sending ---------------------------------------------------------------------------------------------

    def room(self, peer_id: PeerId) -> int:
        """Return how many bytes may be sent to `peer_id` now; not more than 0 means: a Writable effect will come."""
        session = self.by_id.get(peer_id)
        if session is None:
            return PENDING_BYTES
        if session.keys is None or not self._router.linked:
            room = PENDING_BYTES - session.pending_size
        else:
            link = self._router.next_hop(peer_id, session.alternate)
            room = 0 if link is not None and link.full else session.room
            if link is not None and link.direct:  # a packet that is lost shall not take others' datagrams with it
                room = min(room, link.unit - ENVELOPE)
        if room <= 0:
            session.blocked = True
            self._blocked[peer_id] = session
        return room

    @property
    def idle(self) -> bool:
        """Whether no record waits for keys."""
        return not self._pending.total and not self._dirty

    def relieved(self) -> None:
        """A link takes bundles again, or went: whoever was told to wait may look again."""
        for session in list(self._blocked.values()):
            self.writable(session)

    def accepts(self, peer_id: PeerId) -> bool:
        """Return whether we talk to `peer_id` at all."""
        may_talk = self._core.config.may_talk
        return may_talk is None or may_talk(peer_id)

    def recheck(self) -> None:
        """Forget the sessions with peers that we do not talk to any more."""
        for session in list(self.by_id.values()):
            if not self.accepts(session.peer_id):
                self._core.counters["session dropped: peer not accepted any more"] += 1
                self.close(session)

    def is_proved(self, peer_id: PeerId) -> bool:
        """Return whether `peer_id` proved its key in a session that stands."""
        session = self.by_id.get(peer_id)
        return session is not None and session.keys is not None

    def prove(self, peer_id: PeerId) -> bool:
        """Begin a handshake with `peer_id`, though nothing waits for it; False if we do not talk to it."""
        if not self.accepts(peer_id):
            return False
        self.handshakes.begin(self.session(peer_id))
        return True

    def unreachable(self, peer_id: PeerId) -> None:
        """The handshake with `peer_id` came to nothing."""
        self._events.peer_unreachable(peer_id)

    def solicit(self, peer_id: PeerId) -> None:
        """What was just sent to `peer_id` is the program's: it is no stranger."""
        session = self.by_id.get(peer_id)
        if session is not None:
            session.solicited = True

    def send(self, peer_id: PeerId, record: bytes) -> None:
        """Send one record, or keep it until there are keys. `flush` must follow."""
        session = self.by_id.get(peer_id)
        if session is None and not self.accepts(peer_id):
            self._core.counters["dropped: peer not accepted"] += 1
            self._core.give_up(peer_id, "our own lists refuse it", refused=True)
            return
        if session is None or (self._core.now - session.idle_since > SESSION_IDLE and session.attempt is None):
            if session is not None:
                self.close(session)  # they may have forgotten it by now, and would drop this
            session = self.session(peer_id)
        if session.keys is None or not self._router.linked:
            self._pending.add(session, record)
            if session.keys is None:
                self.handshakes.begin(session)
            return
        if session.plain and session.plain_size + len(record) > self._packet_target(peer_id):
            self._seal(session)
        if not session.plain:
            self._dirty.append(session)
        session.plain.append(record)
        session.plain_size += len(record)

    def _packet_target(self, peer_id: PeerId) -> int:
        link = self._router.direct.get(peer_id)
        return PACKET_TARGET if link is None else link.unit - ENVELOPE

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
            self.handshakes.begin(session)
        counter = keys.sealing.counter
        size = session.plain_size + OVERHEAD
        self.on_traffic(session.peer_id, size)
        plain = session.plain[0] if len(session.plain) == 1 else b"".join(session.plain)
        session.plain, session.plain_size = [], 0
        self.route(session, keys, plain)
        if not session.flights:
            session.acked_at = self._core.now
        session.flights.append((counter, size))
        session.in_flight += size
        if session.silent_since is None:
            self._silence.expect(session)

    def route(self, session: Session, keys: Keys, plain: bytes) -> None:
        """Seal one packet and send it on its way."""
        core = self._core
        session.idle_since = core.now
        try:
            sealed = keys.sealing.seal(plain)
        except SealError:  # new keys were asked for long ago and the other side never answered
            core.counters["dropped: keys worn out"] += 1
            return
        alternate = session.alternate
        data = wire.sealed(session.peer_id, core.peer_id, keys.remote, sealed, alternate)
        if not self._router.send(data, session.peer_id, alternate):
            session.alternate = 0  # a way that a search finds is alternate 0's
            self.look_for(session)

    def release(self, session: Session) -> None:
        """There are keys: send what waited."""
        self._events.peer_proved(session.peer_id)
        for record in self._pending.take(session):
            self.send(session.peer_id, record)
        self.writable(session)

    def writable(self, session: Session) -> None:
        """There is room again: tell whoever was told that there is none."""
        if session.blocked:
            session.blocked = False
            self._blocked.pop(session.peer_id, None)
            self._core.effects.append(Writable(session.peer_id))

    # --- which sessions there are ------------------------------------------------------------------------------

    def get(self, peer_id: PeerId) -> Session | None:
        """Return the session with `peer_id`, if there is one."""
        return self.by_id.get(peer_id)

    def session(self, peer_id: PeerId) -> Session:
        """Return the session with `peer_id`, made if need be."""
        session = self.by_id.get(peer_id)
        if session is None:
            if len(self.by_id) >= MAX_SESSIONS:
                self._evict()
            session = self.by_id[peer_id] = Session(peer_id, self._core.now)
        return session

    def _evict(self) -> None:
        """Forget the longest idle of the next few; the others go to the end of the queue."""
        sample = list(islice(self.by_id.values(), _EVICTION_SAMPLE))
        victim = min(sample, key=lambda session: session.idle_since)
        for session in sample:
            if session is not victim:
                self.by_id[session.peer_id] = self.by_id.pop(session.peer_id)
        self._core.counters["sessions forgotten: too many"] += 1
        self.close(victim)

    def close(self, session: Session) -> None:
        """Forget a session and its keys."""
        for timer in (session.ack_timer, session.liveness_timer):
            if timer is not None:
                timer.cancel()
        self.handshakes.closed(session)
        self._claims.release(session.peer_id)
        self._pending.drop(session)
        for keys in [session.keys, *session.older]:
            if keys is not None:
                self.forget_keys(keys)
        session.keys = None
        session.older = []
        session.silent_since = None
        if self.by_id.get(session.peer_id) is session:
            del self.by_id[session.peer_id]
        self.writable(session)

    def link_up(self) -> None:
        """There is a way that was not there: try at once what waits for one."""
        for session in list(self.by_id.values()):
            self.handshakes.hurry(session)
            if session.keys is not None and session.pending:
                self.release(session)

    # --- what a gateway may send instead -----------------------------------------------------------------------------

    def waits(self, peer_id: PeerId) -> bool:
        """Return whether something waits for `peer_id` to show its key for the first time."""
        session = self.by_id.get(peer_id)
        return session is not None and session.keys is None and bool(session.pending)

    def waiting(self) -> list[PeerId]:
        """Return all peers of which `waits` is true."""
        return [peer_id for peer_id in self.by_id if self.waits(peer_id)]

    def surrender(self, peer_id: PeerId) -> list[bytes]:
        """Return the records that wait for `peer_id`, and forget them. The handshake under way goes on, in case that
        there is a key after all, but nobody is told when it comes to nothing."""
        session = self.by_id.get(peer_id)
        if session is None or session.keys is not None:
            return []
        records = [record for _, record in session.pending]
        self._pending.drop(session)
        session.hopeless = True
        self.writable(session)
        self.on_surrender(peer_id)
        return records

    def no_route(self, peer_id: PeerId) -> None:
        """A relay says it knows no way to `peer_id`. Anybody can say so: it only makes us look harder, and not while
        we hear from there."""
        session = self.by_id.get(peer_id)
        if session is not None and (session.keys is None or self._core.now >= session.heard_at + SESSION_PROBE):
            self.look_for(session)

    def look_for(self, session: Session) -> None:
        """Search the network for the other side, unless we just did."""
        core = self._core
        if core.now >= session.refound + _REDISCOVER or not session.refound:
            session.refound = core.now
            self._router.discover(session.peer_id)

    def found(self, peer_id: PeerId) -> None:
        """`peer_id` is there: a relay that is linked to it, or the peer itself, has said so."""
        session = self.by_id.get(peer_id)
        if session is not None:
            session.found = True

    def discovered(self, peer_id: PeerId) -> None:
        """A search found a way to `peer_id`: use it, unless the one in use works."""
        session = self.by_id.get(peer_id)
        if session is None:
            return
        session.found = True
        if session.attempt is not None:
            session.alternate = 0
            self.handshakes.found(session)
        elif session.missed_probes and session.keys is not None:
            session.alternate = 0
            self.route(session, session.keys, wire.record(Record.PING))

    # --- keys --------------------------------------------------------------------------------------------------

    def knows(self, index: bytes) -> bool:
        """Return whether `index` is one of ours in use."""
        return index in self.keys

    def forget_keys(self, keys: Keys) -> None:
        """Receive no more under `keys`."""
        self.keys.pop(keys.local, None)

    def await_keys(self, session: Session, keys: Keys) -> None:
        """Receive under `keys`; what we send stays under the old ones until the new ones were heard."""
        self.keys[keys.local] = (session, keys)

    def install(self, session: Session, keys: Keys) -> None:
        """From now on, seal with `keys`."""
        if session.plain:
            self._seal(session)
        if session.keys is None:
            session.address_conflict = self._claims.claim(session.peer_id)
        else:
            session.older.append(session.keys)
        while len(session.older) > _OLD_KEYS:
            self.forget_keys(session.older.pop(0))
        session.keys = keys
        session.hopeless = session.denied = False
        session.keys_suspect = False
        self.keys[keys.local] = (session, keys)
        session.forget_flights()
        session.silent_since = None
        session.missed_probes = 0
        session.unacked = 0
        session.idle_since = self._core.now

    def reassure(self, peer_id: PeerId, index: bytes) -> None:
        """`peer_id` repeats the end of a handshake that we completed: our first sealed packet was lost."""
        session, keys = self.keys.get(index, (None, None))
        if session is not None and keys is not None and session.peer_id == peer_id and self._router.allow_notice():
            self.acknowledge(session, keys)

    # --- receiving ---------------------------------------------------------------------------------------------

    def sealed_heard(self, bundle: bytes, header: Header, arrived: LinkState) -> None:
        """Open a SEALED packet addressed to us and act on its records.

        Raises: WireError.
        """
        core = self._core
        index = bundle[header.body : header.body + 4]
        known = self.keys.get(index)
        if known is None or known[0].peer_id != header.sender:
            core.counters["dropped: unknown session"] += 1
            if not self.handshakes.half_open(index) and self.accepts(header.sender) and self._router.allow_notice():
                notice = wire.packet(Kind.NO_SESSION, header.sender, core.peer_id, index)
                self._router.send(notice, header.sender, 0)
            return
        session, keys = known
        plain = keys.opening.open(bundle[header.body + 4 : header.end])
        self._opened(session, keys, int.from_bytes(bundle[header.body + 4 : header.body + 12]))
        elicits = False
        for kind, start, end in wire.read_records(plain):
            if kind == Record.DATAGRAMS:
                run = wire.read_datagrams(plain, start, end)
                run_from = (header.sender, run.source_port, run.port, run.form, run.datagrams)
                core.effects.append(Deliver(*run_from, session.address_conflict))
                elicits = True
            elif kind == Record.ACK:
                self._ack_heard(session, keys, plain[start:end])
            elif kind == Record.PING:
                session.alternate = 0  # they lost a way; this one came through
                self._router.adopt(header.sender, arrived)
                self.acknowledge(session, keys)
            else:
                elicits = True
                self._record_heard(session, kind, plain[start:end])
        if elicits:
            self._owe_ack(session, header.end - header.body)

    def _opened(self, session: Session, keys: Keys, counter: int) -> None:
        """Note that packet `counter` of `keys` opened: they live."""
        now = self._core.now
        session.idle_since = session.heard_at = now
        session.missed_probes = 0
        if session.attempt is not None:
            self.handshakes.confirmed(session, keys)
        if keys is session.keys:
            session.keys_suspect = False
        session.silent_since = now if session.flights else None
        if counter >= keys.highest:
            keys.highest = counter + 1
        session.heard_under = keys

    def _record_heard(self, session: Session, kind: int, content: bytes) -> None:
        core = self._core
        if kind == Record.MESSAGE:
            core.effects.append(Message(session.peer_id, content))
        elif kind == Record.REFUSED:
            port, source_port, _ = wire.split(content, 2, 2)
            core.effects.append(Refused(session.peer_id, int.from_bytes(port), int.from_bytes(source_port)))
        elif kind == Record.JOIN:
            self._events.join_heard(session.peer_id)
        elif kind == Record.CONNECT:
            self.on_connect(session.peer_id, content)
        elif kind == Record.SIGNAL:
            self.on_signal(session.peer_id, content)
        elif kind in (Record.ECHO, Record.ECHOED):
            self.on_probe(session.peer_id, kind, content)
        else:
            core.counters["skipped: unknown record"] += 1

    def _ack_heard(self, session: Session, keys: Keys, content: bytes) -> None:
        if keys is session.keys and len(content) == 8:
            session.acknowledged(int.from_bytes(content), self._core.now)
            if not session.flights:
                session.silent_since = None
            if session.room > 0:
                self.writable(session)

    # --- acknowledging -------------------------------------------------------------------------------------------

    def _owe_ack(self, session: Session, size: int) -> None:
        session.unacked += size
        if session.unacked >= ACK_EVERY:
            self._ack_due(session)
        elif session.ack_timer is None:
            session.ack_timer = self._core.timers.at(self._core.now + ACK_DELAY, self._ack_due, session)

    def _ack_due(self, session: Session) -> None:
        if session.ack_timer is not None:
            session.ack_timer.cancel()
            session.ack_timer = None
        if session.unacked and session.heard_under is not None:
            self.acknowledge(session, session.heard_under)

    def acknowledge(self, session: Session, keys: Keys) -> None:
        """Say how far we are, under the keys by which the other side sends."""
        session.unacked = 0
        self.route(session, keys, wire.record(Record.ACK, keys.highest.to_bytes(8)))

    # --- upkeep --------------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        core = self._core
        for session in list(self.by_id.values()):
            if core.now - session.idle_since > SESSION_IDLE + SESSION_GRACE and session.attempt is None:
                self.close(session)
            elif session.keys is not None and (
                session.keys.sealing.worn or core.now - session.keys.made_at > SESSION_REKEY
            ):
                self.handshakes.begin(session)
        self.handshakes.expire()
        core.timers.at(core.now + SESSION_IDLE / 4, self._sweep)
