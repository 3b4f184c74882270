"""What neighbours may make a relay do: each link's allowance, and the budget of all."""

from __future__ import annotations

import pytest

from peer_relay_socket.codec.packet import Kind, LinkOp
from peer_relay_socket.engine.core import EngineConfig
from peer_relay_socket.engine.work import Work
from peer_relay_socket.identity import Identity
from peer_relay_socket.limits import CONTROL_PER_LEAF, CONTROL_SHARE, CONTROL_TOTAL, TRAFFIC_SHARE, TRAFFIC_TOTAL
from peer_relay_socket.scope import Scope
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


@pytest.mark.parametrize("price", [1.0, 4.0])
def test_what_all_links_send_comes_to_the_total_however_many_and_whatever_it_costs(price: float) -> None:
    """`price`: what a packet costs beside what `crowded` is told of."""
    bench, relay, peers = _links(60)
    links = [relay.engine._links.by_id[peer.peer_id] for peer in peers]
    work = Work(bench.now)
    for link in links:
        link.pool = work.traffic(Scope.GLOBAL)
    until = dict.fromkeys(range(len(links)), 0.0)
    said = [0.0] * len(links)
    now, step, seconds = 0.0, 0.005, 12
    while now < seconds:
        now += step
        for number, link in enumerate(links):
            if until[number] <= now:  # 60 x 100 packets each 5 ms would be ten times the total
                packets = TRAFFIC_SHARE * step if number == 0 else 100.0
                link.pool.level -= price * packets
                wait = work.crowded(link, packets, now)
                assert number or not wait, "the one that says little never waits"
                until[number] = now + wait
                if now > 2.0:
                    said[number] += price * packets
    assert sum(said) / (seconds - 2.0) == pytest.approx(TRAFFIC_TOTAL, rel=0.15)
    assert max(said[1:]) <= 1.2 * min(said[1:]), "equal parts"
