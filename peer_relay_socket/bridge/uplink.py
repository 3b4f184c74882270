"""Whether the addresses that links left from are still this machine's, and whether one comes where all are gone.

Lives here: the look at them. May not live here: what the end of a link brings about (engine/membership.py).

Law: a kernel says nothing of an address that is gone (Wi-Fi left for a mobile network): what was connected from it is
silent until timers run out. So it is asked. Nothing is sent for it, and in doubt an address is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from ..limits import UPLINK_LOOK
from ..scope import Scope
from ..transport.link import Link
from ..transport.local_addresses import is_gone, source_toward
from .log import log

if TYPE_CHECKING:
    from ..engine.engine import Engine

_Address: TypeAlias = tuple[str | int, ...]

_OUTSIDE: Final = ("192.0.2.1", "2001:db8::1")
"""Addresses of documentation."""


class Owner(Protocol):
    """The driver, as far as this needs it."""

    def run(self, act: Callable[[Engine, float], object]) -> None:
        """Call `act` with the engine and the time, if there is one."""


class Dials(Protocol):
    """The dialler, as far as this needs it."""

    @property
    def expects_links(self) -> bool:
        """Whether there are places to dial on other machines."""

    def network_changed(self) -> None:
        """This machine has other addresses than before."""


class Uplink:
    """That of one peer: drops the links from an address that is gone, and has places dialled anew once there is
    another. Loop thread only, but for `__init__`.

    Args:
        links: those of the peer; `link_opened` says that there is one more.
    """

    def __init__(
        self,
        owner: Owner,
        loop: asyncio.AbstractEventLoop,
        links: Mapping[int, Link],
        dials: Dials,
    ) -> None:
        self._owner = owner
        self._loop = loop
        self._links = links
        self._dials = dials
        self._timer: asyncio.TimerHandle | None = None
        self._sources: list[str] = []
        """From where packets would leave this machine, as the last look found it; empty while there are links."""

    def start(self) -> None:
        """Look from now on, while links are expected or leave this machine."""
        self._timer = self._loop.call_later(UPLINK_LOOK, self._look)

    def link_opened(self, link: Link) -> None:
        """There is one more link: look after it, if it leaves this machine."""
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
        alone = not self._links and self._dials.expects_links
        gone = list(filter(is_gone, found))
        for address in gone:
            log.info("= %s is not this machine's any more: links from it end", address[0])
            for link in found[address]:
                link.abort()
        before, self._sources = self._sources, [*map(source_toward, _OUTSIDE)] if alone else []
        if gone or (before and any(self._sources) and self._sources != before):
            self._dials.network_changed()
            self._owner.run(lambda engine, now: engine.network_changed(now))
        self._timer = self._loop.call_later(UPLINK_LOOK, self._look) if found or alone else None


def _outside(link: Link) -> _Address | None:
    """Return the address, with port 0, from which a link leaves this machine; None if it does not, or none is known."""
    if link.left_from is None:
        return None
    host, _, *rest = link.left_from
    return None if Scope.of(str(host)) is Scope.LOOPBACK else (host, 0, *rest)
