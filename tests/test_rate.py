"""Rates: what is let through per second, and how long one must wait after too much."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer_relay_socket.rate import TokenBucket, TrafficBucket


def test_bucket_gives_a_seconds_worth_and_then_its_rate() -> None:
    bucket = TokenBucket(10.0, 0.0)
    assert sum(bucket.take(0.0) for _ in range(50)) == 10
    assert sum(bucket.take(0.5) for _ in range(50)) == 5
    assert sum(bucket.take(100.0) for _ in range(50)) == 10


def test_bucket_counts_what_an_event_costs() -> None:
    bucket = TokenBucket(10.0, 0.0)
    assert bucket.take(0.0, 8.0)
    assert not bucket.take(0.0, 3.0)
    assert bucket.take(0.0, 2.0)
    assert bucket.take(0.3, 3.0)


@given(st.lists(st.floats(0, 0.5), min_size=1, max_size=200))
def test_bucket_never_gives_more_than_its_rate_and_one_burst(pauses: list[float]) -> None:
    bucket, now, taken = TokenBucket(20.0, 0.0), 0.0, 0
    for pause in pauses:
        now += pause
        taken += sum(bucket.take(now) for _ in range(30))
    assert taken <= 20.0 + 20.0 * now + 1e-6
    assert taken == pytest.approx(taken)


def test_bucket_holds_no_more_than_its_burst() -> None:
    bucket = TokenBucket(10.0, 0.0, burst=3.0)
    assert sum(bucket.take(0.0) for _ in range(50)) == 3
    assert sum(bucket.take(100.0) for _ in range(50)) == 3


def test_bucket_says_how_long_to_wait_after_a_charge() -> None:
    bucket = TokenBucket(10.0, 0.0)
    assert bucket.charge(0.0, 10.0) == 0.0
    assert bucket.charge(0.0, 5.0) == pytest.approx(0.5)
    assert bucket.charge(0.3, 1.0) == pytest.approx(0.3)
    assert not bucket.take(0.6)


@pytest.mark.parametrize(("packets", "size", "passed"), [(5.0, 1e9, 5), (1e9, 700.0, 7)])
def test_traffic_is_refused_when_either_rate_is_used_up(packets: float, size: float, passed: int) -> None:
    bucket = TrafficBucket(packets, size, 0.0)
    assert sum(bucket.take(0.0, 100) for _ in range(20)) == passed


def test_traffic_waits_for_the_slower_of_both() -> None:
    bucket = TrafficBucket(10.0, 1000.0, 0.0)
    bucket.packets.level -= 11.0
    bucket.bytes.level -= 4000.0
    assert bucket.settle(0.0) == pytest.approx(3.0)
    assert bucket.settle(3.0) == 0.0


def test_bucket_that_is_overdrawn_owes_no_more_than_was_agreed() -> None:
    bucket = TokenBucket(10.0, 0.0)
    assert bucket.overdraw(0.0, 100.0, 5.0)
    assert bucket.wait == 0.5
    assert not bucket.overdraw(0.5, 1.0, 5.0)
    assert bucket.overdraw(0.7, 1.0, 5.0)


def test_those_that_ask_much_leave_half_of_a_total_to_those_that_ask_little() -> None:
    total = TokenBucket(100.0, 0.0)
    many, one = [TokenBucket(50.0, 0.0) for _ in range(9)], TokenBucket(50.0, 0.0)

    def taken(own: TokenBucket, now: float) -> bool:
        if not own.take(now) or total.spare(now, own) < 1.0:
            return False
        total.level -= 1.0
        return True

    assert sum(taken(many[0], 0.0) for _ in range(60)) == 50  # alone it has all that is its own
    for tenth in range(1, 40):
        if tenth > 10:
            assert all([taken(one, tenth / 10), taken(one, tenth / 10)])
        assert sum(taken(own, tenth / 10) for own in many * 6) <= 50
    assert total.level >= 30.0
