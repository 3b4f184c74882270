from __future__ import annotations

import pytest

from peer_relay_socket.bridge.inline_io import LoopLock
from peer_relay_socket.bridge.outbox import LoopEnd, Outbox
from peer_relay_socket.limits import DATAGRAM_OVERHEAD


def test_outbox_rings_once_per_burst_and_takes_each_flow_once(endpoint):
    end, _ = endpoint
    outbox, rings = Outbox(), []
    outbox.open(LoopEnd(lambda: rings.append(None), lambda *_: False, lambda *_: None, None, LoopLock()))
    flows = [end.flow(bytes(20), port, 4) for port in (1, 2)]
    for flow in flows:
        flow.queued = True
        outbox.post(flow)
    assert len(rings) == 1
    assert not outbox.idle()
    assert outbox.take() == flows
    assert not any(flow.queued for flow in flows)
    assert outbox.idle()
    outbox.post(flows[0])
    assert len(rings) == 2


def test_outbox_keeps_what_was_posted_before_anybody_listens(endpoint):
    outbox = Outbox()
    flow = endpoint[0].flow(bytes(20), 2, 4)
    outbox.post(flow)
    assert outbox.take() == [flow]


@pytest.mark.parametrize(
    ("room", "expected"),
    [(0, 0), (1, 1), (9, 1), (10, 1), (19, 1), (20, 2), (29, 2), (30, 3), (1000, 3)],
)
def test_flow_takes_what_fits_and_at_least_one(endpoint, room, expected):
    flow = endpoint[0].flow(bytes(20), 2, 4)
    flow.waiting += [b"a" * 10, b"b" * 10, b"c" * 10]
    taken = flow.take(room)
    assert [data[:1] for data in taken] == [b"a", b"b", b"c"][:expected]
    assert len(flow.waiting) == 3 - expected


def test_flow_gives_budget_back_when_taken(endpoint):
    end, _ = endpoint
    flow = end.flow(bytes(20), 2, 4)
    flow.waiting += [b"12345", b""]
    end.pending = 5 + 2 * DATAGRAM_OVERHEAD
    flow.take(100)
    assert end.pending == 0
