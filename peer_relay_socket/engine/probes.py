"""Questions that people ask of the network: is this peer there, does it answer, by which relays.

Lives here: finding, ECHO and TRACE, asked and answered. May not live here: what an answer means (bridge/probes.py).

Law: an answer is as large as its question and costs no more, and nothing of a probe reaches the program. ECHO travels
sealed in the session and proves that the peer answered; TRACE travels bare, so what it says of relays is hearsay.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ..address import ID_BITS, Destination, PeerId, Prefix
from ..codec import packet as wire
from ..codec.packet import Header, Kind, Record
from ..limits import ECHO_RATE, TRACE_RATE
from ..rate import TokenBucket
from .effects import EchoAsked, Echoed, Found, Traced

if TYPE_CHECKING:
    from .core import Core
    from .link import LinkState
    from .resolver import Resolver
    from .routing import Router
    from .session_table import SessionTable
    from .sessions import Sessions


class Probes:
    """Those of one peer, and those of others that it answers."""

    def __init__(self, core: Core, router: Router, resolver: Resolver, table: SessionTable, sessions: Sessions) -> None:
        self._core = core
        self._router = router
        self._resolver = resolver
        self._table = table
        self._sessions = sessions
        self._echoes = TokenBucket(ECHO_RATE, core.now)
        self._traces = TokenBucket(TRACE_RATE, core.now)

    # --- asking ----------------------------------------------------------------------------------------------

    def find(self, token: bytes, destination: Destination, now: float) -> None:
        """Ask the network for `destination` anew; a Found effect follows."""
        self._core.now = now
        if not isinstance(destination, Prefix):
            destination = Prefix(ID_BITS, destination)
            self._resolver.forget(destination)
        self._resolver.resolve(destination, partial(self._found, token))

    def _found(self, token: bytes, peer_id: PeerId | None) -> None:
        if peer_id is not None:
            self._sessions.found(peer_id)
        self._core.effects.append(Found(token, peer_id, self._resolver.namer))

    def echo(self, token: bytes, peer_id: PeerId, port: int, now: float) -> None:
        """Ask `peer_id` for a sign of life, and whether anything is bound to `port` (0 = do not ask). An Echoed
        effect follows, if anything."""
        self._core.now = now
        self._sessions.send(peer_id, wire.record(Record.ECHO, token + port.to_bytes(2)))

    def trace(self, token: bytes, peer_id: PeerId, hops: int, now: float) -> None:
        """Ask the relay `hops` links from here on the way to `peer_id`, or the peer itself if it is nearer.
        A Traced effect follows, if anything."""
        self._core.now = now
        session = self._table.get(peer_id)
        alternate = 0 if session is None else session.alternate
        data = wire.packet(Kind.TRACE, peer_id, self._core.peer_id, token, flags=alternate, hop_limit=hops)
        self._router.send(data, peer_id, alternate)

    # --- answering -------------------------------------------------------------------------------------------

    def record_heard(self, peer_id: PeerId, kind: int, content: bytes) -> None:
        """Take an ECHO or ECHOED record.

        Raises: PacketError.
        """
        core = self._core
        token, number, _ = wire.split(content, wire.ECHO_TOKEN, 2)
        if kind == Record.ECHOED:
            core.effects.append(Echoed(token, peer_id, bool(int.from_bytes(number))))
        elif self._echoes.take(core.now):
            core.effects.append(EchoAsked(token, peer_id, int.from_bytes(number)))
        else:
            core.counters["refused: too many pings"] += 1

    def answer(self, token: bytes, peer_id: PeerId, refused: bool, now: float) -> None:
        """Answer an ECHO; `refused`: nothing is bound to the port that it named."""
        self._core.now = now
        self._sessions.send(peer_id, wire.record(Record.ECHOED, token + int(refused).to_bytes(2)))

    def trace_heard(self, bundle: bytes, offset: int, header: Header, arrived: LinkState) -> None:
        """Answer a TRACE that ends here, or pass it on.

        Raises: PacketError.
        """
        core = self._core
        if header.hop_limit > 1 and header.to != core.peer_id:
            self._router.forward(bundle, offset, header, arrived)
            return
        token, _ = wire.split(bundle[header.body : header.end], wire.TRACE_TOKEN)
        if not self._traces.take(core.now):
            core.counters["refused: too many traces"] += 1
            return
        self._router.send(wire.packet(Kind.TRACED, header.sender, core.peer_id, token), header.sender, 0)

    def traced_heard(self, sender: PeerId, body: bytes) -> None:
        """Take the answer to a TRACE.

        Raises: PacketError.
        """
        token, _ = wire.split(body, wire.TRACE_TOKEN)
        self._core.effects.append(Traced(token, sender))
