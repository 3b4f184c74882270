"""IP packets mean what an independent implementation (dpkt) says, and no bytes raise anything but PacketError."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import struct

import dpkt  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer_relay_socket.errors import PacketError
from peer_relay_socket.gateway import packets
from peer_relay_socket.gateway.packets import VIRTIO, Fragment, Packet, Reassembly, UdpHeader
from peer_relay_socket.limits import FRAGMENT_BYTES, FRAGMENT_TIME, FRAGMENTED_PACKETS, GSO_SEGMENTS

PAIRS = [
    (socket.inet_aton("100.64.0.1"), socket.inet_aton("100.127.3.9")),
    (socket.inet_pton(socket.AF_INET6, "fd00::1"), socket.inet_pton(socket.AF_INET6, "fdff:1::9")),
]
pairs = st.sampled_from(PAIRS)
ports = st.integers(1, 65_535)
payloads = st.binary(max_size=3000)


def parsed(frame: bytes) -> dpkt.ip.IP | dpkt.ip6.IP6:
    return dpkt.ip.IP(frame[VIRTIO:]) if frame[VIRTIO] >> 4 == 4 else dpkt.ip6.IP6(frame[VIRTIO:])


def completed(frame: bytes) -> bytes:
    """What a device makes of a frame that leaves the checksum to it (virtio 1.2 §5.1.6.2)."""
    flags, _, _, _, start, offset = struct.unpack_from("<BBHHHH", frame)
    assert flags == 1
    packet = bytearray(frame[VIRTIO:])
    check = packets.checksum(bytes(packet[start:])) or 0xFFFF
    packet[start + offset : start + offset + 2] = check.to_bytes(2)
    return frame[:VIRTIO] + bytes(packet)


def udp_packet(source: bytes, destination: bytes, source_port: int, port: int, data: bytes) -> bytes:
    """A packet that dpkt made."""
    udp = dpkt.udp.UDP(sport=source_port, dport=port, data=data, ulen=8 + len(data))
    if len(source) == 4:
        ip = dpkt.ip.IP(src=source, dst=destination, p=17, data=udp)
    else:
        ip = dpkt.ip6.IP6(src=source, dst=destination, nxt=17, hlim=64, plen=len(udp), data=udp)
    return bytes(ip)


@given(pairs, ports, ports, payloads)
def test_written_datagram_is_what_dpkt_reads_checksums_included(
    pair: tuple[bytes, bytes], source_port: int, port: int, data: bytes
) -> None:
    frame = completed(UdpHeader(*pair, source_port, port).frame(data))
    ip = parsed(frame)
    assert (ip.src, ip.dst) == pair
    assert (ip.data.sport, ip.data.dport, bytes(ip.data.data)) == (source_port, port, data)
    assert bytes(ip) == frame[VIRTIO:]  # dpkt writes lengths as they are
    if len(pair[0]) == 4:
        assert packets.checksum(frame[VIRTIO : VIRTIO + 20]) == 0
    pseudo = pair[0] + pair[1] + struct.pack("!II", len(data) + 8, 17)
    assert packets.checksum(pseudo + bytes(ip.data)) == 0


@given(pairs, ports, ports, payloads)
def test_datagram_that_dpkt_wrote_is_read(pair: tuple[bytes, bytes], source_port: int, port: int, data: bytes) -> None:
    raw = udp_packet(*pair, source_port, port, data)
    packet = packets.read_packet(raw)
    assert (packet.source, packet.destination, packet.protocol, packet.hop_limit) == (*pair, packets.UDP, 64)
    assert packets.read_udp(packet.payload) == (source_port, port, data)
    key = packets.udp_key(bytes(VIRTIO) + raw)
    assert key is not None
    assert key[0] == pair[0] + pair[1] + struct.pack("!HH", source_port, port)
    assert (bytes(VIRTIO) + raw)[key[1] :] == data


@pytest.mark.parametrize("size", [0, 1, 65_507])
@pytest.mark.parametrize("pair", PAIRS)
def test_datagrams_of_every_size_fit(pair: tuple[bytes, bytes], size: int) -> None:
    frame = UdpHeader(*pair, 5, 6).frame(bytes(size))
    packet = packets.read_packet(frame[VIRTIO:])
    assert packets.read_udp(packet.payload) == (5, 6, bytes(size))


@given(st.binary(max_size=120))
def test_checksum_is_that_of_dpkt(data: bytes) -> None:
    ours = packets.checksum(data)
    theirs = dpkt.dpkt.in_cksum(data)
    assert ours == theirs


@given(st.binary(max_size=300), st.sampled_from([b"", b"\x45", b"\x46", b"\x60"]), st.integers(0, 255))
def test_reading_garbage_raises_nothing_else(data: bytes, first: bytes, protocol: int) -> None:
    changed = bytearray(first + data)
    if len(changed) > 9:
        changed[9 if first < b"\x60" else 6] = protocol
    raw = bytes(changed)
    packets.udp_key(bytes(VIRTIO) + raw)
    with contextlib.suppress(PacketError):
        packet = packets.read_packet(raw)
        packets.read_refusal(packet)
        packets.tcp_reset(packet)
        with contextlib.suppress(PacketError):
            packets.read_segment(packet.payload)
        packets.read_udp(packet.payload)


@pytest.mark.parametrize("name", ["ihl 4", "total past the end", "total below the header", "udp length"])
def test_lengths_that_lie_are_refused(name: str) -> None:
    raw = bytearray(udp_packet(*PAIRS[0], 5, 6, b"data"))
    at, value = {"ihl 4": (0, 0x44), "total past the end": (3, 200), "total below the header": (3, 10)}.get(
        name, (25, 99)
    )
    raw[at] = value
    with pytest.raises(PacketError):
        packets.read_udp(packets.read_packet(bytes(raw)).payload)
    assert packets.udp_key(bytes(VIRTIO) + bytes(raw)) is None or name.startswith("total")


def test_ipv6_extension_headers_are_passed_over_up_to_a_limit() -> None:
    udp = struct.pack("!HHHH", 5, 6, 9, 0) + b"x"
    for count in (1, 7, 200):
        options = b"".join(bytes((60 if left else 17, 0)) + bytes(6) for left in reversed(range(count)))
        head = struct.pack("!IHBB16s16s", 6 << 28, len(options) + len(udp), 60, 64, *PAIRS[1])
        packet = packets.read_packet(head + options + udp)
        assert (packet.protocol == packets.UDP) == (count < 8)


# --- fragments -------------------------------------------------------------------------------------------------


def fragments(payload: bytes, cuts: list[int], identification: int = 1) -> list[Packet]:
    places = sorted({0, len(payload), *(cut * 8 for cut in cuts if cut * 8 < len(payload))})
    return [
        Packet(4, 17, *PAIRS[0], 64, payload[start:end], Fragment(identification, start, more=end != len(payload)))
        for start, end in itertools.pairwise(places)
    ]


@given(
    st.binary(min_size=9, max_size=2000), st.lists(st.integers(1, 249), min_size=1), st.randoms(use_true_random=False)
)
def test_fragments_in_any_order_and_repeated_make_the_packet(payload: bytes, cuts: list[int], dice: object) -> None:
    parts = fragments(payload, cuts)
    if len(parts) == 1:
        return
    order = parts[1:] + parts[1:]
    dice.shuffle(order)  # type: ignore[attr-defined]
    reassembly = Reassembly()
    assert all(reassembly.add(part, 0.0) is None for part in order)
    whole = reassembly.add(parts[0], 0.0)
    assert whole is not None
    assert (whole.payload, whole.fragment) == (payload, None)
    assert reassembly.dropped == 0


def test_fragments_of_a_real_ipv4_header_are_told_apart_by_their_identification() -> None:
    reassembly = Reassembly()
    ip = dpkt.ip.IP(src=PAIRS[0][0], dst=PAIRS[0][1], p=17, id=7, data=b"a" * 16)
    ip.mf = 1
    first = packets.read_packet(bytes(ip))
    assert first.fragment == (7, 0, True)
    last = dpkt.ip.IP(src=PAIRS[0][0], dst=PAIRS[0][1], p=17, id=8, data=b"b")
    last.offset = 16
    other = packets.read_packet(bytes(last))
    assert other.fragment is not None
    assert reassembly.add(first, 0.0) is None
    assert reassembly.add(other, 0.0) is None


def test_overlapping_fragments_end_their_packet() -> None:
    reassembly = Reassembly()
    one, two = fragments(b"a" * 32, [2])
    assert reassembly.add(one, 0.0) is None
    overlapping = two._replace(payload=b"b" * 24, fragment=Fragment(1, 8, more=False))
    assert reassembly.add(overlapping, 0.0) is None
    assert reassembly.dropped == 1
    assert reassembly.add(two, 0.0) is None  # begins anew, without its first half


def test_first_fragments_alone_fill_no_memory_and_old_ones_go() -> None:
    reassembly = Reassembly()
    part = fragments(bytes(60_000), [7_000])[0]
    for number in range(1000):
        assert part.fragment is not None
        reassembly.add(part._replace(fragment=part.fragment._replace(identification=number)), 0.0)
    kept = 1000 - reassembly.dropped
    assert kept <= FRAGMENTED_PACKETS
    assert kept * len(part.payload) <= FRAGMENT_BYTES
    reassembly.add(part._replace(source=b"late"), FRAGMENT_TIME)
    assert reassembly.dropped == 1000


# --- segments --------------------------------------------------------------------------------------------------


def virtio(kind: int, size: int) -> bytes:
    return struct.pack("<BBHHHH", 1, kind, 28, size, 20, 6)


def test_super_packet_is_cut_and_lies_about_segments_are_not_believed() -> None:
    assert packets.segments(virtio(5, 4), b"aaaabbbbcc") == [b"aaaa", b"bbbb", b"cc"]
    assert packets.segments(virtio(0, 4), b"aaaabbbbcc") == [b"aaaabbbbcc"]
    assert packets.segments(virtio(1, 4), b"aaaabbbbcc") == [b"aaaabbbbcc"]
    assert packets.segments(virtio(5, 0), b"aaaa") == [b"aaaa"]
    assert packets.segments(virtio(5, 1), bytes(GSO_SEGMENTS + 1)) == []


@given(st.lists(st.integers(0, 40), max_size=60), st.integers(2, 64))
def test_runs_keep_every_datagram_and_their_order(sizes: list[int], most: int) -> None:
    datagrams = [bytes((number % 256,)) * size for number, size in enumerate(sizes)]
    cut = []
    for data, size in packets.runs(datagrams, most):
        made = packets.segments(virtio(5 if size else 0, size), data)
        assert len(made) <= most
        cut += made
    assert cut == datagrams


def test_run_stays_below_64_kib() -> None:
    assert [(len(data), size) for data, size in packets.runs([bytes(30_000)] * 5)] == [
        (60_000, 30_000),
        (60_000, 30_000),
        (30_000, 0),
    ]


# --- ICMP and TCP ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("what", [packets.PORT_UNREACHABLE, packets.HOST_UNREACHABLE])
def test_unreachable_message_is_what_dpkt_reads(pair: tuple[bytes, bytes], what: str) -> None:
    own, peer = pair
    frame = packets.unreachable(own, 5000, peer, 53, what)
    ip = parsed(frame)
    assert (ip.src, ip.dst) == (peer, own)
    if len(own) == 4:
        assert (ip.data.type, ip.data.code) == (3, 3 if what == "port" else 13)
        inner = ip.data.data.data
        assert packets.checksum(bytes(ip.data)) == 0
    else:
        assert (ip.data.type, ip.data.code) == (1, 4 if what == "port" else 1)
        inner = dpkt.ip6.IP6(frame[VIRTIO + 48 :])
        assert packets.checksum(peer + own + struct.pack("!II", len(frame) - 50, 58) + frame[50:]) == 0
    assert (inner.src, inner.dst, inner.data.sport, inner.data.dport) == (own, peer, 5000, 53)
    told = packets.read_refusal(packets.read_packet(frame[VIRTIO:]))
    assert told == ((own, 5000, 53) if what == "port" else None)


def test_refusal_about_a_packet_that_was_sent_elsewhere_is_not_believed() -> None:
    own, peer = PAIRS[0]
    packet = packets.read_packet(packets.unreachable(own, 5000, peer, 53, packets.PORT_UNREACHABLE)[VIRTIO:])
    assert packets.read_refusal(packet._replace(source=own)) is None


@pytest.mark.parametrize("pair", PAIRS)
def test_connection_attempt_is_reset(pair: tuple[bytes, bytes]) -> None:
    tcp = dpkt.tcp.TCP(sport=4000, dport=80, seq=17, ack=0, flags=dpkt.tcp.TH_SYN)
    packet = Packet(4 if len(pair[0]) == 4 else 6, packets.TCP, *pair, 64, bytes(tcp))
    reset = packets.tcp_reset(packet)
    assert reset is not None
    ip = parsed(completed(packets.segment_frame(pair[1], pair[0], reset)))
    assert (ip.src, ip.dst, ip.data.sport, ip.data.dport) == (pair[1], pair[0], 80, 4000)
    assert ip.data.flags == dpkt.tcp.TH_RST | dpkt.tcp.TH_ACK
    assert ip.data.ack == 18
    pseudo = pair[1] + pair[0] + struct.pack("!II", len(bytes(ip.data)), 6)
    assert packets.checksum(pseudo + bytes(ip.data)) == 0


def test_reset_answers_no_reset_and_takes_the_number_that_an_acknowledgement_names() -> None:
    def answer(flags: int) -> bytes | None:
        tcp = dpkt.tcp.TCP(sport=4000, dport=80, seq=17, ack=99, flags=flags)
        return packets.tcp_reset(Packet(4, packets.TCP, *PAIRS[0], 64, bytes(tcp)))

    assert answer(dpkt.tcp.TH_RST) is None
    reset = answer(dpkt.tcp.TH_ACK)
    assert reset is not None
    assert (dpkt.tcp.TCP(reset).flags, dpkt.tcp.TCP(reset).seq) == (dpkt.tcp.TH_RST, 99)


def test_segment_tells_its_port_and_whether_it_opens_a_connection() -> None:
    flags = dpkt.tcp.TH_SYN, dpkt.tcp.TH_SYN | dpkt.tcp.TH_ACK, dpkt.tcp.TH_ACK, dpkt.tcp.TH_SYN | dpkt.tcp.TH_RST
    told = [packets.read_segment(bytes(dpkt.tcp.TCP(sport=4000, dport=80, flags=each)) + b"data") for each in flags]
    assert told == [(80, True), (80, False), (80, False), (80, False)]
    short = bytes(dpkt.tcp.TCP(sport=4000, dport=80))
    for malformed in (b"", short[:19], short[:12] + b"\x40" + short[13:], short[:12] + b"\x60" + short[13:]):
        with pytest.raises(PacketError):
            packets.read_segment(malformed)


@pytest.mark.parametrize("data", [bytes(65_507), random.Random(5).randbytes(65_507)])
def test_frame_too_large_for_an_ethernet_device_goes_in_fragments_that_are_read_as_the_whole(data: bytes) -> None:
    source, destination = bytes(range(16)), bytes(range(16, 32))
    parts = packets.ipv6_fragments(UdpHeader(source, destination, 7, 9).frame(data), 5)
    assert all(len(part) <= VIRTIO + 65_535 for part in parts)
    reassembly = packets.Reassembly()
    whole = [reassembly.add(packets.read_packet(part[VIRTIO:]), 0.0) for part in parts]
    assert whole[0] is None
    assert whole[1] is not None
    assert packets.read_udp(whole[1].payload) == (7, 9, data)
    pseudo = source + destination + struct.pack("!II", len(whole[1].payload), packets.UDP)
    assert packets.checksum(pseudo + whole[1].payload) == 0
