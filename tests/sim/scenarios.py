"""What is done to a population, and what it makes of it: churn, partitions, lost relays, names.

Lives here: one function per scenario, each returning figures. May not live here: how figures are printed or drawn.

Law: a scenario is repeatable from the population's seed; a datagram counts as sent only if both ends were up for
`UP_FOR` seconds when it left and while it travelled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from peer_relay_socket.address import Spelling
from tests.sim.measure import Probe, quantile
from tests.sim.network import Host
from tests.sim.population import Population

UP_FOR = 5.0
PATIENCE = 8.0
"""Seconds after which a datagram that has not arrived is lost."""
_SPELL = Spelling()


@dataclass
class Series:
    """Delivery over time."""

    title: str
    step: float
    marks: list[tuple[float, str]] = field(default_factory=list)
    """(time, what happened)."""
    points: list[tuple[float, float, int]] = field(default_factory=list)
    """(when sent, share delivered, how many were sent), one per `step` seconds in which any were."""
    goal: float = 0.99
    """The share that is promised."""
    events: list[tuple[float, bool]] = field(default_factory=list)
    """(time, whether a peer came) for each that came or ended."""

    @classmethod
    def of(cls, title: str, probes: list[Probe], start: float, step: float) -> Series:
        """Sort probes by when they were sent, in seconds after `start`."""
        series = cls(title, step)
        sent: dict[int, int] = {}
        arrived: dict[int, int] = {}
        for probe in probes:
            slot = math.floor((probe.sent_at - start) / step)
            sent[slot] = sent.get(slot, 0) + 1
            arrived[slot] = arrived.get(slot, 0) + (probe.arrived_at is not None)
        series.points = [(slot * step, arrived[slot] / sent[slot], sent[slot]) for slot in sorted(sent)]
        return series

    def recovered_after(self, share: float, since: float = 0.0) -> float:
        """Return how long after `since` delivery last was below `share`."""
        below = [when + self.step - since for when, delivered, _ in self.points if when >= since and delivered < share]
        return max(below, default=0.0)


def _is_up(host: Host) -> bool:
    return host.alive and host.settled is not None and host.settled + UP_FOR <= host.network.now


class _Stream:
    """Datagrams between random pairs, at a steady rate; every other one between pairs that keep talking."""

    def __init__(self, population: Population, rate: float, *, across: dict[str, int] | None = None) -> None:
        self.population = population
        self.rate = rate
        self.across = across
        self.probes: list[Probe] = []
        self._until = 0.0
        self._sent = 0
        self._lasting: list[tuple[Host, Host]] = []

    def begin(self, seconds: float) -> None:
        """Send for so long."""
        network = self.population.network
        self._until = network.now + seconds
        network.at(network.now, self._next)

    def _next(self) -> None:
        network = self.population.network
        if network.now >= self._until:
            return
        self._sent += 1
        pair = self._pair()
        if pair is not None:
            self.probes.append(self.population.probes.send(*pair))
        network.at(network.now + 1.0 / self.rate, self._next)

    def _pair(self) -> tuple[Host, Host] | None:
        lasting = self._lasting
        if self._sent % 2 and len(lasting) >= 5 * self.rate:
            pair = lasting.pop(0)
            if _is_up(pair[0]) and _is_up(pair[1]):
                lasting.append(pair)
                return pair
        hosts = self.population.hosts
        for _ in range(50):
            one, other = self.population.pair(hosts)
            if _is_up(one) and _is_up(other) and (self.across is None or self._crosses(one, other)):
                if self._sent % 2:
                    lasting.append((one, other))
                return one, other
        return None

    def _crosses(self, one: Host, other: Host) -> bool:
        assert self.across is not None
        return self.across[one.name] != self.across[other.name]

    def fair(self) -> list[Probe]:
        """Return the probes whose ends both stayed up while they travelled."""
        return [probe for probe in self.probes if probe.arrived_at is not None or _stayed(probe)]


def _stayed(probe: Probe) -> bool:
    return all(
        host.settled is not None
        and host.settled <= probe.sent_at
        and (host.ended is None or host.ended > probe.sent_at + PATIENCE)
        for host in (probe.sender, probe.receiver)
    )


# --- churn -----------------------------------------------------------------------------------------------------


@dataclass
class Churned:
    """What churn did."""

    series: Series
    sent: int
    delivered: int
    misdelivered: int
    ended: int
    returned: list[float]
    """Seconds until a peer that came back was reached."""

    @property
    def share(self) -> float:
        """Delivered per sent."""
        return self.delivered / max(1, self.sent)


def churn(population: Population, seconds: float, *, replaced_per_hour: float = 0.5, rate: float = 20.0) -> Churned:
    """Replace peers with exponential lifetimes for a while: a third leave, a third crash, a third fall silent."""
    network = population.network
    start = network.now
    per_second = -math.log(1.0 - replaced_per_hour) / 3600.0
    stream = _Stream(population, rate)
    ended: list[Host] = []
    events: list[tuple[float, bool]] = []
    back: list[Probe] = []

    def end(number: int) -> None:
        alive = [host for host in population.alive() if host.name not in population.bootstraps]
        host = alive[int(population.random.random() * len(alive))]
        (host.leave, host.crash, host.vanish)[number % 3]()
        ended.append(host)
        events.append((network.now - start, False))
        if number % 4 == 0:  # the same peer comes back
            network.at(network.now + 10.0 * population.random.random(), again, host)
        else:
            fresh = population.add(f"{host.name[0]}x{number}", serves=host.config.serves)
            network.at(network.now + 10.0 * population.random.random(), come, fresh)
        schedule(number + 1)

    def come(host: Host) -> None:
        events.append((network.now - start, True))
        host.start()

    def again(host: Host) -> None:
        come(host)
        for tenth in range(60):
            network.at(network.now + tenth / 10.0, knock, host)

    def knock(host: Host) -> None:
        sender = population.pair(population.hosts)[0]
        if _is_up(sender) and sender is not host and host.alive:
            back.append(population.probes.send(sender, host))

    def schedule(number: int) -> None:
        wait = -math.log(1.0 - population.random.random()) / (per_second * len(population.alive()))
        if network.now + wait < start + seconds:
            network.at(network.now + wait, end, number)

    schedule(0)
    stream.begin(seconds)
    network.run(seconds + PATIENCE)
    fair = stream.fair()
    series = Series.of(f"churn, {replaced_per_hour:.0%} replaced per hour", fair, start, 10.0)
    series.goal, series.events = 0.995, events
    return Churned(
        series,
        len(fair),
        sum(probe.arrived_at is not None for probe in fair),
        population.probes.take().misdelivered,
        len(ended),
        _first_reached(back),
    )


def _first_reached(knocks: list[Probe]) -> list[float]:
    """Return, per returned host, the seconds from its start to the first delivery."""
    started: dict[str, float] = {}
    reached: dict[str, float] = {}
    for probe in knocks:
        name = probe.receiver.name
        started.setdefault(name, probe.sent_at)
        if probe.arrived_at is not None:
            reached[name] = min(reached.get(name, math.inf), probe.arrived_at - started[name])
    return sorted(reached.get(name, math.inf) for name in started)


# --- disasters -------------------------------------------------------------------------------------------------


def partition(population: Population, cut: float, watch: float, *, rate: float = 20.0) -> Series:
    """Cut the network into random halves for `cut` seconds; return delivery across, from the cut's end."""
    network = population.network
    side = {host.name: population.random.getrandbits(1) for host in population.hosts}
    network.sever(lambda one, other: side[one.name] != side[other.name])
    network.run(cut)
    network.severed = None
    start = network.now
    stream = _Stream(population, rate, across=side)
    stream.begin(watch)
    network.run(watch + PATIENCE)
    population.probes.take()
    series = Series.of("partition", stream.probes, start, 5.0)
    series.marks = [(0.0, f"cut of {cut:.0f} s ends")]
    return series


def lose_busiest(population: Population, share: float, watch: float, *, silent: bool, rate: float = 40.0) -> Series:
    """Find the busiest relays, end them all at once, and return delivery from that moment."""
    network = population.network
    stream = _Stream(population, rate)
    stream.begin(20.0 + watch)
    traffic = population.meter.start()
    network.run(20.0)
    population.meter.stop()
    relays = sorted(population.relays(), key=lambda host: -traffic.load[host.name])
    relays = [host for host in relays if host.name not in population.bootstraps[:1]]
    start = network.now
    for host in relays[: round(share * len(relays))]:
        (host.vanish if silent else host.crash)()
    network.run(watch + PATIENCE)
    population.probes.take()
    how = "fall silent" if silent else "crash"
    series = Series.of(f"relays {how}", stream.fair(), start, 1.0)
    series.marks = [(0.0, f"{share:.0%} busiest {how}")]
    return series


# --- names -----------------------------------------------------------------------------------------------------


@dataclass
class Named:
    """How names were resolved."""

    asked: int
    delivered: int
    misdelivered: int
    moved: int
    """Peers that took another identity because their IPv4 address was taken."""
    shared: int
    """IPv4 addresses that more than one peer has, after settling."""
    refused: int
    """Datagrams to such shared addresses that went nowhere, as they should."""


def names(population: Population, count: int) -> Named:
    """Send to `count` peers by IPv4, IPv6 and id in turn, each from a random peer."""
    network = population.network
    rate = population.rate
    alive = population.alive()
    owners: dict[str, int] = {}
    for host in alive:
        address = _SPELL.ipv4(host.peer_id)
        owners[address] = owners.get(address, 0) + 1
    shared = 0

    def ask(number: int, receiver: Host) -> None:
        sender = population.pair(alive)[0]
        if sender is receiver:
            return
        text = (_SPELL.ipv4(receiver.peer_id), _SPELL.ipv6(receiver.peer_id), receiver.peer_id.hex())[number % 3]
        destination = _SPELL.parse(text)
        assert isinstance(destination, tuple | bytes)
        population.probes.send(sender, receiver, destination)

    first = int(population.random.random() * len(alive))
    for number in range(count):
        receiver = alive[(first + number // 3) % len(alive)]
        if owners[_SPELL.ipv4(receiver.peer_id)] > 1 and number % 3 == 0:
            shared += 1
        network.at(network.now + number / rate, ask, number, receiver)
    network.run(count / rate + PATIENCE)
    outcome = population.probes.take()
    return Named(
        outcome.sent,
        outcome.delivered,
        outcome.misdelivered,
        sum(host.moved for host in population.hosts),
        sum(1 for count in owners.values() if count > 1),
        shared,
    )


def median(values: list[float]) -> float:
    """Return the median, 0 of none."""
    return quantile(sorted(values), 0.5)
