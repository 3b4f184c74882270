"""A population of hosts in a stated mix, and the questions one asks of it.

Lives here: who joins when, who can be dialled, where hosts are. May not live here: what is done to them (scenarios).

Law: everything is drawn from the network's seed; hosts are walked in the order in which they were made.
"""

from __future__ import annotations

import gc
import ipaddress
from dataclasses import dataclass

from peer_relay_socket.address import DEFAULT_IPV4_NETWORK, PeerId
from peer_relay_socket.engine.authentication import Handshake
from peer_relay_socket.engine.xor import nearest
from peer_relay_socket.limits import CLOSEST_LINKS
from tests.sim.measure import Meter, Outcome, Probes
from tests.sim.network import Host, Network
from tests.sim.plain import PlainHandshake

LATENCY = 0.005
"""Seconds every crossing costs at least."""
WORLD = 0.08
"""Side of the square the hosts are strewn over, in seconds of latency: 42 ms between two of them on average."""


@dataclass(frozen=True)
class Mix:
    """Who is in it."""

    peers: int
    seed: int = 1
    dialable: float = 0.2
    """Share that others can dial, and that relays."""
    bootstraps: int = 4
    join_seconds: float = 0.0
    """Time over which they join; 0: as fast as 50 a second, but within a minute."""
    loss: float = 0.0
    network: ipaddress.IPv4Network = DEFAULT_IPV4_NETWORK
    """What IPv4 addresses are taken from: a small one where an attacker grinds for one of them."""
    plain: bool = False
    """Whether handshakes have their sizes and no cryptography (plain.py): a quarter of the time."""
    uplink: tuple[float, float] = (125_000.0, 1_250_000.0)
    """Bytes per second of an ordinary peer and of a relay."""


class Population:
    """Hosts that join one network."""

    def __init__(self, mix: Mix) -> None:
        self.mix = mix
        handshake = PlainHandshake if mix.plain else Handshake
        self.network = Network(mix.seed, latency=LATENCY, loss=mix.loss, keep=False, handshake=handshake)
        self.random = self.network.random
        self.meter = Meter(self.network)
        self.probes = Probes(self.network, self.meter)
        self.hosts: list[Host] = []
        self.bootstraps = tuple(f"r{number}" for number in range(min(mix.bootstraps, self.relays_wanted)))
        for number in range(self.relays_wanted):
            self.add(f"r{number}", serves=True)
        for number in range(mix.peers - self.relays_wanted):
            self.add(f"p{number}", serves=False)

    @property
    def relays_wanted(self) -> int:
        """How many of the mix can be dialled."""
        return max(1, round(self.mix.peers * self.mix.dialable))

    def add(self, name: str, *, serves: bool, address: str | None = None) -> Host:
        """Make a host that has not started, in a /24 of its own unless `address` says otherwise."""
        number = len(self.network.hosts) + 1
        address = address or f"8.{number & 255}.{number >> 8 & 255}.{1 + (number >> 16)}"
        position = self.bootstraps.index(name) if name in self.bootstraps else None
        known = self.bootstraps if position is None else self.bootstraps[:position]
        network = self.network
        identity = network.identity(pinned=False)
        host = network.host(name, bootstrap=known, serves=serves, start=False, identity=identity, address=address)
        if self.mix.network != DEFAULT_IPV4_NETWORK:
            host.config.ipv4_network = self.mix.network
            host.engine = host._make()
        host.place = (self.random.random() * WORLD, self.random.random() * WORLD)
        host.uplink = self.mix.uplink[serves]
        self.hosts.append(host)
        return host

    def join(self) -> None:
        """Let all hosts join, bootstraps first, and the last of them settle."""
        network = self.network
        seconds = self.mix.join_seconds or min(60.0, self.mix.peers / 50)
        for host in self.hosts:
            early = host.name in self.bootstraps
            when = 0.1 * self.bootstraps.index(host.name) if early else 1.0 + self.random.random() * seconds
            network.at(when, host.start)
        collecting = gc.isenabled()
        gc.disable()  # engines are full of cycles, and nearly all of them stay: a tenth of the time for nothing
        network.run(1.0 + seconds)
        gc.freeze()
        if collecting:
            gc.enable()

    # --- who is there ----------------------------------------------------------------------------------------

    def alive(self) -> list[Host]:
        """Return the hosts that run."""
        return [host for host in self.hosts if host.alive]

    def relays(self) -> list[Host]:
        """Return those that can be dialled."""
        return [host for host in self.hosts if host.alive and host.config.serves]

    def ordinary(self) -> list[Host]:
        """Return those that cannot."""
        return [host for host in self.hosts if host.alive and not host.config.serves]

    def by_id(self) -> dict[PeerId, Host]:
        """Return who is who."""
        return {host.peer_id: host for host in self.alive()}

    # --- what one asks ---------------------------------------------------------------------------------------

    @property
    def rate(self) -> float:
        """Datagrams a second for whoever wants many: a tenth of the peers sends one."""
        return max(200.0, self.mix.peers / 10)

    def strangers(self) -> int:
        """Return how many peers lack a link to one of the CLOSEST_LINKS relays nearest to them."""
        relays = sorted(int.from_bytes(host.peer_id) for host in self.relays())
        lacking = 0
        for host in self.alive():
            number = int.from_bytes(host.peer_id)
            near = [relays[position] for position in nearest(relays, number, CLOSEST_LINKS + 1)]
            linked = {int.from_bytes(peer_id) for peer_id in host.engine.neighbours}
            lacking += not linked.issuperset([relay for relay in near if relay != number][:CLOSEST_LINKS])
        return lacking

    def pair(self, among: list[Host]) -> tuple[Host, Host]:
        """Return two different hosts."""
        one = among[int(self.random.random() * len(among))]
        while True:
            other = among[int(self.random.random() * len(among))]
            if other is not one:
                return one, other

    def probe(self, count: int, *, wait: float = 8.0) -> Outcome:
        """Send `count` datagrams between random pairs, `rate` a second, and see what came of them `wait` seconds on."""
        among = self.alive()
        for number in range(count):
            self.network.at(self.network.now + number / self.rate, self._probe, *self.pair(among))
        self.network.run(count / self.rate + wait)
        return self.probes.take()

    def _probe(self, sender: Host, receiver: Host) -> None:
        if sender.alive and receiver.alive:
            self.probes.send(sender, receiver)

    def links(self) -> tuple[list[int], list[int], list[int]]:
        """Return, each in order: links of ordinary peers; links of relays to relays; ordinary peers at relays."""
        serves = {host.peer_id: host.config.serves for host in self.alive()}
        ordinary, among_relays, attached = [], [], []
        for host in self.alive():
            neighbours = [serves.get(peer_id, False) for peer_id in host.engine.neighbours]
            if host.config.serves:
                among_relays.append(sum(neighbours))
                attached.append(len(neighbours) - sum(neighbours))
            else:
                ordinary.append(len(neighbours))
        return sorted(ordinary), sorted(among_relays), sorted(attached)
