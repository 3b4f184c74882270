"""WebRTC in virtual time, and a relay with two peers that may link by it."""

from __future__ import annotations

from math import ceil

from peer_relay_socket import limits
from peer_relay_socket.engine.direct import Path
from peer_relay_socket.engine.effects import Abandon, Accept, Describe, Effect
from tests.sim.network import Connection, Host, Network


class Rtc:
    """WebRTC in virtual time: performs the effects, and connects whom `passes` lets."""

    def __init__(self, network: Network) -> None:
        self.network = network
        network.on_effect = self.perform
        self.passes = True
        self.grid = 0.01
        """Descriptions are ready at multiples of so many seconds."""
        self.made: dict[str, tuple[Host, int]] = {}
        """Who wrote a description, and for which attempt of theirs."""
        self.abandoned: set[tuple[str, int]] = set()
        self.attempts: list[tuple[float, str, bool]] = []
        """When, who, whether it was an offer."""
        self.links: list[Connection] = []

    def perform(self, host: Host, effect: Effect) -> None:
        network = self.network
        if isinstance(effect, Describe):
            self.attempts.append((network.now, host.name, effect.offer is None))
            ready = self.grid * ceil((network.now + 0.02) / self.grid)
            network.at(ready, self._describe, host, effect)
        elif isinstance(effect, Accept):
            self._accept(host, effect)
        elif isinstance(effect, Abandon):
            self.abandoned.add((host.name, effect.attempt))

    def _describe(self, host: Host, effect: Describe) -> None:
        sdp = f"{host.name} {effect.attempt} of {effect.offer}"
        self.made[sdp] = (host, effect.attempt)
        host.engine.described(effect.attempt, sdp, self.network.now)
        host.pump()

    def _accept(self, host: Host, effect: Accept) -> None:
        network = self.network
        other, theirs = self.made[effect.answer]
        if not self.passes:
            for end, attempt in ((host, effect.attempt), (other, theirs)):
                network.at(network.now + limits.RTC_ICE_TIME, self._failed, end, attempt)
            return
        connection = Connection(0.005)
        self.links.append(connection)
        for end, url, far, attempt in ((host, "webrtc:x", other, effect.attempt), (other, None, host, theirs)):
            if (end.name, attempt) in self.abandoned:
                return
            network._links += 1
            connection.ends.append((end, network._links))
            end.connections[network._links] = (connection, len(connection.ends) - 1)
            end.engine.link_opened(
                network._links, url=url, remote_host=far.address, now=network.now, peer_id=far.peer_id, unit=1320
            )
        for end in (host, other):
            network.at(network.now, end.pump)

    def _failed(self, host: Host, attempt: int) -> None:
        host.engine.direct_failed(attempt, "no direct path was found", self.network.now)
        host.pump()


def trio(seed: int, *, webrtc: tuple[bool, bool] = (True, True)) -> tuple[Network, Rtc, Host, Host, Host]:
    """A relay, and two peers that know nothing else and cannot be dialled."""
    network = Network(seed)
    rtc = Rtc(network)
    relay = network.host("relay", serves=True)
    ends = []
    for name, able in zip("ab", webrtc, strict=True):
        host = network.host(name, bootstrap=("relay",), start=False)
        host.config.direct = True
        host.config.webrtc = able
        host.start()
        ends.append(host)
    network.run(2.0)
    return network, rtc, relay, ends[0], ends[1]


def talk(network: Network, a: Host, b: Host, seconds: float, *, rate: int = 20, both: bool = False) -> int:
    """Send numbered datagrams for a while; return how many."""
    count = int(seconds * rate)
    for number in range(count):
        a.send(b.peer_id, 5, number.to_bytes(4) + bytes(100))
        if both:
            b.send(a.peer_id, 5, number.to_bytes(4) + bytes(100))
        network.run(1 / rate)
    return count


def numbers(host: Host) -> list[int]:
    return [int.from_bytes(data[:4]) for effect in host.received for data in effect.datagrams]


def path(host: Host, other: Host) -> Path:
    return host.engine.path(other.peer_id)[0]
