"""Which relay the traffic of a pair takes: the best single one that both ends can measure.

Lives here: noticing traffic that lasts, what both ends tell each other of relays, trying one, choosing, leaving it
again. May not live here: what is known of one pair (path_pairs.py), how far relays are (round_trips.py), direct links
(direct.py), where a packet goes (the router asks for a link to the peer first, then for what is chosen here).

Law: traffic never waits for any of this, and stays where it was until another path has carried a question and its
answer. A list of round trips tells where a host is: it goes only to peers to which our program sent something.

How a pair comes to its relay::

    traffic that lasts     PATH_PACKETS packets, none PATH_GAP after the one before
      measure              ROUND_TRIPS_MEASURED relays by chance, once for all pairs
      ROUND_TRIPS ->       the nearest of them; the other end does as much, and measures those named, as we do
      TRY ->               over the relays with the least sum, of both ends' round trips, and over the way in use
      <- TRIED             the fastest that answered is chosen; the traffic moves

Both ends do this for what they send, from the same figures, and so mostly choose alike. A path "through R" means no
more than that packets leave by our link to R: R has a link to the peer, and passes them on as any other. If that link
goes, R finds another way, and nothing is lost.

What is chosen is left for another only for a clear gain (PATH_RATIO, PATH_GAIN, PATH_WINS), or when it falls silent
(liveness.py): then the traffic is back on the way that routing finds, and that relay is not chosen again for a while.
"""

from __future__ import annotations

from functools import partial
from math import inf
from typing import TYPE_CHECKING, Final

from ..address import ID_BYTES, PeerId
from ..codec import control
from ..codec import packet as wire
from ..codec.packet import Record
from ..limits import (
    MAX_BLAMED,
    MAX_PATHS,
    MAX_ROUND_TRIPS,
    PATH_AGAIN,
    PATH_ALIKE,
    PATH_BEGIN,
    PATH_BLAMED,
    PATH_GAIN,
    PATH_GAP,
    PATH_IDLE,
    PATH_LINKS,
    PATH_OFFERED,
    PATH_PACKETS,
    PATH_RATIO,
    PATH_TRIED,
    PATH_TRY_TIME,
    PATH_WINS,
    PATH_WORTH,
    make_room,
)
from .membership import Seeker
from .path_pairs import PathPair
from .timers import Due

if TYPE_CHECKING:
    from .core import Core
    from .link import LinkState
    from .links import Links
    from .membership import Membership
    from .round_trips import RoundTrips
    from .routing import Router
    from .session import Session
    from .session_table import SessionTable
    from .timers import Timer

_NONE: Final = bytes(ID_BYTES)
"""Stands for the way that routing finds, where a relay's id could be."""
_TRIES: Final = 3
_PATIENCE: Final = 3.0
"""Seconds from the beginning of a look until what both ends know has to do."""


class Paths:
    """The paths of one peer."""

    def __init__(
        self,
        core: Core,
        links: Links,
        router: Router,
        table: SessionTable,
        membership: Membership,
        round_trips: RoundTrips,
    ) -> None:
        self._core = core
        self._links = links
        self._router = router
        self._table = table
        self._membership = membership
        self._round_trips = round_trips
        self._pairs: dict[PeerId, PathPair] = {}
        """At most MAX_PATHS."""
        self._held: dict[PeerId, float] = {}
        """Relays to which a link is held, and until when; at most PATH_LINKS."""
        self._blamed: dict[PeerId, float] = {}
        """Relays that fell silent, and until when they are not chosen; at most MAX_BLAMED."""
        self._sweeper: Timer | None = None

    # --- traffic ---------------------------------------------------------------------------------------------

    def traffic(self, session: Session) -> None:
        """Something was sent in `session`: called when that begins, and then each SESSION_SILENCE or less often."""
        core, keys = self._core, session.keys
        if keys is None or session.peer_id in self._links.by_id:
            return
        pair = self._pairs.get(session.peer_id)
        if pair is None:
            if session.rtt is not None and session.rtt < PATH_WORTH:
                return
            pair = self._pair(session, keys.sealing.counter)
        elif core.now > pair.noticed_at + PATH_GAP:
            pair.packets = 0
        else:
            pair.packets += max(0, keys.sealing.counter - pair.counter)
        pair.counter = keys.sealing.counter
        pair.noticed_at = core.now
        if pair.timer is None and pair.began_at is None:
            pair.arm(core.timers.at(Due.PATH_BEGIN, core.now + PATH_BEGIN, self._look, pair))

    def _look(self, pair: PathPair) -> None:
        """See how much traffic there is; begin if it is enough."""
        session = self._table.get(pair.peer_id)
        pair.timer = None
        if session is None or session.keys is None:
            return
        sent = pair.packets + max(0, session.keys.sealing.counter - pair.counter)
        if sent >= PATH_PACKETS and session.solicited:
            self._begin(pair)

    def _pair(self, session: Session, counter: int = 0) -> PathPair:
        pair = self._pairs.get(session.peer_id)
        if pair is None:
            while len(self._pairs) >= MAX_PATHS:
                self._end(min(self._pairs.values(), key=lambda each: each.noticed_at))
            pair = self._pairs[session.peer_id] = PathPair(session.peer_id, counter, self._core.now)
            self._sweep_later()
        return pair

    def _end(self, pair: PathPair) -> None:
        """Leave the traffic of a pair to routing, and forget it."""
        pair.arm(None)
        self._router.choose(pair.peer_id, None)
        del self._pairs[pair.peer_id]

    def _may_show(self, session: Session) -> bool:
        """Return whether the other end may learn how far we are from relays."""
        return session.solicited or self._core.config.candidates != "auto"

    # --- what both ends tell -----------------------------------------------------------------------------------

    def _begin(self, pair: PathPair) -> None:
        pair.began_at = self._core.now
        self._round_trips.measure(pair.peer_id, partial(self._offer, pair))
        pair.arm(self._core.timers.at(Due.PATH_TRY, self._core.now + _PATIENCE, self._try, pair))

    def _is_current(self, pair: PathPair) -> bool:
        return self._pairs.get(pair.peer_id) is pair

    def _offer(self, pair: PathPair) -> None:
        """Tell the other end which relays are near, and how far those are that it named, if that is news to it."""
        session = self._table.get(pair.peer_id)
        if not self._is_current(pair) or session is None or session.keys is None or pair.peer_id in self._links.by_id:
            return
        ours = dict(self._round_trips.nearest(PATH_OFFERED))
        for peer_id in pair.theirs:
            seconds = self._round_trips.of(peer_id)
            if seconds is not None:
                ours[peer_id] = seconds
        offer = list(ours.items())[:MAX_ROUND_TRIPS]
        if {peer_id for peer_id, _ in offer} - {peer_id for peer_id, _ in pair.offered}:
            pair.offered = offer
            self._table.route(session, session.keys, wire.record(Record.ROUND_TRIPS, control.round_trips(offer)))
        self._settle(pair)

    def _settle(self, pair: PathPair) -> None:
        """Try relays as soon as both ends know how far those are that either named."""
        ours = {peer_id for peer_id, _ in pair.offered}
        if pair.began_at is not None and not pair.tried and ours and ours == pair.theirs.keys():
            self._try(pair)

    def _offered(self, session: Session, content: bytes) -> None:
        """The other end says how far relays are."""
        if not self._may_show(session) or session.peer_id in self._links.by_id:
            return
        pair = self._pair(session)
        pair.theirs = dict(control.read_round_trips(content))
        if not pair.offered and pair.began_at is None:
            pair.noticed_at = self._core.now
            self._begin(pair)
        named = [peer_id for peer_id, _ in sorted(pair.theirs.items(), key=lambda item: item[1])]
        named = [peer_id for peer_id in named if peer_id != self._core.peer_id and not self._is_blamed(peer_id)]
        self._round_trips.measure(pair.peer_id, partial(self._offer, pair), named[: 2 * PATH_OFFERED])

    def heard(self, session: Session, kind: int, content: bytes, arrived: LinkState) -> None:
        """Take a ROUND_TRIPS, TRY or TRIED record of a peer.

        Raises: PacketError.
        """
        if kind == Record.ROUND_TRIPS:
            self._offered(session, content)
        elif kind == Record.TRY:
            self._asked(session, content)
        else:
            self._answered(session, content, arrived)

    # --- trying ------------------------------------------------------------------------------------------------

    def _best(self, pair: PathPair) -> list[PeerId]:
        """Return the relays that both ends measured, least sum first."""
        sums = []
        for peer_id, seconds in pair.theirs.items():
            ours = self._round_trips.of(peer_id)
            if ours is not None and peer_id != pair.peer_id and not self._is_blamed(peer_id):
                sums.append((ours + seconds, peer_id))
        return [peer_id for _, peer_id in sorted(sums)]

    def _try(self, pair: PathPair) -> None:
        """Try the best relays, and the way in use beside them."""
        pair.trials.clear()
        pair.answered.clear()
        pair.tried = [pair.chosen or _NONE]
        for peer_id in self._best(pair)[:PATH_TRIED]:
            if peer_id not in pair.tried and self._hold(peer_id):
                pair.tried.append(peer_id)
        self._say(pair, _TRIES)

    def _say(self, pair: PathPair, tries: int) -> None:
        """Ask by each way that has not answered, and again after a while."""
        core = self._core
        if not tries or len(pair.answered) == len(pair.tried):
            self._judge(pair)
            return
        session = self._table.get(pair.peer_id)
        if session is None or session.keys is None or pair.peer_id in self._links.by_id:
            self._rest(pair)
            return
        for relay in pair.tried:
            if relay in pair.answered:
                continue
            link = self._links.by_id.get(relay)
            if relay == _NONE or link is not None:
                token = core.entropy(wire.TRY_TOKEN)
                pair.trials[token] = relay, core.now
                self._table.route(session, session.keys, wire.record(Record.TRY, token + relay), link)
        pair.arm(core.timers.at(Due.PATH_TRY, core.now + PATH_TRY_TIME / _TRIES, self._say, pair, tries - 1))

    def _asked(self, session: Session, content: bytes) -> None:
        """The other end tries a path: answer by the relay that it names, and hold a link to that."""
        token, relay, _ = wire.split(content, wire.TRY_TOKEN, ID_BYTES)
        keys, link = session.keys, None
        if keys is None:
            return
        if relay != _NONE:
            if not self._may_show(session) or not self._hold(relay):
                return
            link = self._links.by_id.get(relay)
            if link is None:
                return  # it is dialled, and the question will be repeated
        self._table.route(session, keys, wire.record(Record.TRIED, token), link)

    def _answered(self, session: Session, content: bytes, arrived: LinkState) -> None:
        """A path that we tried carries, both ways."""
        token, _ = wire.split(content, wire.TRY_TOKEN)
        pair = self._pairs.get(session.peer_id)
        relay, said_at = (_NONE, 0.0) if pair is None else pair.trials.pop(token, (_NONE, 0.0))
        if pair is None or not said_at or (relay != _NONE and self._links.by_id.get(relay) is not arrived):
            return  # also by a link that we part from
        pair.answered[relay] = min(pair.answered.get(relay, inf), self._core.now - said_at)
        if pair.suspect is not None and relay != pair.suspect:
            make_room(self._blamed, MAX_BLAMED)
            self._blamed[pair.suspect] = self._core.now + PATH_BLAMED
            pair.suspect = None
        if len(pair.answered) == len(pair.tried):
            self._judge(pair)

    # --- choosing ----------------------------------------------------------------------------------------------

    def _judge(self, pair: PathPair) -> None:
        """Choose by what was measured."""
        session = self._table.get(pair.peer_id)
        before = pair.answered.get(pair.chosen or _NONE, inf)
        best = min((relay for relay in pair.answered if relay != _NONE), key=lambda r: pair.answered[r], default=None)
        if session is not None and pair.chosen is not None and before == inf:
            self._leave(pair, session)
        if session is not None and best is not None and best != pair.chosen:
            now = pair.answered[best]
            if pair.chosen is None:
                if now <= PATH_ALIKE * before:  # it may be the way in use, which changes as links come and go
                    self._choose(pair, session, self._one_of_the_best(pair, now))
            elif now <= PATH_RATIO * before and now <= before - PATH_GAIN:
                pair.wins = pair.wins + 1 if pair.rival == best else 1
                pair.rival = best
                if pair.wins >= PATH_WINS:
                    self._choose(pair, session, best)
            else:
                pair.wins = 0
        else:
            pair.wins = 0
        if session is not None and pair.chosen in pair.answered:
            session.rtt = pair.answered[pair.chosen]
        self._rest(pair)

    def _one_of_the_best(self, pair: PathPair, fastest: float) -> PeerId:
        """Return one of the relays that are about as fast as the fastest, or the most central ones would carry all: of
        two, which are others for each pair and alike at both ends, the one that said it has less to do. A relay that
        says less than is true gains no more than what those as near as itself would carry."""
        key = self._core.number ^ int.from_bytes(pair.peer_id)
        alike = [relay for relay, took in pair.answered.items() if relay != _NONE and took <= PATH_ALIKE * fastest]
        two = sorted(alike, key=lambda relay: key ^ int.from_bytes(relay))[:2]
        return min(two, key=lambda relay: self._links.by_id[relay].load)

    def _choose(self, pair: PathPair, session: Session, relay: PeerId) -> None:
        core = self._core
        if pair.chosen is None:
            core.counters["paths chosen"] += 1
        else:
            core.counters["paths changed"] += 1
        core.note(10, f"{pair.peer_id.hex()[:8]} is reached through {relay.hex()[:8]} now")
        pair.chosen, pair.rival, pair.wins = relay, None, 0
        session.alternate = 0
        self._router.choose(pair.peer_id, self._links.by_id[relay])

    def _leave(self, pair: PathPair, session: Session) -> None:
        """What was chosen carries no more: let routing find a way."""
        self._core.counters["paths left"] += 1
        pair.suspect, pair.chosen = pair.chosen, None
        self._router.choose(session.peer_id, None)

    def _rest(self, pair: PathPair) -> None:
        """Measure again after a while, if the traffic lasts."""
        core = self._core
        pair.tried = []
        pair.trials.clear()
        if pair.chosen is not None:
            self._hold(pair.chosen)
        wait = PATH_AGAIN * (0.75 + 0.5 * core.random.random()) / (PATH_WINS if pair.wins else 1)
        pair.arm(core.timers.at(Due.PATH_AGAIN, core.now + wait, self._again, pair))

    def _again(self, pair: PathPair) -> None:
        pair.timer = None
        session = self._table.get(pair.peer_id)
        if session is None or session.keys is None or self._core.now > pair.noticed_at + PATH_GAP + PATH_AGAIN:
            pair.began_at = None
            pair.packets = 0
            return
        if not pair.theirs:  # it said nothing so far
            pair.offered = []
            self._begin(pair)
        else:
            self._try(pair)

    # --- what happened -----------------------------------------------------------------------------------------

    def silent(self, session: Session) -> None:
        """Nothing is heard in `session`, or nothing of what was sent arrives."""
        pair = self._pairs.get(session.peer_id)
        if pair is not None and pair.chosen is not None:
            self._leave(pair, session)
            if not pair.tried:
                self._try(pair)

    def link_down(self, link: LinkState) -> None:
        """A relay is gone: the router has forgotten it, and what it answered counts no more."""
        for pair in self._pairs.values():
            pair.answered.pop(link.peer_id, None)
            if pair.chosen == link.peer_id:
                pair.chosen = None

    # --- links that are held -------------------------------------------------------------------------------------

    def _is_blamed(self, relay: PeerId) -> bool:
        return self._blamed.get(relay, 0.0) > self._core.now

    def _hold(self, relay: PeerId) -> bool:
        """Be linked to `relay` for a while; return whether there is room for that."""
        if relay not in self._held:
            if len(self._held) >= PATH_LINKS or relay == self._core.peer_id:
                return relay in self._links.by_id
            self._membership.seek(relay, Seeker.PATH)
            self._sweep_later()
        self._held[relay] = self._core.now + PATH_IDLE
        return True

    def _sweep_later(self) -> None:
        if self._sweeper is None:
            self._sweeper = self._core.timers.at(Due.PATH_SWEEP, self._core.now + PATH_IDLE / 2, self._sweep)

    def _sweep(self) -> None:
        """Let go of links that no pair needs any more, and of pairs without traffic."""
        now = self._core.now
        self._sweeper = None
        for pair in [each for each in self._pairs.values() if now > each.noticed_at + PATH_IDLE]:
            self._end(pair)
        for relay in [each for each, until in self._held.items() if now > until]:
            del self._held[relay]
            self._membership.unseek(relay, Seeker.PATH)
        self._membership.review()
        if self._held or self._pairs:
            self._sweep_later()
