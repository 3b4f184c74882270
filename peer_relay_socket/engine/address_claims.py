"""Whose an IPv4 address is, of the peers that proved their keys to us.

Lives here: which of them share one, and who had it first. May not live here: what the network says (resolver).

Law: an address never changes hands by itself. 22 bits can be ground in seconds: whoever turns up with an address that
somebody else is known by stays unheard on sockets that would spell the two alike, and a question whose it is has, from
then on, two answers, which is none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ..address import PeerId, Prefix

if TYPE_CHECKING:
    from .core import Core

_WARNING: Final = 30


class AddressClaims:
    """The peers that we have sessions with, by IPv4 address."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._bits = core.spelling.ipv4_bits
        self._by_address: dict[bytes, dict[PeerId, None]] = {}
        """Who claims it, the first one first; as many as there are sessions."""
        self.pinned: Callable[[Prefix], PeerId | None] = lambda _prefix: None
        """Says whom the network named for an address."""

    def prefix(self, peer_id: PeerId) -> Prefix:
        """Return the IPv4 address of `peer_id` as what is resolved."""
        return Prefix.of(peer_id, self._bits)

    def claim(self, peer_id: PeerId) -> bool:
        """`peer_id` proved its key; return whether its address is somebody else's."""
        prefix = self.prefix(peer_id)
        claims = self._by_address.setdefault(prefix.value, {})
        holder = self.pinned(prefix) or next(iter(claims), peer_id)
        fresh = peer_id not in claims
        claims[peer_id] = None
        if holder == peer_id:
            return False
        if fresh:
            core = self._core
            core.counters["peers with another's IPv4 address"] += 1
            address = core.spelling.ipv4(peer_id)
            core.note(
                _WARNING,
                f"{peer_id.hex()} has the IPv4 address {address} of {holder.hex()}, whom we know: what it sends reaches"
                " no AF_INET socket",
            )
        return True

    def is_anothers(self, peer_id: PeerId) -> bool:
        """Return whether the address of `peer_id`, who need not have a session, is that of somebody we know."""
        prefix = self.prefix(peer_id)
        holder = self.pinned(prefix) or next(iter(self._by_address.get(prefix.value, ())), peer_id)
        return holder != peer_id

    def release(self, peer_id: PeerId) -> None:
        """The session with `peer_id` is over."""
        value = self.prefix(peer_id).value
        claims = self._by_address.get(value)
        if claims is not None:
            claims.pop(peer_id, None)
            if not claims:
                del self._by_address[value]

    def claims(self, prefix: Prefix) -> list[PeerId]:
        """Return the peers with sessions that an IPv4 address may mean."""
        return list(self._by_address.get(prefix.value, ())) if prefix.bits == self._bits else []
