"""Peer ids and the socket addresses that spell them.

Lives here: the three spellings of a peer (IPv4, IPv6, whole id) and what any host string handed to a
socket call means. May not live here: DNS, sockets, knowledge of which peers exist.

Law: a spelling is a *name*. IPv4 and IPv6 spellings carry only the leading bits of an id, so parsing one
gives a `Prefix`, which must be resolved to a whole id.

    IPv4   network prefix (default 100.64.0.0/10)  +  leading bits of the id (22 of them)
    IPv6   fd00::/8                                +  leading 120 bits of the id
    peer   40 hex digits, or the same with ".peer" appended
"""

from __future__ import annotations

import ipaddress
from enum import Enum
from typing import Final, NamedTuple, TypeAlias

from .errors import ConfigError

ID_BYTES: Final = 20
ID_BITS: Final = 8 * ID_BYTES
IPV6_BITS: Final = 120
"""Bits of the id that an IPv6 spelling carries."""
AF_PEER: Final = 0x7072
"""Address family of sockets whose addresses are ``("<40 hex>", port)``; no kernel family has this number."""
DEFAULT_IPV4_NETWORK: Final = ipaddress.IPv4Network("100.64.0.0/10")
"""RFC 6598 space: programs drop or special-case RFC 1918, LANs use that, and this range passed all that was tried."""
LIMITED_BROADCAST: Final = "255.255.255.255"
_LOOPBACK_BROADCAST: Final = "127.255.255.255"
PEER_SUFFIX: Final = ".peer"

PeerId: TypeAlias = bytes
"""20 bytes."""


class Prefix(NamedTuple):
    """The leading `bits` of an id, left-aligned in `value` (20 bytes, the rest zero)."""

    bits: int
    value: bytes

    @classmethod
    def of(cls, peer_id: PeerId, bits: int) -> Prefix:
        """Return the leading `bits` of `peer_id`."""
        shift = ID_BITS - bits
        return cls(bits, (int.from_bytes(peer_id) >> shift << shift).to_bytes(ID_BYTES))

    def matches(self, peer_id: PeerId) -> bool:
        """Return whether `peer_id` begins with these bits."""
        shift = ID_BITS - self.bits
        return int.from_bytes(peer_id) >> shift == int.from_bytes(self.value) >> shift


class UnprovedId(bytes):
    """The id of a peer that has no key to prove it by."""

    __slots__ = ()


class UnprovedHost(str):
    """The host in a socket address that spells an `UnprovedId`."""

    __slots__ = ()


def is_authenticated(source: object) -> bool:
    """Return whether `source`, as it came with a datagram, message or event, proved that it is who it says.

    Args: source: an id (`Peer.on`, `Peer.peers`), an address tuple (`recvfrom`), or its host.
    Returns: False for peers without a key, whose ids any other can claim; True for all others.
    """
    if isinstance(source, tuple) and source:
        source = source[0]
    return not isinstance(source, UnprovedId | UnprovedHost)


Destination: TypeAlias = "PeerId | Prefix"
"""Whom a datagram is for: a whole id, or a prefix yet to be resolved."""


class Special(Enum):
    """What a host string can mean besides a peer."""

    LOOPBACK = "loopback"
    """This peer's own sockets (127.0.0.0/8, ::1, "localhost")."""
    WILDCARD = "wildcard"
    """The empty string, 0.0.0.0, ::."""
    BROADCAST = "broadcast"
    """255.255.255.255, "<broadcast>", the last address of the overlay's IPv4 network."""
    MULTICAST = "multicast"
    FOREIGN = "foreign"
    """A well-formed IP address that is not of the overlay."""
    NAME = "name"
    """Not an address; needs a resolver."""


class Spelling:
    """How one overlay spells ids: its IPv4 network is a setting, equal across the network."""

    __slots__ = ("ipv4_network",)  # no dataclass: to import `dataclasses` is a fifth of `import peer_relay`

    def __init__(self, ipv4_network: ipaddress.IPv4Network = DEFAULT_IPV4_NETWORK) -> None:
        if ipv4_network.prefixlen > 24:
            raise ConfigError(f"ipv4_network {ipv4_network}: needs a prefix of /24 or shorter")
        self.ipv4_network = ipv4_network

    @property
    def ipv4_bits(self) -> int:
        """How many bits of the id an IPv4 spelling carries."""
        return 32 - self.ipv4_network.prefixlen

    def ipv4(self, peer_id: PeerId) -> str:
        """Return the dotted-quad spelling of `peer_id`."""
        host = int.from_bytes(peer_id) >> (ID_BITS - self.ipv4_bits)
        return str(ipaddress.IPv4Address(int(self.ipv4_network.network_address) | host))

    def ipv6(self, peer_id: PeerId) -> str:
        """Return the RFC 5952 spelling of `peer_id` inside fd00::/8."""
        return str(ipaddress.IPv6Address(b"\xfd" + peer_id[:15]))

    def is_broadcast(self, host: str) -> bool:
        """Return whether `host`, the text of an IPv4 address, stands for everybody: 255.255.255.255, or the last
        address of the overlay's network or of loopback's."""
        return host in (LIMITED_BROADCAST, _LOOPBACK_BROADCAST, str(self.ipv4_network.broadcast_address))

    def parse(self, host: str) -> Destination | Special:
        """Say what `host` means to this overlay.

        Accepts every family's spelling, whichever family asks (``::ffff:a.b.c.d`` counts as ``a.b.c.d``;
        a ``%scope`` is ignored).

        Returns: a whole id; a `Prefix`; or a `Special`. Never raises: what is no address is `Special.NAME`.
        """
        text = host.strip().lower() if host else ""
        if text in ("", "0.0.0.0", "::"):
            return Special.WILDCARD
        if text == "localhost":
            return Special.LOOPBACK
        if text == "<broadcast>":
            return Special.BROADCAST
        whole = parse_id(text)
        if whole is not None:
            return whole
        try:
            ip = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            return Special.NAME
        if ip.version == 6:
            if ip.ipv4_mapped is None:
                return self._parse_ipv6(ip)
            ip = ip.ipv4_mapped
        return self._parse_ipv4(ip)

    def _parse_ipv4(self, ip: ipaddress.IPv4Address) -> Destination | Special:
        if self.is_broadcast(str(ip)):
            return Special.BROADCAST
        if ip in self.ipv4_network:
            bits = self.ipv4_bits
            host = int(ip) & ((1 << bits) - 1)
            return Prefix(bits, (host << (ID_BITS - bits)).to_bytes(ID_BYTES))
        if ip.is_loopback:
            return Special.LOOPBACK
        if int(ip) == 0:
            return Special.WILDCARD
        return Special.MULTICAST if ip.is_multicast else Special.FOREIGN

    @staticmethod
    def _parse_ipv6(ip: ipaddress.IPv6Address) -> Destination | Special:
        if ip.packed[0] == 0xFD:
            return Prefix(IPV6_BITS, ip.packed[1:] + bytes(5))
        if ip.is_loopback:
            return Special.LOOPBACK
        if int(ip) == 0:
            return Special.WILDCARD
        return Special.MULTICAST if ip.is_multicast else Special.FOREIGN


def parse_id(text: str) -> PeerId | None:
    """Return the id that 40 hex digits, optionally followed by ".peer" (and one dot), stand for, else None."""
    digits = text.rstrip(".") if text.endswith(".") else text
    if digits.lower().endswith(PEER_SUFFIX):
        digits = digits[: -len(PEER_SUFFIX)]
    if len(digits) != 2 * ID_BYTES or not digits.isascii():
        return None
    try:
        return bytes.fromhex(digits)
    except ValueError:
        return None


def pinned_id(url: str) -> PeerId | None:
    """Return the id that must answer at a bootstrap URL: what stands after its "#"; None if nothing does."""
    return parse_id(url.partition("#")[2])
