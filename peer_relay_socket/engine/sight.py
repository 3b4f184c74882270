"""What neighbours tell each other of where they see one another: STUN, answered by relays for their neighbours.

Lives here: who is answered, how often, which neighbours can be asked. May not live here: the bytes (codec/stun.py),
sockets (the driver's).

Law: only an address that has a link up is answered (a /64 of IPv6), STUN_RATE times a second, so that a forged request
gains nothing that the link does not give. A neighbour is asked only where we dialled it, or at an address that it names
which reaches as far as the way to it.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from typing import TYPE_CHECKING

from ..limits import STUN_RATE
from ..rate import TokenBucket
from ..scope import Scope, host_group

if TYPE_CHECKING:
    from .core import Core
    from .link import LinkState
    from .links import Links


class Sight:
    """Who may ask, and who can be asked."""

    def __init__(self, core: Core, links: Links) -> None:
        self._core = core
        self._links = links
        self._hosts: Counter[str] = Counter()
        """Links that are up, by host; grows with them."""
        self._rates: dict[str, TokenBucket] = {}
        """Of hosts in `_hosts` that have asked."""

    def link_up(self, link: LinkState) -> None:
        """A neighbour appeared."""
        if link.remote_host and not link.direct:
            self._hosts[host_group(link.remote_host)] += 1

    def link_down(self, link: LinkState) -> None:
        """A neighbour went."""
        group = host_group(link.remote_host)
        if not link.remote_host or link.direct:
            return
        self._hosts[group] -= 1
        if not self._hosts[group]:
            del self._hosts[group]
            self._rates.pop(group, None)

    def may_ask(self, host: str) -> bool:
        """Return whether a STUN request from an IP literal is answered; one that is not is counted."""
        core = self._core
        group = host_group(host)
        if group not in self._hosts:
            core.counters["refused: a STUN request from an address without a link"] += 1
            return False
        rate = self._rates.get(group)
        if rate is None:
            rate = self._rates[group] = TokenBucket(STUN_RATE, core.now)
        if rate.take(core.now):
            return True
        core.counters["refused: too many STUN requests from one address"] += 1
        return False

    def servers(self) -> list[str]:
        """Return where neighbours answer STUN ("HOST:PORT"), those that see us from farthest and soonest first."""
        found = []
        for link in self._links.by_id.values():
            place = None if link.url is None or link.direct or link.scope is Scope.LOOPBACK else self._place(link)
            if place is not None:
                found.append((-link.scope, 1.0 if link.rtt is None else link.rtt, place))
        return [place for _, _, place in sorted(found)]

    def _place(self, link: LinkState) -> str | None:
        if link.udp is None:
            return None
        host, port = link.udp
        if host and not link.scope.covers(host):
            return None
        host = host or link.remote_host
        try:  # no relay answers over IPv6, where the answer is too long
            return f"{ipaddress.IPv4Address(host)}:{port}"
        except ValueError:
            return None
