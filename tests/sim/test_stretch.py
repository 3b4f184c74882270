"""How long the way of relayed datagrams is."""

from __future__ import annotations

import pytest

from tests.sim.population import Mix, Population
from tests.sim.stretch import LASTING, RATE, Stretch, stretch


def settled(peers: int) -> Population:
    """Return a population that has joined."""
    population = Population(Mix(peers, plain=True))
    population.join()
    population.network.run(30.0)
    return population


def test_delay_is_held_against_the_best_relay_and_against_a_direct_path() -> None:
    population = settled(20)
    network = population.network
    one, other = population.ordinary()[:2]
    probe = population.probes.send(one, other)
    network.run(2.0)
    probe.sent_at, probe.arrived_at = 0.0, 0.5
    best = min(network.distance(one, relay) + network.distance(relay, other) for relay in population.relays())
    direct = network.distance(one, other)
    found = Stretch.of([probe], population.relays())
    assert (found.sent, found.delivered) == (1, 1)
    assert (found.delay[0], found.best[0], found.direct[0]) == (0.5, best, direct)
    assert (found.beside_best[1], found.beside_direct[1]) == (0.5 / best, 0.5 / direct)


@pytest.mark.slow
def test_pairs_that_talk_lose_and_double_nothing() -> None:
    result = stretch(settled(100), 80)
    assert (result.lost, result.duplicates) == (0, 0)
    assert result.first.delivered == result.first.sent == 160
    assert result.lasting.sent == 160 * (LASTING * RATE)
    assert result.lasting.delivered == result.lasting.sent
    assert result.busiest <= 4.0
