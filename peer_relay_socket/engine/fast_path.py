"""The short way for one packet: out, in, or on to the next link, where nothing else is to be done for it.

Lives here: telling whether that is so, and doing it. May not live here: the way of all others, which does what is not
done here (sessions.py, routing.py, links.py).

Law: unlike every other input of the engine these may be left by an exception that comes from outside, and interrupted
by other inputs, at any point: the caller may have borrowed the loop's turn, amid a program with signal handlers. So
each either changes nothing or costs one packet: no number is used twice, no packet opens twice, and sums that come
out wrong are put right by what follows. A bundle whose number was taken is not looked at again. None of them sets a
timer or leaves an effect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from ..address import Destination, PeerId, Prefix
from ..codec import packet as wire
from ..codec.packet import BUNDLE_TAG, COVERED_FRONT, HEADER_BYTES, SEALED_LEAST, TAG_BYTES, Kind, read_head
from ..limits import ACK_EVERY, SESSION_IDLE, SESSION_WINDOW
from .seal import COUNTER_BYTES, WINDOW_MASK
from .session import State
from .sessions import ENVELOPE, OVERHEAD

if TYPE_CHECKING:
    from .core import Core
    from .direct import Direct
    from .link import LinkState
    from .links import Links
    from .resolver import Resolver
    from .routing import Router
    from .session import Session
    from .session_table import SessionTable

_SEALED: Final = int(Kind.SEALED)
_LEAST: Final = HEADER_BYTES + SEALED_LEAST
_CONTENT: Final = HEADER_BYTES + 4
"""Where a SEALED packet's counter and ciphertext begin, after the receiver's index."""
Heard: TypeAlias = tuple[PeerId, int, int, int, list[bytes], bool]
"""Source, its port, ours, the form, the datagram, and whether the source's IPv4 address is address_conflict."""
_OPEN: Final = State.OPEN
_UNKNOWN: Final = (None, None)


class FastPath:
    """What is alone in being sent or heard."""

    def __init__(
        self,
        core: Core,
        links: Links,
        router: Router,
        resolver: Resolver,
        table: SessionTable,
        direct: Direct,
    ) -> None:
        self._core = core
        self._links = links
        self._router = router
        self._pinned = resolver.pinned
        self._sessions = table.by_id
        self._keys = table.keys
        self._direct = direct

    # --- out -------------------------------------------------------------------------------------------------

    def ready(self, destination: Destination, size: int, now: float) -> tuple[Session, int] | None:
        """Return what `seal` needs and the link it goes by, if one datagram of `size` bytes may leave at once: its
        peer's session stands, nothing waits before it, there is no timer to set and nothing to begin."""
        self._core.now = now
        peer_id = self._pinned.get(destination) if isinstance(destination, Prefix) else destination
        session = self._sessions.get(peer_id) if peer_id is not None else None
        keys = None if session is None else session.keys
        if peer_id is None or session is None or keys is None or session.liveness_timer is None:
            return None
        if session.outgoing or session.pending or session.state is not _OPEN or keys.sealing.worn:
            return None
        if (
            not session.solicited
            or now - session.idle_since > SESSION_IDLE
            or session.in_flight + size > SESSION_WINDOW
        ):
            return None
        link = self._router.hops[session.alternate].get(peer_id)
        if link is None or not self._links.can_send_now(link, size + ENVELOPE):
            return None
        return (session, link.number) if self._direct.counted(peer_id, size) else None

    def seal(self, session: Session, number: int, form: int, source_port: int, port: int, datagram: bytes) -> bytes:
        """Return the bundle that carries one datagram, for link `number`, as `ready` said just now; b"" if the session
        lost its keys since, or the link is gone."""
        core, keys, link = self._core, session.keys, self._links.all.get(number)
        if keys is None or link is None or link.tagging is None:
            return b""
        record = wire.datagrams_record(form, source_port, port, (datagram,))
        sealed = keys.sealing.seal(record)
        counter, size = int.from_bytes(sealed[:COUNTER_BYTES]), len(record) + OVERHEAD
        data = wire.sealed(session.peer_id, core.peer_id, keys.remote, sealed, session.alternate)
        session.idle_since = core.now
        bundle = data + link.tagging.tag(data[:COVERED_FRONT] + data[-TAG_BYTES:])
        link.tx_bytes += len(bundle)
        link.tx_packets += 1
        session.note_sent(counter, size, core.now)
        if session.silent_since is None:
            session.silent_since = core.now
        return bundle

    # --- in, and on ------------------------------------------------------------------------------------------

    def hear(self, number: int, bundle: bytes, now: float) -> Heard | tuple[int, bytes] | None:
        """Take a bundle that link `number` brought, if it is one sealed packet that needs nothing else.

        Returns: what to deliver, as in a Deliver effect; or a link, and what to send by it; or None, with nothing done.
        """
        link = self._links.all.get(number)
        size = len(bundle)
        end = size - BUNDLE_TAG
        if link is None or not link.up or link.checking is None or end < _LEAST:
            return None
        traffic = link.traffic
        if traffic.bytes.level < size or traffic.packets.level < 2.0:
            return None
        kind, hop_limit, flags, length, to, sender = read_head(bundle)
        if kind != _SEALED or HEADER_BYTES + length != end or not (link.serves or sender == link.peer_id):
            return None
        if to != self._core.peer_id:
            return self._pass_on(link, bundle, hop_limit, flags, to, now)
        session, keys = self._keys.get(bundle[HEADER_BYTES:_CONTENT], _UNKNOWN)
        if session is None or keys is None or keys is not session.keys or session.peer_id != sender:
            return None
        if session.heard_under is not keys or session.state is not _OPEN:
            return None
        if session.ack_timer is None or session.unacked + length >= ACK_EVERY:
            return None
        opening, checking = keys.opening, link.checking
        newest, bundles = opening.newest, checking.newest
        if checking.peek(bundle[end:], bundle[:COVERED_FRONT] + bundle[end - TAG_BYTES : end]) is None:
            return None
        plain = opening.peek(bundle[_CONTENT:end])
        run = None if plain is None else wire.only_datagram(plain)
        if run is None or opening.newest != newest or checking.newest != bundles:  # another input came between; from
            return None  # here on none can, for want of a call: only there does CPython let handlers and threads in
        opening.missing = opening.missing << 1 & WINDOW_MASK
        opening.newest = counter = newest + 1
        checking.missing = checking.missing << 1 & WINDOW_MASK
        checking.newest = bundles + 1
        session.note_heard(keys, counter, now)
        link.received_at = now
        session.unacked += length
        if not session.solicited:
            session.heard_first = True
        traffic.bytes.level -= size - 0.75 * end
        traffic.packets.level -= 2.0
        link.rx_bytes += size
        link.rx_packets += 1
        form, source_port, port, datagram = run
        return sender, source_port, port, form, [datagram], session.address_conflict

    def _pass_on(
        self, link: LinkState, bundle: bytes, hop_limit: int, flags: int, to: PeerId, now: float
    ) -> tuple[int, bytes] | None:
        if flags >= wire.ALTERNATES or hop_limit <= 1 or not self._core.config.serves:
            return None
        onward, checking = self._router.hops[flags].get(to), link.checking
        if onward is None or onward is link or not self._links.can_send_now(onward, len(bundle)):
            return None
        size = len(bundle)
        end = size - BUNDLE_TAG
        if checking is None or onward.tagging is None:
            return None
        bundles = checking.newest
        own_tag = bundle[end - TAG_BYTES : end]
        if checking.peek(bundle[end:], bundle[:COVERED_FRONT] + own_tag) is None or checking.newest != bundles:
            return None
        checking.missing = checking.missing << 1 & WINDOW_MASK
        checking.newest = bundles + 1
        packet = self._router.older(bundle[:end], hop_limit)
        link.received_at = now
        link.traffic.bytes.level -= size
        link.traffic.packets.level -= 2.0
        link.rx_bytes += size
        link.rx_packets += 1
        onward.tx_bytes += size
        onward.tx_packets += 1
        self._core.forwarded_bytes += size
        self._core.forwarded_packets += 1
        return onward.number, packet + onward.tagging.tag(packet[:COVERED_FRONT] + own_tag)
