"""Answering: what a peer says to another that asks which peers a short address may mean.

Lives here: whom to name, and when to pass the question on. May not live here: questions of our own (resolver.py), which
of several peers was known first (seniority.py).

Law: an answer names neighbours, ourselves and peers behind us, at most MAX_MATCHES. Before the question comes to the
relay nearest to the address, at most MAX_PASSING_ANSWERS relays answer it, with MAX_PASSING_MATCHES at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..address import ID_BITS, PeerId, Prefix
from ..codec import control
from ..codec import packet as wire
from ..codec.packet import Header, Kind
from ..limits import MAX_PASSING_ANSWERS, MAX_PASSING_MATCHES, MIN_PREFIX_BITS

if TYPE_CHECKING:
    from .behind import Behind
    from .core import Core
    from .link import LinkState
    from .routing import Router
    from .seniority import Seniority

MAX_MATCHES: Final = 4
"""Peers that one answer names."""


class Answering:
    """Answers to what other peers resolve."""

    def __init__(self, core: Core, router: Router, seniority: Seniority, behind: Behind) -> None:
        self._core = core
        self._router = router
        self._seniority = seniority
        self._behind = behind

    def resolve_heard(self, bundle: bytes, offset: int, header: Header, arrived: LinkState) -> None:
        """Answer a RESOLVE with the peers that we know, and pass it on to the next nearer relay.

        Raises: PacketError.
        """
        core = self._core
        asked = control.read_resolve(bundle[header.body : header.end])
        if not MIN_PREFIX_BITS <= asked.bits <= ID_BITS:
            return
        if asked.claimants:
            self._seniority.question_heard(bundle, offset, header, asked, arrived)
            return
        prefix = Prefix(asked.bits, header.to)
        final = self._router.is_nearest(int.from_bytes(header.to)) or not core.config.serves
        mine = self._matches(prefix, header.sender, passing=not final)
        behind = [each for each in self._behind.matching(prefix, MAX_MATCHES + 1) if each != header.sender]
        most = MAX_MATCHES if final else MAX_PASSING_MATCHES
        del mine[most:], behind[most - len(mine) :]
        if final or ((mine or behind) and header.flags >> 4 < MAX_PASSING_ANSWERS):
            body = control.resolved(asked.token, final, mine, behind)
            self._router.send(wire.packet(Kind.RESOLVED, header.sender, core.peer_id, body), header.sender, 0)
            bundle, offset, header = _answered(bundle, offset, header)
        if not final:
            self._router.forward(bundle, offset, header, arrived)

    def _matches(self, prefix: Prefix, asker: PeerId, *, passing: bool) -> list[PeerId]:
        """Return the neighbours, ourselves included, that `prefix` may mean to `asker`; of those that relay none where
        the question is passed on, for it comes to them."""
        links = self._router.matching(prefix, MAX_MATCHES + 1)
        known = [link.peer_id for link in links if not (passing and link.serves)] + [self._core.peer_id]
        return [peer_id for peer_id in known if peer_id != asker and prefix.matches(peer_id)][:MAX_MATCHES]


def _answered(bundle: bytes, offset: int, header: Header) -> tuple[bytes, int, Header]:
    """Return a RESOLVE, and where it is, with one answer more in its flags."""
    data = b"".join((bundle[offset : offset + 2], bytes((header.flags + 16,)), bundle[offset + 3 : header.end]))
    return data, 0, wire.read_header(data, 0)
