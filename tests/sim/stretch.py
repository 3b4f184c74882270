"""How long the way of relayed datagrams is beside the best there is.

Lives here: pairs that cannot go direct, what they send, and what that is held against. May not live here: other
scenarios.

Law: delay is measured from what arrives, never asked of an engine; the best single relay is the best of all relays of
the network, whether or not anybody can know it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from tests.sim.measure import Probe, quantile
from tests.sim.network import Host
from tests.sim.population import Population

OPENED = 4.0
"""Seconds after the datagram that opens a session until the next one, which finds it open and its way as it was."""
LEARNING = 5.0
"""Seconds of traffic after which a way shall be about the best."""
LASTING = 1.0
"""Seconds of traffic that are measured then."""
RATE = 8.0
"""Datagrams a second, each way."""
_DRAWS = 20
"""So often the busiest relay is looked for where chance alone chooses."""


@dataclass(frozen=True)
class Stretch:
    """Delay, and delay beside the best single relay and beside a direct path: median and 95th percentile of each."""

    sent: int
    delivered: int
    delay: tuple[float, float]
    best: tuple[float, float]
    """Of the best single relay."""
    direct: tuple[float, float]
    beside_best: tuple[float, float]
    beside_direct: tuple[float, float]

    @classmethod
    def of(cls, probes: list[Probe], relays: list[Host]) -> Stretch:
        """Sum up probes."""
        network = probes[0].sender.network
        known: dict[tuple[str, str], tuple[float, float]] = {}
        delays, bests, directs = [], [], []
        for probe in probes:
            if probe.arrived_at is None:
                continue
            one, other = sorted((probe.sender, probe.receiver), key=lambda host: host.name)
            if (one.name, other.name) not in known:
                best = min(network.distance(one, relay) + network.distance(relay, other) for relay in relays)
                known[one.name, other.name] = best, network.distance(one, other)
            best, direct = known[one.name, other.name]
            delays.append(probe.arrived_at - probe.sent_at)
            bests.append(best)
            directs.append(direct)
        ratios = [delay / best for delay, best in zip(delays, bests, strict=True)]
        beside = [delay / direct for delay, direct in zip(delays, directs, strict=True)]
        return cls(len(probes), len(delays), *map(_spread, (delays, bests, directs, ratios, beside)))


@dataclass(frozen=True)
class Stretched:
    """What became of it."""

    opening: tuple[float, float]
    """Seconds to the very first datagram, its session's handshake included: median, 95th percentile."""
    first: Stretch
    """The first datagram that finds its session open."""
    lasting: Stretch
    """After LEARNING seconds of traffic."""
    lost: int
    """Of all datagrams between."""
    duplicates: int
    busiest: float
    """What the busiest relay passed on at the end, when all pairs talked, beside the mean of all relays,"""
    by_chance: float
    """and what it would be if each pair took any relay: so few pairs are never spread evenly."""
    changes: float
    """Changes of way per pair and minute while nothing in the network changed."""
    over_time: list[tuple[float, float]]
    """(second of traffic, median delay)."""


def stretch(population: Population, pairs: int, *, steady: float = 0.0) -> Stretched:
    """Let `pairs` of ordinary peers talk, and for `steady` seconds more."""
    network = population.network
    ordinary, relays = population.ordinary(), population.relays()
    chosen = [population.pair(ordinary) for _ in range(pairs)]
    opening: list[Probe] = []
    first: list[Probe] = []
    traffic: list[tuple[float, Probe]] = []
    duplicates = population.probes.duplicates
    spread = max(2.0, pairs / 50.0)
    end = network.now + spread + OPENED + 1.0 + LEARNING + LASTING + steady

    def exchange(pair: tuple[Host, Host], kept: list[Probe]) -> None:
        kept.extend(population.probes.send(*ends) for ends in (pair, pair[::-1]))

    def talk(pair: tuple[Host, Host], began: float) -> None:
        second = network.now - began
        kept: list[Probe] = []
        exchange(pair, kept)
        traffic.extend((second, probe) for probe in kept)
        if network.now + 1.0 / RATE < end:
            network.at(network.now + 1.0 / RATE, talk, pair, began)

    start = network.now
    for number, pair in enumerate(chosen):
        when = start + spread * number / pairs
        network.at(when, lambda ends=pair: opening.append(population.probes.send(*ends)))
        network.at(when + OPENED, exchange, pair, first)
        network.at(when + OPENED + 1.0, talk, pair, when + OPENED + 1.0)
    network.run(spread + OPENED + 1.0 + LEARNING)
    load = population.meter.start().load
    network.run(LASTING)
    changed = _changes(population)
    loads = [load[relay.name] for relay in relays]
    population.meter.stop()
    network.run(steady)
    changes = _changes(population) - changed
    network.run(8.0)
    population.probes.take()
    lasting = [probe for second, probe in traffic if LEARNING <= second < LEARNING + LASTING - 1e-6]
    return Stretched(
        _spread([probe.arrived_at - probe.sent_at for probe in opening if probe.arrived_at is not None]),
        Stretch.of(first, relays),
        Stretch.of(lasting, relays),
        sum(probe.arrived_at is None for _, probe in traffic),
        population.probes.duplicates - duplicates,
        max(loads) / (sum(loads) / len(loads)),
        _by_chance(population, pairs, len(relays)),
        changes / pairs / (steady / 60.0) if steady else 0.0,
        _over_time(traffic),
    )


def _spread(values: list[float]) -> tuple[float, float]:
    ordered = sorted(values)
    return quantile(ordered, 0.5), quantile(ordered, 0.95)


def _by_chance(population: Population, pairs: int, relays: int) -> float:
    """Return how many of `pairs` the busiest relay has beside the mean, if each pair takes any relay."""
    draws = [Counter(int(population.random.random() * relays) for _ in range(pairs)) for _ in range(_DRAWS)]
    return sum(max(draw.values()) for draw in draws) / _DRAWS / (pairs / relays)


def _changes(population: Population) -> int:
    counters: Counter[str] = Counter()
    for host in population.ordinary():
        counters.update(host.engine.counters)
    return counters["paths changed"]


def _over_time(traffic: list[tuple[float, Probe]]) -> list[tuple[float, float]]:
    by_second: dict[float, list[float]] = {}
    for second, probe in traffic:
        if probe.arrived_at is not None:
            by_second.setdefault(int(2 * second) / 2.0, []).append(probe.arrived_at - probe.sent_at)
    return [(second, _spread(by_second[second])[0]) for second in sorted(by_second)]
