"""Whether our own short address is ours alone, which is asked when we join.

Lives here: the question and when it is asked. May not live here: what follows (the driver takes another identity, or
warns).

Law: asked once per life when the first link is up, and once more OWN_ADDRESS_AGAIN later. Only a peer that proves its
key has our address.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..address import PeerId
from ..limits import OWN_ADDRESS_AGAIN
from .effects import AddressChecked
from .timers import Due

if TYPE_CHECKING:
    from .address_claims import AddressClaims
    from .core import Core
    from .resolver import Resolver


class OwnAddress:
    """The question of one peer."""

    def __init__(self, core: Core, resolver: Resolver, claims: AddressClaims) -> None:
        self._core = core
        self._resolver = resolver
        self._claims = claims
        self._checked = False

    def link_up(self) -> None:
        """There are peers to ask."""
        if not self._checked:
            self._ask(self._answered)

    def assume(self) -> None:
        """There is no peer to ask: the address counts as ours."""
        self._report(None)

    def _ask(self, answer: Callable[[PeerId | None], None]) -> None:
        self._resolver.resolve(self._claims.prefix(self._core.peer_id), answer, once=True)

    def _answered(self, other: PeerId | None) -> None:
        self._report(other)
        if other is None:
            # Two that join at once are not yet linked to the peers that would know of them. The one that asks again
            # once both are finds the other.
            self._core.timers.at(Due.OWN_ADDRESS, self._core.now + OWN_ADDRESS_AGAIN, self._ask, self._confirmed)

    def _confirmed(self, other: PeerId | None) -> None:
        if other is not None:
            self._tell(other)

    def _report(self, other: PeerId | None) -> None:
        if not self._checked:
            self._checked = True
            self._tell(other)

    def _tell(self, other: PeerId | None) -> None:
        if other is not None:
            self._core.counters["another peer has our IPv4 address"] += 1
        self._core.effects.append(AddressChecked(other))
