"""Timers and token buckets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from peer_relay_socket.engine.timers import Due, Timers


def test_timers_run_in_order_of_time_then_of_setting() -> None:
    timers, ran = Timers(), []
    for when, name in ((2.0, "c"), (1.0, "a"), (1.0, "b"), (3.0, "d")):
        timers.at(Due.REVIEW, when, ran.append, name)
    assert timers.next() == 1.0
    timers.run(2.0)
    assert ran == ["a", "b", "c"]
    assert timers.next() == 3.0


def test_cancelled_timer_never_runs_not_even_by_one_that_runs_with_it() -> None:
    timers, ran = Timers(), []
    timers.at(Due.REVIEW, 1.0, lambda: other.cancel())
    other = timers.at(Due.REVIEW, 1.0, ran.append, "other")
    third = timers.at(Due.REVIEW, 0.5, ran.append, "third")
    third.cancel()
    third.cancel()
    assert timers.next() == 1.0
    assert other.pending
    timers.run(5.0)
    assert ran == []
    assert timers.next() is None
    assert not other.pending


def test_timer_set_for_now_by_a_timer_waits_for_the_next_run() -> None:
    timers, ran = Timers(), []

    def again() -> None:
        ran.append(1)
        timers.at(Due.REVIEW, 1.0, again)

    timers.at(Due.REVIEW, 1.0, again)
    timers.run(1.0)
    assert ran == [1]
    assert timers.next() == 1.0


def test_timers_cancelled_long_before_their_time_do_not_pile_up() -> None:
    timers = Timers()
    for _ in range(50_000):
        timers.at(Due.REVIEW, 1e9, print).cancel()
    assert len(timers._heap) <= 4096


def test_timers_keep_their_order_when_what_was_cancelled_is_dropped() -> None:
    timers, ran = Timers(), []
    for number in range(6000, 0, -1):  # past the 4096th, where the heap is made anew, and not the sorted way round
        timer = timers.at(Due.REVIEW, float(number), ran.append, number)
        if number % 3:
            timer.cancel()
    while (due := timers.next()) is not None:
        timers.run(due)
    assert ran == list(range(3, 6001, 3))


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=50), st.floats(0, 100))
def test_timers_agree_with_a_sorted_list(plan: list[tuple[float, bool]], now: float) -> None:
    timers, ran = Timers(), []
    for number, (when, cancelled) in enumerate(plan):
        timer = timers.at(Due.REVIEW, when, ran.append, number)
        if cancelled:
            timer.cancel()
    timers.run(now)
    kept = [(when, number) for number, (when, cancelled) in enumerate(plan) if not cancelled]
    assert ran == [number for when, number in sorted(kept) if when <= now]
    assert timers.next() == min((when for when, _ in kept if when > now), default=None)


def test_pending_timers_are_counted_by_what_is_due() -> None:
    timers = Timers()
    timers.at(Due.REVIEW, 1.0, print)
    timers.at(Due.REVIEW, 2.0, print)
    timers.at(Due.LOOK_AROUND, 3.0, print).cancel()
    assert timers.pending() == {Due.REVIEW: 2}
