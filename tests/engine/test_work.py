"""What neighbours may make a relay do: each link's allowance, and the budget of all."""

from __future__ import annotations

import pytest

from peer_relay_socket.codec.packet import Kind, LinkOp
from peer_relay_socket.engine.core import EngineConfig
from peer_relay_socket.engine.work import Work
from peer_relay_socket.identity import Identity
from peer_relay_socket.limits import CONTROL_PER_LEAF, CONTROL_SHARE, CONTROL_TOTAL
from tests.sim.bench import Bench, Node


def _links(count: int) -> tuple[Bench, Node, list[Node]]:
    bench = Bench()
    relay = bench.node("relay", serves=True)
    peers = [Node(bench, f"p{number}", Identity.generate(), EngineConfig()) for number in range(count)]
    bench.nodes += peers
    for peer in peers:
        bench.join(peer, relay)
    bench.flow()
    return bench, relay, peers


def test_one_link_has_its_allowance() -> None:
    bench, relay, (peer,) = _links(1)
    link = relay.engine._links.by_id[peer.peer_id]
    work = Work(bench.now)
    bench.now += 10.0
    taken = sum(work.allows(link, Kind.RESOLVE, 17, bench.now) for _ in range(1_000))
    assert taken == CONTROL_PER_LEAF / 2.5


def test_all_links_together_have_a_budget_and_each_a_share_of_its_own() -> None:
    bench, relay, peers = _links(60)
    links = [relay.engine._links.by_id[peer.peer_id] for peer in peers]
    work = Work(bench.now)
    bench.now += 10.0
    quiet = links.pop()
    taken = [sum(work.allows(link, Kind.TRACE, 4, bench.now) for _ in range(1_000)) for link in links]
    most = CONTROL_TOTAL + len(links) * 4 * CONTROL_SHARE
    assert CONTROL_TOTAL <= sum(taken) <= most
    assert min(taken) >= 4 * CONTROL_SHARE
    assert all(work.allows(quiet, Kind.RESOLVE, 17, bench.now) for _ in range(3)), "a lookup of one that asks little"
    bench.now += 1.0
    again = sum(work.allows(link, Kind.TRACE, 4, bench.now) for link in links for _ in range(1_000))
    assert again == pytest.approx(CONTROL_TOTAL + len(links) * CONTROL_SHARE, rel=0.02)


@pytest.mark.parametrize(("operation", "size", "most"), [(LinkOp.NEIGHBOURS, 1_000, 10), (LinkOp.PING, 0, 500)])
def test_a_packet_costs_by_the_work_it_makes(operation: LinkOp, size: int, most: int) -> None:
    bench, relay, (peer,) = _links(1)
    link = relay.engine._links.by_id[peer.peer_id]
    work = Work(bench.now)
    bench.now += 10.0
    assert sum(work.allows_link(link, operation, size, bench.now) for _ in range(1_000)) <= most
