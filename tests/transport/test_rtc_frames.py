"""Splitting and rejoining: whole or not at all, in any order, within bounds."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from peer_relay_socket import limits
from peer_relay_socket.transport.rtc_frames import PART, WHOLE, Rejoiner, ping, pong, read_pong, split


@given(st.integers(0, 20_000), st.integers(100, 2_000), st.integers())
def test_parts_in_any_order_and_repeated_make_the_bundle_once(size: int, unit: int, seed: int) -> None:
    dice = random.Random(seed)
    bundle = dice.randbytes(size)
    frames = split(bundle, 7, unit)
    assert all(len(frame) <= unit for frame in frames)
    if len(frames) == 1 and frames[0][0] == WHOLE:
        assert frames[0][1:] == bundle
        return
    last = dice.randrange(len(frames))
    late = frames.pop(last)
    dice.shuffle(frames)
    rejoiner = Rejoiner()
    assert [rejoiner.add(frame, 0.0) for frame in frames + frames] == [None] * 2 * len(frames)
    assert rejoiner.add(late, 0.0) == bundle
    assert rejoiner.held == 0


@given(st.lists(st.binary(max_size=60).map(lambda data: bytes((PART,)) + data), max_size=60))
def test_made_up_parts_never_raise_and_are_never_held_for_long(frames: list[bytes]) -> None:
    rejoiner = Rejoiner()
    for frame in frames:
        rejoiner.add(frame, 0.0)
    rejoiner.add(split(bytes(100), 1, 60)[0], 2 * limits.RTC_REJOIN_TIME)
    assert rejoiner.held <= 60


def test_a_bundle_whose_rest_comes_too_late_is_given_up() -> None:
    first, second = split(bytes(100), 1, 60)
    rejoiner = Rejoiner()
    assert rejoiner.add(first, 0.0) is None
    assert rejoiner.add(second, limits.RTC_REJOIN_TIME) is None
    assert rejoiner.given_up == 1
    assert rejoiner.add(first, limits.RTC_REJOIN_TIME) == bytes(100)


def test_first_parts_without_end_hold_no_more_than_the_limit() -> None:
    rejoiner = Rejoiner()
    for number in range(1_000):
        rejoiner.add(split(bytes(2_000), number, 1_300)[0], 0.0)
    assert rejoiner.held < 257 * 1_300
    for number in range(1_000, 1_030):
        for frame in split(bytes(limits.MAX_DATAGRAM), number, 1_300)[:-1]:
            rejoiner.add(frame, 0.0)
            assert rejoiner.held <= limits.RTC_REJOIN_BYTES
    assert rejoiner.held > limits.RTC_REJOIN_BYTES // 2


def test_a_bundle_that_takes_more_than_256_parts_is_not_sent() -> None:
    assert len(split(bytes(256 * 93), 1, 100)) == 256
    assert split(bytes(256 * 93 + 1), 1, 100) == []


def test_a_bundle_of_the_largest_size_fits_the_smallest_unit() -> None:
    frames = split(bytes(limits.MAX_BUNDLE), 1, limits.RTC_UNIT_SMALL)
    rejoiner = Rejoiner()
    assert [rejoiner.add(frame, 0.0) for frame in frames][-1] == bytes(limits.MAX_BUNDLE)


def test_a_pong_tells_which_ping_and_how_large_it_was() -> None:
    assert read_pong(pong(ping(5, 1_200))) == (5, 1_200)
    assert len(ping(5, 1_200)) == 1_200
    assert pong(b"\xb2") == b""
    assert read_pong(b"\xb3\0") == (-1, 0)
