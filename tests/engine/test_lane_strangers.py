"""Datagram lanes and frames that lie: where they come from, what they are, and what they make us do."""

from __future__ import annotations

from itertools import repeat

from hypothesis import given
from hypothesis import strategies as st

from peer_relay_socket.codec import lane as wire
from peer_relay_socket.codec.lane import Step
from peer_relay_socket.codec.packet import Kind, LinkOp
from peer_relay_socket.engine.lane import Place, State
from peer_relay_socket.limits import LANE_CHALLENGES, LANE_PACKETS, LANE_PROBES, LANE_SILENCE
from tests.engine.lane_bench import LaneBench, live

FORGED: Place = ("9.9.9.9", 9)


def test_nothing_but_challenges_goes_to_an_address_that_has_not_proved_itself() -> None:
    bench = LaneBench().start()

    def forged(source: Place, to: Place, frame: bytes) -> list[tuple[Place, bytes]]:
        return [(source if source[1] == 4000 else FORGED, frame)]

    bench.path = forged
    bench.talk(100)
    to_victim = [frame for _, place, frame in bench.frames if place == FORGED]
    assert 0 < len(to_victim) <= 2 * LANE_PROBES
    assert all(frame[0] == wire.SIGN and frame[wire.FRONT_BYTES] == Step.CHALLENGE for frame in to_victim)
    sizes = sum(map(len, to_victim)), sum(map(len, bench.signs(Step.PROBE)))
    assert sizes[0] <= sizes[1]
    assert bench.states()[1] is not State.LIVE


def test_repeated_and_altered_frames_get_nothing_whatever_they_seem_to_come_from() -> None:
    bench = live()
    relay_place = bench.place_of(bench.relay)
    to_relay = [frame for _, place, frame in bench.frames if place == relay_place]
    bench.frames.clear()
    for frame in to_relay:
        bench.deliver(FORGED, relay_place, frame)
        bench.deliver(FORGED, relay_place, frame[:-1] + bytes((frame[-1] ^ 1,)))
        bench.deliver(FORGED, relay_place, frame[:5] + frame[6:])
    bench.flow()
    assert bench.frames == []
    assert bench.relay.engine.counters["dropped: a lane's frame not the neighbour's, or not new"] == 3 * len(to_relay)


def test_frames_of_strangers_take_nothing_of_a_links_share_where_all_send_too_much() -> None:
    bench = live()
    relay_place, link = bench.place_of(bench.relay), bench.link(bench.relay, bench.peers[0])
    seen = [frame for source, place, frame in bench.frames if place == relay_place]
    link.pool.refill(bench.now)
    link.pool.level = -1000.0  # others have sent too much
    for frame in seen:
        bench.deliver(FORGED, relay_place, frame[:-1] + bytes((frame[-1] ^ 1,)))
        bench.deliver(FORGED, relay_place, frame)
    assert link.traffic_share is None
    bench.peers[0].send(bench.peers[1], b"within its share")
    bench.flow()
    assert bench.peers[1].heard() == [b"within its share"]


def test_the_first_copy_of_frames_from_elsewhere_gets_challenges_at_a_rate_and_moves_nothing() -> None:
    bench = live()
    home = bench.place_of(bench.peers[0])

    def hijacked(source: Place, to: Place, frame: bytes) -> list[tuple[Place, bytes]]:
        return [(FORGED, frame), (source, frame)] if source == home else [(source, frame)]

    bench.path = hijacked
    bench.frames.clear()
    for _ in range(90):  # whoever forges as much for LANE_SILENCE could as well drop: the lane is left then
        bench.peers[0].send(bench.peers[1], b"again")
        bench.advance(0.01)
    assert len(bench.peers[1].heard()) == 90  # taken all the same, once each
    to_victim = [frame for _, place, frame in bench.frames if place == FORGED]
    assert len(to_victim) <= 2 * LANE_CHALLENGES + 1
    assert all(frame[wire.FRONT_BYTES] == Step.CHALLENGE for frame in to_victim)
    assert bench.lane(bench.relay, bench.peers[0]).place == home


def test_a_lane_that_is_asked_for_anew_has_no_more_challenges_than_before() -> None:
    bench = live()
    one = bench.peers[0]
    link, home = bench.link(one, bench.relay), bench.place_of(bench.relay)
    lane = bench.lane(one, bench.relay)
    bench.frames.clear()
    for _ in range(20):
        one.engine.lanes._end(link, lane)
        for _ in range(LANE_PACKETS + 2):
            lane.carry(b"", b"")
            link.tx_packets += 1
        bench.flow()
        for _ in range(5):
            lane.say(wire.Sign(Step.PROBE, bytes(8), wire.NO_CHALLENGE, 0, 0), home)
            ((place, frame),) = one.engine.lanes.take_frames()
            bench.deliver(FORGED, place, frame)
        bench.flow()
    assert len(bench.signs(Step.CHALLENGE)) <= LANE_CHALLENGES + 1


def test_an_address_that_changes_is_challenged_at_once_and_then_has_the_lane() -> None:
    bench = live()
    one, other = bench.peers
    moved = ("8.0.0.77", 7777)
    bench.move(other, moved)  # it hears the relay no more until it said something
    bench.frames.clear()
    heard = bench.talk(100, 0.01)
    assert len(heard) >= 50  # a probe each LANE_PING
    assert bench.lane(bench.relay, other).place == moved
    bench.move(one, ("8.0.0.78", 7778))
    assert len(bench.talk(20, 0.01)) == 20
    assert bench.lane(bench.relay, one).place == ("8.0.0.78", 7778)
    assert bench.states() == [State.LIVE] * 4


def test_an_echo_from_another_address_than_the_challenge_went_to_proves_nothing() -> None:
    bench = live()
    one = bench.peers[0]
    lane, back = bench.lane(one, bench.relay), bench.lane(bench.relay, one)
    home = back.place
    assert lane.place is not None
    bench.frames.clear()
    bench.advance(1.0)
    echoes = [frame for source, _, frame in bench.frames if source == home]
    assert echoes
    challenge = wire.read_sign(bench.signs(Step.CHALLENGE, home)[-1])
    assert challenge is not None
    lane.say(challenge._replace(step=Step.ECHO), lane.place)
    ((place, frame),) = one.engine.lanes.take_frames()
    bench.deliver(FORGED, place, frame)
    assert back.place == home
    assert bench.relay.engine.counters["dropped: a challenge's echo from elsewhere"] == 1


def test_frames_from_elsewhere_do_not_keep_the_address_that_is_silent() -> None:
    bench = live()
    other = bench.peers[1]
    home = bench.place_of(other)
    bench.gate = lambda sender, _to, data: None if sender is other and data[0] == Kind.LINK else data
    # From now on it is behind a NAT that lets nothing in, and it cannot say so.
    bench.path = lambda source, to, frame: [(FORGED if source == home else source, frame)] if to != home else []
    bench.talk(int(LANE_SILENCE / 0.05) + 2, 0.05)
    bench.frames.clear()
    bench.talk(5, 0.01)
    assert [frame for _, to, frame in bench.frames if to == home and frame[0] == wire.DATA] == []


def test_a_challenge_is_worth_nothing_later() -> None:
    bench = live()
    one = bench.peers[0]
    lane, back = bench.lane(one, bench.relay), bench.lane(bench.relay, one)
    before = ("8.0.0.77", 7777)
    bench.move(one, before)
    bench.talk(20)
    assert back.place == before
    old = [wire.read_sign(frame) for frame in bench.signs(Step.ECHO)][-1]
    bench.move(one, ("8.0.0.2", 4001))
    for _ in range(10):
        bench.talk(20)
    assert back.place == ("8.0.0.2", 4001)
    assert old is not None
    assert lane.place is not None
    lane.say(old, lane.place)
    ((place, frame),) = one.engine.lanes.take_frames()
    bench.deliver(before, place, frame)
    assert back.place == ("8.0.0.2", 4001)
    assert bench.relay.engine.counters["dropped: a challenge's echo from elsewhere"] == 1


def test_a_relay_cannot_have_us_send_to_an_address_that_is_not_its_own() -> None:
    bench = LaneBench()
    victim = ("9.1.1.1", 443)
    bench.relay.config.udp = victim
    bench.start()
    one = bench.peers[0]
    for number in range(200):
        bench.talk(1, 0.01)
        lane = bench.link(bench.relay, one).lane
        if lane is not None and lane.tagging is not None:
            sign = wire.Sign(Step.CHALLENGE, number.to_bytes(8), bytes((1,)) * 8, 0, 0)
            lane.say(sign, bench.place_of(one))
    home = bench.place_of(one)
    sent = [frame for source, place, frame in bench.frames if (source, place) == (home, victim)]
    assert 0 < len(sent) <= LANE_PROBES
    assert all(frame[wire.FRONT_BYTES] == Step.PROBE for frame in sent)


def test_frames_of_a_later_version_are_skipped() -> None:
    bench = live()
    one = bench.peers[0]
    lane, home = bench.lane(one, bench.relay), bench.place_of(bench.relay)
    assert lane.tagging is not None
    bench.frames.clear()
    for kind, step in ((wire.SIGN + 1, Step.PROBE), (wire.SIGN, 4)):
        sign = wire.sign(lane.remote, wire.Sign(step, bytes(8), wire.NO_CHALLENGE, 0, 0))
        frame = bytes((kind,)) + sign[1:]
        bench.deliver(bench.place_of(one), home, frame + lane.tagging.tag(frame))
    bench.flow()
    assert bench.frames == []
    assert bench.relay.engine.counters["dropped: a frame of no datagram lane"] == 1
    assert bench.states() == [State.LIVE] * 4


def test_an_index_of_another_size_is_bad_bytes() -> None:
    bench = live()
    one = bench.peers[0]
    one.engine._links.tell(bench.link(one, bench.relay), LinkOp.LANE, b"abc")
    bench.flow()
    assert bench.relay.engine.counters["link dropped: bad bytes"] == 1


def test_a_frame_whose_packets_make_no_sense_ends_the_link_of_who_sent_it() -> None:
    bench = live()
    one = bench.peers[0]
    lane = bench.lane(one, bench.relay)
    assert lane.tagging is not None
    assert lane.place is not None
    packet = bytes((Kind.LINK,)) + bytes(47)
    frame = bytes((wire.DATA,)) + lane.remote + packet + lane.tagging.tag(packet)
    bench.deliver(bench.place_of(one), lane.place, frame)
    bench.flow()
    assert bench.relay.engine.counters["link dropped: bad bytes"] == 1


def test_numbers_that_are_the_last_there_can_be_raise_nothing() -> None:
    bench = live()
    one, other = bench.peers
    last = repeat(2**64 - 1)
    for tagging in (bench.lane(one, bench.relay).tagging, bench.link(one, bench.relay).tagging):
        assert tagging is not None
        tagging.numbers = last  # type: ignore[assignment]
    one.send(other, b"by a lane and a link")
    bench.advance(LANE_SILENCE)
    assert bench.relay.engine.counters["dropped: a lane's frame not the neighbour's, or not new"] > 1
    assert other.heard() == []

    bench = live()
    one, other = bench.peers
    session = one.engine._sessions._table.by_id[other.peer_id]
    assert session.keys is not None
    session.keys.sealing.numbers = last  # type: ignore[assignment]
    one.send(other, b"in a session")
    bench.advance(LANE_SILENCE)
    assert other.engine.counters["dropped: did not open"] >= 1
    assert other.heard() == []


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=80), st.integers(0, 2)), max_size=8))
def test_no_frame_makes_an_engine_raise_or_answer(frames: list[tuple[bool, bytes, int]]) -> None:
    bench = live()
    one, relay = bench.peers[0], bench.relay
    bench.frames.clear()
    for to_relay, data, cut in frames:
        node, far = (relay, one) if to_relay else (one, relay)
        front = bytes((wire.DATA + cut % 2,)) + bench.lane(node, far).local
        node.engine.lane_heard((front + data)[cut:], *FORGED, bench.now)
    bench.flow()
    assert bench.frames == []
    assert bench.states() == [State.LIVE] * 4
