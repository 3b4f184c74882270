"""Datagram lanes behind NATs: beside plain UDP on a path that loses, while a NAT forgets, and once UDP is dropped.

`python -m tests.lab.lane_figures` prints the table of delays and losses.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from peer_relay_socket.limits import LANE_PING, LANE_SILENCE
from tests.lab.lane_figures import relayed
from tests.lab.nat_lab import Lab
from tests.lab.test_impairment import SIZE, Stream, plain, row

pytestmark = pytest.mark.slow
RATE, SECONDS = 100, 6
SLACK = 0.7
"""Seconds in which a busy machine may lose more: less than makes up for a lane that is lost instead of moved."""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        lab.serve()
        yield lab
        assert "Traceback" not in lab.complaints()


def while_sending(stream: Stream, act: Callable[[], None]) -> dict[str, Any]:
    """Do something amid a stream; return what arrived of it."""
    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(stream.run, SIZE, RATE, SECONDS)
        time.sleep(SECONDS / 3)  # the stream's own time
        act()
        return told.result()


def lane_of(stream: Stream) -> str | None:
    lane = stream.sender.told[-1]["lane"]
    return lane and lane["state"]


def test_on_a_path_that_loses_a_relayed_stream_is_as_late_as_plain_udp(lab: Lab) -> None:
    lab.impair("a", delay=50.0, loss=3.0, every=True)
    ours, udp = relayed(lab), plain(lab)
    for _ in range(3):
        with ThreadPoolExecutor(2) as pool:
            anchor = pool.submit(udp.run, SIZE, RATE, SECONDS)
            told = ours.run(SIZE, RATE, SECONDS)
        row("plain UDP", anchor.result())
        row("by the relay", told)
        if told["p95"] <= 1.2 * anchor.result()["p95"] and told["lost"] <= 0.06:
            break
    assert told["p95"] <= 1.2 * anchor.result()["p95"]
    assert told["lost"] <= 0.06  # 600 datagrams, 3 %: 2.1 at one sigma of 0.7
    assert lane_of(ours) == "live"


@pytest.mark.parametrize("side", ["a", "b"])
def test_a_nat_that_gives_another_port_costs_a_moment(lab: Lab, side: str) -> None:
    stream = relayed(lab)
    assert lane_of(stream) == "live"
    lab.other_udp_ports(side)
    told = while_sending(stream, lambda: lab.forget(side))
    assert told["lost"] * SECONDS <= LANE_PING + SLACK
    assert lane_of(stream) == "live"


@pytest.mark.parametrize("side", ["a", "b"])
def test_where_udp_stops_the_websocket_carries_on(lab: Lab, side: str) -> None:
    stream = relayed(lab)
    assert lane_of(stream) == "live"
    told = while_sending(stream, lambda: lab.cut_udp(side))
    assert told["lost"] * SECONDS <= LANE_SILENCE + SLACK
    assert stream.run(SIZE, RATE, 2)["lost"] == 0.0
    assert lane_of(stream) == ("live" if side == "b" else None) or lane_of(stream) == "probing"


def test_where_no_udp_passes_nothing_is_lost(lab: Lab) -> None:
    for side in "ab":
        lab.nat(side, "noudp")
    stream = relayed(lab)
    assert stream.run(SIZE, RATE, SECONDS)["lost"] == 0.0
    assert lane_of(stream) != "live"
