"""Whole overlays in virtual time, and the figures that must not get worse."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.sim.measure import Outcome
from tests.sim.population import Mix, Population
from tests.sim.snapshot import SMALL, Case, Figures, measure, read, settled


@pytest.fixture(scope="module")
def hundred() -> Population:
    """A hundred settled peers, twenty of whom can be dialled. Tests that use it may send, and break nothing."""
    population = Population(Mix(100))
    population.join()
    population.network.run(30.0)
    return population


@pytest.mark.slow
def test_every_datagram_arrives_over_few_links_and_none_is_sent_twice(hundred: Population) -> None:
    traffic = hundred.meter.start()
    outcome: Outcome = hundred.probe(1000)
    hundred.meter.stop()
    assert (outcome.delivered, outcome.misdelivered, outcome.hops) == (1000, 0, (2, 4, 5))
    assert traffic.transmissions_per_needed == 1.0
    loads = [traffic.load[relay.name] for relay in hundred.relays()]
    assert max(loads) <= 4 * sum(loads) / len(loads)


def test_nobody_has_more_links_than_the_design_says(hundred: Population) -> None:
    ordinary, among_relays, _ = hundred.links()
    assert (ordinary[0], ordinary[-1]) == (4, 6)
    assert among_relays[-1] <= 19


def test_idle_peers_send_and_receive_little(hundred: Population) -> None:
    traffic = hundred.meter.start()
    hundred.network.run(200.0)
    hundred.meter.stop()
    for hosts, most in ((hundred.ordinary(), 100.0), (hundred.relays(), 2000.0)):
        both_ways = [(traffic.sent[host.name] + traffic.received[host.name]) / 200.0 for host in hosts]
        assert sum(both_ways) / len(both_ways) < most


def test_the_same_seed_gives_the_same_trace(hundred: Population) -> None:
    traces = set()
    for _ in range(2):
        population = Population(Mix(20, seed=5))
        population.join()
        population.probe(20)
        traces.add(population.network.trace.hexdigest())
    assert len(traces) == 1


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=case.name, marks=[pytest.mark.slow] if case.churn or case.loss else []) for case in SMALL],
)
def test_a_hundred_peers_do_no_worse_than_they_did(case: Case) -> None:
    assert measure(case, settled(case)).worse_than(read()[case.name]) == []


def test_what_is_worse_is_named() -> None:
    good = Figures(0.999, [2, 3, 3], 4, 19, 20_000, 64, 700)
    assert good.worse_than(good) == []
    assert replace(good, delivered=0.9965, joining=22_900).worse_than(good) == []
    assert replace(good, delivered=0.99, hops=[2, 4, 3]).worse_than(good) == ["delivered", "hops"]
    assert replace(good, relay_links=20, idle_relay=900).worse_than(good) == ["relay_links", "idle_relay"]
    assert good.worse_than(replace(good, delivered=0.99, hops=[2, 4, 3], idle_relay=900)) == []
