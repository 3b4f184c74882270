"""Links that parts of ours want for a while."""

from __future__ import annotations

import pytest

from peer_relay_socket.engine import membership as membership_module
from peer_relay_socket.engine.membership import Seeker
from tests.sim.bench import Bench


def test_a_part_that_lets_go_leaves_the_link_that_another_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    relay, peer = bench.node("relay", serves=True), bench.node("peer")
    bench.join(peer, relay)
    bench.flow()
    membership = relay.engine._membership
    link = relay.engine._links.by_id[peer.peer_id]
    assert membership.seek(peer.peer_id, Seeker.PATH)
    monkeypatch.setattr(membership_module, "MAX_CANDIDATES", 0)
    assert not membership.seek(peer.peer_id, Seeker.ROUND_TRIP)
    membership.unseek(peer.peer_id, Seeker.ROUND_TRIP)  # it was refused: there is nothing to let go of
    assert link.protected
    membership.unseek(peer.peer_id, Seeker.PATH)
    assert not link.protected
