"""What an engine's record says of its sessions."""

from __future__ import annotations

from peer_relay_socket.limits import PENDING_TIME
from tests.sim.bench import Bench, Node, talking


def state_of(node: Node, other: Node) -> tuple[str, str | None]:
    (session,) = [each for each in node.engine.status(node.bench.now).sessions if each.destination == other.peer_id]
    return session.state, session.why


def test_a_peer_that_went_with_our_only_link_is_unreachable_and_not_handshaken_for_ever() -> None:
    bench = Bench()
    low, high = talking(bench)
    assert state_of(high, low)[0] in ("relayed", "direct")
    high.send(low, b"late")
    for cable in list(high.cables.values()):
        cable.cut()
    bench.advance(3 * PENDING_TIME)
    assert state_of(high, low) == ("unreachable", "no link of ours leads to it")
