"""The attacks of one audit, all at once, and what honest peers have of it: with the attackers and without.

Lives here: relays that flood, lie and name third parties; a thief with a server's address. May not live here: how the
figures are printed.

Law: attackers do only what their keys allow; the same datagrams are counted in both rounds, and nothing else differs.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from time import process_time

from peer_relay_socket.address import ID_BYTES, PeerId, Prefix, Spelling
from peer_relay_socket.codec import control
from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.control import Contact
from peer_relay_socket.codec.packet import Kind, LinkOp
from tests.sim.hostile import Liars
from tests.sim.network import Host
from tests.sim.population import Population

NETWORK = ipaddress.IPv4Network("100.64.0.0/16")
"""Small enough that an address can be ground in seconds."""
VICTIM_URL = "ws://6.6.6.6:80/"
_PATIENCE = 8.0
_EVERY = 0.1
"""Seconds between two volleys of an attacker."""
_CLIENTS = 100


@dataclass
class Round:
    """One round of datagrams, each to an IPv4 address."""

    sent: int
    delivered: int
    misdelivered: int
    cpu: float
    """Seconds of one core, of all engines together."""
    megabytes: float
    """Resident, at its end."""


@dataclass
class Audited:
    """Both rounds, and what the attackers gained."""

    attackers: int
    without: Round
    among: Round
    volleys: int
    """Packets that the attackers sent."""
    pinned: int
    pinned_wrong: int
    """Addresses that honest peers pinned, and those of them to an id that none has or that is the attackers'."""
    clients: int
    reached_server: int
    reached_thief: int
    dialled: int
    """Times that honest peers dialled the third party."""


class _Attacker(Liars):
    """Relays that flood as fast as they are let, and answer every RESOLVE with an invented id."""

    def __init__(self, population: Population, hosts: list[Host]) -> None:
        super().__init__(hosts)
        self.population = population
        self.volleys = 0
        self.victims = [host.peer_id for host in population.alive() if host.name not in self.members]

    def intercept(self, host: Host, number: int, data: bytes) -> bytes:
        """Lie about addresses; carry the rest."""
        if data[0] == wire.LINK_HANDSHAKE:
            return data
        kept, offset = [], 0
        while offset < len(data):
            header = wire.read_header(data, offset)
            start, offset = offset, header.end
            if header.kind == Kind.RESOLVE and header.to != host.peer_id:
                connection, side = host.connections[number]
                self.told += 1
                lie = self._lie(host, data[start:offset], _moved(header, start))
                host.network.transmit(host, connection, side, lie)
            kept.append(data[start:offset])
        return b"".join(kept)

    def volley(self) -> None:
        """Let each attacker send one of each over each of its links."""
        network = self.population.network
        for host in self.members.values():
            if host.alive:
                for connection, side in list(host.connections.values()):
                    network.transmit(host, connection, side, b"".join(self._packets(host)))
                for link in list(host.engine._links.by_id.values()):
                    host.engine._links.tell(link, LinkOp.NEIGHBOURS, control.contacts([self._third_party()]))
                host.pump()
        network.at(network.now + _EVERY, self.volley)

    def _third_party(self) -> Contact:
        return Contact(self.population.random.randbytes(ID_BYTES), (VICTIM_URL,))

    def _packets(self, host: Host) -> list[bytes]:
        random = self.population.random
        victim = self.victims[int(random.random() * len(self.victims))]
        target = random.randbytes(ID_BYTES)
        token = random.randbytes(4)
        self.volleys += 6
        return [
            wire.packet(Kind.RESOLVE, target, victim, control.resolve(token, 16)),
            wire.packet(Kind.FIND, target, victim, token + bytes(32)),
            wire.packet(Kind.DISCOVER, target, victim, random.randbytes(109), hop_limit=8),
            wire.packet(Kind.RESOLVED, victim, host.peer_id, control.resolved(token, True, [target])),
            wire.packet(Kind.NO_ROUTE, victim, host.peer_id, target),
            wire.packet(Kind.HANDSHAKE, victim, target, b"\x01" + random.randbytes(44)),
        ]


def _moved(header: wire.Header, start: int) -> wire.Header:
    return header._replace(body=header.body - start, end=header.end - start)


def audit(population: Population, count: int) -> Audited:
    """Send `count` datagrams; let one relay for each 300 peers attack, a thief among them; send as many again."""
    network = population.network
    honest = population.alive()
    without = by_address(population, honest, count)
    attackers = []
    for number in range(max(1, population.mix.peers // 300)):
        host = population.add(f"attacker{number}", serves=True)
        host.config.urls = (*host.config.urls, VICTIM_URL)
        attackers.append(host)
    server = population.ordinary()[0]
    thief = attackers[0]
    spelling = Spelling(population.mix.network)
    while spelling.ipv4(thief.identity.peer_id) != spelling.ipv4(server.peer_id):
        thief.identity = network.identity(pinned=True)
    dialled = _Dialled(population)
    for host in attackers:
        host.start()
    network.run(10.0)
    attack = _Attacker(population, attackers)
    attack.volley()
    among = by_address(population, honest, count)
    heard = _clients(population, server, thief)
    pinned = pinned_by(honest, honest)
    return Audited(
        len(attackers),
        without,
        among,
        attack.volleys,
        *pinned,
        _CLIENTS,
        *heard,
        dialled.count,
    )


def pinned_by(honest: list[Host], owners: list[Host]) -> tuple[int, int]:
    """Return how many addresses honest peers pinned, and how many of them to an id that is none of the `owners`'."""
    ids = {host.peer_id for host in owners}
    pinned = [peer_id for host in honest for peer_id in host.engine._resolver.pinned.values()]
    return len(pinned), sum(peer_id not in ids for peer_id in pinned)


def by_address(population: Population, honest: list[Host], count: int) -> Round:
    """Send `count` datagrams between honest peers, each to an IPv4 address."""
    network = population.network
    spelling = Spelling(population.mix.network)
    began = process_time()
    for number in range(count):
        sender, receiver = population.pair(honest)
        destination = spelling.parse(spelling.ipv4(receiver.peer_id))
        assert isinstance(destination, Prefix)
        network.at(network.now + number / population.rate, population.probes.send, sender, receiver, destination)
    network.run(count / population.rate + _PATIENCE)
    outcome = population.probes.take()
    return Round(outcome.sent, outcome.delivered, outcome.misdelivered, process_time() - began, _resident())


def _clients(population: Population, server: Host, thief: Host) -> tuple[int, int]:
    """Let fresh peers join and send to the server's IPv4 address; return how many reached it, and the thief."""
    network = population.network
    spelling = Spelling(population.mix.network)
    destination = spelling.parse(spelling.ipv4(server.peer_id))
    assert isinstance(destination, Prefix)
    heard: dict[PeerId, set[PeerId]] = {server.peer_id: set(), thief.peer_id: set()}
    before = network.on_deliver
    network.on_deliver = lambda host, effect: heard.get(host.peer_id, set()).add(effect.source)
    for number in range(_CLIENTS):
        client = population.add(f"client{number}", serves=False)
        network.at(network.now + 0.1 * number, client.start)
        network.at(network.now + 0.1 * number + 5.0, client.send, destination, 7, b"hello")
    network.run(0.1 * _CLIENTS + 5.0 + _PATIENCE)
    network.on_deliver = before
    return len(heard[server.peer_id]), len(heard[thief.peer_id])


class _Dialled:
    """Counts dials of the third party."""

    def __init__(self, population: Population) -> None:
        self.count = 0
        network = population.network
        dial, back = network.dial, network.dial_back

        def counted(host: Host, url: str) -> None:
            self.count += url == VICTIM_URL
            dial(host, url)

        def counted_back(host: Host, effect: object) -> None:
            self.count += getattr(effect, "url", "") == VICTIM_URL
            back(host, effect)  # type: ignore[arg-type]

        network.dial = counted  # type: ignore[method-assign]
        network.dial_back = counted_back  # type: ignore[method-assign]


def _resident() -> float:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
