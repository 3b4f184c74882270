"""The datagram lanes of all links: asked for, granted, probed and left.

Lives here: what opens and ends a lane, its frames' meaning. May not live here: the states and the pace (lane.py), the
bytes (codec/lane.py), sockets (the driver's).

Law: a link without traffic has no lane, no timer and no frame for one. An answer goes to the address that its question
came from, and is no longer than that; an address gets other frames only once it has sent a challenge back.

How one comes about; the peer that dialled the link to a relay asks for it when traffic lasts::

    peer                                            relay
    LANE index         over the link     ->                          granted, if the relay has a UDP port and room
                                         <-         LANE index       over the link; zeros: refused
    PROBE              by UDP, repeated  ->
                                         <-         CHALLENGE        to where that came from, as long as the probe
    ECHO: now peer's packets take it     ->                          that address has proved itself: the relay's, too
    PROBE, each LANE_PING                ->
                                         <-         CHALLENGE        without one, but for each LANE_PROOF
    LANE zeros         over the link     ->                          silent, idle: the WebSocket carries on

A frame of the peer's from another address (its NAT has forgotten, it changed networks) is taken, and challenged; what
the relay sends stays where it was until the echo has come.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from itertools import islice
from typing import TYPE_CHECKING, Final

from ..address import PeerId
from ..codec import lane as wire
from ..codec import packet
from ..codec.lane import Sign, Step
from ..codec.packet import LinkOp
from ..errors import WireError
from ..limits import (
    LANE_ANSWER,
    LANE_CHALLENGE_TIME,
    LANE_IDLE,
    LANE_MISSED,
    LANE_PACKET,
    LANE_PACKETS,
    LANE_PING,
    LANE_PROBE,
    LANE_PROBES,
    LANE_PROOF,
    LANE_REST,
    LANE_REST_MOST,
    LANE_WITHIN,
    LANE_WORKED,
    MAX_LANES,
    make_room,
)
from ..scope import Scope
from .lane import Happening, Lane, Place, State
from .seal import CheckingKey, TaggingKey
from .timers import Due

if TYPE_CHECKING:
    from .core import Core
    from .link import LinkState
    from .links import Links

_LOOKED_AT: Final = 16
"""Lanes that are looked at when one more is asked for than there may be."""
_LONGEST: Final = wire.FRONT_BYTES + LANE_PACKET + packet.BUNDLE_TAG
"""Bytes of the longest frame."""


class Lanes:
    """Those of one peer."""

    def __init__(self, core: Core, links: Links, unpack: Callable[[LinkState, bytes], None]) -> None:
        """Args: unpack: takes a bundle of an authentic frame; may raise WireError."""
        self._core = core
        self._links = links
        self._unpack = unpack
        self._by_index: dict[bytes, LinkState] = {}
        """Links with a lane, by our index of it; at most MAX_LANES."""
        self.frames: list[tuple[Place, bytes]] = []
        """What is to leave by UDP, and where to."""
        self._secret = b""
        """From which challenges are made; drawn with the first lane that is granted."""

    @property
    def count(self) -> int:
        """How many lanes there are, those included that are being asked for."""
        return len(self._by_index)

    def is_live(self, neighbour: PeerId) -> bool:
        """Return whether small packets take a lane beside the link to `neighbour`."""
        link = self._links.by_id.get(neighbour)
        return link is not None and link.lane is not None and link.lane.live

    def take_frames(self) -> list[tuple[Place, bytes]]:
        """Return what is to leave by UDP, in order, and forget it."""
        frames = self.frames[:]
        self.frames.clear()
        return frames

    # --- what happens to links -------------------------------------------------------------------------------

    def link_up(self, link: LinkState) -> None:
        """A neighbour is there: a link that we dialled may come to have a lane."""
        far = link.url is not None and not link.direct and link.scope is not Scope.LOOPBACK
        if self._core.config.lane and far:
            link.lane = Lane(self._core, self.frames, partial(self._traffic, link))

    def link_down(self, link: LinkState) -> None:
        """A neighbour went."""
        if link.lane is not None:
            self._forget(link.lane)
            link.lane = None

    def _traffic(self, link: LinkState, lane: Lane) -> None:
        """A packet of a session leaves by `link`, which has no lane."""
        now, packets = self._core.now, link.tx_packets + link.rx_packets
        if now >= lane.window_until:
            lane.window_until, lane.seen = now + LANE_WITHIN, packets
        elif packets >= lane.seen + LANE_PACKETS and now >= lane.rest_until:
            lane.window_until = 0.0
            lane.place = _place(link)
            if lane.place is not None and self._name(lane, link):
                lane.move(Happening.WANTED)
                lane.timer = self._core.timers.at(Due.LANE, now + LANE_ANSWER, self._fail, link, lane)
                self._links.tell(link, LinkOp.LANE, lane.local)

    def _name(self, lane: Lane, link: LinkState) -> bool:
        """Give a lane an index; False where there are too many lanes."""
        if len(self._by_index) >= MAX_LANES and not self._make_way():
            self._core.counters["refused: too many datagram lanes"] += 1
            return False
        lane.local = self._core.entropy(wire.INDEX_BYTES)
        while lane.local in self._by_index or lane.local == wire.NO_LANE:
            lane.local = self._core.entropy(wire.INDEX_BYTES)
        self._by_index[lane.local] = link
        return True

    def _make_way(self) -> bool:
        """End a lane, of the few that came first, whose dialler says nothing; True where there is one. The others go to
        the end of the queue."""
        for index, link in list(islice(self._by_index.items(), _LOOKED_AT)):
            lane = self._by_index[index].lane
            if lane is not None and lane.grants and self._core.now >= lane.heard_at + LANE_IDLE:
                self._end(link, lane)
                return True
            self._by_index[index] = self._by_index.pop(index)
        return False

    # --- what a neighbour says over the link -----------------------------------------------------------------

    def told(self, link: LinkState, operand: bytes) -> None:
        """The neighbour said LANE. Raises: PacketError when it is cut short."""
        remote, _ = packet.split(operand, wire.INDEX_BYTES)
        lane = link.lane
        if link.url is None:
            if lane is not None:
                self._forget(lane)
            if remote != wire.NO_LANE:
                self._grant(link, remote)
        elif lane is not None and remote == wire.NO_LANE:
            if lane.state is not State.NONE:
                self._core.counters["datagram lanes left: the relay refuses"] += 1
                self._fail(link, lane)
        elif lane is not None and lane.state is State.ASKED:
            self._agree(link, lane, remote)
            self._probe(link, lane)

    def _grant(self, link: LinkState, remote: bytes) -> None:
        config = self._core.config
        lane = link.lane or Lane(self._core, self.frames, None)  # one that ended has spent some of its challenges
        may = config.lane and config.udp is not None and link.scope is not Scope.LOOPBACK and not link.direct
        if not may or not self._name(lane, link):
            self._links.tell(link, LinkOp.LANE, wire.NO_LANE)
            return
        if not self._secret:
            self._secret = self._core.entropy(16)
        link.lane = lane
        self._agree(link, lane, remote)
        self._links.tell(link, LinkOp.LANE, lane.local)

    @staticmethod
    def _agree(link: LinkState, lane: Lane, remote: bytes) -> None:
        assert link.tagging is not None
        assert link.checking is not None
        tagging = TaggingKey(link.tagging.derive(wire.KEY_LABEL + lane.local + remote))
        checking = CheckingKey(link.checking.derive(wire.KEY_LABEL + remote + lane.local))
        lane.agree(remote, tagging, checking)

    # --- the dialler's side ----------------------------------------------------------------------------------

    def _probe(self, link: LinkState, lane: Lane) -> None:
        """Ask whether frames come through; again, until they do or LANE_PROBES have not."""
        now, token = self._core.now, self._core.entropy(wire.TOKEN_BYTES)
        make_room(lane.tokens, LANE_PROBES)
        lane.tokens[token] = now
        lane.probes += 1
        assert lane.place is not None
        size = 0 if lane.state is State.LIVE else _LONGEST
        lane.say(Sign(Step.PROBE, token, wire.NO_CHALLENGE, lane.newest, lane.count), lane.place, size)
        self._look_at(link, lane, now + LANE_PROBE)

    def _look_at(self, link: LinkState, lane: Lane, when: float) -> None:
        if lane.timer is not None:
            lane.timer.cancel()
        lane.timer = self._core.timers.at(Due.LANE, when, self._look, link, lane)

    def _look(self, link: LinkState, lane: Lane) -> None:
        core, now = self._core, self._core.now
        if lane.state is State.PROBING and lane.probes >= LANE_PROBES:
            core.counters["datagram lanes left: no probe was answered"] += 1
            self._fail(link, lane)
        elif lane.state is State.LIVE and now >= lane.used_at + LANE_IDLE:
            self._end(link, lane)
        elif lane.state is State.LIVE and lane.probes >= LANE_MISSED:
            core.counters["datagram lanes left: silent"] += 1
            self._fail(link, lane)
        else:
            self._probe(link, lane)

    def _challenged(self, link: LinkState, lane: Lane, heard: Sign) -> None:
        """The relay answers, or asks for a sign of ours, because it sees us at another address. Only what is there can
        know the token of a probe, so that no relay has us send to another's address but those probes."""
        core, place = self._core, lane.place
        assert place is not None
        asked_at = lane.tokens.pop(heard.token, None)
        if heard.challenge != wire.NO_CHALLENGE and (asked_at is not None or self._may_echo(lane)):
            lane.say(heard._replace(step=Step.ECHO, newest=lane.newest, frames=lane.count), place)
        if asked_at is None:
            return
        if lane.state is State.PROBING:
            lane.live_since = core.now
            core.counters["datagram lanes opened"] += 1
        lane.pace.timed(core.now - asked_at)
        lane.pace.counted(heard.newest, heard.frames)
        lane.move(Happening.PROVED)
        lane.answered_at = core.now
        lane.probes = 0
        self._look_at(link, lane, core.now + LANE_PING)

    def _may_echo(self, lane: Lane) -> bool:
        return lane.state is State.LIVE and lane.challenges.take(self._core.now)

    def _fail(self, link: LinkState, lane: Lane) -> None:
        """It does not work: the WebSocket carries on, and a lane is tried again after a rest."""
        now = self._core.now
        if lane.state is State.LIVE and now >= lane.live_since + LANE_WORKED:
            lane.failures = 0
        lane.rest_until = now + min(LANE_REST_MOST, LANE_REST * 2**lane.failures)
        lane.failures = min(lane.failures + 1, 16)
        self._end(link, lane)

    def _end(self, link: LinkState, lane: Lane) -> None:
        """Tell the other end that there is no lane any more."""
        self._forget(lane)
        if link.up and not link.parting:
            self._links.tell(link, LinkOp.LANE, wire.NO_LANE)

    def _forget(self, lane: Lane) -> None:
        if lane.timer is not None:
            lane.timer.cancel()
        lane.move(Happening.ENDED)
        lane.tokens.clear()
        self._by_index.pop(lane.local, None)
        lane.local = lane.remote = b""
        lane.tagging = lane.checking = None

    # --- the relay's side ------------------------------------------------------------------------------------

    def _challenge(self, place: Place, token: bytes, ago: int = 0) -> bytes:
        """Return what is known only where it arrived: at `place`, in this stretch of LANE_CHALLENGE_TIME or, `ago`, in
        an earlier one. Nothing is kept for it."""
        said = f"{place[0]} {place[1]} {int(self._core.now // LANE_CHALLENGE_TIME) - ago}".encode()
        return blake2b(token + said, key=self._secret, digest_size=wire.TOKEN_BYTES).digest()

    def _probed(self, lane: Lane, place: Place, token: bytes, size: int) -> None:
        """A frame of `size` bytes came from `place`: challenge it, in as many bytes at most."""
        core = self._core
        if size < wire.SIGN_BYTES or not lane.challenges.take(core.now):
            core.counters["dropped: too many probes of one lane"] += 1
            return
        challenge = wire.NO_CHALLENGE
        if place != lane.place or lane.state is State.PROBING or core.now >= lane.answered_at + LANE_PROOF:
            lane.tokens = {token: core.now}
            challenge = self._challenge(place, token)
        lane.say(Sign(Step.CHALLENGE, token, challenge, lane.newest, lane.count), place, min(size, _LONGEST))

    def _echoed(self, lane: Lane, place: Place, heard: Sign) -> None:
        core = self._core
        if heard.challenge not in (self._challenge(place, heard.token), self._challenge(place, heard.token, 1)):
            core.counters["dropped: a challenge's echo from elsewhere"] += 1
            return
        asked_at = lane.tokens.pop(heard.token, None)
        if asked_at is not None:
            lane.pace.timed(core.now - asked_at)
        lane.place = place
        lane.heard_at = lane.answered_at = core.now
        lane.move(Happening.PROVED)

    # --- what comes by UDP -----------------------------------------------------------------------------------

    def link_of(self, frame: bytes) -> LinkState | None:
        """Return the link whose lane a frame names."""
        return self._by_index.get(frame[1 : wire.FRONT_BYTES]) if wire.is_frame(frame) else None

    def heard(self, link: LinkState, frame: bytes, place: Place) -> None:
        """A frame came from `place` that names the lane of `link`.

        Raises: WireError where the neighbour of `link` sent what makes no sense.
        """
        core, lane = self._core, link.lane
        if lane is None or lane.checking is None:
            core.counters["dropped: a frame of no datagram lane"] += 1
            return
        end = len(frame) - packet.BUNDLE_TAG
        bundle = frame[wire.FRONT_BYTES :] if frame[0] == wire.DATA else b""
        try:
            covered = packet.covered(bundle, len(bundle) - packet.BUNDLE_TAG) if bundle else frame[:end]
            lane.checking.open(frame[end:], covered)
        except WireError:
            core.counters["dropped: a lane's frame not the neighbour's, or not new"] += 1
            return
        if self._is_overdrawn(link):  # asked only now, for it takes of the link's share
            core.counters["dropped: a datagram lane brought more than its link may"] += 1
            return
        lane.count += 1
        link.rx_bytes += len(frame)
        if not bundle:
            link.rx_packets += 1
            link.charge(2.0)
            self._signed(link, lane, place, frame)
            return
        lane.used_at = core.now
        if lane.grants:
            if place == lane.place:
                lane.heard_at = core.now
            else:
                self._probed(lane, place, core.entropy(wire.TOKEN_BYTES), len(frame))
        self._unpack(link, bundle)

    def _is_overdrawn(self, link: LinkState) -> bool:
        """Return whether more was read from `link`, or from all, than there is to spare: what comes by UDP cannot be
        made to wait."""
        traffic, now = link.traffic, self._core.now
        if traffic.bytes.level >= 0.0 and traffic.packets.level >= 0.0 and link.pool.level >= 0.0:
            return False
        return traffic.settle(now) > 0.0 or self._core.work.crowded(link, 2.0, now) > 0.0

    def _signed(self, link: LinkState, lane: Lane, place: Place, frame: bytes) -> None:
        heard = wire.read_sign(frame)
        if heard is None or frame[0] != wire.SIGN:
            self._core.counters["dropped: a frame of no datagram lane"] += 1
        elif not lane.grants:
            if heard.step == Step.CHALLENGE:
                self._challenged(link, lane, heard)
        elif heard.step == Step.PROBE:
            if place == lane.place:
                lane.heard_at = self._core.now
            lane.pace.counted(heard.newest, heard.frames)
            self._probed(lane, place, heard.token, len(frame))
        elif heard.step == Step.ECHO:
            self._echoed(lane, place, heard)


def _place(link: LinkState) -> Place | None:
    """Return where the relay says that its UDP port is; None unless that reaches as far as the way to it: what a proxy
    or a tunnel hides does not. None also where that is a link-local address of IPv6, which says nothing without an
    interface, and interfaces are not known here."""
    if link.udp is None:
        return None
    host, port = link.udp
    host = host or link.remote_host
    wants_interface = ":" in host and Scope.of(host) is Scope.LINK
    return (host, port) if link.scope.covers(host) and not wants_interface else None
