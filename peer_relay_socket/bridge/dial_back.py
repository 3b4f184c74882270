"""Dialling a neighbour back, so that it learns that it can be dialled.

Lives here: one such connection. May not live here: which neighbour may ask for it, and how often (engine).

Law: it goes to an address of the scope that the engine names, directly and never by a proxy. It takes
DIAL_BACK_DIAL_TIME seconds at most. It sends nothing before something that speaks our wire has answered. It reports its
outcome to no peer, and to no other part of this program.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from ..codec.control import proof
from ..codec.packet import LINK_HANDSHAKE
from ..engine.effects import DialBack
from ..limits import DIAL_BACK_DIAL_TIME
from ..transport.link import Link
from ..transport.websocket import dial


class _Errand:
    """The handler of that one connection."""

    def __init__(self, nonce: bytes) -> None:
        self._nonce = nonce
        self.done = asyncio.Event()

    def link_opened(self, link: Link) -> None:
        """The acceptor speaks first."""

    def bundles_received(self, link: Link, bundles: list[bytes]) -> None:
        """Say what we came for."""
        if link.ours and bundles[0][:1] == bytes((LINK_HANDSHAKE,)):
            link.send(proof(self._nonce))
        link.close()

    def fast_received(self, link: Link, bundle: bytes, taken: Callable[[], object]) -> bool:
        """What we came for takes the loop."""
        return False

    def text_received(self, link: Link, text: str) -> None:
        """This is the legacy wire."""
        link.close()

    def link_writable(self, link: Link) -> None:
        """Nine bytes never fill a link."""

    def link_closed(self, link: Link, reason: str) -> None:
        """Over."""
        self.done.set()


async def dial_back(effect: DialBack, allow: Callable[[str], bool]) -> None:
    """Carry out `effect`, to addresses that `allow` allows. Never raises but when cancelled."""
    errand = _Errand(effect.nonce)
    link: Link | None = None
    try:
        with contextlib.suppress(OSError):
            async with asyncio.timeout(DIAL_BACK_DIAL_TIME):
                limit = DIAL_BACK_DIAL_TIME
                link = await dial(errand, effect.url, timeout=limit, allow=allow, proxy=None)
                await errand.done.wait()
    finally:
        if link is not None:
            link.abort()
