"""The slots of a relay, in virtual time."""

from __future__ import annotations

from collections import Counter

import pytest

from peer_relay_socket import limits
from peer_relay_socket.engine import slots as slots_module
from peer_relay_socket.engine.xor import slot_of
from tests.engine.test_anchors import nearest, world


def slot(one: bytes, other: bytes) -> int:
    return slot_of(int.from_bytes(one) ^ int.from_bytes(other))


def test_a_relay_has_a_link_in_every_slot_that_any_relay_can_fill() -> None:
    network, _ = world()
    for host in network.hosts.values():
        if host.config.serves:
            others = nearest(network, host)[1:]
            assert {slot(host.peer_id, other) for other in others} == {
                slot(host.peer_id, other) for other in host.engine.neighbours if other in others
            }


def test_a_slot_counts_as_filled_as_soon_as_a_relay_of_it_is_linked_and_no_longer() -> None:
    network, _ = world()
    relays = [host for host in network.hosts.values() if host.config.serves]
    for gone in (None, relays[5], relays[9]):
        if gone is not None:
            gone.crash()
            network.run(1.0)
        for host in relays:
            if host.alive:
                linked = {link.peer_id for link in host.engine._router.relays}
                assert host.engine._membership._slots._filled() == {slot(host.peer_id, other) for other in linked}


def test_the_relay_too_many_is_the_newest_in_the_fullest_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    network, _ = world()
    for number in range(12, 30):
        network.host(f"r{number}", bootstrap=("r0",), serves=True, address=f"8.8.{number + 1}.1")
    network.run(20.0)
    first = network.hosts["r0"]
    slots = first.engine._membership._slots
    assert slots.surplus() is None
    monkeypatch.setattr(slots_module, "RELAY_LINKS", 10)
    surplus = slots.surplus()
    kept = 3 * limits.CLOSEST_LINKS
    assert surplus is not None
    others = [peer for peer in nearest(network, first)[1:] if peer in first.engine.neighbours]
    assert others.index(surplus.peer_id) >= kept
    counts = Counter(slot(first.peer_id, other) for other in others[kept:])
    ours = slot(first.peer_id, surplus.peer_id)
    assert counts[ours] == max(counts.values())
    same = [link for link in first.engine._links.by_id.values() if slot(first.peer_id, link.peer_id) == ours]
    assert surplus.opened_at == max(link.opened_at for link in same if link.serves)
