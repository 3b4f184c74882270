"""Whether the addresses that links left from are still this machine's.

Lives here: the look at them. May not live here: what the end of a link brings about (engine/membership.py).

Law: a kernel says nothing of an address that is gone (Wi-Fi left for a mobile network): what was connected from it is
silent until timers run out. A fresh socket tells, for it cannot be bound there any more; a bound one keeps the address.
Nothing is sent for it, and in doubt an address is there.
"""

from __future__ import annotations

import asyncio
import errno
from _socket import AF_INET, AF_INET6, SOCK_DGRAM
from collections.abc import Mapping
from typing import TypeAlias

from ..limits import UPLINK_LOOK
from ..originals import stdlib_socket
from ..scope import Scope
from ..transport.link import Link
from .log import log

_Address: TypeAlias = tuple[str | int, ...]


class Uplink:
    """That of one peer: drops the links from an address that is gone. Loop thread only, but for `__init__`.

    Args: links: those of the peer; more are looked for only after `link_opened`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, links: Mapping[int, Link]) -> None:
        self._loop = loop
        self._links = links
        self._timer: asyncio.TimerHandle | None = None

    def link_opened(self, link: Link) -> None:
        """There is one more link: look from now on, until none leaves this machine."""
        if self._timer is None and _outside(link) is not None:
            self._timer = self._loop.call_later(UPLINK_LOOK, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        found: dict[_Address, list[Link]] = {}
        for link in self._links.values():
            address = _outside(link)
            if address is not None:
                found.setdefault(address, []).append(link)
        for address, links in found.items():
            if _is_gone(address):
                log.info("= %s is not this machine's any more: links from it end", address[0])
                for link in links:
                    link.abort()
        self._timer = self._loop.call_later(UPLINK_LOOK, self._look) if found else None


def _outside(link: Link) -> _Address | None:
    """Return the address, with port 0, from which a link leaves this machine; None if it does not, or none is known."""
    if link.left_from is None:
        return None
    host, _, *rest = link.left_from
    return None if Scope.of(str(host)) is Scope.LOOPBACK else (host, 0, *rest)


def _is_gone(address: _Address) -> bool:
    try:
        with stdlib_socket(AF_INET6 if ":" in str(address[0]) else AF_INET, SOCK_DGRAM) as sock:
            sock.bind(address)
    except OSError as error:
        return error.errno == errno.EADDRNOTAVAIL
    return False
