"""What waits until there are keys, or a network at all.

Lives here: records that cannot be sealed yet, how many there may be and for how long. May not live here: sealing
(sessions.py).

Law: PENDING_BYTES for one peer, PENDING_TOTAL for all, PENDING_TIME for each; what is beyond is dropped and counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..limits import PACKET_TARGET, PENDING_BYTES, PENDING_TIME, PENDING_TOTAL
from .timers import Due

if TYPE_CHECKING:
    from .core import Core
    from .session import Session

TOO_MUCH: Final = "dropped: too much waits for this peer"


class Pending:
    """The records of all sessions that wait."""

    def __init__(self, core: Core, freed: Callable[[Session], None]) -> None:
        """Args: freed: called when a session that could take no more may take some again."""
        self._core = core
        self._freed = freed
        self.total = 0
        """Bytes, of all sessions."""

    def add(self, session: Session, record: bytes) -> None:
        """Keep one record."""
        core = self._core
        too_much = session.pending_size + len(record) > PENDING_BYTES + PACKET_TARGET
        if too_much or self.total > PENDING_TOTAL:
            core.counters[TOO_MUCH] += 1
            return
        if session.pending_timer is None:
            session.pending_timer = core.timers.at(Due.SESSION_PENDING, core.now + PENDING_TIME, self._expire, session)
        session.pending.append((core.now + PENDING_TIME, record))
        session.pending_size += len(record)
        self.total += len(record)

    def make_room(self, session: Session, size: int) -> None:
        """Drop the oldest records of `session`, until `size` bytes may be added."""
        while session.pending and session.pending_size + size > PENDING_BYTES:
            _, record = session.pending.popleft()
            session.pending_size -= len(record)
            self.total -= len(record)
            self._core.counters[TOO_MUCH] += 1

    def take(self, session: Session) -> list[bytes]:
        """Return what is still worth sending, and forget it all."""
        now = self._core.now
        records = [record for expires, record in session.pending if expires > now]
        late = len(session.pending) - len(records)
        if late:
            self._core.counters["dropped: waited too long"] += late
        self.drop(session)
        return records

    def drop(self, session: Session) -> None:
        """Forget it all."""
        self.total -= session.pending_size
        session.pending.clear()
        session.pending_size = 0
        if session.pending_timer is not None:
            session.pending_timer.cancel()
            session.pending_timer = None

    def _expire(self, session: Session) -> None:
        """Drop what has waited PENDING_TIME; flows that could not send meanwhile may now."""
        core = self._core
        session.pending_timer = None
        pending = session.pending
        while pending and pending[0][0] <= core.now:
            _, record = pending.popleft()
            session.pending_size -= len(record)
            self.total -= len(record)
            core.counters["dropped: waited too long"] += 1
        if pending:
            session.pending_timer = core.timers.at(Due.SESSION_PENDING, pending[0][0], self._expire, session)
        if session.pending_size < PENDING_BYTES:
            self._freed(session)
