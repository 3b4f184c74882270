"""Noticing that a path went silent, and what is done about it.

Lives here: when something should have been heard, the probes, the change of way. May not live here: what was heard
(sessions.py), ways (routing.py).

Law: SESSION_SILENCE seconds of sending without hearing anything move a session to the next disjoint way,
SESSION_STRIKES more probes, SESSION_PROBE apart, to a new handshake. Packets that are not acknowledged SESSION_SILENCE
after the last progress are lost, and no longer in flight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..codec import packet as wire
from ..codec.packet import Record
from ..limits import SESSION_PROBE, SESSION_SILENCE, SESSION_STRIKES

if TYPE_CHECKING:
    from .core import Core
    from .session import Session
    from .sessions import Sessions


class Silence:
    """Watches over all sessions of one peer that sent something."""

    def __init__(self, core: Core, sessions: Sessions) -> None:
        self._core = core
        self._sessions = sessions

    def expect(self, session: Session) -> None:
        """From now on we expect to hear something."""
        now = self._core.now
        session.silent_since = now
        if session.silence is None:
            session.silence = self._core.timers.at(now + SESSION_SILENCE, self._check, session)

    def _check(self, session: Session) -> None:
        core, sessions = self._core, self._sessions
        session.silence = None
        if session.silent_since is None or session.keys is None:
            return
        due = session.silent_since + SESSION_SILENCE + session.strikes * SESSION_PROBE
        lost = session.acked_at + SESSION_SILENCE if session.flights else due
        if core.now < min(due, lost):
            session.silence = core.timers.at(min(due, lost), self._check, session)
            return
        session.forget_flights()
        sessions.writable(session)
        if core.now < due:  # they talk, but say nothing of these packets: lost, or their acknowledgement was
            core.counters["gave up packets in flight"] += 1
            session.silent_since = core.now
            wait = SESSION_SILENCE
        elif session.strikes >= SESSION_STRIKES:
            session.silent_since = None
            session.strikes = 0
            session.doubted = True
            sessions.handshakes.begin(session)
            return
        else:
            session.strikes += 1
            session.variant = (session.variant + 1) % wire.VARIANTS
            if session.strikes > 1:
                sessions.look_for(session)
            wait = SESSION_PROBE
        sessions.route(session, session.keys, wire.record(Record.PING))
        session.silence = core.timers.at(core.now + wait, self._check, session)
