"""The networks that this machine is on, whatever their addresses, and where others see it.

Lives here: which addresses are this machine's, its router's, or its neighbours' on the wire. May not live here: what
follows from that (scope.py, engine).

Law: in doubt there are none: a machine that does not tell its addresses is protected by scopes alone.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Container, Iterable
from typing import Final, TypeAlias

from ..limits import OWN_NETWORKS_AGE, OWN_NETWORKS_BYTES
from ..originals import os, time
from ..scope import Scope, host_group, ipv4_inside
from ..system import O_CLOEXEC

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_SHORTEST: Final = {4: 8, 6: 32}
"""Prefixes that are shorter are no wire: a default route, a tunnel to everywhere."""
_LOCAL: Final = re.compile(r"\|-- ([\d.]+)\n\s+/32 host LOCAL")
_PROC: Final = "/proc/net/"


class OwnNetworks:
    """The networks of this machine, looked at again every OWN_NETWORKS_AGE seconds."""

    def __init__(
        self,
        read: Callable[[], Iterable[Network]] | None = None,
        seen: Callable[[], Container[str]] = tuple,
    ) -> None:
        """Args: read: tells the networks; None = the kernel's tables do. seen: tells at which hosts (`host_group`) we
        are seen."""
        self._read = _networks if read is None else read
        self._seen = seen
        self._networks: tuple[Network, ...] = ()
        self._read_at = -OWN_NETWORKS_AGE

    def holds(self, host: str) -> bool:
        """Return whether an IP literal is this machine's, or on a wire of this machine's."""
        meant = _meant(host)
        now = time.monotonic()
        if now >= self._read_at + OWN_NETWORKS_AGE:
            self._networks, self._read_at = tuple(self._read()), now
        return any(each in network for network in self._networks for each in meant if network.version == each.version)

    def forget(self) -> None:
        """Look again at the next question: this machine is on other networks now."""
        self._read_at = -OWN_NETWORKS_AGE

    def is_near(self, host: str) -> bool:
        """Return whether an IP literal is this machine's, on a wire of it, or where others see it."""
        return self.holds(host) or self._is_seen(host)

    def allows_link(self, scope: Scope, nearby: bool, host: str) -> bool:
        """Return whether an IP literal may be dialled: as `allows`, and it is not where we are seen ourselves, for
        there the router's own pages may be."""
        return self.allows(scope, nearby, host) and (nearby or not self._is_seen(host))

    def _is_seen(self, host: str) -> bool:
        seen = self._seen()
        return any(host_group(str(each)) in seen for each in _meant(host))

    def allows(self, scope: Scope, nearby: bool, host: str) -> bool:
        """Return whether an IP literal may be tried that was learned of over a link of `scope`, `nearby` or not."""
        if not scope.covers(host):
            return False
        return nearby or Scope.of(host) is not Scope.GLOBAL or not self.holds(host)


def _meant(host: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Return an IP literal, and the IPv4 addresses that it stands for; nothing for what is none."""
    try:
        ip = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return []
    return [ip] if isinstance(ip, ipaddress.IPv4Address) else [ip, *ipv4_inside(ip)]


def _networks() -> list[Network]:
    found: list[Network] = []
    for address, bits in _addresses():
        ip = ipaddress.ip_address(address)
        whole = ip.max_prefixlen
        found.append(ipaddress.ip_network((address, bits if bits >= _SHORTEST[ip.version] else whole), strict=False))
    return found


def _addresses() -> list[tuple[str, int]]:
    """Return addresses of this machine, or networks that it is on, with the lengths of their prefixes."""
    try:
        inet6, routes6, routes, trie = (_read(_PROC + name) for name in ("if_inet6", "ipv6_route", "route", "fib_trie"))
    except OSError:
        return _portably()
    found = []
    for line in inet6.splitlines():
        digits, _, bits, *_ = line.split()
        found.append((_ipv6(digits), int(bits, 16)))
    for line in routes6.splitlines():
        digits, bits, _, _, gateway, *_ = line.split()
        if not int(gateway, 16):
            found.append((_ipv6(digits), int(bits, 16)))
    for line in routes.splitlines()[1:]:
        _, destination, gateway, *_, mask, _, _, _ = line.split()
        if gateway == "00000000":
            network = bytes.fromhex(destination)[::-1]
            found.append((str(ipaddress.IPv4Address(network)), int(mask, 16).bit_count()))
    return found + [(address, 32) for address in _LOCAL.findall(trie)]


def _ipv6(digits: str) -> str:
    return str(ipaddress.IPv6Address(bytes.fromhex(digits)))


def _read(path: str) -> str:
    """Return the whole lines of a file of the kernel's, up to OWN_NETWORKS_BYTES, whatever a program has put in the
    place of `open`."""
    text = b""
    fd = os.open(path, os.O_RDONLY | O_CLOEXEC)
    try:
        while len(text) < OWN_NETWORKS_BYTES and (piece := os.read(fd, 65_536)):
            text += piece
    finally:
        os.close(fd)
    return text[: text.rfind(b"\n") + 1].decode("ascii", "replace")


def _portably() -> list[tuple[str, int]]:
    try:
        import ifaddr  # aiortc needs it; where there is /proc it is not loaded: ctypes takes 50 ms and more

        found = [ip for adapter in ifaddr.get_adapters() for ip in adapter.ips]
    except (ImportError, OSError):
        return []
    return [(ip.ip if isinstance(ip.ip, str) else ip.ip[0].partition("%")[0], ip.network_prefix) for ip in found]
