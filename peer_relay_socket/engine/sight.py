"""What neighbours tell each other of where they see one another: in their hellos, and by STUN, which relays answer for
their neighbours.

Lives here: where we are seen; who is answered, how often, which neighbours can be asked. May not live here: the bytes
(codec/stun.py), sockets (the driver's).

Law: only an address that has a link up is answered (a /64 of IPv6), STUN_RATE times a second, so that a forged request
gains nothing that the link does not give. A neighbour is asked only where we dialled it, or at an address that it names
which reaches as far as the way to it. Where a neighbour sees us is its word: it counts where two on different hosts say
the same, or no other says anything, and then only against what strangers have us dial.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from typing import TYPE_CHECKING

from ..limits import DIAL_BACK_AGREE, STUN_RATE
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
        self._told: dict[int, tuple[str, str]] = {}
        """By link that we dialled on the Internet: where the neighbour is, and where it sees us, as hosts."""
        self.seen: frozenset[str] = frozenset()
        """The hosts at which neighbours see us: the router's, where one translates addresses."""

    def link_up(self, link: LinkState) -> None:
        """A neighbour appeared."""
        dialled = link.url is not None and not link.direct and link.scope is Scope.GLOBAL
        if dialled and Scope.of(link.seen) is Scope.GLOBAL:
            self._told[link.number] = link.host, host_group(link.seen)
            self._weigh()
        if link.remote_host and not link.direct:
            self._hosts[host_group(link.remote_host)] += 1

    def link_down(self, link: LinkState) -> None:
        """A neighbour went."""
        if self._told.pop(link.number, None) is not None:
            self._weigh()
        group = host_group(link.remote_host)
        if not link.remote_host or link.direct:
            return
        self._hosts[group] -= 1
        if not self._hosts[group]:
            del self._hosts[group]
            self._rates.pop(group, None)

    def _weigh(self) -> None:
        """See who agrees with whom, apart for IPv4 and IPv6."""
        seen: set[str] = set()
        for wide in (False, True):
            told = dict.fromkeys(each for each in self._told.values() if (":" in each[1]) is wide)
            voices = Counter(where for _, where in told)
            enough = min(DIAL_BACK_AGREE, len({neighbour for neighbour, _ in told}))
            seen.update(where for where, count in voices.items() if count >= enough)
        self.seen = frozenset(seen)

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
