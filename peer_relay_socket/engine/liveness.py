"""Noticing that a path went silent, and what is done about it.

Lives here: when something should have been heard, the probes, the change of way. May not live here: what was heard
(sessions.py), ways (routing.py).

Law: SESSION_SILENCE seconds of sending without hearing anything move a session to the next disjoint way,
SESSION_MISSED_PROBES more probes, SESSION_PROBE apart, to a new handshake. Packets that are not acknowledged
SESSION_SILENCE after the last progress are lost, and no longer in flight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ..codec import packet as wire
from ..codec.packet import Record
from ..limits import SESSION_MISSED_PROBES, SESSION_PROBE, SESSION_SILENCE
from .session import Happening
from .timers import Due

if TYPE_CHECKING:
    from .core import Core
    from .handshakes import Handshakes
    from .session import Session
    from .session_table import SessionTable


class Watcher(Protocol):
    """What the owner of the sessions is told."""

    def traffic(self, session: Session) -> None:
        """Something was sent; told when that begins, and while it lasts each SESSION_SILENCE or less often."""

    def silent(self, session: Session) -> None:
        """Nothing is heard, or nothing of what was sent arrives: another way is tried."""


class Liveness:
    """Watches over all sessions of one peer that sent something."""

    def __init__(self, core: Core, table: SessionTable, handshakes: Handshakes, watcher: Watcher) -> None:
        self._core = core
        self._table = table
        self._handshakes = handshakes
        self._watcher = watcher

    def expect(self, session: Session) -> None:
        """From now on we expect to hear something."""
        now = self._core.now
        session.silent_since = now
        if session.liveness_timer is None:
            self._watcher.traffic(session)
            session.liveness_timer = self._core.timers.at(
                Due.SESSION_SILENCE, now + SESSION_SILENCE, self._check, session
            )

    def _check(self, session: Session) -> None:
        core, table = self._core, self._table
        session.liveness_timer = None
        if session.silent_since is None or session.keys is None:
            return
        self._watcher.traffic(session)
        due = session.silent_since + SESSION_SILENCE + session.missed_probes * SESSION_PROBE
        lost = session.acked_at + SESSION_SILENCE if session.flights else due
        if core.now < min(due, lost):
            session.liveness_timer = core.timers.at(Due.SESSION_SILENCE, min(due, lost), self._check, session)
            return
        session.forget_flights()
        table.writable(session)
        self._watcher.silent(session)
        if core.now < due:  # they talk, but say nothing of these packets: lost, or their acknowledgement was
            core.counters["gave up packets in flight"] += 1
            session.silent_since = core.now
            wait = SESSION_SILENCE
        elif session.missed_probes >= SESSION_MISSED_PROBES:
            session.silent_since = None
            session.missed_probes = 0
            if session.attempt is None or not session.attempt.handshake.complete:
                session.move(Happening.DOUBTED)
            self._handshakes.begin(session)
            return
        else:
            session.missed_probes += 1
            session.alternate = (session.alternate + 1) % wire.ALTERNATES
            if session.missed_probes > 1:
                table.look_for(session)
            wait = SESSION_PROBE
        table.route(session, session.keys, wire.record(Record.PING))
        session.liveness_timer = core.timers.at(Due.SESSION_SILENCE, core.now + wait, self._check, session)
