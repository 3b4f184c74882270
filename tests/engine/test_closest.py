"""The relays nearest a peer's own id, in virtual time."""

from __future__ import annotations

from peer_relay_socket import limits
from tests.engine.test_anchors import nearest, world


def test_of_the_nearest_relays_two_at_most_are_of_one_prefix_where_there_are_others() -> None:
    network, peer = world(one_network=True)
    assert len(peer.engine.neighbours) >= limits.CLOSEST_LINKS  # where there are none, they serve all the same
    for number in range(12, 24):
        network.host(f"r{number}", bootstrap=("r0",), serves=True, address=f"8.9.{number}.1")
    network.run(120.0)
    crowded = [host.peer_id for host in network.hosts.values() if host.address.startswith("8.8.8.")]
    expected: list[bytes] = []
    for relay in nearest(network, peer):
        if relay not in crowded or sum(other in crowded for other in expected) < limits.CLOSE_PER_PREFIX:
            expected.append(relay)
    assert set(expected[: limits.CLOSEST_LINKS]) <= set(peer.engine.neighbours)
    assert set(expected[: limits.CLOSEST_LINKS]) != set(nearest(network, peer)[: limits.CLOSEST_LINKS])
