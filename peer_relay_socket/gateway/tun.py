"""A TUN device as the only network of some programs: what they send by UDP travels the overlay, and what comes is
written to them.

Lives here: one device on the relay thread, and what its packets mean to the overlay. May not live here: how packets
look (packets.py), namespaces and their configuration (namespace.py, netlink.py).

Law: nothing that is read from the device, or comes from peers, raises or waits; whatever is neither UDP nor told to UDP
is counted, and dropped as by a network that does not carry it. TCP is reset, so that programs fall back at once.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

from ..address import Destination, PeerId, Prefix, Special, UnprovedId
from ..bridge.host_interface import HostInterface
from ..bridge.outbox import Flow
from ..errors import PacketError
from ..limits import (
    DATAGRAM_OVERHEAD,
    SPELLED_SOURCES,
    TUN_CREDIT,
    TUN_READS,
)
from . import packets, resolver
from .flow_table import FlowTable
from .namespace import DISCARD, RESOLVER
from .packets import VIRTIO, Packet, UdpHeader
from .tcp import Segments
from .tun_writer import DeviceWriter

if TYPE_CHECKING:
    from ..bridge.events import Filling
    from ..config import PeerConfig
    from ..engine.effects import Deliver, Segment
    from ..engine.fast_path import Run
    from .tun_writer import Queues

_RESOLVER: Final = socket.inet_aton(RESOLVER)
_DNS: Final = 53
_LOCAL_GROUPS: Final = ("224.0.0.", "ff02:", "ff12:")
_HOST_GROUPS: Final = ("ff01:", "ff11:")
_MALFORMED: Final = "dropped: a malformed packet from a program"
_INCOMPLETE: Final = "dropped: a packet of a program that is fragments without the rest"

NameQuery = Callable[[bytes, Callable[[bytes], object]], bool]
"""Asks real DNS: takes a query and what is to be called with the answer; returns False where it does not ask."""


class Link(NamedTuple):
    """How the packets of a device are read and written."""

    fd: int
    """Non-blocking."""
    read: Callable[[], bytes]
    write: Callable[[bytes], object]
    credit: int = TUN_CREDIT
    """Bytes that programs may send before half of them was read."""
    overhead: int = DATAGRAM_OVERHEAD
    """What a packet counts there beside its bytes."""


class Tun:
    """The receiver of one host, and the device that it serves. Relay thread only, but for `__init__`."""

    def __init__(
        self, config: PeerConfig, ask: NameQuery | None = None, tcp_ports: frozenset[int] | None = None
    ) -> None:
        """Args: ask: what answers other names than `.peer` ones; None = they are refused. tcp_ports: as of `Segments`.

        Raises: IdentityError, ConfigError as `Host`.
        """
        self.interface = HostInterface(config, self)
        self._ask = ask
        self._writer = DeviceWriter(self.interface)
        self._write = self._writer.write
        self._tcp = Segments(self.interface, self._write, tcp_ports)
        self._link: Link | None = None
        self._renumber: Callable[[], object] = lambda: None
        self._queues: Queues | None = None
        self._flows = FlowTable()
        self._headers: dict[tuple[PeerId, int, int, int], UdpHeader] = {}
        self._peers: dict[bytes, PeerId] = {}
        """By address: the peers that were heard, for refusals."""
        self._reassembly = packets.Reassembly()
        self._own: dict[int, bytes] = {}
        self.read_to_end = True
        """Whether the last look at the device emptied it."""
        self._refill: Callable[[int], object] | None = None
        self._granted = 0
        """What programs were last let send, in bytes and `Link.overhead`."""
        self._used = 0
        """What was read since then."""
        self._take_addresses()

    def _take_addresses(self) -> None:
        peer_id, spelling = self.interface.peer_id, self.interface.spelling
        self._own = {
            4: socket.inet_aton(spelling.ipv4(peer_id)),
            6: socket.inet_pton(socket.AF_INET6, spelling.ipv6(peer_id)),
        }

    def attach(
        self,
        link: Link,
        *,
        segments: bool,
        renumber: Callable[[], object],
        queues: Queues,
        refill: Callable[[int], object] | None = None,
    ) -> None:
        """Serve the device.

        Args: link: its descriptor stays the caller's. segments: whether it takes several datagrams in one write.
            renumber: gives the device this host's addresses as they are now. queues: what waits in programs' sockets.
            refill: lets programs send so many bytes from now on before they wait, which are all of the credit now;
                None = they never wait.
        """
        self._link, self._granted = link, link.credit
        self._renumber, self._queues, self._refill = renumber, queues, refill
        self._writer.attach(link.write, segments, queues)
        self._take_addresses()
        renumber()
        self.interface.loop.add_reader(link.fd, self._readable)

    def detach(self) -> None:
        """Serve it no more."""
        if self._link is not None:
            self.interface.loop.remove_reader(self._link.fd)
            self._link = None
            self._writer.detach()

    def count(self, reason: str, times: int = 1) -> None:
        """Count something that was dropped."""
        self.interface.host.count(reason, times)

    # --- from programs -----------------------------------------------------------------------------------------

    def _readable(self) -> None:
        """Read a batch, and send it."""
        batches: dict[Flow, list[bytes]] = {}
        link = self._link
        if link is None:
            return
        read, overhead, flows, key_of = link.read, link.overhead, self._flows, packets.udp_key
        self.read_to_end = False
        used = count = 0
        flow: Flow | None
        try:
            while count < TUN_READS:
                frame = read()
                used += len(frame)
                count += 1
                plain = key_of(frame)
                if plain is None:
                    self._read_other(frame, batches)
                    continue
                key, at = plain
                data = frame[at:]
                try:
                    flow = flows[key]
                except KeyError:
                    flow = self._way(key, frame[17] if len(key) > 12 else frame[18], data)
                if flow is None:
                    continue
                if flow not in batches:
                    batches[flow] = []
                if frame[1]:
                    parts = packets.segments(frame, data)
                    used += len(parts) * overhead
                    batches[flow] += parts
                    if not parts:
                        self.count(_MALFORMED)
                else:
                    batches[flow].append(data)
        except BlockingIOError:
            self.read_to_end = True
        except OSError:  # the device is gone, with its namespace
            self.detach()
        self._send(batches)
        self._tcp.send()
        self._used += used + count * overhead
        if self._size_to_grant(link.credit) and self._refill is not None:
            self.interface.when_room(self._let_send)

    def _size_to_grant(self, credit: int) -> int:
        """Return how much programs may be let send from now on; 0 = what they may send already is enough.

        All of the credit where nothing waits in the device, and else as much as was read: with more, a program that is
        faster than this thread would fill the device, which then drops. What they were let send and did not send
        before is void with each grant; so a smaller one is made good once nothing waits, or their largest datagram
        might wait for ever.
        """
        if self._used > credit // 2:
            return credit if self.read_to_end else min(credit, self._used)
        return credit if self.read_to_end and self._granted < credit else 0

    def _let_send(self) -> None:
        """Grant what is to be granted by now."""
        if self._link is None or self._refill is None:
            return
        size = self._size_to_grant(self._link.credit)
        if size:
            with contextlib.suppress(OSError):  # the device is gone, or the kernel has no memory for the request now
                self._refill(size)
                self._granted, self._used = size, 0

    def _send(self, batches: dict[Flow, list[bytes]]) -> None:
        interface = self.interface
        for flow, datagrams in batches.items():
            if len(datagrams) == 1 == len(batches) and not flow.waiting and interface.send_now(flow, datagrams[0]):
                return
            interface.offer(flow, datagrams)
        if batches:
            interface.send(batches)

    def _way(self, key: bytes, hop_limit: int, data: bytes) -> Flow | None:
        """Return where the datagrams of one pair of addresses and ports go."""
        half = (len(key) - 4) // 2
        source, destination = key[:half], key[half : 2 * half]
        source_port, port = struct.unpack("!HH", key[-4:])
        form = 4 if half == 4 else 6
        if destination == _RESOLVER and port in (_DNS, DISCARD):
            if port == _DNS:
                self._resolve(source_port, data)
            return None
        if source != self._own[form] or not port:
            self.count("dropped: a datagram from no address of this host's")
            return None
        text = socket.inet_ntop(socket.AF_INET if form == 4 else socket.AF_INET6, destination)
        meant = self.interface.spelling.parse(text)
        flow: Flow
        if meant in (Special.BROADCAST, Special.MULTICAST):
            flow = self.interface.group_flow(text, _relays(text, meant, hop_limit), source_port, port, form)
        elif isinstance(meant, Special):
            self.interface.host.drop_foreign(text, 1)
            return None  # and is not remembered, so that each is counted
        else:
            flow = self.interface.flow(meant, source_port, port, form)
        self._flows.add(key, flow)
        return flow

    def _read_other(self, frame: bytes, batches: dict[Flow, list[bytes]]) -> None:
        """Read a frame that is no plain UDP."""
        try:
            packet: Packet | None = packets.read_packet(frame[VIRTIO:])
            if packet is not None and packet.fragment is not None:
                before = self._reassembly.dropped
                packet = self._reassembly.add(packet, self.interface.loop.time())
                if self._reassembly.dropped > before:
                    self.count(_INCOMPLETE, self._reassembly.dropped - before)
            if packet is None:
                return
            if packet.protocol == packets.UDP:
                self._read_udp(packet, batches)
            elif packet.protocol == packets.TCP:
                self._tcp.from_program(packet, self._own[packet.version])
            else:
                self._read_refusal(packet)
        except PacketError:
            self.count(_MALFORMED)

    def _read_udp(self, packet: Packet, batches: dict[Flow, list[bytes]]) -> None:
        datagram = packets.read_udp(packet.payload)
        key = packet.source + packet.destination + packet.payload[:4]
        flow = self._flows[key] if key in self._flows else self._way(key, packet.hop_limit, datagram.data)
        if flow is not None:
            batches.setdefault(flow, []).append(datagram.data)

    def _read_refusal(self, packet: Packet) -> None:
        refusal = packets.read_refusal(packet)
        if refusal is None:
            return  # IGMP, neighbour discovery, echo requests: nothing of ours
        source = self._peers.get(refusal.source)
        if source is not None:
            self.interface.refuse(source, refusal.port, refusal.source_port)

    def _resolve(self, source_port: int, query: bytes) -> None:
        question = resolver.read_question(query)
        if question is None:
            self.count("dropped: a malformed DNS query from a program")
            return
        header = UdpHeader(_RESOLVER, self._own[4], _DNS, source_port)
        if self._ask is not None and not question.is_peer:
            if not self._ask(query, lambda told: self._write(header.frame(told))):
                self.count("dropped: too many DNS queries of programs")
        else:
            self._write(header.frame(resolver.answer(question, self.interface.spelling)))

    # --- to programs -------------------------------------------------------------------------------------------

    def deliver_lone(self, run: Run, datagram: bytes) -> bool:
        """No thread waits here: `deliver` does it."""
        return False

    def deliver(self, run: Deliver, filling: list[Filling] | None = None) -> bool:
        """Write datagrams to the device. Returns: True; the namespace's kernel refuses what nothing hears."""
        source, source_port, port, form, datagrams, address_conflict = run
        if isinstance(source, UnprovedId):
            self.count("dropped: from a peer that proves no id", len(datagrams))
            return True
        form = form or 4
        if address_conflict and form == 4:
            self.count("dropped: from a peer whose IPv4 address another peer has", len(datagrams))
            return True
        key = (source, source_port, port, form)
        header = self._headers.get(key)
        if header is None:
            header = self._header(*key)
        full = self._writer.put(header, port, datagrams)
        if full is not None and filling is not None:
            filling.append(full)
        return True

    def hears(self, port: int) -> bool:
        """Return whether a program has a socket on `port`."""
        return self._queues is not None and self._queues.hears(port)

    def _header(self, source: PeerId, source_port: int, port: int, form: int) -> UdpHeader:
        spelling = self.interface.spelling
        if form == 4:
            address = socket.inet_aton(spelling.ipv4(source))
        else:
            address = socket.inet_pton(socket.AF_INET6, spelling.ipv6(source))
        for table in (self._peers, self._headers):
            if len(table) >= SPELLED_SOURCES:
                table.clear()
        self._peers[address] = source
        header = UdpHeader(address, self._own[form], source_port, port)
        self._headers[source, source_port, port, form] = header
        return header

    def deliver_segment(self, came: Segment) -> None:
        """Write a peer's TCP segment to the device, or refuse it."""
        self._tcp.from_peer(came, self._own[came.form])

    def deliver_group(
        self, source: PeerId, source_port: int, port: int, form: int, group: str, datagram: bytes
    ) -> None:
        """Write a broadcast or multicast to the device."""
        if isinstance(source, UnprovedId):
            self.count("dropped: from a peer that proves no id")
            return
        spelling = self.interface.spelling
        host = spelling.ipv6(source) if form == 6 else spelling.ipv4(source)
        family = socket.AF_INET6 if form == 6 else socket.AF_INET
        if (":" in group) != (form == 6):
            self.count("dropped: a group of the other IP version")
            return
        header = UdpHeader(socket.inet_pton(family, host), socket.inet_pton(family, group), source_port, port)
        self._write(header.frame(datagram))

    def unreachable(self, destination: Destination, port: int, source_port: int, error: int) -> None:
        """Write the ICMP message that a host on which nothing hears a port answers with."""
        for form, address in self._addresses(destination):
            self._write(packets.unreachable(self._own[form], source_port, address, port, packets.PORT_UNREACHABLE))

    def unreachable_peer(self, destination: Destination, error: int, why: str = "") -> None:
        """Write the ICMP message about a host that is not there, to every socket that sent to it."""
        for form, address in self._addresses(destination):
            for flow in self._flows.leading_to(address):
                what = packets.HOST_UNREACHABLE
                self._write(packets.unreachable(self._own[form], flow.source_port, address, flow.port, what))

    def _addresses(self, destination: Destination) -> Iterable[tuple[int, bytes]]:
        """Yield the addresses that spell `destination`: two of a peer, one of a prefix."""
        spelling = self.interface.spelling
        bits, value = destination if isinstance(destination, Prefix) else (None, destination)
        if bits in (None, spelling.ipv4_bits):
            yield 4, socket.inet_aton(spelling.ipv4(value))
        if bits != spelling.ipv4_bits:
            yield 6, socket.inet_pton(socket.AF_INET6, spelling.ipv6(value))

    def identity_changed(self) -> None:
        """Give the device its new addresses; programs' sockets lose the old ones, as on any host."""
        self._flows.clear()
        self._headers.clear()
        self._take_addresses()
        if self._link is not None:
            self._renumber()


def _relays(group: str, meant: object, hop_limit: int) -> int:
    """Return how many relays a datagram to a group passes: a router is to a multicast what a relay is here, and groups
    that do not leave a link or a host (RFC 5771 §4, RFC 4291 §2.7) pass one or none."""
    if meant is Special.BROADCAST:
        return 255
    if group.startswith(_HOST_GROUPS):
        return 0
    return min(hop_limit, 1) if group.startswith(_LOCAL_GROUPS) else hop_limit
