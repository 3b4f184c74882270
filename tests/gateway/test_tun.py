"""What a device's packets mean, hostile ones included: a socket pair stands where the device would be."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import random
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from peer_relay_socket.address import Destination, Special
from peer_relay_socket.bridge.events import Filling
from peer_relay_socket.config import peer_config
from peer_relay_socket.engine.effects import Deliver
from peer_relay_socket.gateway import packets
from peer_relay_socket.gateway.names import HostNames, host_names
from peer_relay_socket.gateway.packets import VIRTIO, UdpHeader
from peer_relay_socket.gateway.receive_queues import Queue
from peer_relay_socket.gateway.tun import Link, Tun
from peer_relay_socket.limits import (
    DATAGRAM_OVERHEAD,
    SOCKET_BUFFER,
    TUN_BACKLOG,
    TUN_CREDIT,
    TUN_PORT_BACKLOG,
    TUN_READS,
    TUN_WAITING_PORTS,
)
from peer_relay_socket.surface.udp_socket import Socket
from tests.gateway.conftest import LIMIT, Peer
from tests.patience import until


class Device:
    """A host and the far end of its device: frames as the namespace's kernel would write and read them."""

    def __init__(self, node: str, names: HostNames | None = None) -> None:
        self.tun = Tun(peer_config(bootstrap=node, wrtc=False), names)
        self.interface = self.tun.interface
        self.interface.start(LIMIT)
        self.far, self._near = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._near.setblocking(False)
        self.far.settimeout(LIMIT)
        self.unread: dict[int, int] = {}
        """By port: what waits in the socket there."""
        self.refills: list[int] = []
        self.interface.run(self.serve, self._near.fileno())
        spelling, peer_id = self.interface.spelling, self.interface.peer_id
        self.ipv4 = socket.inet_aton(spelling.ipv4(peer_id))
        self.ipv6 = socket.inet_pton(socket.AF_INET6, spelling.ipv6(peer_id))

    def serve(self, fd: int) -> None:
        link = Link(fd, lambda: os.read(fd, 65_546), lambda frame: os.write(fd, frame))
        self.tun.attach(link, segments=True, renumber=lambda: None, queues=self, refill=self.refill)

    def refill(self, size: int) -> None:
        self.refills.append(size)

    def queue(self, key: bytes) -> Queue:
        return Queue(self.unread.get(int.from_bytes(key[-2:]), 0), SOCKET_BUFFER)

    def hears(self, port: int) -> bool:
        return True

    def counted(self, words: str) -> int:
        return sum(times for reason, times in self.interface.counters().items() if words in reason)

    def end(self) -> None:
        """Write an empty frame, the last."""
        self._near.setblocking(True)
        self._near.send(b"")

    def close(self) -> None:
        self.interface.run(self.tun.detach)
        self.interface.close()
        self.far.close()
        self._near.close()


@pytest.fixture
def device(node: str) -> Iterator[Device]:
    device = Device(node)
    yield device
    device.close()


def to(there: Socket) -> bytes:
    return socket.inet_aton(there.peer.address)


def test_datagram_goes_out_and_its_answer_comes_in(device: Device, peer: Peer) -> None:
    there = peer(9000)
    device.far.send(UdpHeader(device.ipv4, to(there), 7, 9000).frame(b"hello"))
    data, source = there.recvfrom(100)
    assert (data, source) == (b"hello", (socket.inet_ntoa(device.ipv4), 7))
    there.sendto(b"back", source)
    packet = packets.read_packet(device.far.recv(65_600)[VIRTIO:])
    assert (packet.source, packet.destination) == (to(there), device.ipv4)
    assert packets.read_udp(packet.payload) == (9000, 7, b"back")


def test_forged_malformed_and_misdirected_packets_are_counted_and_dropped(device: Device, peer: Peer) -> None:
    there = peer(9000)
    forged = UdpHeader(socket.inet_aton("100.64.9.9"), to(there), 7, 9000).frame(b"forged")
    device.far.send(forged)
    device.far.send(UdpHeader(device.ipv4, to(there), 7, 0).frame(b"port 0"))
    device.far.send(UdpHeader(device.ipv4, socket.inet_aton("8.8.8.8"), 7, 53).frame(b"foreign"))
    dice = random.Random(7)
    for size in (0, 1, 9, 10, 11, 30, 60, 2000):
        device.far.send(dice.randbytes(size) or b"x")
    for version in (0x45, 0x60):
        device.far.send(bytes(VIRTIO) + bytes((version,)) + dice.randbytes(60))
    for data in (bytes(16), b"other".ljust(16)):  # two first fragments of one packet
        frame = UdpHeader(device.ipv4, to(there), 7, 9000).frame(data)
        device.far.send(frame[:16] + b"\x20\0" + frame[18:])
    device.far.send(UdpHeader(device.ipv4, to(there), 7, 9000).frame(b"last"))
    assert there.recv(100) == b"last"
    assert device.counted("from no address of this host's") == 2
    assert device.counted("malformed packet") >= 8
    assert device.counted("no peer's address") == 1
    assert device.counted("fragments without the rest") == 1


class Refused:
    """Which sockets of the programs behind a device are told that a peer is not there."""

    def __init__(self, device: Device, there: Socket) -> None:
        self._device = device
        self._there = there
        spelling, self.peer_id = device.interface.spelling, bytes(range(20))
        self.ipv4 = socket.inet_aton(spelling.ipv4(self.peer_id))
        self.ipv6 = socket.inet_pton(socket.AF_INET6, spelling.ipv6(self.peer_id))

    def send(self, port: int, to: bytes) -> None:
        """Have a program send from `port`."""
        own = self._device.ipv4 if len(to) == 4 else self._device.ipv6
        self._device.far.send(UdpHeader(own, to, port, 9).frame(b"x"))

    def told(self, destination: Destination) -> set[tuple[int, int]]:
        """Have `destination` be unreachable. Returns: IP version and port of each socket that is told."""
        device = self._device
        device.far.send(UdpHeader(device.ipv4, to(self._there), 7, 9000).frame(b"read all"))
        assert self._there.recv(100) == b"read all"
        device.interface.run(device.tun.unreachable_peer, destination, errno.EHOSTUNREACH)
        device.interface.run(device.tun.deliver, Deliver(self._there.peer.id, 9000, 7, 4, [b"all told"]))
        found = set()
        while True:
            packet = packets.read_packet(device.far.recv(65_600)[VIRTIO:])
            if packet.source == to(self._there):
                return found
            sent_from = 28 if packet.version == 4 else 48
            found.add((packet.version, int.from_bytes(packet.payload[sent_from : sent_from + 2])))


def test_each_socket_that_sent_to_a_peer_is_told_that_it_is_not_there(device: Device, peer: Peer) -> None:
    refused = Refused(device, peer(9000))
    refused.send(7, refused.ipv4)
    refused.send(8, refused.ipv4)
    refused.send(9, refused.ipv6)
    refused.send(10, bytes((*refused.ipv4[:3], refused.ipv4[3] ^ 1)))
    spelling = device.interface.spelling
    assert refused.told(refused.peer_id) == {(4, 7), (4, 8), (6, 9)}
    for address, sockets in ((refused.ipv4, {(4, 7), (4, 8)}), (refused.ipv6, {(6, 9)})):
        text = socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)
        destination = spelling.parse(text)
        assert not isinstance(destination, Special)
        assert refused.told(destination) == sockets


def test_program_that_does_not_read_holds_up_no_other_and_fills_no_memory(device: Device, peer: Peer) -> None:
    there = peer(9000)
    source = there.peer.id
    device.unread[7] = device.unread[8] = SOCKET_BUFFER
    filling: list[Filling] = []

    def come(port: int, packets: int) -> None:
        for _ in range(packets):
            device.tun.deliver(Deliver(source, 9000, port, 4, [bytes(1200)] * 50), filling)

    device.interface.run(come, 7, TUN_PORT_BACKLOG // 60_000 + 10, timeout=LIMIT)
    lost = device.counted("programs do not read")
    assert 0 < lost < 20 * 50
    assert filling
    assert not filling[-1].has_drained()
    device.interface.run(come, 9, 1, timeout=LIMIT)
    device.far.recv(65_600)  # another program hears it at once
    device.unread.clear()
    reading = threading.Thread(target=drained, args=(device.far,))
    reading.start()
    until(filling[-1].has_drained, LIMIT)
    device.interface.run(device.tun.detach)
    device.end()
    reading.join(LIMIT)


def test_room_in_one_socket_is_none_in_another(device: Device, peer: Peer) -> None:
    there = peer(9000)

    def come(port: int, datagrams: int) -> None:
        device.tun.deliver(Deliver(there.peer.id, 9000, port, 4, [bytes(1200)] * datagrams))

    def mixed() -> None:
        come(9, 30)  # nearly all that may be written before a look
        device.unread[7] = SOCKET_BUFFER
        come(7, 10)
        come(9, 10)
        device.tun._writer._write_backlogs()
        come(10, 1)

    device.interface.run(mixed, timeout=LIMIT)
    ports = []
    while 10 not in ports:
        packet = packets.read_packet(device.far.recv(65_600)[VIRTIO:])
        ports.append(int.from_bytes(packet.payload[2:4]))
    assert ports == [9, 9, 10]


def test_what_comes_for_a_device_that_is_gone_is_counted(device: Device, peer: Peer) -> None:
    there = peer(9000)
    device.unread[7] = SOCKET_BUFFER
    came = Deliver(there.peer.id, 9000, 7, 4, [bytes(1200)] * 50)
    device.interface.run(device.tun.deliver, came)  # all of it waits
    device.interface.run(device.tun.detach)
    device.interface.run(device.tun.deliver, came)
    assert device.counted("there is no device") == 100


def drained(far: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while far.recv(65_600):
            pass


def test_ports_that_nothing_reads_fill_no_memory_together(device: Device, peer: Peer) -> None:
    there = peer(9000)
    ports = range(10, 10 + 2 * TUN_BACKLOG // TUN_PORT_BACKLOG)
    device.unread.update(dict.fromkeys(ports, SOCKET_BUFFER))

    def come() -> None:
        for port in ports:
            for _ in range(TUN_PORT_BACKLOG // 70_000):
                device.tun.deliver(Deliver(there.peer.id, 9000, port, 4, [bytes(1200)] * 50))

    device.interface.run(come, timeout=LIMIT)
    assert device.counted("programs do not read") > len(ports) // 3 * (TUN_PORT_BACKLOG // 70_000) * 50


def test_many_ports_that_nothing_reads_cost_no_more_than_a_few(device: Device, peer: Peer) -> None:
    there = peer(9000)
    ports = range(10, 10 + 3 * TUN_WAITING_PORTS)
    device.unread.update(dict.fromkeys(ports, SOCKET_BUFFER))

    def come() -> None:
        for port in ports:
            device.tun.deliver(Deliver(there.peer.id, 9000, port, 4, [bytes(1200)] * 50))

    device.interface.run(come, timeout=LIMIT)
    assert device.counted("programs do not read") == 2 * TUN_WAITING_PORTS * 50


@pytest.mark.parametrize("kind", ["to a peer", "to nowhere", "fragments", "in runs"])
def test_programs_may_send_more_once_half_of_their_credit_was_read(device: Device, peer: Peer, kind: str) -> None:
    """Whatever they send: the kernel counts every packet, and each datagram of a run as one."""
    there = peer(9000)
    header = UdpHeader(device.ipv4, socket.inet_aton("8.8.8.8") if kind == "to nowhere" else to(there), 7, 9000)
    frame, costs = header.frame(bytes(1000)), 1000 + 28 + DATAGRAM_OVERHEAD
    if kind == "fragments":
        frame = frame[:16] + b"\x20\0" + frame[18:]
    if kind == "in runs":
        frame, costs = header.frame(bytes(100), 10), 10 * DATAGRAM_OVERHEAD
    for _ in range(TUN_CREDIT // 2 // costs - 50):
        device.far.send(frame)
    assert not device.refills
    for _ in range(100):
        device.far.send(frame)
    until(lambda: bool(device.refills), LIMIT)


def test_programs_faster_than_we_read_get_as_much_credit_as_was_read(device: Device) -> None:
    """More each time, and the kernel's queue would grow until it drops."""
    frame = UdpHeader(device.ipv4, socket.inet_aton("8.8.8.8"), 7, 9000).frame(bytes(1000))
    costs = len(frame) + DATAGRAM_OVERHEAD
    near, far = os.pipe2(os.O_DIRECT | os.O_NONBLOCK)  # a packet a read; a socket pair holds ten of them
    try:
        fcntl.fcntl(far, fcntl.F_SETPIPE_SZ, TUN_READS * 4096)

        def read(packets: int) -> None:
            for _ in range(packets):
                os.write(far, frame)
            device.tun._readable()

        device.interface.run(device.tun.detach)
        device.interface.run(device.serve, near)
        device.interface.run(read, TUN_READS)
        device.interface.run(read, 1)  # which may be all that they could still send
        assert device.refills == [TUN_READS * costs, TUN_CREDIT]
        device.interface.run(read, TUN_READS - 1)
        assert device.refills[2:] == [TUN_CREDIT]
        device.interface.run(read, 1)
        assert not device.refills[3:]
    finally:
        device.interface.run(device.tun.detach)
        os.close(near)
        os.close(far)


def test_tcp_is_reset_and_names_are_answered(device: Device) -> None:
    dns = b"\x12\x34\x01\x00\x00\x01" + bytes(6) + b"\x04host\x04test\x00\x00\x01\x00\x01"
    device.far.send(UdpHeader(device.ipv4, socket.inet_aton("192.0.2.53"), 4000, 53).frame(dns))
    answer = packets.read_udp(packets.read_packet(device.far.recv(65_600)[VIRTIO:]).payload)
    assert (answer.source_port, answer.port, answer.data[:4]) == (53, 4000, b"\x12\x34\x81\x85")
    syn = struct.pack("!HHIIBBHHH", 4000, 80, 1, 0, 0x50, 2, 0, 0, 0)
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 0, 0, 64, 6, 0, device.ipv4, socket.inet_aton("1.2.3.4"))
    device.far.send(bytes(VIRTIO) + head + syn)
    reset = packets.read_packet(device.far.recv(65_600)[VIRTIO:])
    assert (reset.protocol, reset.payload[13]) == (packets.TCP, 0x14)


def test_other_names_are_asked_of_real_servers_where_told_so(node: str) -> None:
    query = b"\x12\x34\x01\x00\x00\x01" + bytes(6) + b"\x04host\x04test\x00\x00\x01\x00\x01"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(LIMIT)
        device = Device(node, HostNames(["127.0.0.1"], server.getsockname()[1]))
        try:
            device.far.send(UdpHeader(device.ipv4, socket.inet_aton("192.0.2.53"), 4000, 53).frame(query))
            asked, source = server.recvfrom(512)
            assert asked == query
            server.sendto(b"\x12\x34the answer", source)
            answer = packets.read_udp(packets.read_packet(device.far.recv(65_600)[VIRTIO:]).payload)
            assert answer == (53, 4000, b"\x12\x34the answer")
        finally:
            device.close()


def test_host_names_come_from_resolv_conf(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("# x\nnameserver 127.0.0.1\nsearch a\nnameserver ::1\n")
    assert host_names(str(tmp_path / "resolv.conf")).servers == ["127.0.0.1", "::1"]
    with pytest.raises(FileNotFoundError):
        host_names(str(tmp_path / "absent"))


def test_refusal_from_the_namespace_reaches_the_peer(device: Device, peer: Peer) -> None:
    there = peer(9000)
    there.connect((socket.inet_ntoa(device.ipv4), 7))
    there.send(b"x")
    came = packets.read_packet(device.far.recv(65_600)[VIRTIO:])
    device.far.send(packets.unreachable(came.source, 9000, device.ipv4, 7, packets.PORT_UNREACHABLE))
    with pytest.raises(ConnectionRefusedError):
        there.recv(100)
