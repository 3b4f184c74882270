"""All sessions of one peer, by peer and by key: what sealing, handshakes and liveness have in common.

Lives here: which sessions there are, whose keys receive, sealing one packet, which flows wait for room. May not live
here: when any of that is done (sessions.py, handshakes.py, liveness.py).

Law: every session and every key that receives is in here, and nowhere else.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from ..address import PeerId
from ..codec import packet as wire
from ..codec.packet import Record
from ..errors import SealError
from ..limits import MAX_SESSIONS
from .effects import Writable
from .pending import Pending
from .session import Happening, Keys, Session

if TYPE_CHECKING:
    from .address_claims import AddressClaims
    from .core import Core
    from .link import LinkState
    from .routing import Router
    from .searches import Searches

_REDISCOVER: Final = 2.0
"""Seconds between floods for one peer."""
_OLD_KEYS: Final = 2
"""Generations of keys that still receive besides the current one."""
_EVICTION_SAMPLE: Final = 32
"""Sessions looked at to find one to forget when there are too many: bounded work, and nearly the longest idle."""


class SessionTable:
    """The sessions and keys of one peer."""

    def __init__(self, core: Core, router: Router, searches: Searches, claims: AddressClaims) -> None:
        self._core = core
        self._router = router
        self._searches = searches
        self._claims = claims
        self.by_id: dict[PeerId, Session] = {}
        """At most MAX_SESSIONS. Others only look."""
        self.keys: dict[bytes, tuple[Session, Keys]] = {}
        """The keys that receive, by our index. Others only look."""
        self._strangers: dict[PeerId, Session] = {}
        """Those that the program has sent nothing, the oldest first: forgotten before all others."""
        self.waiting: dict[PeerId, Session] = {}
        """Those with a handshake under way, or records that wait. Others only look."""
        self.pending = Pending(core, self._pending_expired)
        self._blocked: dict[PeerId, Session] = {}
        """Those whose senders were told that there is no room."""

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
            session = self.by_id[peer_id] = self._strangers[peer_id] = Session(peer_id, self._core.now)
        return session

    def solicit(self, session: Session) -> None:
        """The program sent something to `session`: it is no stranger."""
        if not session.solicited:
            session.solicited = True
            self._strangers.pop(session.peer_id, None)
            self._claims.solicit(session.peer_id)

    def _evict(self) -> None:
        """Forget the longest idle of the next few strangers, or, where there is none, of the next few; the others go to
        the end of the queue."""
        table = self._strangers or self.by_id
        sample = list(islice(table.values(), _EVICTION_SAMPLE))
        victim = min(sample, key=lambda session: session.idle_since)
        for session in sample:
            if session is not victim:
                table[session.peer_id] = table.pop(session.peer_id)
        self._core.counters["sessions forgotten: too many"] += 1
        self.close(victim)

    def close(self, session: Session) -> None:
        """Forget a session and its keys."""
        for timer in (session.ack_timer, session.liveness_timer):
            if timer is not None:
                timer.cancel()
        self.end_attempt(session, Happening.CLOSED)
        self.pending.drop(session)
        for keys in [session.keys, *session.older]:
            if keys is not None:
                self.forget_keys(keys)
        session.keys = None
        session.older = []
        session.silent_since = None
        if self.by_id.get(session.peer_id) is session:
            for table in (self.by_id, self._strangers, self.waiting):
                table.pop(session.peer_id, None)
        self.writable(session)

    def note_waiting(self, session: Session) -> None:
        """A handshake began or ended, or records came to wait or left."""
        if session.attempt is not None or session.pending:
            self.waiting[session.peer_id] = session
        else:
            self.waiting.pop(session.peer_id, None)

    def _pending_expired(self, session: Session) -> None:
        self.note_waiting(session)
        self.writable(session)

    def peer_unreachable(self, peer_id: PeerId) -> None:
        """`peer_id` does not answer: its address may be another peer's, which has a session."""
        owner = self._claims.release(peer_id)
        session = None if owner is None else self.by_id.get(owner)
        if session is not None:
            session.address_conflict = False

    def address_settled(self, claimants: list[PeerId]) -> None:
        """One of `claimants` has their IPv4 address from now on, and the others have not."""
        for peer_id in claimants:
            session = self.by_id.get(peer_id)
            if session is not None:
                session.address_conflict = self._claims.is_anothers(peer_id)

    def accepts(self, peer_id: PeerId) -> bool:
        """Return whether we talk to `peer_id` at all."""
        may_talk = self._core.config.may_talk
        return may_talk is None or may_talk(peer_id)

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
        self._core.handshakes["session agreed"] += 1
        if session.keys is None:
            session.address_conflict = self._claims.claim(session.peer_id)
        else:
            session.older.append(session.keys)
        while len(session.older) > _OLD_KEYS:
            self.forget_keys(session.older.pop(0))
        session.keys = keys
        session.surrendered = session.denied = False
        self.keys[keys.local] = (session, keys)
        session.forget_flights()
        session.silent_since = None
        session.missed_probes = 0
        session.unacked = 0
        session.idle_since = self._core.now

    def end_attempt(self, session: Session, happening: Happening) -> None:
        """The handshake that we began with `session` is over, or of no use."""
        attempt, session.attempt = session.attempt, None
        if attempt is not None:
            if attempt.timer is not None:
                attempt.timer.cancel()
            if attempt.keys is not None:
                self.forget_keys(attempt.keys)
            self.note_waiting(session)
        session.move(happening)

    # --- packets -----------------------------------------------------------------------------------------------

    def route(self, session: Session, keys: Keys, plain: bytes, link: LinkState | None = None) -> None:
        """Seal one packet and send it on its way, or by `link`, a relay's."""
        core = self._core
        session.idle_since = core.now
        try:
            sealed = keys.sealing.seal(plain)
        except SealError:  # new keys were asked for long ago and the other side never answered
            core.counters["dropped: keys worn out"] += 1
            return
        alternate = 0 if link is not None else session.alternate
        data = wire.sealed(session.peer_id, core.peer_id, keys.remote, sealed, alternate)
        if link is not None:
            self._router.send_by(link, data, session.peer_id)
        elif not self._router.send(data, session.peer_id, alternate):
            session.alternate = 0  # a way that a search finds is alternate 0's
            self.look_for(session)

    def acknowledge(self, session: Session, keys: Keys) -> None:
        """Say how far we are, under the keys by which the other side sends."""
        session.unacked = 0
        self.route(session, keys, wire.record(Record.ACK, keys.highest.to_bytes(8)))

    def look_for(self, session: Session) -> None:
        """Search the network for the other side, unless we just did."""
        core = self._core
        if core.now >= session.refound + _REDISCOVER or not session.refound:
            session.refound = core.now
            self._searches.discover(session.peer_id)

    # --- room --------------------------------------------------------------------------------------------------

    def block(self, session: Session) -> None:
        """A sender was told that there is no room: `writable` will say when there is."""
        session.blocked = True
        self._blocked[session.peer_id] = session

    def writable(self, session: Session) -> None:
        """There is room again: tell the senders that were told that there is none."""
        if session.blocked:
            session.blocked = False
            self._blocked.pop(session.peer_id, None)
            self._core.effects.append(Writable(session.peer_id))

    def unblock(self) -> None:
        """A link takes bundles again, or went: senders that were told to wait may look again."""
        for session in list(self._blocked.values()):
            self.writable(session)
