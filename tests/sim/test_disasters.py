"""What happens to overlays, and what must be left of delivery."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from peer_relay_socket.address import Spelling
from peer_relay_socket.identity import Identity
from tests.sim import scenarios
from tests.sim.network import Network
from tests.sim.picture import svg
from tests.sim.population import Mix, Population

SPELL = Spelling()


def settled(peers: int, *, seed: int = 1, loss: float = 0.0, seconds: float = 30.0) -> Population:
    """Return a population that has joined."""
    population = Population(Mix(peers, seed=seed, loss=loss))
    population.join()
    population.network.run(seconds)
    return population


def colliding(network: Network, *, pinned: bool) -> tuple[Identity, Identity]:
    """Return two identities whose IPv4 addresses are the same: some 2,000 keys, as the birthday odds of 22 bits say."""
    seen: dict[str, Identity] = {}
    while True:
        identity = network.identity(pinned=pinned)
        other = seen.setdefault(SPELL.ipv4(identity.peer_id), identity)
        if other is not identity:
            return other, identity


def test_half_a_network_that_was_cut_off_is_reached_within_30_seconds() -> None:
    population = settled(60)
    side = {host.name: number % 2 for number, host in enumerate(population.hosts)}
    population.network.sever(lambda one, other: side[one.name] != side[other.name])
    population.network.run(60.0)
    one, other = population.ordinary()[:2]
    assert side[one.name] != side[other.name]
    lost = population.probes.send(one, other)
    population.network.run(10.0)
    assert lost.arrived_at is None
    series = scenarios.partition(population, 180.0, 50.0)
    assert series.points[-1][1] == 1.0
    assert series.recovered_after(0.99) <= 30.0


@pytest.mark.parametrize("silent", [False, True])
def test_the_loss_of_the_busiest_relays_is_overcome_within_15_seconds(silent: bool) -> None:
    series = scenarios.lose_busiest(settled(100), 0.1, 30.0, silent=silent, rate=100.0)
    assert min(share for _, share, _ in series.points) < 1.0
    assert series.recovered_after(0.99) <= 15.0


def test_a_peer_whose_address_is_taken_moves_and_both_are_reached_by_theirs() -> None:
    population = settled(30)
    identities = colliding(population.network, pinned=False)
    pair = [population.add(f"twin{number}", serves=False) for number in range(2)]
    for host, identity in zip(pair, identities, strict=True):
        host.identity = identity
        host.start()
        population.network.run(10.0)
    assert [host.moved for host in pair] == [0, 1]
    named = scenarios.names(population, 3 * len(population.hosts))
    assert (named.delivered, named.misdelivered, named.shared) == (named.asked, 0, 0)


def test_an_address_that_two_pinned_peers_have_is_refused_and_never_guessed() -> None:
    population = settled(30)
    pair = [population.add(f"twin{number}", serves=False) for number in range(2)]
    for host, identity in zip(pair, colliding(population.network, pinned=True), strict=True):
        host.identity = identity
        host.start()
    population.network.run(10.0)
    named = scenarios.names(population, 3 * len(population.hosts))
    assert (named.misdelivered, named.shared) == (0, 1)
    assert named.delivered == named.asked - named.refused


def test_honest_peers_reach_each_other_among_liars() -> None:
    result = scenarios.lie(settled(100), 0.1, 300)
    assert result.liars == 10
    assert result.misdelivered == 0
    assert result.share >= 0.98


def test_links_that_drop_a_hundredth_lose_no_more_than_they_must() -> None:
    population = settled(60, loss=0.01)
    outcome = population.probe(500)
    assert outcome.share > 0.95  # three links, no retransmission: 0.99**3


def test_the_trace_is_the_same_under_any_hash_seed_and_the_picture_is_written(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    tables = []
    for hash_seed in ("0", "1"):
        picture = tmp_path / f"{hash_seed}.svg"
        command = [sys.executable, "-m", "tests.sim", "--peers", "30", "--probes", "50", "--settle", "5"]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [*command, "--picture", str(picture)], cwd=root, env=environment, capture_output=True, text=True, check=True
        )
        tables.append([line for line in done.stdout.splitlines() if "core" not in line])
        assert picture.read_text().endswith("</svg>\n")
    assert tables[0] == tables[1]
    assert any("trace" in line for line in tables[0])


def test_the_picture_shows_every_peer_and_every_curve() -> None:
    population = settled(20)
    series = scenarios.Series("curve", 1.0, [(0.0, "<cut>")], [(0.0, 1.0, 5), (1.0, 0.5, 5)])
    drawn = svg(population, [series])
    assert drawn.count("<circle") == 20
    assert "&lt;cut&gt;" in drawn
    assert "<polyline" in drawn


# --- slow ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_churn_of_half_of_a_thousand_peers_per_hour_costs_little() -> None:
    result = scenarios.churn(settled(1000), 300.0)
    assert result.ended > 30
    assert result.misdelivered == 0
    assert result.share >= 0.995
    assert max(result.returned) <= 5.0


@pytest.mark.slow
@pytest.mark.parametrize(("peers", "hops"), [(1000, (3, 4, 5)), (2000, (4, 5, 6))])
def test_a_large_overlay_delivers_everything_over_few_links(peers: int, hops: tuple[int, int, int]) -> None:
    population = settled(peers)
    ordinary, among_relays, _ = population.links()
    assert ordinary[-1] <= 6
    assert among_relays[-1] <= 80
    traffic = population.meter.start()
    outcome = population.probe(3000)
    population.meter.stop()
    assert (outcome.delivered, outcome.misdelivered) == (3000, 0)
    assert all(crossed <= most for crossed, most in zip(outcome.hops, hops, strict=True))
    assert traffic.transmissions_per_needed <= 1.05
    loads = [traffic.load[relay.name] for relay in population.relays()]
    assert max(loads) <= 4 * sum(loads) / len(loads)
    named = scenarios.names(population, 1500)
    assert (named.delivered, named.misdelivered) == (named.asked, 0)
