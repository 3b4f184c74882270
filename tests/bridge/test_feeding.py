"""From flows to the engine: which of them are slow enough for a datagram lane."""

from __future__ import annotations

import socket

from peer_relay_socket.bridge.endpoint import Endpoint
from peer_relay_socket.bridge.feeding import is_slow
from peer_relay_socket.bridge.outbox import Flow
from peer_relay_socket.limits import LANE_BEHIND, LANE_BURST, LANE_FEW, LANE_RATE

SIZE = 1000


def looks(flow: Flow, rate: float, began: float, seconds: float) -> list[bool]:
    """Let one datagram wait at a time, `rate` bytes a second; return what is said of the flow at each."""
    flow.waiting[:] = [bytes(SIZE)]
    return [is_slow(flow, began + number * SIZE / rate) for number in range(int(seconds * rate / SIZE))]


def test_a_program_that_sends_faster_than_a_lane_is_packed_until_it_is_slower(
    endpoint: tuple[Endpoint, socket.socket],
) -> None:
    flow = endpoint[0].flow(bytes(20), 2, 4)
    assert all(looks(flow, 0.9 * LANE_RATE, 0.0, 5.0))
    told = looks(flow, 2 * LANE_RATE, 5.0, 5.0)
    first = told.index(False)
    assert first * SIZE <= 2.1 * LANE_BURST * LANE_RATE
    assert not any(told[first + 1 :])
    assert not any(looks(flow, 0.5 * LANE_RATE, 10.0, LANE_BEHIND))
    assert all(looks(flow, 0.5 * LANE_RATE, 10.0 + 2 * LANE_BEHIND, 5.0))


def test_where_many_datagrams_wait_they_are_packed(endpoint: tuple[Endpoint, socket.socket]) -> None:
    flow = endpoint[0].flow(bytes(20), 2, 4)
    flow.waiting[:] = [b"small"] * LANE_FEW
    assert is_slow(flow, 0.0)
    flow.waiting.append(b"small")
    assert not is_slow(flow, 1.0)
