"""What a simulated network does: links crossed, packets sent, who carries the load, what idling costs.

Lives here: counting. May not live here: causing.

Law: a figure is counted from bundles on their way and from what hosts were given, never from what engines say of
themselves.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from peer_relay_socket.address import Destination
from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.packet import Kind
from peer_relay_socket.engine.effects import Deliver
from peer_relay_socket.limits import HOP_LIMIT
from tests.sim.network import Host, Network

FRAME_BYTES = 58
"""What a bundle costs beyond its bytes on a plain WebSocket: 6 bytes of frame, 52 of TCP and IP headers."""
_TRAFFIC = frozenset((Kind.HANDSHAKE, Kind.SEALED, Kind.NO_SESSION, Kind.NO_ROUTE, Kind.DISCOVER, Kind.DISCOVERED))
"""Packets that exist because somebody sent a datagram."""


@dataclass
class Traffic:
    """Bundles seen between `Meter.start` and `Meter.stop`."""

    packets: Counter[int] = field(default_factory=Counter)
    """Transmissions by kind."""
    crossed: int = 0
    """Links that HANDSHAKE and SEALED packets crossed which arrived: what was needed."""
    load: Counter[str] = field(default_factory=Counter)
    """Packets each host sent on for others."""
    sent: Counter[str] = field(default_factory=Counter)
    received: Counter[str] = field(default_factory=Counter)
    """Bytes, frames and headers included, by host."""

    @property
    def transmissions_per_needed(self) -> float:
        """Packets on links because of datagrams, per link that had to be crossed."""
        return sum(self.packets[kind] for kind in _TRAFFIC) / max(1, self.crossed)


class Meter:
    """Taps a network."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.traffic = Traffic()
        self.hops: dict[tuple[bytes, bytes], int] = {}
        """Links that the last sealed packet from one id to another crossed."""

    def start(self) -> Traffic:
        """Count from now on, into a new record."""
        self.traffic = Traffic()
        self.hops.clear()
        self.network.tap = self._see
        return self.traffic

    def stop(self) -> Traffic:
        """Count no more."""
        self.network.tap = None
        return self.traffic

    def _see(self, sender: Host, receiver: Host, data: bytes) -> None:
        traffic = self.traffic
        size = len(data) + FRAME_BYTES + (wire.BUNDLE_TAG if wire.is_tagged(data) else 0)
        traffic.sent[sender.name] += size
        traffic.received[receiver.name] += size
        if data[0] == wire.LINK_HANDSHAKE:
            return
        offset = 0
        while offset < len(data):
            header = wire.read_header(data, offset)
            offset = header.end
            traffic.packets[header.kind] += 1
            if header.kind < Kind.HANDSHAKE:
                continue
            if header.sender != sender.peer_id:
                traffic.load[sender.name] += 1
            if header.to == receiver.peer_id and header.kind in (Kind.HANDSHAKE, Kind.SEALED):
                hops = HOP_LIMIT - header.hop_limit + 1
                traffic.crossed += hops
                if header.kind == Kind.SEALED:
                    self.hops[header.sender, header.to] = hops


@dataclass
class Probe:
    """One datagram whose way we follow."""

    sender: Host
    receiver: Host
    sent_at: float
    arrived_at: float | None = None
    hops: int = 0


class Probes:
    """Datagrams between hosts, and what became of them."""

    PORT = 7

    def __init__(self, network: Network, meter: Meter) -> None:
        self.network = network
        self.meter = meter
        self.all: list[Probe] = []
        self.misdelivered = 0
        self.duplicates = 0
        network.on_deliver = self._delivered

    def send(self, sender: Host, receiver: Host, destination: Destination | None = None) -> Probe:
        """Send one datagram from `sender`; it is meant for `receiver`, however that is spelled."""
        probe = Probe(sender, receiver, self.network.now)
        self.all.append(probe)
        number = (len(self.all) - 1).to_bytes(8)
        sender.send(receiver.peer_id if destination is None else destination, self.PORT, number)
        return probe

    def _delivered(self, host: Host, effect: Deliver) -> None:
        if effect.port != self.PORT:
            return
        for datagram in effect.datagrams:
            probe = self.all[int.from_bytes(datagram)]
            if host is not probe.receiver or effect.source != probe.sender.peer_id:
                self.misdelivered += 1
            elif probe.arrived_at is not None:
                self.duplicates += 1
            else:
                probe.arrived_at = self.network.now
                probe.hops = self.meter.hops.get((effect.source, host.peer_id), 0)

    def take(self) -> Outcome:
        """Return what became of the probes since the last time."""
        outcome = Outcome.of(self.all, self.misdelivered)
        self.all = []
        self.misdelivered = 0
        return outcome


@dataclass(frozen=True)
class Outcome:
    """Figures of one round of probes."""

    sent: int
    delivered: int
    misdelivered: int
    hops: tuple[int, int, int]
    """Links crossed: median, 99th percentile, most."""
    delay: tuple[float, float, float]
    """Seconds from send to delivery: median, 99th percentile, most."""

    @property
    def share(self) -> float:
        """Delivered per sent."""
        return self.delivered / max(1, self.sent)

    @classmethod
    def of(cls, probes: list[Probe], misdelivered: int) -> Outcome:
        """Sum up."""
        arrived = [probe for probe in probes if probe.arrived_at is not None]
        hops = sorted(probe.hops for probe in arrived)
        delays = sorted((probe.arrived_at or 0.0) - probe.sent_at for probe in arrived)
        return cls(
            len(probes),
            len(arrived),
            misdelivered,
            (int(quantile(hops, 0.5)), int(quantile(hops, 0.99)), int(quantile(hops, 1.0))),
            (quantile(delays, 0.5), quantile(delays, 0.99), quantile(delays, 1.0)),
        )


def quantile(ordered: list[float] | list[int], share: float) -> float:
    """Return the value below or at which `share` of an ordered list lies; 0 for none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
