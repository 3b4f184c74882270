"""Who is at the other end where a reverse proxy stands between.

Lives here: what may be believed of `X-Forwarded-For`. May not live here: what depends on it (limits, scopes: engine).

Law: a header gains its sender nothing. Where it names a client, a proxy that the operator trusts has written it;
anywhere else it only takes away: a client on this machine or in our own network that sends one counts as a stranger
from anywhere. From this machine it is hidden behind a proxy; from our network it still counts as the host that it is.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final, TypeAlias

from websockets.datastructures import Headers

from ..scope import Scope, unmapped

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

HIDDEN: Final = ""
"""The host of a client that a proxy on this machine hides: a stranger that no limit per host can be held against."""


class Proxies:
    """The reverse proxies that an operator trusts, and what else is known of them."""

    def __init__(self, trusted: Sequence[Network] = (), *, hiding: bool = False) -> None:
        """Args: hiding: whether others reach this listener through a proxy on this machine, so that what comes from
        here may come from anywhere."""
        self._trusted = tuple(trusted)
        self._hiding = hiding

    def trusts(self, host: str) -> bool:
        """Return whether the IP literal `host` is such a proxy's."""
        if not self._trusted:
            return False
        ip = ipaddress.ip_address(unmapped(host).partition("%")[0])
        return any(ip in network for network in self._trusted)

    def client(self, host: str, headers: Headers) -> str:
        """Return the IP literal of the client whose request came from `host`, or HIDDEN, or "behind ..." a host of our
        network that says it is a proxy, and is not trusted."""
        forwarded = [part.strip() for line in headers.get_all("X-Forwarded-For") for part in line.split(",")]
        if self.trusts(host):
            for part in reversed(forwarded):  # each proxy adds the client that it saw: what comes before proves nothing
                literal = _literal(part)
                if literal is None or not self.trusts(literal):
                    return literal or HIDDEN
            return HIDDEN
        local = Scope.of(host) is Scope.LOOPBACK
        if forwarded or "Forwarded" in headers or "X-Real-IP" in headers:
            return HIDDEN if local else host if Scope.of(host) is Scope.GLOBAL else f"behind {host}"
        return HIDDEN if self._hiding and local else host


def _literal(text: str) -> str | None:
    """Return the address in one element of the header, which some proxies give a port."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return str(mapped or ip)
