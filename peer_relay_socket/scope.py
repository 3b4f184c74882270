"""How far an address reaches: what a stranger's word may make this machine talk to.

Lives here: the scope of IP literals and of URLs, which host or prefix an address counts for, what a mapped address is
unmapped. May not live here: names and what they resolve to (transport/outbound asks about every address), which peer to
dial (engine).

Law: in doubt, nearer. An address learned from a peer is used only if it reaches at least as far as the way by which it
was learned, so that no peer on the Internet sends us into our own network, none in our network to this machine, and
none at all to where a cloud keeps its secrets (169.254.169.254).

Addresses that stand for IPv4 ones reach as far as those: mapped (RFC 4291 §2.5.5.2), NAT64 (RFC 6052), 6to4 (RFC 3056),
Teredo (RFC 4380), ISATAP (RFC 5214).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from enum import IntEnum
from functools import lru_cache
from typing import Final, Generic, TypeVar
from urllib.parse import urlsplit

from .limits import LEARNED_PATH, PREFIX_FACTORS

T = TypeVar("T")

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_LOCAL_NAT64: Final = ipaddress.IPv6Network("64:ff9b:1::/48")
"""RFC 8215: the operator of the translator chose where the IPv4 address is, so we cannot tell."""
_SHARED: Final = ipaddress.IPv4Network("100.64.0.0/10")
_THIS_NETWORK: Final = ipaddress.IPv4Network("0.0.0.0/8")
_ISATAP: Final = frozenset((0x00005EFE, 0x02005EFE))


class Scope(IntEnum):
    """How far an address reaches; a URL learned over a link must reach at least as far as that link."""

    LOOPBACK = 0
    LINK = 1
    """One wire: link-local addresses."""
    PRIVATE = 2
    GLOBAL = 3

    @classmethod
    def of(cls, host: str) -> Scope | None:
        """Return the scope of an IP literal; None for one that is not dialled (multicast, unspecified, reserved), and
        for what is no literal."""
        try:
            ip = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return None
        if isinstance(ip, ipaddress.IPv4Address):
            return cls._of_ipv4(ip)
        inner = ipv4_inside(ip)
        if ip.ipv4_mapped is not None or ip in _NAT64:
            return cls._of_ipv4(inner[0])
        outer = cls._of_ipv6(ip)
        scopes = [outer, *map(cls._of_ipv4, inner)]
        return None if None in scopes else min(scope for scope in scopes if scope is not None)

    def covers(self, host: str) -> bool:
        """Return whether the IP literal `host` reaches at least this far."""
        scope = Scope.of(host)
        return scope is not None and scope >= self

    @classmethod
    def _of_ipv4(cls, ip: ipaddress.IPv4Address) -> Scope | None:
        if ip.is_loopback:
            return cls.LOOPBACK
        if ip.is_multicast or ip.is_reserved or ip in _THIS_NETWORK:
            return None
        if ip.is_link_local:
            return cls.LINK
        return cls.GLOBAL if ip.is_global else cls.PRIVATE

    @classmethod
    def _of_ipv6(cls, ip: ipaddress.IPv6Address) -> Scope | None:
        if ip.is_loopback:
            return cls.LOOPBACK
        if ip in _LOCAL_NAT64:
            return cls.PRIVATE
        if ip.is_multicast or ip.is_unspecified or ip.is_reserved:
            return None
        if ip.is_link_local:
            return cls.LINK
        if ip.is_site_local:  # deprecated (RFC 3879), still in use, and global to the `ipaddress` module
            return cls.PRIVATE
        if ip.sixtofour is not None or ip.teredo is not None:  # versions of Python disagree about these
            return cls.GLOBAL
        return cls.GLOBAL if ip.is_global else cls.PRIVATE


def host_group(host: str) -> str:
    """Return what counts as one host: an IPv4 address, or an IPv6 /64, which one machine has all to itself.

    Text that is no IP literal stands for itself: "" is the host that a proxy hides.
    """
    groups = _groups(host)
    return groups[0] if groups else host


def crowd_groups(host: str) -> tuple[str, ...]:
    """Return the host that an address counts for and the prefixes that one site or customer holds, narrowest first:
    IPv4 /24; IPv6 /56 and /48 (RFC 6177). () for "", which no limit per host can be held against."""
    return _groups(host) or ((host,) if host else ())


class Crowds(Generic[T]):
    """What came from which host and prefix: limits for each, and the newest of the most crowded when all is full.

    Grows with its members: at most three groups for each.
    """

    def __init__(self, per_host: int) -> None:
        """Args: per_host: most members of one host; of a prefix, PREFIX_FACTORS times as many."""
        self._per_host = per_host
        self._groups: dict[str, dict[T, None]] = {}
        self._by_size: dict[int, dict[str, None]] = {}
        """Groups by the number of their members, so that the largest is known at once."""
        self._largest = 0

    def __len__(self) -> int:
        """How many groups have members."""
        return len(self._groups)

    def add(self, member: T, host: str) -> None:
        """Count a member that came from `host`."""
        for group in crowd_groups(host):
            members = self._groups.setdefault(group, {})
            before = len(members)
            members[member] = None
            self._resized(group, before, len(members))

    def remove(self, member: T, host: str) -> None:
        """Count it no more. Harmless if it was not counted."""
        for group in crowd_groups(host):
            members = self._groups.get(group, {})
            before = len(members)
            members.pop(member, None)
            self._resized(group, before, len(members))

    def _resized(self, group: str, before: int, after: int) -> None:
        if before == after:
            return
        if before:
            del self._by_size[before][group]
            if not self._by_size[before]:
                del self._by_size[before]
        if after:
            self._by_size.setdefault(after, {})[group] = None
        else:
            del self._groups[group]
        self._largest = max(self._largest, after)
        while self._largest and self._largest not in self._by_size:
            self._largest -= 1

    def is_full(self, host: str) -> bool:
        """Return whether one more from `host` is too many for the host, or for a prefix that it is in."""
        groups = zip(crowd_groups(host), PREFIX_FACTORS, strict=False)
        return any(len(self._groups.get(group, ())) >= self._per_host * factor for group, factor in groups)

    def to_give_way(self, host: str, may_go: Callable[[T], bool]) -> T | None:
        """Return the newest member that may go of the most crowded prefix, if that is more crowded than the prefix of a
        newcomer from `host`."""
        own = max((len(self._groups.get(group, ())) for group in crowd_groups(host)), default=0)
        if self._largest <= own + 1:
            return None
        crowd = self._groups[next(iter(self._by_size[self._largest]))]
        return next((member for member in reversed(crowd) if may_go(member)), None)


def private_network(host: str) -> str | None:
    """Return the network that a private address of a home or an office is in, most likely: IPv4 /24, IPv6 /64; None for
    shared address space (RFC 6598), where each customer of a provider is alone."""
    groups = _groups(host)
    if not groups or ":" in groups[0]:
        return groups[0] if groups else None
    return None if ipaddress.IPv4Address(groups[0]) in _SHARED else groups[1]


@lru_cache(maxsize=4096)
def _groups(host: str) -> tuple[str, ...]:
    try:
        ip = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return ()
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    if mapped is not None or isinstance(ip, ipaddress.IPv4Address):
        address = int(mapped or ip)
        return (str(mapped or ip), f"{ipaddress.IPv4Address(address & ~0xFF)}/24")
    address = int(ip)
    return tuple(f"{ipaddress.IPv6Address(address >> 128 - bits << 128 - bits)}/{bits}" for bits in (64, 56, 48))


def ipv4_inside(ip: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """Return the IPv4 addresses that `ip` stands for, or leads to."""
    low = int(ip) & 0xFFFFFFFF
    if ip.ipv4_mapped is not None or ip in _NAT64 or int(ip) >> 32 & 0xFFFFFFFF in _ISATAP:
        return [ipaddress.IPv4Address(low)]
    if ip.sixtofour is not None:
        return [ip.sixtofour]
    return [] if ip.teredo is None else list(ip.teredo)


_LEARNED: Final = re.compile(
    rf"wss?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{{1,5}})?(?:/[A-Za-z0-9/_-]{{0,{LEARNED_PATH - 1}}})?"
)


def is_learnable(url: str) -> bool:
    """Return whether a URL that others tell us may be dialled at all: a host, a port and a harmless path; no login,
    query or fragment."""
    return _LEARNED.fullmatch(url) is not None


@lru_cache(maxsize=4096)
def reach(url: str) -> Scope:
    """Return how far the host of `url` reaches; a DNS name counts as global (what it resolves to is checked later)."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return Scope.LOOPBACK
    if parts.scheme == "dns":  # a domain whose records name relays
        return Scope.GLOBAL
    if not host or is_this_machine(host):
        return Scope.LOOPBACK
    scope = Scope.of(host)
    if scope is None:
        return Scope.LOOPBACK if _is_literal(host) else Scope.GLOBAL
    return scope


def is_this_machine(host: str) -> bool:
    """Return whether `host` names this machine and no other: localhost, or a loopback address."""
    return host == "localhost" or host.endswith(".localhost") or Scope.of(host) is Scope.LOOPBACK


def _is_literal(host: str) -> bool:
    """Return whether some resolver may take `host` for an address (inet_aton: 127.1, 0x7f000001, 2130706433)."""
    last = host.rpartition(".")[2]
    return ":" in host or last.isdigit() or last.startswith("0x")


def unmapped(host: str) -> str:
    """An IPv4-mapped IPv6 literal as the IPv4 one it means; any other host as it is."""
    return host[7:] if host.lower().startswith("::ffff:") and "." in host else host
