"""What the page is told: rates from one record to the next, and what was lost in the last ten minutes."""

from __future__ import annotations

from typing import Any

from peer_relay_socket.limits import DROPS_STEPS
from peer_relay_socket.observe.stream import Losses, Rates

A, B = "aa" * 20, "bb" * 20


def record(peer_id: str, **links: tuple[int, int]) -> Any:
    return {"id": peer_id, "links": [{"id": name, "rx_bytes": rx, "tx_bytes": tx} for name, (rx, tx) in links.items()]}


def test_rates_are_from_one_record_to_the_next() -> None:
    rates = Rates()
    assert rates.take([record(A, x=(100, 10))], 5.0) == {A: {}}
    assert rates.take([record(A, x=(300, 20), y=(7, 7))], 7.0) == {A: {"x": (100.0, 5.0)}}
    assert rates.take([record(A, x=(0, 0), y=(8, 7)), record(B)], 8.0) == {A: {"x": (0.0, 0.0), "y": (1.0, 0.0)}, B: {}}


def test_losses_are_those_of_the_steps_that_are_remembered() -> None:
    losses = Losses()
    drop = "dropped: too much"
    assert losses.since(A, {drop: 5}) == {}
    for step in range(100):
        losses.note({A: {drop: 10 * step, "link failed": step}})
    now = {drop: 1000, "link failed": 99}
    assert losses.since(A, now) == {drop: 10 * DROPS_STEPS + 10, "link failed": DROPS_STEPS}
    assert losses.steps(A, now) == [10] * (DROPS_STEPS + 1)
    assert losses.since(B, {drop: 3}) == {}
    assert losses.steps(B, {drop: 3}) == []
