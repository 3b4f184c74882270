"""The pace of one direction of a lane: what may go by it, and when a path is taken for crowded."""

from __future__ import annotations

from random import Random

import pytest

from peer_relay_socket.codec import lane as wire
from peer_relay_socket.codec import packet
from peer_relay_socket.engine.lane import Happening, Lane, Pace, Place
from peer_relay_socket.engine.seal import CheckingKey, TaggingKey
from peer_relay_socket.limits import (
    LANE_BEHIND,
    LANE_BURST,
    LANE_COUNTED,
    LANE_PING,
    LANE_QUEUE,
    LANE_RATE,
    LANE_RATE_LEAST,
)
from tests.engine.lane_bench import LaneBench

SIZE = 1290
RECORDED_KEY = "46a4585051e314734ff830c380493072"
SEALED = "1118000000" + "00003a" + "54" * 20 + "46" * 20 + b"idx1".hex() + "00" * 8 + "63" * 30 + "74" * 16
RECORDED_FRAMES = [
    "c002020202" + SEALED + "0000000000000000a7d7064131a31078f021025739be0919",
    "c10202020201"
    + "6b" * 8
    + "00" * 8
    + "0000000000000007"
    + "0000000000000005"
    # its tag
    + "0000000000000001"
    + "2879baac195338450f2e8b6b524f5b08",
]


def allowed(pace: Pace, rate: float, began: float, seconds: float) -> list[bool]:
    """Send packets at `rate` bytes a second; return which may go by the lane."""
    gap = SIZE / rate
    return [pace.allows(SIZE, began + number * gap) for number in range(int(seconds / gap))]


def test_a_flow_below_the_rate_takes_the_lane_whole() -> None:
    assert all(allowed(Pace(0.0), 0.9 * LANE_RATE, 0.0, 10.0))


def test_a_flow_above_the_rate_leaves_it_whole_and_comes_back_once_it_is_slower() -> None:
    pace = Pace(0.0)
    seconds = 10.0
    told = allowed(pace, 2 * LANE_RATE, 0.0, seconds)
    first = told.index(False)
    assert first * SIZE <= 2.1 * LANE_BURST * LANE_RATE
    assert sum(told[first:]) <= 0.01 * len(told)
    assert not pace.has_room(seconds)
    assert all(allowed(pace, 0.5 * LANE_RATE, seconds + LANE_BEHIND + LANE_BURST, 5.0))


class Path:
    """What the other end hears of what goes by a lane."""

    def __init__(self) -> None:
        self.pace = Pace(0.0)
        self._dice = Random(7)
        self._newest = self._count = 0

    def report(self, times: int, frames: int, *, lost: float = 0.0, rtts: tuple[float, float] = (0.05, 0.05)) -> None:
        """Have so many reports come, each after so many frames."""
        for _ in range(times):
            self._newest += frames
            self._count += sum(self._dice.random() >= lost for _ in range(frames))
            self.pace.timed(self._dice.uniform(*rtts))
            self.pace.counted(self._newest, self._count)


@pytest.mark.parametrize(("lost", "rtts"), [(0.0, (0.05, 0.05)), (0.0, (0.03, 0.07)), (0.03, (0.1, 0.1))])
def test_jitter_and_a_paths_own_loss_slow_nothing(lost: float, rtts: tuple[float, float]) -> None:
    path = Path()
    for _ in range(20):
        path.report(20, int(400 * LANE_PING), lost=lost, rtts=rtts)
        assert path.pace.rate >= 0.5 * LANE_RATE
    assert path.pace.lost == pytest.approx(lost, abs=0.03)


@pytest.mark.parametrize(("lost", "queue"), [(0.0, 2 * LANE_QUEUE), (0.15, 0.0)])
def test_a_queue_that_grows_or_heavy_loss_slows_it_to_the_least_and_it_comes_back(lost: float, queue: float) -> None:
    path = Path()
    path.report(10, LANE_COUNTED)
    assert path.pace.rate == LANE_RATE
    path.report(40, LANE_COUNTED, lost=lost, rtts=(0.05 + queue, 0.05 + queue))
    assert path.pace.rate == LANE_RATE_LEAST
    path.report(150, LANE_COUNTED)
    assert path.pace.rate == LANE_RATE


def test_a_path_that_has_become_longer_is_not_crowded_for_ever() -> None:
    path = Path()
    path.report(10, LANE_COUNTED, rtts=(0.02, 0.02))
    path.report(int(600 / LANE_PING), 1, rtts=(0.2, 0.2))
    assert path.pace.rate == LANE_RATE


def test_numbers_that_a_liar_reports_only_move_the_pace_between_its_bounds() -> None:
    pace = Pace(0.0)
    for newest, count in ((0, 0), (2**64 - 1, 0), (0, 2**64 - 1), (5, 2**64 - 1), (2**63, 3)):
        pace.counted(newest, count)
        assert LANE_RATE_LEAST <= pace.rate <= LANE_RATE
        assert 0.0 <= pace.lost <= 1.0


def test_keys_and_frames_are_those_that_were_recorded() -> None:
    """Another implementation, or a later version, must make the same bytes."""
    link_tagging, link_checking = TaggingKey(bytes(range(32))), CheckingKey(bytes(range(32)))
    label = wire.KEY_LABEL + b"\1\1\1\1" + b"\2\2\2\2"
    key = link_tagging.derive(label)
    assert key == link_checking.derive(label) == bytes.fromhex(RECORDED_KEY)
    frames: list[tuple[Place, bytes]] = []
    core = LaneBench().relay.engine._core
    lane = Lane(core, frames, None)
    lane.agree(b"\2\2\2\2", TaggingKey(key), CheckingKey(key))
    lane.place = "192.0.2.1", 80
    lane.move(Happening.PROVED)
    sealed = packet.sealed(b"T" * 20, b"F" * 20, b"idx1", bytes(8) + b"c" * 30 + b"t" * 16, 0)
    assert lane.carry(sealed, b"")
    lane.say(wire.Sign(wire.Step.PROBE, b"k" * 8, wire.NO_CHALLENGE, 7, 5), lane.place)
    assert [frame.hex() for _, frame in frames] == RECORDED_FRAMES
