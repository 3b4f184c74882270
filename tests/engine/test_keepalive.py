"""Signs of life: when a link is pinged, and when it is dead."""

from __future__ import annotations

from peer_relay_socket.codec.packet import Kind
from peer_relay_socket.engine.effects import CloseLink, PeerDown
from peer_relay_socket.limits import LINK_DEAD, LINK_PING_IDLE
from tests.sim.bench import Bench


def test_an_idle_link_is_pinged_and_a_dead_one_dropped() -> None:
    for start in (0.0, 0.1, 0.3, 1 / 3, 12345.678):  # sums that round, too
        bench = Bench()
        bench.now = start
        low, high = bench.pair(serves=False)
        bench.seen.clear()
        bench.advance(LINK_PING_IDLE + 1)
        assert len(bench.sent(Kind.LINK, low)) in (1, 2)
        bench.advance(10 * LINK_PING_IDLE)
        assert low.engine.neighbours == [high.peer_id]
        bench.gate = lambda _a, _b, _data: None
        bench.advance(LINK_DEAD + 1)
        assert low.engine.neighbours == high.engine.neighbours == []
        assert [effect.reason for effect in low.take(CloseLink)] == ["silent"]
        assert low.take(PeerDown) == [PeerDown(high.peer_id)]
