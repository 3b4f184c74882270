"""Links that parts of ours want for a while, and relays that are measured."""

from __future__ import annotations

import pytest

from peer_relay_socket.codec import control
from peer_relay_socket.codec.control import Contact
from peer_relay_socket.codec.packet import LinkOp
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


def test_a_neighbour_that_names_hundreds_has_its_share_of_the_relays_that_are_measured() -> None:
    bench = Bench()
    peer = bench.node("peer")
    named: list[set[bytes]] = []
    for number, count in enumerate((200, 16, 16, 16)):
        relay = bench.node(f"relay{number}", serves=True)
        bench.join(peer, relay)
        bench.flow()
        contacts = [Contact(bench.random.randbytes(20), (f"ws://n{number}-{n}.example",)) for n in range(count)]
        link = relay.engine._links.by_id[peer.peer_id]
        for at in range(0, count, 8):
            relay.engine._links.tell(link, LinkOp.NEIGHBOURS, control.contacts(contacts[at : at + 8]))
            bench.advance(0.2)
        named.append({contact.peer_id for contact in contacts})
    chosen = peer.engine._membership.unlinked(32, ())
    assert len(chosen) == 32
    for theirs in named:
        assert 6 <= len(theirs.intersection(chosen)) <= 10
