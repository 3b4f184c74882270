"""What an attacker does to a population: lying relays, and ids ground to stand around one peer.

Lives here: one function per attack, each returning figures. May not live here: what liars do with what they are given
(hostile.py).

Law: as in scenarios.py. A pair counts as reached when a datagram arrived within REACH_TIME; its program sends one each
REACH_EVERY seconds until then.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from time import process_time

from peer_relay_socket.address import PeerId
from peer_relay_socket.codec.packet import LINK_HANDSHAKE, Kind, read_header
from peer_relay_socket.identity import Identity
from tests.sim.hostile import Liars
from tests.sim.measure import Probe, quantile
from tests.sim.network import Host, Network
from tests.sim.population import Population
from tests.sim.scenarios import PATIENCE

REACH_TIME = 30.0
REACH_EVERY = 2.0
BEFORE_FLOODS = 1.1
"""Seconds after which a handshake that two relays swallowed is searched for by flooding, at the earliest."""
_DATAGRAM_SEALED = 4 + 8 + 16 + 5 + 12
"""Bytes of a sealed probe at least: index, counter, tag, record, and a datagram's ports and lengths."""


@dataclass
class Reached:
    """How many of some pairs a datagram crossed in time, and after how long."""

    pairs: int
    reached: int
    times: list[float]

    def __str__(self) -> str:
        took = f"{quantile(self.times, 0.5):.1f} and {quantile(self.times, 0.95):.1f} s (median, p95)"
        return f"{self.reached} of {self.pairs}, after {took}"


def reach(population: Population, pairs: list[tuple[Host, Host]], *, rate: float = 5.0) -> Reached:
    """Let the first of each pair send to the second until something arrives; `rate` pairs begin in a second."""
    network = population.network
    sent: list[list[Probe]] = [[] for _ in pairs]

    def send(number: int, until: float) -> None:
        if network.now <= until and not any(probe.arrived_at is not None for probe in sent[number]):
            sent[number].append(population.probes.send(*pairs[number]))
            network.at(network.now + REACH_EVERY, send, number, until)

    for number in range(len(pairs)):
        begin = network.now + number / rate
        network.at(begin, send, number, begin + REACH_TIME - 0.1)
    network.run(len(pairs) / rate + REACH_TIME + PATIENCE)
    population.probes.take()
    first = [
        min(probe.arrived_at for probe in probes if probe.arrived_at is not None) - probes[0].sent_at
        for probes in sent
        if any(probe.arrived_at is not None for probe in probes)
    ]
    times = sorted(seconds for seconds in first if seconds <= REACH_TIME)
    return Reached(len(pairs), len(times), times)


@dataclass
class Lied:
    """How honest peers fared among liars."""

    liars: int
    sent: int
    delivered: int
    misdelivered: int
    again: int
    """Delivered of a second datagram between the same pairs: the program's own retry."""
    soon: int
    """Delivered of the first within BEFORE_FLOODS: by another relay, not by a search that floods."""
    relays: int
    """Liars among those that relay."""

    @property
    def share(self) -> float:
        """Delivered per sent."""
        return self.delivered / max(1, self.sent)


def lie(population: Population, share: float, count: int, *, rate: float = 100.0) -> Lied:
    """Turn a share of all peers into liars; let them be for a minute; send between honest ones."""
    network = population.network
    candidates = [host for host in population.alive() if host.name not in population.bootstraps[:1]]
    population.random.shuffle(candidates)
    liars = Liars(candidates[: round(share * len(candidates))])
    network.run(60.0)
    honest = [host for host in population.alive() if host.name not in liars.members]
    pairs = [population.pair(honest) for _ in range(count)]
    results = []
    misdelivered = soon = 0
    for attempt in range(2):
        for number, (sender, receiver) in enumerate(pairs):
            network.at(network.now + number / rate, population.probes.send, sender, receiver)
        network.run(count / rate + 2 * PATIENCE)
        if not attempt:
            soon = sum(
                probe.arrived_at is not None and probe.arrived_at <= probe.sent_at + BEFORE_FLOODS
                for probe in population.probes.all
            )
        outcome = population.probes.take()
        results.append(outcome.delivered)
        misdelivered += outcome.misdelivered
    relays = sum(host.config.serves for host in liars.members.values())
    return Lied(len(liars.members), count, results[0], misdelivered, results[1], soon, relays)


@dataclass
class Eclipsed:
    """What it takes to stand around a peer, and what it gains."""

    ids: int
    bits: int
    keys: int
    """Key pairs made to find them."""
    key_seconds: float
    """CPU time that took; the only figure that no seed determines."""
    surrounded: int
    """Of the victim's neighbours, how many are the attacker's."""
    neighbours: int
    seen: float
    """Share of the victim's datagrams, both ways, that the attacker relays while it behaves."""
    to_victim: Reached
    """Once the attacker drops what it can,"""
    from_victim: Reached
    between_others: Reached


def eclipse(population: Population, ids: int, count: int, *, one_network: bool = False) -> Eclipsed:
    """Grind `ids` relay identities next to an ordinary peer, drop all they are given, and send to and from it.

    Args: one_network: whether all of them are in one /24; else each has one to itself.
    """
    network = population.network
    victim = population.ordinary()[0]
    bits = math.ceil(math.log2(len(population.relays()))) + 2
    began = process_time()
    ground, keys = _grind(population, victim, ids, bits)
    key_seconds = process_time() - began
    attackers = []
    for number, identity in enumerate(ground):
        address = f"9.9.9.{number + 1}" if one_network else None
        host = population.add(f"attacker{number}", serves=True, address=address)
        host.identity = identity
        network.at(network.now + 0.1 * number, host.start)
        attackers.append(host)
    network.run(0.1 * ids + 60.0)
    theirs = {host.peer_id for host in attackers}
    honest = [host for host in population.alive() if host.peer_id not in theirs and host is not victim]
    others = [honest[int(population.random.random() * len(honest))] for _ in range(count)]
    carried = _Carried(network, {host.name for host in attackers}, victim.peer_id)
    there = reach(population, [(other, victim) for other in others[: count // 2]])
    back = reach(population, [(victim, other) for other in others[count // 2 :]])
    seen = carried.stop() / max(1, there.reached + back.reached)
    Liars(attackers)
    network.run(120.0)
    neighbours = victim.engine.neighbours
    fresh = [honest[int(population.random.random() * len(honest))] for _ in range(count)]
    return Eclipsed(
        ids,
        bits,
        keys,
        key_seconds,
        sum(peer in theirs for peer in neighbours),
        len(neighbours),
        seen,
        reach(population, [(other, victim) for other in fresh], rate=2.0),
        reach(population, [(victim, other) for other in honest[:count]], rate=2.0),
        reach(population, [population.pair(honest) for _ in range(count)]),
    )


def _grind(population: Population, victim: Host, ids: int, bits: int) -> tuple[list[Identity], int]:
    """Make key pairs until `ids` of them share `bits` bits with the victim; return those, and how many were made."""
    wanted = int.from_bytes(victim.peer_id) >> 160 - bits
    keys = 0
    ground: list[Identity] = []
    while len(ground) < ids:
        identity = population.network.identity(pinned=True)
        keys += 1
        if int.from_bytes(identity.peer_id) >> 160 - bits == wanted:
            ground.append(identity)
    return ground, keys


class _Carried:
    """Counts a peer's datagrams that some hosts pass on: each once, at whom they leave such a host."""

    def __init__(self, network: Network, names: set[str], peer_id: PeerId) -> None:
        self._network = network
        self._names = names
        self._peer_id = peer_id
        self._packets: set[bytes] = set()
        network.tap = self._see

    def _see(self, sender: Host, _receiver: Host, data: bytes) -> None:
        if data[0] == LINK_HANDSHAKE or sender.name not in self._names:
            return
        offset = 0
        while offset < len(data):
            header = read_header(data, offset)
            between = header.kind == Kind.SEALED and self._peer_id in (header.to, header.sender)
            if between and header.end - header.body >= _DATAGRAM_SEALED:  # what is shorter is an acknowledgement
                self._packets.add(data[header.body : header.end])
            offset = header.end

    def stop(self) -> int:
        """Return how many different ones there were."""
        self._network.tap = None
        return len(self._packets)


@dataclass
class Hostile:
    """How peers fare where many relays are hostile."""

    relays: int
    liars: int
    newcomers: Reached
    """Pairs of which the first joined under attack."""
    between_any: Reached


def hostile(population: Population, share: float, newcomers: int, count: int) -> Hostile:
    """Turn a share of the relays into liars, but for the first bootstrap node; let peers join; see who is reached."""
    network = population.network
    relays = [host for host in population.relays() if host.name not in population.bootstraps[:1]]
    population.random.shuffle(relays)
    liars = Liars(relays[: round(share * len(relays))])
    fresh = [population.add(f"newcomer{number}", serves=False) for number in range(newcomers)]
    for number, host in enumerate(fresh):
        network.at(network.now + number / 5.0, host.start)
    network.run(newcomers / 5.0 + 30.0)
    honest = [host for host in population.alive() if host.name not in liars.members]
    old = [host for host in honest if host not in fresh]
    pairs = [(fresh[number % newcomers], old[number * 7 % len(old)]) for number in range(count // 2)]
    pairs += [(receiver, sender) for sender, receiver in pairs[: count // 2]]
    return Hostile(
        len(relays),
        len(liars.members),
        reach(population, pairs, rate=20.0),
        reach(population, [population.pair(honest) for _ in range(count)], rate=20.0),
    )
