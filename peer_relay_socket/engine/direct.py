"""Direct paths: when two peers that talk through a relay should try without, and what became of it.

Lives here: noticing sustained traffic, what programs wish, the order of attempts, back-off, giving up links that idle.
May not live here: how a WebRTC attempt goes and which addresses it shows (signalling.py), connections (transport),
which link a packet takes (the router prefers the link to a peer, so that traffic moves by itself when one comes up and
falls back by itself when it goes).

A program may also ask for a link outright (`want`): the attempt begins when the other side was told of the wish, which
lifts what its program may have forbidden before, and is repeated until there is a link or the program ends the wish.
Such a link is not let go when it idles, by either side.

Law: traffic never waits for any of this. An attempt costs a bounded time and ends in a link that is up or in a reason;
a pair that fails is left alone for longer each time.

One attempt::

    traffic >= DIRECT_PACKETS or DIRECT_BYTES within DIRECT_WINDOW
      dialling    the other is looked for and dialled over WebSocket; one of ours that serves also asks it to dial us
      describing, signalled, connecting: an attempt by WebRTC (signalling.py)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from ..address import PeerId
from ..codec import packet as wire
from ..codec.packet import LinkOp, Record
from ..limits import (
    DIRECT_ATTEMPT_TIME,
    DIRECT_BYTES,
    DIRECT_DIAL_TIME,
    DIRECT_FIND_TIME,
    DIRECT_IDLE,
    DIRECT_PACKETS,
    DIRECT_RETRY_FIRST,
    DIRECT_RETRY_MAX,
    DIRECT_STEADY,
    DIRECT_WANTED_MAX,
    DIRECT_WINDOW,
)
from .direct_pairs import DISCONNECTED, NOTHING_TRIED, WEBRTC_OFF, Pair, Pairs, Stage
from .effects import ConnectFailed
from .membership import Seeker
from .signalling import Signalling
from .timers import Due

if TYPE_CHECKING:
    from .core import Core
    from .link import Carrier, LinkState
    from .links import Links
    from .membership import Membership
    from .routing import Router
    from .session_table import SessionTable
    from .sessions import Sessions

_GROWTH: Final = 3.0
_DISCONNECTED_THERE: Final = "the other side's program disconnected it"


class Path(NamedTuple):
    """How a peer is reached."""

    reached: Literal["direct", "relayed", "own", "unknown"]
    """"direct", "relayed", "own" (this very peer) or "unknown" (nothing is exchanged with it)."""
    transport: Carrier | None
    """What carries the first hop: "websocket" or "webrtc"."""
    via: PeerId | None
    """The relay that takes the first hop; None unless relayed."""
    since: float | None
    """When that began, in seconds since the epoch."""
    rtt: float | None
    """Seconds to the peer and back when last measured."""
    why_not_direct: str | None
    """None while it is reached directly."""
    turn: str | None = None
    """IP address of the TURN server through which a WebRTC link goes; no peer is in between all the same."""


class Direct:
    """The direct paths of one peer, tried and to be tried."""

    def __init__(
        self, core: Core, links: Links, router: Router, table: SessionTable, sessions: Sessions, membership: Membership
    ) -> None:
        self._core = core
        self._links = links
        self._router = router
        self._table = table
        self._sessions = sessions
        self._membership = membership
        self._pairs = Pairs(core)
        self._wanted: dict[PeerId, Pair] = {}
        """Pairs with a wish of our program's."""
        parts = (links, router, table, sessions, membership)
        self.signalling = Signalling(core, *parts, self._pairs, self._fail)

    # --- when to try ---------------------------------------------------------------------------------------------

    def traffic(self, peer_id: PeerId, size: int) -> None:
        """A packet of `size` bytes is about to leave for `peer_id`."""
        if not self._core.config.direct or peer_id in self._links.by_id:
            return
        pair = self._pairs.get(peer_id) or self._pairs.of(peer_id)
        now = self._core.now
        if pair.stage is not Stage.IDLE or now < pair.not_before:
            return
        if now >= pair.window_end:
            pair.window_end = now + DIRECT_WINDOW
            pair.packets = pair.bytes = 0
        pair.packets += 1
        pair.bytes += size
        if pair.wish or pair.packets >= DIRECT_PACKETS or pair.bytes >= DIRECT_BYTES:
            pair.window_end = 0.0
            pair.stage = Stage.DIALLING
            pair.stop_timers()
            pair.timer = self._core.timers.at(
                Due.DIRECT_BEGIN, now, self._dial, pair
            )  # later: we are amid the sending of a packet

    def counting(self, peer_id: PeerId) -> tuple[Pair | None, float] | None:
        """Return where datagrams to `peer_id` are counted one by one, None for nowhere, and until when that holds; None
        where there is more to do than to count."""
        if not self._core.config.direct or peer_id in self._links.by_id:
            return None, math.inf
        pair = self._pairs.get(peer_id)
        now = self._core.now
        if pair is None or (pair.stage is Stage.IDLE and now >= pair.not_before and pair.wish):
            return None
        if pair.stage is not Stage.IDLE:
            return None, math.inf
        return (None, pair.not_before) if now < pair.not_before else (pair, pair.window_end)

    # --- what programs ask for -----------------------------------------------------------------------------------

    def want(self, peer_id: PeerId) -> None:
        """The program asks for a link to `peer_id`."""
        core = self._core
        known = self._membership.want(peer_id)
        if not core.config.direct:
            if core.config.serves and not known:
                self._sessions.send(peer_id, wire.record(Record.JOIN))
            return
        pair = self._wanted[peer_id] = self._pairs.of(peer_id)
        pair.wish = core.entropy(8)
        pair.failures = 0
        pair.not_before = 0.0
        pair.last_reason = ""
        self._ask(pair)

    def _ask(self, pair: Pair) -> None:
        """Tell the other side of the wish; the attempt begins as that leaves (`traffic`), thus when there are keys."""
        if pair.stage is Stage.IDLE and pair.peer_id not in self._links.by_id:
            pair.stop_timers()
            pair.reason = "nothing was heard from it so far"
            pair.timer = self._core.timers.at(
                Due.DIRECT_OVER, self._core.now + DIRECT_ATTEMPT_TIME, self._fail, pair, "nothing was heard from it"
            )
        self._sessions.send(pair.peer_id, wire.record(Record.CONNECT, pair.wish))
        self._sessions.solicit(pair.peer_id)

    def unwant(self, peer_id: PeerId) -> None:
        """The program wants no link to `peer_id` any more."""
        self._end_wishes(peer_id, DISCONNECTED)

    def surrendered(self, peer_id: PeerId) -> None:
        """`peer_id` has no key, so that there can be no link of ours."""
        self._end_wishes(peer_id, NOTHING_TRIED)

    def _end_wishes(self, peer_id: PeerId, reason: str) -> None:
        self._wanted.pop(peer_id, None)
        pair = self._pairs.get(peer_id)
        if pair is None:
            return
        pair.wish = b""
        pair.refused, pair.their_wish = pair.their_wish, b""
        if pair.stage is not Stage.IDLE or pair.timer is not None:
            self.signalling.end(pair)
            pair.unseek(self._membership)
        pair.reason = reason

    def asked_for(self, peer_id: PeerId, token: bytes) -> None:
        """The program of `peer_id` asks for a link to us."""
        if not self._core.config.direct or not token:
            return
        pair = self._pairs.of(peer_id)
        if token[:8] == pair.refused:
            return
        pair.their_wish = token[:8]
        self._membership.unblock(peer_id)
        if pair.reason in (DISCONNECTED, _DISCONNECTED_THERE):
            pair.reason = NOTHING_TRIED

    # --- WebSocket first -----------------------------------------------------------------------------------------

    def _dial(self, pair: Pair) -> None:
        core = self._core
        if self._membership.is_blocked(pair.peer_id):
            self._fail(pair, DISCONNECTED)
            return
        known = self._membership.seek(pair.peer_id, Seeker.DIRECT)
        pair.asked = True
        if core.config.serves and not known:
            self._sessions.send(pair.peer_id, wire.record(Record.JOIN))
        patience = DIRECT_DIAL_TIME if known or core.config.serves else DIRECT_FIND_TIME
        pair.timer = core.timers.at(Due.DIRECT_DIALLED, core.now + patience, self._not_dialled, pair)

    def _not_dialled(self, pair: Pair) -> None:
        pair.unseek(self._membership)
        self.signalling.offer(pair)

    # --- what comes of it ----------------------------------------------------------------------------------------

    def _fail(self, pair: Pair, reason: str) -> None:
        core = self._core
        self.signalling.end(pair)
        pair.unseek(self._membership)
        pair.reason = reason
        core.counters["direct attempts failed"] += 1
        if pair.wish and pair.last_reason != reason:
            pair.last_reason = reason
            core.effects.append(ConnectFailed(pair.peer_id, reason))
        else:
            core.note(10, f"no direct path to {pair.peer_id.hex()[:8]}: {reason}")
        self._back_off(pair)

    def _back_off(self, pair: Pair) -> None:
        core = self._core
        longest = DIRECT_WANTED_MAX if pair.wish else DIRECT_RETRY_MAX
        wait = min(longest, DIRECT_RETRY_FIRST * _GROWTH ** min(pair.failures, 10))
        pair.failures += 1
        pair.not_before = core.now + wait * (0.5 + 0.5 * core.random.random())
        pair.window_end = 0.0
        self._ask_later(pair)

    def _ask_later(self, pair: Pair) -> None:
        if pair.wish:
            pair.timer = self._core.timers.at(Due.DIRECT_RETRY, pair.not_before, self._ask, pair)

    def link_up(self, link: LinkState) -> None:
        """A link to a peer is up, whichever end wanted it."""
        if len(self._links.by_id) == 1:  # the network is there: pairs that wait for it need not wait longer
            for wanted in list(self._wanted.values()):
                if wanted.stage is Stage.IDLE and wanted.peer_id != link.peer_id:
                    wanted.not_before = 0.0
                    self._ask(wanted)
        pair = self._pairs.get(link.peer_id)
        if pair is None and not link.direct:
            return
        if pair is None:
            pair = self._pairs.of(link.peer_id)
        self.signalling.end(pair, linked=link.direct)
        if link.direct or pair.asked:
            pair.timer = self._core.timers.at(
                Due.DIRECT_IDLE, self._core.now + DIRECT_IDLE / 4, self._watch, pair, link
            )

    def _watch(self, pair: Pair, link: LinkState) -> None:
        """Let go of a link that we made for traffic which has ended."""
        core = self._core
        if self._links.by_id.get(pair.peer_id) is not link:
            return
        if pair.wish or pair.their_wish or core.now - self._last_used(pair.peer_id) < DIRECT_IDLE:
            pair.timer = core.timers.at(Due.DIRECT_IDLE, core.now + DIRECT_IDLE / 4, self._watch, pair, link)
            return
        pair.unseek(self._membership)
        if link.direct:
            pair.reason = NOTHING_TRIED
            self._links.tell(link, LinkOp.GOODBYE)
            self._links.drop(link, "idle")

    def link_down(self, link: LinkState) -> None:
        """A link that was up is gone."""
        pair = self._pairs.get(link.peer_id)
        if pair is None:
            return
        core = self._core
        pair.relayed_since = core.now
        if link.peer_id in self._links.by_id:  # superseded by a newer one
            return
        if link.ended_by_program:
            self._end_wishes(link.peer_id, _DISCONNECTED_THERE)
            return
        pair.their_wish = b""
        pair.unseek(self._membership)
        if pair.stage is Stage.IDLE:
            pair.stop_timers()
            if pair.reason != NOTHING_TRIED or core.now - self._last_used(pair.peer_id) < DIRECT_IDLE:
                pair.reason = "the direct link was lost"
            if core.now - link.opened_at >= DIRECT_STEADY:
                pair.failures = 0
                pair.not_before = core.now + 1.0 + core.random.random()
                self._ask_later(pair)
            else:
                self._back_off(pair)

    def _last_used(self, peer_id: PeerId) -> float:
        session = self._table.get(peer_id)
        return 0.0 if session is None else session.idle_since

    # --- telling -------------------------------------------------------------------------------------------------

    def path(self, peer_id: PeerId) -> tuple[Path, int]:
        """Return how `peer_id` is reached (`since` in the engine's time), and the number of the first link, or 0."""
        if peer_id == self._core.peer_id:
            return Path("own", None, None, None, 0.0, None), 0
        link = self._links.by_id.get(peer_id)
        session = self._table.get(peer_id)
        rtt = None if session is None else session.rtt
        if link is not None:
            return Path("direct", link.carrier, None, link.opened_at, rtt, None), link.number
        pair = self._pairs.get(peer_id)
        reason = pair.reason if pair is not None else NOTHING_TRIED
        if pair is not None and pair.stage is not Stage.IDLE:
            reason = f"being tried ({pair.stage.name.lower()})"
        if reason == NOTHING_TRIED and not self._core.config.webrtc:
            reason += f"; {WEBRTC_OFF}"
        hop = self._router.next_hop(peer_id, 0)
        if session is None or session.keys is None or hop is None:
            return Path("unknown", None, None, None, None, reason), 0
        since = session.keys.made_at if pair is None else max(session.keys.made_at, pair.relayed_since)
        return Path("relayed", hop.carrier, hop.peer_id, since, rtt, reason), hop.number
