"""`--tcp overlay`: TCP between programs in namespaces, and how little of it a peer can reach."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

import dpkt
import pytest

from peer_relay_socket.config import peer_config
from peer_relay_socket.engine.effects import Segment
from peer_relay_socket.gateway import packets
from peer_relay_socket.gateway.packets import VIRTIO
from peer_relay_socket.gateway.tcp import Segments
from tests.gateway.conftest import Run, Start
from tests.gateway.test_native import ready
from tests.gateway.test_native_programs import needs
from tests.processes import line_with

Key = tuple[str, str, str, str]
SERVER = """
import socket, threading
def serve(port):
    with socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        if port == 80:
            print("ready", flush=True)
        while True:
            there, _ = server.accept()
            with there, there.makefile("rb") as file:
                size = int(file.readline())
                there.sendall(file.read(size)[::-1])
threading.Thread(target=serve, args=(9091,), daemon=True).start()
serve(80)
"""
CLIENT = """
import os, socket, sys
data = os.urandom(3_000_000)
for host in sys.argv[1:]:
    with socket.create_connection((host, 80), timeout=20) as there:
        there.sendall(b"%d\\n" % len(data))
        there.sendall(data)
        with there.makefile("rb") as file:
            print(file.read(len(data)) == data[::-1])
    try:
        socket.create_connection((host, 9091), timeout=20)
    except ConnectionRefusedError:
        print("refused")
"""


@pytest.mark.slow
def test_connections_carry_bytes_both_ways_and_reach_only_ports_that_are_named(
    start: Start, run: Run, key: Key
) -> None:
    ready(start(sys.executable, "-c", SERVER, options=("--identity", key[0], "--tcp", "overlay", "--tcp-allow", "80")))
    told = run(sys.executable, "-c", CLIENT, key[1] + ".peer", *key[2:], options=("--tcp", "overlay"))
    assert (told.stdout, told.stderr) == ("True\nrefused\n" * 3, "")


@pytest.mark.slow
def test_program_without_tcp_refuses_that_of_peers(start: Start, run: Run, key: Key) -> None:
    ready(start(sys.executable, "-c", SERVER, options=("--identity", key[0])))
    told = run(sys.executable, "-c", CLIENT, key[2], options=("--tcp", "overlay"))
    assert "ConnectionRefusedError" in told.stderr


@pytest.mark.slow
@needs("iperf3")
def test_iperf3_loses_nothing_at_fifty_megabits(start: Start, run: Run, key: Key) -> None:
    """Its datagrams go by UDP; TCP is for its control connection."""
    server = start("iperf3", "-s", "-1", "--forceflush", options=("--identity", key[0], *ALLOW, "5201"))
    line_with("listening", server.stdout)
    told = run("iperf3", "-c", key[2], "-u", "-b", "50M", "-l", "1200", "-t", "2", options=("--tcp", "overlay"))
    assert "receiver" in told.stdout, told
    assert " 0/" in next(line for line in told.stdout.splitlines() if line.endswith("receiver")), told.stdout


ALLOW = ("--tcp", "overlay", "--tcp-allow")


class Ends:
    """A device's TCP without a device: what it writes there, and what it sends to peers."""

    def __init__(self, allowed: frozenset[int] | None) -> None:
        from peer_relay_socket.bridge.host_interface import HostInterface

        self.written: list[bytes] = []
        self.sent: list[tuple[object, int, bytes]] = []
        self.interface = HostInterface(peer_config(bootstrap="ws://127.0.0.1:9", wrtc=False), self)  # type: ignore[arg-type]  # it is told nothing
        self.interface.send_segments = self.sent.extend  # type: ignore[method-assign]  # nothing is sent
        self.own = socket.inet_aton(self.interface.spelling.ipv4(self.interface.peer_id))
        self.tcp = Segments(self.interface, self.written.append, allowed)

    def counted(self) -> int:
        return sum(self.interface.counters().values())


def segment(port: int, flags: int) -> bytes:
    return bytes(dpkt.tcp.TCP(sport=4000, dport=port, seq=5, flags=flags))


SYN, SYN_ACK, RST = dpkt.tcp.TH_SYN, dpkt.tcp.TH_SYN | dpkt.tcp.TH_ACK, dpkt.tcp.TH_RST
PEER = bytes(range(20))


@pytest.fixture
def ends() -> Iterator[Ends]:
    return Ends(frozenset((80,)))


def test_segment_is_written_with_the_addresses_of_its_sender_and_ours(ends: Ends) -> None:
    ends.tcp.from_peer(Segment(PEER, 4, segment(80, SYN)), ends.own)
    packet = packets.read_packet(ends.written[0][VIRTIO:])
    assert packet.source == socket.inet_aton(ends.interface.spelling.ipv4(PEER))
    assert (packet.destination, packet.payload[2:4]) == (ends.own, b"\0\x50")


def test_connection_to_another_port_is_reset_and_answers_pass(ends: Ends) -> None:
    ends.tcp.from_peer(Segment(PEER, 4, segment(9091, SYN)), ends.own)
    assert ends.written == []
    assert [(peer, form, data[13] & RST) for peer, form, data in ends.sent] == [(PEER, 4, RST)]
    ends.tcp.from_peer(Segment(PEER, 4, segment(9091, SYN_ACK)), ends.own)
    assert len(ends.written) == 1


@pytest.mark.parametrize(
    "came",
    [
        Segment(PEER, 4, b""),
        Segment(PEER, 6, segment(80, SYN)[:19]),
        Segment(PEER, 4, segment(80, SYN) + bytes(65_500)),
        Segment(PEER, 4, segment(80, SYN), address_conflict=True),
    ],
)
def test_what_is_no_segment_or_from_no_address_is_counted(ends: Ends, came: Segment) -> None:
    before = ends.counted()
    ends.tcp.from_peer(came, ends.own)
    assert (ends.written, ends.sent, ends.counted()) == ([], [], before + 1)


def test_forged_sources_and_foreign_hosts_are_reset(ends: Ends) -> None:
    there = socket.inet_aton("100.64.9.9")
    for source, destination in ((there, there), (ends.own, socket.inet_aton("8.8.8.8"))):
        packet = packets.Packet(4, packets.TCP, source, destination, 64, segment(80, SYN))
        ends.tcp.from_program(packet, ends.own)
    ends.tcp.send()
    assert ends.sent == []
    assert [packets.read_packet(frame[VIRTIO:]).payload[13] & RST for frame in ends.written] == [RST, RST]
