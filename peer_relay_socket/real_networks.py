"""The networks to which sockets send by real UDP: what the setting `real_udp` names.

Lives here: how one is spelled, what it covers, which ones cannot be. May not live here: sockets.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import NamedTuple

from .address import DEFAULT_IPV4_NETWORK
from .errors import ConfigError

_SPELLED = r"\[(?P<six>[^\]]+)\](?::(?P<six_port>\d+))?|(?P<four>[^:\[\]]+)(?::(?P<four_port>\d+))?"
_OVERLAY6 = ipaddress.IPv6Network("fd00::/8")
_GROUPS = (
    ipaddress.ip_network("224.0.0.0/4"),
    ipaddress.ip_network("ff00::/8"),
    ipaddress.ip_network("255.255.255.255"),
)


class RealNetwork(NamedTuple):
    """Addresses of real hosts, and a port of theirs."""

    network: ipaddress.IPv4Network | ipaddress.IPv6Network
    port: int = 0
    """0 = every port."""

    @classmethod
    def parse(cls, text: str) -> RealNetwork:
        """Return what ``192.0.2.0/24``, ``127.0.0.1:8125`` or ``[2001:db8::]:53`` names.

        Raises: ValueError: one line that says what is wrong.
        """
        match = re.fullmatch(_SPELLED, text.strip())
        try:
            if match is None:
                return cls(ipaddress.ip_network(text.strip()))  # IPv6 without a port needs no brackets
            network = ipaddress.ip_network(match["six"] or match["four"])
        except ValueError as error:
            raise ValueError(f"{text!r} is no NETWORK, ADDRESS:PORT or [IPV6]:PORT: {error}") from None
        if (match["six"] is not None) != (network.version == 6):
            raise ValueError(f"{text!r}: brackets are for IPv6")
        named = match["six_port"] or match["four_port"]
        if named is not None and not 0 < int(named) < 65536:
            raise ValueError(f"{text!r}: {named} is not a port (1-65535)")
        return cls(network, int(named or 0))

    def covers(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> bool:
        """Return whether it names `port` of `address`."""
        return self.port in (0, port) and address in self.network

    def __str__(self) -> str:
        shown = str(self.network)
        if not self.port:
            return shown
        return f"[{shown}]:{self.port}" if self.network.version == 6 else f"{shown}:{self.port}"


def are_real(networks: Iterable[RealNetwork], host: str, port: int) -> bool:
    """Return whether one of `networks` names `port` of `host`, the text of an IP address."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if address.version == 6 and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(each.covers(address, port) for each in networks)


def check_apart(networks: Iterable[RealNetwork], ipv4_network: ipaddress.IPv4Network = DEFAULT_IPV4_NETWORK) -> None:
    """Refuse what is the overlay's own. One port of IPv6 addresses in fd00::/8 may be real all the same: other networks
    number their hosts there, too, and have nowhere else to put them.

    Raises: ConfigError.
    """
    for each in networks:
        network = each.network
        if network.version == 4 and network.overlaps(ipv4_network):
            raise ConfigError(f"real_udp: {each} overlaps the overlay's own network {ipv4_network}")
        if network.version == 6 and not each.port and network.overlaps(_OVERLAY6):
            raise ConfigError(f"real_udp: {each} overlaps the overlay's own network {_OVERLAY6}: name a port")
        if any(network.version == group.version and network.overlaps(group) for group in _GROUPS):
            raise ConfigError(f"real_udp: {each}: groups and broadcasts are the overlay's")
        if not each.port and network.overlaps(ipaddress.ip_network("127.0.0.0/8" if network.version == 4 else "::1")):
            raise ConfigError(
                f"real_udp: {each}: localhost is this peer's own sockets: name a port, as in 127.0.0.1:53"
            )
