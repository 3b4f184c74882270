"""What a TUN device's namespace is told: addresses, routes, a rate (rtnetlink(7); the standard library has none).

Law: each call is one request and its answer, microseconds; the socket was opened in the namespace that it is about.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from typing import Final

from ..limits import TCP_SEGMENT

_NEW_LINK, _NEW_ADDRESS, _DELETE_ADDRESS, _NEW_ROUTE, _NEW_QDISC, _GET_QDISC = 16, 20, 21, 24, 36, 38
_REQUEST, _ACK, _CREATE, _REPLACE, _DUMP = 1, 4, 0x400, 0x100, 0x300
_UNIVERSE, _LINK = 0, 253
_NEW_RULE, _TO_TABLE, _INVERT, _PRIORITY = 32, 1, 2, 100
_UP, _NO_ARP, _EXCLUSIVE, _GSO_MOST = 1, 0x80, 0x200, 40
_TICK: Final = 64e-9
"""Seconds of the packet scheduler's clock."""

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def _number(kind: int, value: int) -> bytes:
    return _attribute(kind, struct.pack("=I", value))


class Netlink:
    """One rtnetlink socket. One thread."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sequence = 0

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def _call(self, kind: int, flags: int, body: bytes) -> None:
        """Raises: OSError with the kernel's errno."""
        self._sequence += 1
        head = struct.pack("=IHHII", 16 + len(body), kind, _REQUEST | _ACK | flags, self._sequence, 0)
        self._sock.send(head + body)
        error = struct.unpack_from("=i", self._sock.recv(65_536), 16)[0]
        if error:
            raise OSError(-error, os.strerror(-error))

    def up(self, index: int, *, mtu: int = 0, queue: int = 0) -> None:
        """Bring an interface up.

        Args: mtu, queue: its MTU and the length of its queue; 0 = as they are, and it may ask for Ethernet addresses.
        """
        flags = _UP | _NO_ARP if mtu else _UP
        body = struct.pack("=BxHiII", 0, 0, index, flags, flags)
        if mtu:
            body += _number(4, mtu)
        if queue:
            body += _number(13, queue)
        self._call(_NEW_LINK, 0, body)

    def add_pair(self, name: str, far_name: str, far: int) -> None:
        """Make a pair of Ethernet devices, `name` here and `far_name` in another namespace (a descriptor), which is
        given no TCP segments that it would have to cut (veth(4))."""
        blank = struct.pack("=BxHiII", 0, 0, 0, 0, 0)
        peer = blank + _attribute(3, far_name.encode() + b"\0") + _number(28, far) + _number(_GSO_MOST, 1)
        kind = _attribute(1, b"veth\0") + _attribute(2, _attribute(1, peer))
        self._call(_NEW_LINK, _CREATE | _EXCLUSIVE, blank + _attribute(3, name.encode() + b"\0") + _attribute(18, kind))

    def add_address(self, index: int, address: IpAddress, length: int, broadcast: IpAddress | None = None) -> None:
        """Give an interface an address, without a route for its network."""
        body = self._address(index, address, length)
        if broadcast is not None:
            body += _attribute(4, broadcast.packed)
        self._call(_NEW_ADDRESS, _CREATE | _REPLACE, body + _number(8, 0x200 | (2 if address.version == 6 else 0)))

    def delete_address(self, index: int, address: IpAddress, length: int) -> None:
        """Take an address away."""
        self._call(_DELETE_ADDRESS, 0, self._address(index, address, length))

    @staticmethod
    def _address(index: int, address: IpAddress, length: int) -> bytes:
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        body = struct.pack("=BBBBi", family, length, 0, _UNIVERSE, index)
        return body + _attribute(2, address.packed) + _attribute(1, address.packed)

    def add_route(self, index: int, network: IpNetwork, source: IpAddress, table: int) -> None:
        """Lead `network` to an interface, with `source` as the address that programs send from."""
        family = socket.AF_INET if network.version == 4 else socket.AF_INET6
        scope = _LINK if network.version == 4 else _UNIVERSE
        body = struct.pack("=BBBBBBBBI", family, network.prefixlen, 0, 0, table, 4, scope, 1, 0)
        if network.prefixlen:
            body += _attribute(1, network.network_address.packed)
        body += _attribute(7, source.packed) + _number(4, index) + _attribute(8, _number(8, TCP_SEGMENT))
        self._call(_NEW_ROUTE, _CREATE | _REPLACE, body)

    def use_table(self, table: int, family: int) -> None:
        """Find the routes of all that is not TCP in `table`, and nowhere else if they are there (ip-rule(8))."""
        body = struct.pack("=BBBBBBBBI", family, 0, 0, 0, table, 0, 0, _TO_TABLE, _INVERT)
        self._call(_NEW_RULE, _CREATE, body + _number(6, _PRIORITY) + _attribute(22, bytes((socket.IPPROTO_TCP,))))

    def set_rate(self, index: int, rate: float, burst: int, limit: int, overhead: int = 0) -> None:
        """Let `burst` bytes leave by an interface from now on, then `rate` bytes per second (tc-tbf(8)), each packet
        counted as `overhead` bytes more; while `limit` bytes wait, senders wait, too, for their socket's send buffer
        counts what waits here. What waits already stays until the next packet comes."""
        exact = min(int(rate), 0xFFFFFFFF)
        ticks = min(int(burst / rate / _TICK), 0xFFFFFFFF)
        options = struct.pack("=BBHhHI", 0, 1, overhead, 0, 0, exact) + bytes(12) + struct.pack("=III", limit, ticks, 0)
        body = struct.pack("=BxHiIII", 0, 0, index, 0x10000, 0xFFFFFFFF, 0) + _attribute(1, b"tbf\0")
        self._call(_NEW_QDISC, _CREATE | _REPLACE, body + _attribute(2, _attribute(1, options) + _number(6, burst)))

    def waiting(self, index: int) -> int:
        """Return how many packets wait for an interface's rate."""
        self._sequence += 1
        body = struct.pack("=BxHiIII", 0, 0, index, 0, 0, 0)
        self._sock.send(struct.pack("=IHHII", 16 + len(body), _GET_QDISC, _REQUEST | _DUMP, self._sequence, 0) + body)
        most, done = 0, False
        while not done:
            answer = self._sock.recv(65_536)
            at = 0
            while at + 16 <= len(answer):
                length, kind = struct.unpack_from("=IH", answer, at)
                if kind != _NEW_QDISC:
                    done = True
                    break
                if struct.unpack_from("=i", answer, at + 20)[0] == index:
                    most = max(most, _backlog(answer[at + 36 : at + length]))
                at += length + 3 & ~3
        return most


def _backlog(attributes: bytes) -> int:
    at = 0
    while at + 4 <= len(attributes):
        length, kind = struct.unpack_from("=HH", attributes, at)
        if length < 4:
            break
        if kind == 3 and length >= 4 + 36:  # TCA_STATS: bytes (8), packets, drops, overlimits, bps, pps, qlen, backlog
            return int(struct.unpack_from("=I", attributes, at + 4 + 28)[0])
        at += length + 3 & ~3
    return 0
