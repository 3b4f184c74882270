"""IP packets <-> datagrams, for a TUN device. Pure bytes: no I/O, no clock, no addresses of the overlay.

Law: every reader takes any bytes and answers, at worst "malformed" (PacketError), in time linear in their number; and
what a virtio header says about a packet is used for nothing but where to cut it.

A frame of a TUN device, as this module reads and writes it:

    virtio header (10)   flags, GSO type, header length, segment size, checksum start and offset (little-endian)
    IP header            version 4 (RFC 791) or 6 (RFC 8200) with extension headers
    payload              UDP (RFC 768), ICMP (RFC 792, 4443), TCP (RFC 9293), or a fragment
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from typing import Final, NamedTuple

from ..errors import PacketError
from ..limits import FRAGMENT_BYTES, FRAGMENT_TIME, FRAGMENTED_PACKETS, GSO_SEGMENTS, IPV6_EXTENSIONS, SEGMENT_MAX

VIRTIO: Final = 10
"""Bytes of the virtio header before each packet (virtio 1.2 §5.1.6, without the number of buffers)."""
LONGEST_FRAME: Final = VIRTIO + 65_536
ICMP: Final = 1
TCP: Final = 6
UDP: Final = 17
ICMP6: Final = 58

PORT_UNREACHABLE: Final = "port"
HOST_UNREACHABLE: Final = "host"

_FRAGMENT: Final = 44
_SKIPPED: Final = frozenset({0, 43, 60})
"""IPv6 extension headers of the usual shape: hop-by-hop options, routing, destination options."""
_CODES: Final = {4: {PORT_UNREACHABLE: 3, HOST_UNREACHABLE: 13}, 6: {PORT_UNREACHABLE: 4, HOST_UNREACHABLE: 1}}
"""IPv4 code 13 (administratively prohibited) fails a connected socket with EHOSTUNREACH; 1 (host unreachable) is a
"soft" error, which Linux does not report."""
_GSO_UDP: Final = 5
_NEEDS_CHECKSUM: Final = 1
_PLAIN: Final = bytes(VIRTIO)
_RESET, _ACK, _SYN, _FIN = 4, 16, 2, 1


class Fragment(NamedTuple):
    """Which part of which packet a payload is."""

    identification: int
    offset: int
    more: bool


class Packet(NamedTuple):
    """An IP packet, its headers read."""

    version: int
    protocol: int
    source: bytes
    destination: bytes
    hop_limit: int
    payload: bytes
    fragment: Fragment | None = None


class Datagram(NamedTuple):
    """A UDP payload, its header read."""

    source_port: int
    port: int
    data: bytes


class Refusal(NamedTuple):
    """What an ICMP port unreachable message says: nothing hears `port`, to which `source` sent."""

    source: bytes
    source_port: int
    port: int


# --- reading ---------------------------------------------------------------------------------------------------


def udp_key(frame: bytes) -> tuple[bytes, int] | None:
    """Return addresses and ports of a plain UDP frame, as one key, and where its data begins.

    Plain: no IP options, no extension headers, not a fragment, lengths that agree. The key is source || destination ||
    source port || port, 12 bytes for IPv4 and 36 for IPv6.

    Returns: None for any other frame, which `read_packet` may still understand.
    """
    size = len(frame)
    if size < VIRTIO + 28:
        return None
    if frame[10] == 0x45:
        if frame[19] != UDP or frame[16] & 0x3F or frame[17] or frame[34] << 8 | frame[35] != size - 30:
            return None
        return frame[22:34], 38
    if frame[10] >> 4 == 6 and size >= VIRTIO + 48 and frame[16] == UDP and frame[54] << 8 | frame[55] == size - 50:
        return frame[18:54], 58
    return None


def read_packet(data: bytes) -> Packet:
    """Read the IP headers of a packet, without a virtio header. Checksums are not looked at: the kernel, from which
    such packets come, leaves them to devices.

    Raises: PacketError.
    """
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20:
        return _read_ipv4(data)
    if version == 6 and len(data) >= 40:
        return _read_ipv6(data)
    raise PacketError("no IP packet")


def _read_ipv4(data: bytes) -> Packet:
    start, total = (data[0] & 15) * 4, int.from_bytes(data[2:4])
    if not 20 <= start <= total <= len(data):
        raise PacketError("IPv4 lengths that disagree")
    place = int.from_bytes(data[6:8])
    fragment = None
    if place & 0x3FFF:
        fragment = Fragment(int.from_bytes(data[4:6]), (place & 0x1FFF) * 8, bool(place & 0x2000))
    return Packet(4, data[9], data[12:16], data[16:20], data[8], data[start:total], fragment)


def _read_ipv6(data: bytes) -> Packet:
    end = 40 + int.from_bytes(data[4:6])
    if end > len(data):
        raise PacketError("IPv6 payload cut short")
    protocol, start, fragment = data[6], 40, None
    for _ in range(IPV6_EXTENSIONS):
        if protocol == _FRAGMENT:
            if start + 8 > end:
                raise PacketError("IPv6 fragment header cut short")
            place = int.from_bytes(data[start + 2 : start + 4])
            fragment = Fragment(int.from_bytes(data[start + 4 : start + 8]), place & 0xFFF8, bool(place & 1))
            protocol, start = data[start], start + 8
            break  # what follows belongs to the whole packet, and only its first fragment has it
        if protocol not in _SKIPPED:
            break
        if start + 8 > end:
            raise PacketError("IPv6 extension header cut short")
        protocol, start = data[start], start + 8 + data[start + 1] * 8
        if start > end:
            raise PacketError("IPv6 extension header past the end")
    if fragment is not None and not fragment.offset and not fragment.more:
        fragment = None  # an "atomic" fragment (RFC 6946) is whole
    return Packet(6, protocol, data[8:24], data[24:40], data[7], data[start:end], fragment)


def read_udp(payload: bytes) -> Datagram:
    """Read a UDP payload. Raises: PacketError."""
    if len(payload) < 8:
        raise PacketError("UDP header cut short")
    source_port, port, length = struct.unpack_from("!HHH", payload)
    if not 8 <= length <= len(payload):
        raise PacketError("UDP length that cannot be")
    return Datagram(source_port, port, payload[8:length])


def read_refusal(packet: Packet) -> Refusal | None:
    """Return what an ICMP port unreachable message tells about a UDP packet; None for any other packet."""
    payload = packet.payload
    kind = (packet.protocol, payload[0], payload[1]) if len(payload) >= 8 else None
    if kind not in ((ICMP, 3, 3), (ICMP6, 1, 4)):
        return None
    told = payload[8:]  # as much of the packet as there was room for
    if packet.version == 4:
        start, addresses = (told[0] & 15) * 4 if told else 0, (12, 16, 20)
        udp = len(told) > 9 and told[0] >> 4 == 4 and told[9] == UDP and start >= 20
    else:
        start, addresses = 40, (8, 24, 40)
        udp = len(told) > 6 and told[0] >> 4 == 6 and told[6] == UDP
    if not udp or len(told) < start + 4 or told[addresses[1] : addresses[2]] != packet.source:
        return None
    source_port, port = struct.unpack_from("!HH", told, start)
    return Refusal(told[addresses[0] : addresses[1]], source_port, port)


def read_segment(payload: bytes) -> tuple[int, bool]:
    """Return the port that a TCP segment is for, and whether it opens a connection. Raises: PacketError."""
    if len(payload) < 20 or not 20 <= (payload[12] >> 4) * 4 <= len(payload) <= SEGMENT_MAX:
        raise PacketError("TCP header that cannot be")
    return int.from_bytes(payload[2:4]), payload[13] & (_SYN | _ACK | _RESET) == _SYN


def segments(frame: bytes, data: bytes) -> list[bytes]:
    """Return the datagrams that one read gave: several where the program sent them with UDP_SEGMENT.

    Returns: [] when there would be more than the kernel ever joins.
    """
    if frame[1] & 0x7F != _GSO_UDP:
        return [data]
    size = frame[4] | frame[5] << 8
    if size == 0 or size >= len(data):
        return [data]
    if len(data) > size * GSO_SEGMENTS:
        return []
    return [data[at : at + size] for at in range(0, len(data), size)]


class Reassembly:
    """Fragments that wait for the rest of their packets (RFC 791 §3.2, RFC 8200 §4.5).

    Holds FRAGMENTED_PACKETS packets and FRAGMENT_BYTES bytes, the oldest go first, and each FRAGMENT_TIME seconds.
    Fragments that overlap end their packet (RFC 5722).
    """

    def __init__(self) -> None:
        self._packets: dict[tuple[int, int, bytes, bytes, int], _Parts] = {}
        self._held = 0
        self.dropped = 0
        """Packets given up."""

    def add(self, packet: Packet, now: float) -> Packet | None:
        """Take in a fragment. Returns: the whole packet, if this completes it."""
        assert packet.fragment is not None
        _, offset, more = packet.fragment
        key = (packet.version, packet.protocol, packet.source, packet.destination, packet.fragment.identification)
        self._expire(now)
        parts = self._packets.get(key)
        if parts is None:
            parts = self._packets[key] = _Parts(now)
        before = parts.size
        fits = parts.add(offset, packet.payload, more)
        self._held += parts.size - before
        if not fits:
            self._drop(key)
            return None
        if parts.size != parts.end:
            return None
        self._held -= parts.size
        del self._packets[key]
        return packet._replace(payload=parts.whole(), fragment=None)

    def _expire(self, now: float) -> None:
        """Make room for one fragment more."""
        for key, parts in list(self._packets.items()):  # in the order in which they began
            crowded = len(self._packets) >= FRAGMENTED_PACKETS or self._held > FRAGMENT_BYTES - 65_535
            if not crowded and now < parts.began + FRAGMENT_TIME:
                return
            self._drop(key)

    def _drop(self, key: tuple[int, int, bytes, bytes, int]) -> None:
        self._held -= self._packets.pop(key).size
        self.dropped += 1


class _Parts:
    """The fragments of one packet that came."""

    __slots__ = ("_offsets", "_parts", "began", "end", "size")

    def __init__(self, began: float) -> None:
        self.began = began
        self.size = 0
        self.end: int | None = None
        """How long the whole is; None until the last fragment came."""
        self._offsets: list[int] = []  # sorted
        self._parts: dict[int, bytes] = {}

    def add(self, offset: int, payload: bytes, more: bool) -> bool:
        """Returns: False when it overlaps what came before, or is part of no packet that there can be."""
        after = offset + len(payload)
        if not payload or after > 65_535 or (more and len(payload) % 8):
            return False
        if self._parts.get(offset) == payload and (more or after == self.end):
            return True  # a duplicate
        place = bisect_left(self._offsets, offset)
        if place and self._offsets[place - 1] + len(self._parts[self._offsets[place - 1]]) > offset:
            return False
        if place < len(self._offsets) and (not more or self._offsets[place] < after):
            return False
        if self.end is not None and (not more or after > self.end):
            return False
        if not more:
            self.end = after
        self._offsets.insert(place, offset)
        self._parts[offset] = payload
        self.size += len(payload)
        return True

    def whole(self) -> bytes:
        return b"".join(self._parts[offset] for offset in self._offsets)


# --- writing ---------------------------------------------------------------------------------------------------


def checksum(data: bytes) -> int:
    """Return the internet checksum (RFC 1071): the one's complement of a sum in one's complement, of 16 bits."""
    if len(data) & 1:
        data += b"\0"
    # 2**16 is 1 modulo 65,535, so the number that `data` spells is the sum of its words; all ones stand for zero.
    return ~(int.from_bytes(data) % 0xFFFF or (0xFFFF if any(data) else 0)) & 0xFFFF


class UdpHeader:
    """The headers of all datagrams from one address and port to another, and frames made with them."""

    __slots__ = ("_base", "_ip", "_ports", "_pseudo", "_version", "key")

    def __init__(self, source: bytes, destination: bytes, source_port: int, port: int) -> None:
        self._version = 4 if len(source) == 4 else 6
        self._ports = struct.pack("!HH", source_port, port)
        self.key = source + destination + self._ports
        """As of `udp_key`."""
        self._pseudo = int.from_bytes(source + destination + b"\0\x11") % 0xFFFF
        if self._version == 4:
            self._ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, UDP, 0, source, destination)
        else:
            self._ip = struct.pack("!IHBB16s16s", 0x60000000, 0, UDP, 64, source, destination)
        self._base = int.from_bytes(self._ip) % 0xFFFF

    def frame(self, data: bytes, segment: int = 0) -> bytes:
        """Return a frame with `data` (0..65507 bytes); the kernel completes the UDP checksum.

        Args: segment: cut `data` into datagrams of so many bytes, the last of which may be shorter; 0 = do not.
        """
        length = len(data) + 8
        udp = self._ports + length.to_bytes(2) + ((self._pseudo + length) % 0xFFFF or 0xFFFF).to_bytes(2)
        kind = _GSO_UDP if segment else 0
        if self._version == 4:
            total = length + 20
            check = ~((self._base + total) % 0xFFFF or 0xFFFF) & 0xFFFF
            ip = b"\x45\0" + total.to_bytes(2) + self._ip[4:10] + check.to_bytes(2) + self._ip[12:]
            virtio = struct.pack("<BBHHHH", _NEEDS_CHECKSUM, kind, 28, segment, 20, 6)
        else:
            ip = self._ip[:4] + length.to_bytes(2) + self._ip[6:]
            virtio = struct.pack("<BBHHHH", _NEEDS_CHECKSUM, kind, 48, segment, 40, 6)
        return b"".join((virtio, ip, udp, data))


def ipv6_fragments(frame: bytes, identification: int) -> list[bytes]:
    """Return the two fragments (RFC 8200 §4.5) of a frame of `UdpHeader`'s, for a device that takes 65,535 bytes."""
    ip, udp = frame[VIRTIO : VIRTIO + 40], frame[VIRTIO + 40 :]
    udp = udp[:6] + b"\0\0" + udp[8:]
    check = checksum(_pseudo_header(ip[8:24], ip[24:40], UDP, len(udp)) + udp) or 0xFFFF
    whole = udp[:6] + check.to_bytes(2) + udp[8:]
    made = []
    for offset, part in ((0, whole[:32_768]), (32_768, whole[32_768:])):
        head = ip[:4] + (len(part) + 8).to_bytes(2) + bytes((_FRAGMENT,)) + ip[7:]
        made.append(_PLAIN + head + struct.pack("!BBHI", UDP, 0, offset | (not offset), identification) + part)
    return made


def runs(datagrams: list[bytes], most: int = GSO_SEGMENTS // 2) -> list[tuple[bytes, int]]:
    """Return `datagrams`, in order, as data and segment sizes for `UdpHeader.frame`: neighbours of equal size together,
    and a shorter one, which the kernel takes as their last.

    Args: most: in one frame; Linux before 6.9 takes 64.
    """
    made = []
    first, total = 0, len(datagrams)
    while first < total:
        size = len(datagrams[first])
        after, room = first + 1, 65_000 - size
        while size and after < total and after - first < most and len(datagrams[after]) == size and room >= size:
            after += 1
            room -= size
        if size and after < total and after - first < most and 0 < len(datagrams[after]) < size and room >= size:
            after += 1
        if after - first > 1:
            made.append((b"".join(datagrams[first:after]), size))
        else:
            made.append((datagrams[first], 0))
        first = after
    return made


def unreachable(own: bytes, own_port: int, peer: bytes, port: int, what: str) -> bytes:
    """Return a frame with the ICMP message by which `peer` answers what was sent from `own_port` of `own` to its
    `port`: PORT_UNREACHABLE or HOST_UNREACHABLE."""
    version = 4 if len(own) == 4 else 6
    sent = _ip(own, peer, UDP, struct.pack("!HHHH", own_port, port, 8, 0))
    message = struct.pack("!BBHI", 3 if version == 4 else 1, _CODES[version][what], 0, 0) + sent
    if version == 4:
        return _PLAIN + _ip(peer, own, ICMP, _summed(message, 2, b""))
    return _PLAIN + _ip(peer, own, ICMP6, _summed(message, 2, _pseudo_header(peer, own, ICMP6, len(message))))


def tcp_reset(packet: Packet) -> bytes | None:
    """Return the segment that answers another as a host does on which nothing listens (RFC 9293 §3.10.7.1), without its
    checksum; None for what asks for no answer."""
    payload = packet.payload
    if packet.protocol != TCP or len(payload) < 20 or packet.fragment is not None:
        return None
    source_port, port, sequence, acknowledged = struct.unpack_from("!HHII", payload)
    flags = payload[13]
    if flags & _RESET:
        return None
    if flags & _ACK:
        return struct.pack("!HHIIBBHHH", port, source_port, acknowledged, 0, 0x50, _RESET, 0, 0, 0)
    length = len(payload) - (payload[12] >> 4) * 4 + bool(flags & _SYN) + bool(flags & _FIN)
    after = (sequence + max(0, length)) & 0xFFFFFFFF
    return struct.pack("!HHIIBBHHH", port, source_port, 0, after, 0x50, _RESET | _ACK, 0, 0, 0)


def segment_frame(source: bytes, destination: bytes, segment: bytes) -> bytes:
    """Return a frame with a TCP segment (20..65,480 bytes); the kernel completes its checksum."""
    header = 20 if len(source) == 4 else 40
    begun = int.from_bytes(_pseudo_header(source, destination, TCP, len(segment))) % 0xFFFF or 0xFFFF
    virtio = struct.pack("<BBHHHH", _NEEDS_CHECKSUM, 0, header + 20, 0, header, 16)
    return virtio + _ip(source, destination, TCP, segment[:16] + begun.to_bytes(2) + segment[18:])


def _pseudo_header(source: bytes, destination: bytes, protocol: int, length: int) -> bytes:
    return source + destination + struct.pack("!II", length, protocol)


def _summed(message: bytes, at: int, pseudo_header: bytes) -> bytes:
    """Return `message` with its checksum filled in at `at`."""
    return message[:at] + checksum(pseudo_header + message).to_bytes(2) + message[at + 2 :]


def _ip(source: bytes, destination: bytes, protocol: int, payload: bytes) -> bytes:
    if len(source) == 16:
        return struct.pack("!IHBB16s16s", 0x60000000, len(payload), protocol, 64, source, destination) + payload
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0, source, destination)
    return head[:10] + checksum(head).to_bytes(2) + head[12:] + payload
