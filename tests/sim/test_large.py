"""A thousand peers, and ten thousand. Slow, and long; the figures are in README.md."""

from __future__ import annotations

import resource

import pytest

from tests.sim import attacks, scenarios
from tests.sim.population import Mix, Population
from tests.sim.snapshot import HUGE, LARGE, measure, read, settled

pytestmark = pytest.mark.slow


def a_thousand() -> Population:
    """Return settled peers with real handshakes."""
    population = Population(Mix(1000))
    population.join()
    population.network.run(30.0)
    return population


@pytest.fixture(scope="module")
def thousand() -> Population:
    """A thousand for the tests below in their order."""
    return a_thousand()


def deliver_everything(population: Population, count: int, hops: tuple[int, int, int]) -> None:
    """Send between random pairs, and hold what that took against the design."""
    ordinary, among_relays, _ = population.links()
    assert ordinary[-1] <= 6
    assert among_relays[-1] <= 80
    assert population.strangers() == 0
    traffic = population.meter.start()
    outcome = population.probe(count)
    population.meter.stop()
    assert outcome.share >= 0.9999
    assert outcome.misdelivered == 0
    assert all(crossed <= most for crossed, most in zip(outcome.hops, hops, strict=True))
    assert traffic.transmissions_per_needed <= 1.05
    loads = [traffic.load[relay.name] for relay in population.relays()]
    assert max(loads) <= 4 * sum(loads) / len(loads)


def test_a_thousand_peers_deliver_everything_over_few_links(thousand: Population) -> None:
    assert measure(LARGE[0], thousand).worse_than(read()[LARGE[0].name]) == []
    deliver_everything(thousand, 3000, (3, 6, 8))
    named = scenarios.names(thousand, 1500)
    assert (named.delivered, named.misdelivered) == (named.asked, 0)


def test_churn_of_half_of_a_thousand_peers_per_hour_costs_little(thousand: Population) -> None:
    result = scenarios.churn(thousand, 200.0)
    assert result.ended > 20
    assert result.misdelivered == 0
    assert result.share >= 0.995
    assert max(result.returned) <= 5.0


def test_a_tenth_of_the_relays_of_a_thousand_peers_falls_silent_and_is_not_missed_for_long(
    thousand: Population,
) -> None:
    series = scenarios.lose_busiest(thousand, 0.1, 30.0, silent=True, rate=200.0)
    assert min(share for _, share, _ in series.points) < 0.99
    assert series.recovered_after(0.99) <= 15.0


def test_halves_of_a_thousand_peers_find_each_other_again() -> None:
    """On peers of its own. After the silent relays of the test above 8 of 800 are lost: what two peers send that had
    just come anew is not heard where nobody answers them."""
    series = scenarios.partition(a_thousand(), 60.0, 40.0)
    assert series.points[-1][1] == 1.0
    assert series.recovered_after(0.99) <= 30.0


@pytest.mark.parametrize("seed", [3, 4])
def test_honest_peers_reach_each_other_among_liars(seed: int) -> None:
    """Both remedies are needed: with other seeds 92 % arrived without the flood, and 76 % soon without other relays'
    ways. Seeds by which at least three of the liars relay."""
    population = Population(Mix(200, seed=seed, plain=True))
    population.join()
    population.network.run(30.0)
    result = attacks.lie(population, 0.1, 500)
    assert result.liars == 20
    assert result.relays >= 3
    assert result.misdelivered == 0
    assert result.share >= 0.98
    assert result.soon >= 0.83 * result.sent


def test_a_thousand_peers_do_no_worse_than_they_did_under_churn_and_loss() -> None:
    case = LARGE[1]
    assert measure(case, settled(case)).worse_than(read()[case.name]) == []


@pytest.mark.long
def test_ten_thousand_peers_join_and_deliver_everything_over_few_links() -> None:
    population = settled(HUGE)
    figures = measure(HUGE, population, idle=30.0)
    assert figures.idle_ordinary <= 100
    assert figures.idle_relay <= 2000
    assert figures.worse_than(read()[HUGE.name]) == []
    deliver_everything(population, 10_000, (4, 6, 8))
    named = scenarios.names(population, 3000)
    assert (named.delivered, named.misdelivered, named.shared) == (named.asked, 0, 0)
    assert named.moved > 0  # 10,000 peers, 22 bits: some addresses were taken
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4 * 1024 * 1024
