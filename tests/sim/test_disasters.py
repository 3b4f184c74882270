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
    population = Population(Mix(peers, seed=seed, loss=loss, plain=True))
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


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_two_that_join_at_once_with_one_address_keep_it_and_know() -> None:
    population = settled(60, seed=3)
    pair = [population.add(f"twin{number}", serves=False) for number in range(2)]
    for host, identity in zip(pair, colliding(population.network, pinned=False), strict=True):
        host.identity = identity
        host.start()
    population.network.run(4.0)
    assert [host.moved for host in pair] == [0, 0]  # neither was known where the other asked
    population.network.run(10.0)
    assert [host.moved for host in pair] == [0, 0]  # their programs have seen it by now
    assert sum(host.engine.counters.get("another peer has our IPv4 address", 0) for host in pair) >= 1
    named = scenarios.names(population, 3 * len(population.hosts))
    assert (named.misdelivered, named.shared) == (0, 1)
    assert named.delivered == named.asked - named.refused


def test_an_address_that_two_pinned_peers_have_is_refused_and_never_guessed() -> None:
    population = settled(30, seed=2)
    pair = [population.add(f"twin{number}", serves=False) for number in range(2)]
    for host, identity in zip(pair, colliding(population.network, pinned=True), strict=True):
        host.identity = identity
        host.start()
    population.network.run(10.0)
    named = scenarios.names(population, 3 * len(population.hosts))
    assert (named.misdelivered, named.shared) == (0, 1)
    assert named.delivered == named.asked - named.refused


def test_links_that_drop_a_hundredth_lose_no_more_than_they_must() -> None:
    population = settled(60, loss=0.01)
    outcome = population.probe(500)
    assert outcome.share > 0.95  # three links, no retransmission: 0.99**3


@pytest.mark.slow
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
    curves = [
        scenarios.Series("curve", 1.0, [(0.0, "<cut>")], [(0.0, 1.0, 5), (1.0, 0.5, 5)], events=[(0.5, True)]),
        scenarios.Series("high", 1.0, [], [(0.0, 1.0, 100), (1.0, 0.998, 1000)]),
    ]
    drawn = svg(population, curves)
    assert drawn.count("<circle") == 20
    links = sum(len(host.engine.neighbours) for host in population.hosts) // 2
    assert f"20 peers, {links} links, seed 1" in drawn
    assert drawn.count("Q") == links
    assert "&lt;cut&gt;" in drawn
    assert drawn.count("<polyline") == 2
    assert "(2 of 10 lost)" in drawn
    assert "(2 of 1100 lost)" in drawn
    assert ">50 %<" in drawn  # the axis begins no lower than the curve goes
    assert ">99 %<" in drawn
