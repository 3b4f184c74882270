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

from typing import TYPE_CHECKING, Final, Protocol

from ..address import PeerId
from ..codec import packet as wire
from ..codec.packet import Header, Kind, Record
from ..errors import WireError
from ..limits import (
    ACK_DELAY,
    ACK_EVERY,
    LANE_RECORD,
    PACKET_TARGET,
    PENDING_BYTES,
    SESSION_GRACE,
    SESSION_IDLE,
    SESSION_PROBE,
    SESSION_REKEY,
)
from .effects import Deliver, Message, Refused, Segment
from .handshakes import Handshakes
from .liveness import Liveness, Watcher
from .session import SUSPECTED, Happening, Keys, Session
from .timers import Due

if TYPE_CHECKING:
    from .core import Core
    from .link import LinkState
    from .routing import Router
    from .session_table import SessionTable

ENVELOPE: Final = wire.HEADER_BYTES + 4 + 8 + 16 + 16
"""Bytes of a SEALED packet around its datagrams: header, index, counter, tag, a record's header."""
OVERHEAD: Final = 64
"""Bytes a packet costs beyond its records, for the window."""
_OF_PATHS: Final = frozenset((Record.ROUND_TRIPS, Record.TRY, Record.TRIED))


class SessionEvents(Watcher, Protocol):
    """What the owner of the sessions is told."""

    def peer_proved(self, peer_id: PeerId) -> None:
        """`peer_id` has shown its key."""

    def packet_leaves(self, peer_id: PeerId, size: int) -> None:
        """A packet of records, which counts for `size` bytes, is about to leave for `peer_id`."""

    def signal_heard(self, peer_id: PeerId, content: bytes) -> None:
        """`peer_id` sent a SIGNAL record. May raise PacketError."""

    def probe_heard(self, peer_id: PeerId, kind: int, content: bytes) -> None:
        """`peer_id` sent an ECHO or ECHOED record. May raise PacketError."""

    def path_heard(self, session: Session, kind: int, content: bytes, arrived: LinkState) -> None:
        """The other end sent a ROUND_TRIPS, TRY or TRIED record over `arrived`. May raise PacketError."""

    def connect_heard(self, peer_id: PeerId, token: bytes) -> None:
        """The program of `peer_id` asks for a link."""

    def peer_unreachable(self, peer_id: PeerId) -> None:
        """`peer_id` did not answer our handshake."""

    def join_heard(self, peer_id: PeerId) -> None:
        """`peer_id` asks us to dial it."""

    def surrendered(self, peer_id: PeerId) -> None:
        """A gateway takes over what waited for `peer_id`, which has no key."""


class Sessions:
    """All sessions of one peer."""

    def __init__(self, core: Core, router: Router, table: SessionTable, events: SessionEvents) -> None:
        self._core = core
        self._router = router
        self._table = table
        self._events = events
        self._dirty: list[Session] = []
        """Sessions with a packet that is being filled."""
        self._handshakes = Handshakes(core, router, table, events.peer_unreachable)
        self._liveness = Liveness(core, table, self._handshakes, events)
        core.timers.at(Due.SESSION_SWEEP, core.now + SESSION_IDLE / 4, self._sweep)

    # --- sending ---------------------------------------------------------------------------------------------

    def room(self, peer_id: PeerId) -> int:
        """Return how many bytes may be sent to `peer_id` now; not more than 0 means: a Writable effect will come."""
        session = self._table.by_id.get(peer_id)
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
            self._table.block(session)
        return room

    def has_lane(self, peer_id: PeerId) -> bool:
        """Return whether a packet to `peer_id`, if it is small, leaves by a datagram lane now."""
        session = self._table.by_id.get(peer_id)
        if session is None or session.keys is None or session.room <= 0:
            return False
        link = self._router.next_hop(peer_id, session.alternate)
        return link is not None and link.lane is not None and link.lane.has_room

    def make_room(self, peer_id: PeerId, size: int) -> bool:
        """Drop the oldest that waits for keys, or for a network, until `size` bytes may be sent to `peer_id`.

        Returns: False where it is the path that takes no more.
        """
        session = self._table.by_id.get(peer_id)
        if session is not None and (session.keys is None or not self._router.linked):
            self._table.pending.make_room(session, size)
            return True
        return session is None

    @property
    def idle(self) -> bool:
        """Whether no record waits for keys."""
        return not self._table.pending.total and not self._dirty

    def recheck(self) -> None:
        """Forget the sessions with peers that we do not talk to any more."""
        for session in list(self._table.by_id.values()):
            if not self._table.accepts(session.peer_id):
                self._core.counters["session dropped: peer not accepted any more"] += 1
                self._table.close(session)

    def is_proved(self, peer_id: PeerId) -> bool:
        """Return whether `peer_id` proved its key in a session that stands."""
        session = self._table.by_id.get(peer_id)
        return session is not None and session.keys is not None

    def prove(self, peer_id: PeerId) -> bool:
        """Begin a handshake with `peer_id`, though nothing waits for it; False if we do not talk to it."""
        if not self._table.accepts(peer_id):
            return False
        self._handshakes.begin(self._table.session(peer_id))
        return True

    def solicit(self, peer_id: PeerId) -> None:
        """What was just sent to `peer_id` is the program's: it is no stranger."""
        session = self._table.by_id.get(peer_id)
        if session is not None:
            self._table.solicit(session)

    def send(self, peer_id: PeerId, record: bytes) -> None:
        """Send one record, or keep it until there are keys. `flush` must follow."""
        session = self._table.by_id.get(peer_id)
        if session is None and not self._table.accepts(peer_id):
            self._core.counters["dropped: peer not accepted"] += 1
            self._core.give_up(peer_id, "our own lists refuse it", refused=True)
            return
        if session is None or (self._core.now - session.idle_since > SESSION_IDLE and session.attempt is None):
            if session is not None:
                self._table.close(session)  # they may have forgotten it by now, and would drop this
            session = self._table.session(peer_id)
        if session.keys is None or not self._router.linked:
            self._table.pending.add(session, record)
            self._table.note_waiting(session)
            if session.keys is None:
                self._handshakes.begin(session)
            return
        if session.outgoing and session.outgoing_size + len(record) > self._packet_target(peer_id):
            self._seal(session)
        if not session.outgoing:
            self._dirty.append(session)
        session.outgoing.append(record)
        session.outgoing_size += len(record)

    def _packet_target(self, peer_id: PeerId) -> int:
        link = self._router.direct.get(peer_id)
        if link is not None:
            return link.unit - ENVELOPE
        return LANE_RECORD if self.has_lane(peer_id) else PACKET_TARGET

    def flush(self) -> None:
        """Seal and route what was sent since the last time."""
        dirty = self._dirty
        if dirty:
            self._dirty = []
            for session in dirty:
                if session.outgoing:
                    self._seal(session)

    def _seal(self, session: Session) -> None:
        """Turn the records that wait into one packet."""
        keys = session.keys
        if keys is None:  # the peer was given up in between
            session.outgoing, session.outgoing_size = [], 0
            return
        if keys.sealing.worn:
            self._handshakes.begin(session)
        counter = keys.sealing.counter
        size = session.outgoing_size + OVERHEAD
        self._events.packet_leaves(session.peer_id, size)
        plain = session.outgoing[0] if len(session.outgoing) == 1 else b"".join(session.outgoing)
        session.outgoing, session.outgoing_size = [], 0
        self._table.route(session, keys, plain)
        session.note_sent(counter, size, self._core.now)
        if session.silent_since is None:
            self._liveness.expect(session)

    def _release(self, session: Session) -> None:
        """There are keys: send what waited."""
        self._events.peer_proved(session.peer_id)
        records = self._table.pending.take(session)
        self._table.note_waiting(session)
        for record in records:
            self.send(session.peer_id, record)
        self._table.writable(session)

    def link_up(self) -> None:
        """There is a way that was not there: try at once what waits for one."""
        for session in list(self._table.waiting.values()):
            self._handshakes.retry_now(session)
            if session.keys is not None and session.pending:
                self._release(session)

    # --- what a gateway may send instead -----------------------------------------------------------------------------

    def waits(self, peer_id: PeerId) -> bool:
        """Return whether something waits for `peer_id` to show its key for the first time."""
        session = self._table.by_id.get(peer_id)
        return session is not None and session.keys is None and bool(session.pending)

    def waiting(self) -> list[PeerId]:
        """Return all peers of which `waits` is true."""
        return [peer_id for peer_id in self._table.waiting if self.waits(peer_id)]

    def surrender(self, peer_id: PeerId) -> list[bytes]:
        """Return the records that wait for `peer_id`, and forget them. The handshake under way goes on, in case there
        is a key after all, but no program is told when it comes to nothing."""
        session = self._table.by_id.get(peer_id)
        if session is None or session.keys is not None:
            return []
        records = [record for _, record in session.pending]
        self._table.pending.drop(session)
        self._table.note_waiting(session)
        session.surrendered = True
        self._table.writable(session)
        self._events.surrendered(peer_id)
        return records

    def no_route(self, peer_id: PeerId) -> None:
        """A relay says it knows no way to `peer_id`. Any relay can claim that without proof. So it only makes us look
        harder, and not while we hear from that peer."""
        session = self._table.by_id.get(peer_id)
        if session is not None and (session.keys is None or self._core.now >= session.heard_at + SESSION_PROBE):
            self._table.look_for(session)

    def found(self, peer_id: PeerId) -> None:
        """`peer_id` is there: a relay that is linked to it, or the peer itself, has said so."""
        session = self._table.by_id.get(peer_id)
        if session is not None:
            session.found = True

    def discovered(self, peer_id: PeerId) -> None:
        """A search found a way to `peer_id`: use it, unless the one in use works."""
        session = self._table.by_id.get(peer_id)
        if session is None:
            return
        session.found = True
        if session.attempt is not None:
            session.alternate = 0
            self._handshakes.found(session)
        elif session.missed_probes and session.keys is not None:
            session.alternate = 0
            self._table.route(session, session.keys, wire.record(Record.PING))

    # --- handshakes --------------------------------------------------------------------------------------------

    def handshake_heard(self, header: Header, body: bytes, arrived: LinkState) -> None:
        """Take a HANDSHAKE packet addressed to us.

        Raises: WireError.
        """
        session = self._handshakes.heard(header, body, arrived)
        if session is not None:
            self._release(session)
        for sealed, its, link in self._handshakes.take_early():
            try:
                self.sealed_heard(sealed, its, link)
            except WireError:  # as overlay.py has it
                self._core.counters["dropped: did not open"] += 1

    def denied(self, sender: PeerId, index: bytes) -> None:
        """It is said that `sender` does not talk to us."""
        self._handshakes.denied(sender, index)

    def keys_lost(self, sender: PeerId, index: bytes) -> None:
        """It is said that `sender` does not know our keys."""
        self._handshakes.lost(sender, index)

    # --- receiving ---------------------------------------------------------------------------------------------

    def sealed_heard(self, bundle: bytes, header: Header, arrived: LinkState) -> None:
        """Open a SEALED packet addressed to us and act on its records.

        Raises: WireError.
        """
        core = self._core
        index = bundle[header.body : header.body + 4]
        known = self._table.keys.get(index)
        if known is None or known[0].peer_id != header.sender:
            if self._handshakes.came_early(index, bundle[header.body : header.end], header, arrived):
                return
            core.counters["dropped: unknown session"] += 1
            if self._table.accepts(header.sender) and self._router.allow_notice():
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
                session.heard_first = session.heard_first or not session.solicited
            elif kind == Record.ACK:
                self._ack_heard(session, keys, plain[start:end])
            elif kind == Record.PING:
                session.alternate = 0  # they lost a way; this one came through
                self._router.adopt(header.sender, arrived)
                self._table.acknowledge(session, keys)
            elif kind in _OF_PATHS:
                self._events.path_heard(session, kind, plain[start:end], arrived)
            else:
                elicits = True
                self._record_heard(session, kind, plain[start:end])
        if elicits:
            self._owe_ack(session, header.end - header.body)

    def _opened(self, session: Session, keys: Keys, counter: int) -> None:
        """Note that packet `counter` of `keys` opened: they live."""
        if session.attempt is not None:
            self._handshakes.confirmed(session, keys)
        if session.state in SUSPECTED and keys is session.keys:
            session.move(Happening.HEARD)
        session.note_heard(keys, counter, self._core.now)

    def _record_heard(self, session: Session, kind: int, content: bytes) -> None:
        core = self._core
        if kind == Record.MESSAGE:
            session.heard_first = session.heard_first or not session.solicited
            core.effects.append(Message(session.peer_id, content))
        elif kind == Record.SEGMENT:
            session.heard_first = session.heard_first or not session.solicited
            if content[:1] in (b"\x04", b"\x06"):
                core.effects.append(Segment(session.peer_id, content[0], content[1:], session.address_conflict))
        elif kind == Record.REFUSED:
            port, source_port, _ = wire.split(content, 2, 2)
            core.effects.append(Refused(session.peer_id, int.from_bytes(port), int.from_bytes(source_port)))
        elif kind == Record.JOIN:
            self._events.join_heard(session.peer_id)
        elif kind == Record.CONNECT:
            self._events.connect_heard(session.peer_id, content)
        elif kind == Record.SIGNAL:
            self._events.signal_heard(session.peer_id, content)
        elif kind in (Record.ECHO, Record.ECHOED):
            self._events.probe_heard(session.peer_id, kind, content)
        else:
            core.counters["skipped: unknown record"] += 1

    def _ack_heard(self, session: Session, keys: Keys, content: bytes) -> None:
        if keys is session.keys and len(content) == 8:
            session.acknowledged(int.from_bytes(content), self._core.now)
            if session.room > 0:
                self._table.writable(session)

    # --- acknowledging -------------------------------------------------------------------------------------------

    def _owe_ack(self, session: Session, size: int) -> None:
        session.unacked += size
        if session.unacked >= ACK_EVERY:
            self._acknowledge(session)
        elif session.ack_timer is None:
            session.ack_timer = self._core.timers.at(
                Due.SESSION_ACK, self._core.now + ACK_DELAY, self._ack_due, session
            )

    def _ack_due(self, session: Session) -> None:
        session.ack_timer = None
        self._acknowledge(session)

    def _acknowledge(self, session: Session) -> None:
        if session.unacked and session.heard_under is not None:
            self._table.acknowledge(session, session.heard_under)

    # --- upkeep --------------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        core = self._core
        for session in list(self._table.by_id.values()):
            if core.now - session.idle_since > SESSION_IDLE + SESSION_GRACE and session.attempt is None:
                self._table.close(session)
            elif session.keys is not None and (
                session.keys.sealing.worn or core.now - session.keys.made_at > SESSION_REKEY
            ):
                self._handshakes.begin(session)
        self._handshakes.expire()
        core.timers.at(Due.SESSION_SWEEP, core.now + SESSION_IDLE / 4, self._sweep)
