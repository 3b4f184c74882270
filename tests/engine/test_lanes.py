"""Datagram lanes: when one comes about, what takes it, and when it is left."""

from __future__ import annotations

import pytest

from peer_relay_socket.codec import lane as wire
from peer_relay_socket.codec.lane import Step
from peer_relay_socket.codec.packet import BUNDLE_TAG, Kind
from peer_relay_socket.engine.lane import TRANSITIONS, Happening, State
from peer_relay_socket.engine.timers import Due
from peer_relay_socket.limits import (
    LANE_IDLE,
    LANE_PACKET,
    LANE_PACKETS,
    LANE_PING,
    LANE_PROBES,
    LANE_REST,
    LANE_SILENCE,
    LANE_WITHIN,
    MAX_LANES,
)
from peer_relay_socket.scope import Scope
from tests.engine.lane_bench import LaneBench, live, lost, straight
from tests.sim.bench import Node

LONGEST = wire.FRONT_BYTES + LANE_PACKET + BUNDLE_TAG


def timers(node: Node) -> int:
    return node.engine._core.timers.pending()[Due.LANE]


def test_every_state_has_a_next_one_for_whatever_may_happen() -> None:
    assert set(TRANSITIONS) == set(State)
    assert all(Happening.ENDED in follows for follows in TRANSITIONS.values())
    assert {state for follows in TRANSITIONS.values() for state in follows.values()} == set(State)


def test_traffic_that_lasts_takes_a_lane_on_both_halves_and_arrives() -> None:
    bench = LaneBench().start()
    assert bench.talk() == [b"%d" % number for number in range(2 * LANE_PACKETS)]
    assert bench.states() == [State.LIVE] * 4
    sent = bench.data(bench.peers[0]), bench.data(bench.relay)
    bench.seen.clear()
    assert bench.talk(10) == [b"%d" % number for number in range(10)]
    assert bench.data(bench.peers[0]) >= sent[0] + 10
    assert bench.data(bench.relay) >= sent[1] + 10
    assert bench.sent(Kind.SEALED) == []


def test_who_is_idle_or_asks_now_and_then_has_no_lane_and_no_timer() -> None:
    bench = LaneBench().start()
    for _ in range(20):
        bench.talk(3)
        bench.advance(LANE_WITHIN)
    assert bench.states() == [State.NONE] * 4
    assert bench.frames == []
    assert [timers(node) for node in bench.nodes] == [0, 0, 0]


@pytest.mark.parametrize("where", ["the peer", "the relay"])
def test_without_the_setting_there_is_none(where: str) -> None:
    bench = LaneBench()
    for node in bench.peers if where == "the peer" else [bench.relay]:
        node.config.lane = False
    bench.start()
    bench.talk(50)
    assert bench.states() == [State.NONE] * 4
    assert bench.frames == []


@pytest.mark.parametrize("udp", [None, ("192.168.1.1", 53), ("127.0.0.1", 53)])
def test_a_relay_without_a_udp_port_or_with_one_nearer_than_itself_gets_no_probe(udp: tuple[str, int] | None) -> None:
    bench = LaneBench()
    bench.relay.config.udp = udp
    bench.start()
    bench.talk(50)
    assert bench.frames == []


def test_a_relay_at_the_other_end_of_a_tunnel_gets_no_probe() -> None:
    bench = LaneBench().start()
    bench.link(bench.peers[0], bench.relay).remote_host = "127.0.0.1"  # its scope is GLOBAL
    bench.link(bench.peers[1], bench.relay).remote_host = ""
    bench.talk(60)
    assert bench.frames == []


@pytest.mark.parametrize(("host", "probed"), [("169.254.1.1", True), ("fe80::1", False)])
def test_a_relay_whose_address_means_nothing_without_an_interface_gets_no_probe(host: str, probed: bool) -> None:
    bench = LaneBench().start()
    for peer in bench.peers:
        link = bench.link(peer, bench.relay)
        link.remote_host, link.scope = host, Scope.LINK
    bench.talk(60)
    assert bool(bench.frames) is probed


def test_probes_go_where_the_relay_says_that_its_port_is() -> None:
    bench = LaneBench()
    bench.relay.config.udp = ("9.1.1.1", 443)
    bench.places["9.1.1.1", 443] = bench.places.pop(("8.0.0.1", 4000))
    bench.start()
    bench.talk()
    assert bench.states() == [State.LIVE] * 4
    assert {place for source, place, _ in bench.frames if source != ("9.1.1.1", 443)} == {("9.1.1.1", 443)}


def test_a_loopback_link_has_no_lane() -> None:
    bench = LaneBench()
    for peer in bench.peers:
        cable = bench.join(peer, bench.relay)
        bench.flow()
        for number, node in cable.ends.items():
            assert node.engine._links.all[number].lane is None or node is peer
    bench = LaneBench()
    one, relay = bench.peers[0], bench.relay
    for node, url in ((one, "ws://127.0.0.1"), (relay, None)):
        node.engine.link_opened(1, url=url, remote_host="127.0.0.1", now=0.0)
    for _ in range(4):
        for node, far in ((one, relay), (relay, one)):
            for _, chunks in node.engine.take_bundles():
                far.engine.receive(1, b"".join(chunks), 0.0)
    assert bench.link(one, relay).lane is None


def test_the_first_probe_proves_the_longest_frame_and_no_answer_is_longer_than_its_question() -> None:
    bench = live()
    bench.advance(3.0)
    probes, challenges = bench.signs(Step.PROBE), bench.signs(Step.CHALLENGE)
    assert len(probes[0]) == len(challenges[0]) == LONGEST
    assert len(challenges) == len(probes)
    assert [len(each) for each in probes] == [len(each) for each in challenges]
    assert {len(each) for each in bench.signs(Step.ECHO)} == {wire.SIGN_BYTES}


def test_a_lane_on_which_nothing_comes_back_is_left_in_time_and_the_websocket_carries_on() -> None:
    bench = live()
    one, other = bench.peers
    bench.path = lost
    began = bench.now
    while State.LIVE in bench.states():
        bench.talk(1, 0.05)
        assert bench.now < began + LANE_SILENCE + 0.3
    other.heard()
    assert len(bench.talk(20)) == 20
    assert bench.sent(Kind.SEALED)
    assert one.engine.counters["datagram lanes left: silent"] == 1
    assert timers(one) == timers(other) == timers(bench.relay) == 0


def test_a_peer_that_stood_still_for_seconds_keeps_its_lane() -> None:
    bench = live()
    bench.path = lost
    bench.advance(2 * LANE_PING)
    bench.path = straight
    bench.now += 5.0  # no timer ran
    assert len(bench.talk(20, 0.05)) == 20
    assert bench.states() == [State.LIVE] * 4
    assert bench.peers[0].engine.counters.get("datagram lanes left: silent", 0) == 0


def test_a_lane_whose_peer_fell_silent_is_not_sent_by_though_nothing_was_said() -> None:
    bench = live()
    other = bench.peers[1]
    bench.gate = lambda sender, _to, data: None if sender is other and data[0] == Kind.LINK else data
    bench.path = lost
    bench.talk(int(LANE_SILENCE / 0.05) + 2, 0.05)
    bench.path = straight
    bench.frames.clear()
    bench.talk(5, 0.01)
    place = bench.place_of(other)
    assert [frame for source, to, frame in bench.frames if to == place and frame[0] == wire.DATA] == []


def test_a_lane_that_never_works_is_tried_more_and_more_rarely() -> None:
    bench = LaneBench().start()
    bench.path = lost
    tries = []
    before = 0
    for _ in range(600):
        bench.talk(5, 0.1)
        now = len(bench.signs(Step.PROBE))
        if now > before and len(bench.signs(Step.PROBE)[-1]) == LONGEST and now // LANE_PROBES > before // LANE_PROBES:
            tries.append(bench.now)
        before = now
    gaps = [later - earlier for earlier, later in zip(tries[:-1:2], tries[2::2], strict=False)]
    assert len(tries) < 20
    assert sorted(gaps) == gaps
    assert gaps[0] >= LANE_REST


def test_an_idle_lane_is_closed_at_both_ends_and_comes_back_with_traffic() -> None:
    bench = live()
    bench.advance(LANE_IDLE + 1.0)
    assert bench.states() == [State.NONE] * 4
    assert [timers(node) for node in bench.nodes] == [0, 0, 0]
    assert [node.engine.lanes.count for node in bench.nodes] == [0, 0, 0]
    bench.talk(60, 0.05)
    assert bench.states() == [State.LIVE] * 4


def test_a_link_that_goes_takes_its_lane_along() -> None:
    bench = live()
    for cable in list(bench.peers[0].cables.values()):
        cable.cut()
    assert bench.relay.engine.lanes.count == 1
    assert bench.peers[0].engine.lanes.count == 0
    assert timers(bench.peers[0]) == 0


def test_large_packets_and_control_stay_on_the_websocket() -> None:
    bench = live()
    one, other = bench.peers
    bench.frames.clear()
    bench.seen.clear()
    one.send(other, bytes(1200))
    bench.flow()
    assert bench.data(one) == 1
    one.send(other, bytes(1201))
    one.send(other, bytes(30_000))
    bench.flow()
    assert bench.data(one) == 1
    assert len(bench.sent(Kind.SEALED, one)) == 2
    assert all(len(frame) <= LONGEST for _, _, frame in bench.frames)
    assert list(map(len, other.heard())) == [1200, 1201, 30_000]


def test_small_datagrams_that_wait_together_are_packed_to_fit_the_lane() -> None:
    bench = live()
    one, other = bench.peers
    assert one.engine.has_lane(other.peer_id)
    bench.frames.clear()
    for _ in range(4):
        one.send(other, bytes(400))
    bench.flow()
    assert bench.data(one) == 2
    assert len(other.heard()) == 4


def test_a_relay_grants_so_many_lanes_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_LANES >= 500
    monkeypatch.setattr("peer_relay_socket.engine.lanes.MAX_LANES", 1)
    bench = LaneBench().start()
    bench.talk(30)
    assert sorted(state.name for state in bench.states()) == ["LIVE", "LIVE", "NONE", "NONE"]
    assert bench.relay.engine.counters["refused: too many datagram lanes"] >= 1
    assert sum(peer.engine.counters.get("datagram lanes left: the relay refuses", 0) for peer in bench.peers) >= 1


def test_lanes_whose_peers_fell_silent_make_way_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peer_relay_socket.engine.lanes.MAX_LANES", 2)
    bench = LaneBench(peers=4).start()
    bench.talk(60)
    for peer in bench.peers[:2]:
        cable = next(iter(peer.cables.values()))
        cable.alive = False  # it says no more that it ends
    bench.path = lost
    bench.advance(LANE_IDLE + 1.0)
    bench.path = straight
    bench.peers = bench.peers[2:]
    bench.talk(60)
    assert bench.states() == [State.LIVE] * 4
    assert bench.relay.engine.lanes.count == 2


def test_the_fast_path_steps_aside_for_a_lane_and_comes_back() -> None:
    bench = LaneBench().start()
    one, other = bench.peers
    bench.talk(3)
    assert one.engine.fast_path.arm(other.peer_id, bench.now) is not None
    bench.talk(60)
    assert bench.states() == [State.LIVE] * 4
    assert one.engine.fast_path.arm(other.peer_id, bench.now) is None
    bench.path = lost
    bench.talk(int(2 * LANE_SILENCE / 0.05))
    assert State.LIVE not in bench.states()
    assert one.engine.fast_path.arm(other.peer_id, bench.now) is not None


def test_a_neighbour_that_sends_too_much_by_a_lane_is_held_off_and_then_taken_again() -> None:
    bench = live()
    one, other = bench.peers
    traffic = bench.link(bench.relay, one).traffic
    traffic.settle(bench.now)
    traffic.packets.level = -5.0
    one.send(other, b"too much")
    bench.flow()
    assert other.heard() == []
    assert bench.relay.engine.counters["dropped: a datagram lane brought more than its link may"] >= 1
    bench.advance(1.0)
    one.send(other, b"again")
    bench.flow()
    assert other.heard() == [b"again"]
    assert bench.states() == [State.LIVE] * 4
