"""Which peer an address means, of the peers that proved their keys to us.

Lives here: the pinned addresses, which peers share an IPv4 address, and which of them had it first. May not live here:
what the network says (resolver.py).

Law: an address never changes hands by itself. 22 bits can be ground in seconds: a peer that turns up with the address
of another that we know stays unheard on sockets that would spell the two alike, and from then on the address is
ambiguous and does not resolve.
"""

from __future__ import annotations

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
        """Peers that claim it, the first one first; as many as there are sessions."""
        self.pinned: dict[Prefix, PeerId] = {}
        """What short addresses were resolved to, in any spelling; at most MAX_PINNED."""

    def prefix(self, peer_id: PeerId) -> Prefix:
        """Return the IPv4 address of `peer_id` as what is resolved."""
        return Prefix.of(peer_id, self._bits)

    def claim(self, peer_id: PeerId) -> bool:
        """`peer_id` proved its key; return whether its address is another peer's."""
        prefix = self.prefix(peer_id)
        claims = self._by_address.setdefault(prefix.value, {})
        owner = self.pinned.get(prefix) or next(iter(claims), peer_id)
        fresh = peer_id not in claims
        claims[peer_id] = None
        if owner == peer_id:
            return False
        if fresh:
            core = self._core
            core.counters["peers with another's IPv4 address"] += 1
            address = core.spelling.ipv4(peer_id)
            core.note(
                _WARNING,
                f"{peer_id.hex()} has the IPv4 address {address} of {owner.hex()}, which we know: what it sends reaches"
                " no AF_INET socket",
            )
        return True

    def is_anothers(self, peer_id: PeerId) -> bool:
        """Return whether the address of `peer_id`, which need not have a session, is that of another that we know."""
        prefix = self.prefix(peer_id)
        owner = self.pinned.get(prefix) or next(iter(self._by_address.get(prefix.value, ())), peer_id)
        return owner != peer_id

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
