"""When a peer without a key file takes another identity.

Lives here: the two occasions (another peer has our IPv4 address; the only legacy node has no room for our id), how
often, and what is said of it. May not live here: how it is done (driver), who has which address (engine).

Law: a program that saw our address keeps it, and a key from a file is never given up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..address import PeerId
from ..engine.effects import AddressChecked, NoRoom
from ..limits import ADDRESS_MOVES, RENEWAL_BITS
from .events import Owner
from .log import log

if TYPE_CHECKING:
    from ..identity import Identity


class IdentityChanges:
    """Those of one peer. Loop thread only.

    Args: change: takes another identity: the one given, or any.
    """

    def __init__(
        self, owner: Owner, loop: asyncio.AbstractEventLoop, change: Callable[[Identity | None], None]
    ) -> None:
        self._owner = owner
        self._loop = loop
        self._change = change
        self._moves = 0
        """Identities taken because the IPv4 address of the last was another peer's; at most len(ADDRESS_MOVES)."""
        self._renewals = 0
        """Identities taken for want of room; at most len(RENEWAL_BITS)."""
        self._changes = 0
        self._move: asyncio.TimerHandle | None = None
        self._renewing: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """Change no more."""
        if self._move is not None:
            self._move.cancel()
        if self._renewing is not None:
            self._renewing.cancel()

    def _now(self, identity: Identity | None = None) -> None:
        self._changes += 1
        self._change(identity)

    def address_checked(self, effect: AddressChecked) -> None:
        """The network was asked for our own address."""
        owner = self._owner
        other = None if effect.other is None else effect.other.hex()[:8]
        may_move = not owner.identity.pinned and not owner.settled.is_set()  # then programs may have seen it
        if other and may_move and self._moves < len(ADDRESS_MOVES):
            log.info("= another peer (%s) has our IPv4 address: taking a new identity", other)
            self._move = self._loop.call_later(ADDRESS_MOVES[self._moves], self._move_if, self._changes)
            self._moves += 1
            return
        if other:
            owner.report(f"another peer ({other}) has our IPv4 address too: reach us by id, name or IPv6")
        owner.settled.set()

    def _move_if(self, changes: int) -> None:
        if changes == self._changes:
            self._now()

    def no_room(self, effect: NoRoom) -> None:
        """The only legacy node that answers us has no room for our id: come back under one for which it has."""
        owner, tried = self._owner, self._renewals
        name = owner.peer_id.hex()[:8]
        if owner.identity.pinned or tried >= len(RENEWAL_BITS):
            hint = "; without a key file we would take another" if owner.identity.pinned else ""
            owner.report(f"npm peer at {effect.url} has no room for our id ({name}...){hint}; still trying")
            return
        log.info("= npm peer at %s has no room for our id (%s...): taking another", effect.url, name)
        self._renewals += 1
        self._renewing = self._loop.create_task(self._renew(effect.peer_id, RENEWAL_BITS[tried]))

    async def _renew(self, near: PeerId, bits: int) -> None:
        from ..identity import Identity

        changes = self._changes
        identity = await self._loop.run_in_executor(None, Identity.near, near, bits)
        if changes == self._changes and not self._owner.peers:
            self._now(identity)
