"""Which peer an address means, of the peers that proved their keys to us.

Lives here: the pinned addresses, which peers share an IPv4 address, and which of them had it first. May not live here:
what the network says (resolver.py).

Law: an address never changes hands by itself. 22 bits can be ground in seconds: a peer that turns up with the address
of another that we know stays unheard on sockets that would spell the two alike. Which of them an address means to a
peer that knows neither is the resolver's question. A claim outlives its session: it goes when its peer is found to be
unreachable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..address import IPV6_BITS, PeerId, Prefix
from ..limits import MAX_CLAIMS

if TYPE_CHECKING:
    from .core import Core

_WARNING: Final = 30


class AddressClaims:
    """The peers that we have sessions with, by IPv4 address."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._bits = core.spelling.ipv4_bits
        self._by_address: dict[bytes, dict[PeerId, None]] = {}
        """Peers that claim it, the first one first; MAX_CLAIMS in all."""
        self._strangers: dict[PeerId, None] = {}
        """Those of them that the program sent nothing, the one that was proved longest ago first."""
        self._friends: dict[PeerId, None] = {}
        """The others. A claim of theirs goes only when no stranger's is left."""
        self.pinned: dict[Prefix, PeerId] = {}
        """What short addresses were resolved to, in any spelling; at most MAX_PINNED."""

    def prefix(self, peer_id: PeerId) -> Prefix:
        """Return the IPv4 address of `peer_id` as what is resolved."""
        return Prefix.of(peer_id, self._bits)

    def addresses(self, peer_id: PeerId) -> tuple[Prefix, Prefix]:
        """Return all addresses of `peer_id` that can be pinned."""
        return self.prefix(peer_id), Prefix.of(peer_id, IPV6_BITS)

    def claim(self, peer_id: PeerId) -> bool:
        """`peer_id` proved its key; return whether its address is another peer's."""
        fresh = peer_id not in self._friends and peer_id not in self._strangers
        if fresh:
            if len(self._friends) + len(self._strangers) >= MAX_CLAIMS:
                self.release(next(iter(self._strangers or self._friends)))
            self._by_address.setdefault(self.prefix(peer_id).value, {})[peer_id] = None
        known = self._friends if peer_id in self._friends else self._strangers
        known.pop(peer_id, None)
        known[peer_id] = None
        owner = self.owner(peer_id)
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

    def solicit(self, peer_id: PeerId) -> None:
        """The program sent something to `peer_id`."""
        if peer_id in self._strangers:
            del self._strangers[peer_id]
            self._friends[peer_id] = None

    def owner(self, peer_id: PeerId) -> PeerId:
        """Return the peer that the IPv4 address of `peer_id`, which need not have claimed it, is known to mean."""
        prefix = self.prefix(peer_id)
        return self.pinned.get(prefix) or next(iter(self._by_address.get(prefix.value, ())), peer_id)

    def is_anothers(self, peer_id: PeerId) -> bool:
        """Return whether the address of `peer_id`, which need not have a session, is that of another that we know."""
        return self.owner(peer_id) != peer_id

    def release(self, peer_id: PeerId) -> PeerId | None:
        """Forget the claim of `peer_id`, which is unreachable. Returns: the peer that has the address now, if any."""
        self._friends.pop(peer_id, None)
        self._strangers.pop(peer_id, None)
        value = self.prefix(peer_id).value
        claims = self._by_address.get(value)
        if claims is None:
            return None
        claims.pop(peer_id, None)
        if not claims:
            del self._by_address[value]
        return next(iter(claims), None)

    def claims(self, prefix: Prefix) -> list[PeerId]:
        """Return the peers that proved their keys and that an IPv4 address may mean."""
        return list(self._by_address.get(prefix.value, ())) if prefix.bits == self._bits else []
