"""The fast path of one packet: out, in, or on to the next link, where nothing else is to be done for it.

Lives here: telling whether that is so, and doing it. May not live here: the way of all others, which does what is not
done here (sessions.py, routing.py, links.py).

Flat on purpose: a question and its answer cost what their steps cost, so each way is one function that calls little
but C. What holds for all packets of one kind (out: to a peer; in: with the same ids and index, by the same link) is
found out once, and kept until any other input comes (`_mark`).

Law: unlike every other input of the engine these may be left by an exception that comes from outside, and interrupted
by other inputs, at any point: the caller may run as the loop, amid a program with signal handlers. So each either
changes nothing or costs one packet: no number is used twice, no packet opens twice, and sums that come out wrong are
put right by what follows. A bundle whose number was taken is not looked at again. None of them sets a timer or leaves
an effect.
"""

from __future__ import annotations

import math
from hmac import compare_digest
from typing import TYPE_CHECKING, Final, Protocol

from cryptography.exceptions import InvalidTag

from ..address import ID_BYTES, Destination, Prefix
from ..codec import packet as wire
from ..codec.packet import BUNDLE_TAG, COVERED_FRONT, FRONT, HEADER_BYTES, LONE, SEALED_LEAST, TAG_BYTES, Kind
from ..limits import FAST_PATH_ARMED, FAST_PATH_EXPECTED, HOP_LIMIT, SESSION_IDLE, SESSION_WINDOW, make_room
from .effects import Deliver
from .routing import HEADS
from .seal import PACKET_PRICE, WINDOW_MASK, pack_counter, pack_nonce
from .session import State
from .sessions import ENVELOPE, OVERHEAD

if TYPE_CHECKING:
    from .core import Core
    from .direct import Direct
    from .link import LinkState
    from .links import Links
    from .resolver import Resolver
    from .routing import Router
    from .seal import CheckingKey, TaggingKey
    from .session import Keys, Session
    from .session_table import SessionTable

_SEALED: Final = int(Kind.SEALED)
_DATAGRAMS: Final = int(wire.Record.DATAGRAMS)
_LEAST: Final = HEADER_BYTES + SEALED_LEAST
_OPEN: Final = State.OPEN
_UNKNOWN: Final = (None, None)
_HEADS: Final = HEADS[Kind.SEALED]
_RECORD: Final = LONE.size
_ACK: Final = wire.record(wire.Record.ACK, bytes(8))[:5]
_ACK_HEAD: Final = len(_ACK)
_ACK_BYTES: Final = _ACK_HEAD + 8
_ACK_EVERY: Final = SESSION_WINDOW // 2
"""As ACK_EVERY: rarer, because an acknowledgement costs as much as some datagrams, and only as often as it must for the
other side never to run out of room."""
NOTHING: Final = ()
_BODY: Final = COVERED_FRONT - HEADER_BYTES + _RECORD + TAG_BYTES
"""Bytes of a SEALED packet's body around its only datagram."""
_PRICE: Final = _RECORD + OVERHEAD
"""What a lone datagram counts for against the window, beside its own bytes."""
_LONE_BYTES: Final = _BODY + HEADER_BYTES + BUNDLE_TAG
_KEY_PRICE: Final = _RECORD + PACKET_PRICE
new: Final = tuple.__new__
"""As calling a NamedTuple, past its function."""
pack_front, read_front, pack_record = FRONT.pack, FRONT.unpack_from, LONE.pack


class Tally(Protocol):
    """Where datagrams to one peer are counted one by one."""

    def takes(self, size: int) -> bool:
        """Count a datagram, if that is all that there is to do for it; else return False."""


class Armed:
    """What datagrams to one peer need to leave at once."""

    __slots__ = ("at", "ids", "link", "number", "sealing", "session", "tagging", "tally", "until")

    def __init__(self, core: Core, session: Session, keys: Keys, link: LinkState, tagging: TaggingKey) -> None:
        self.session = session
        self.sealing = keys.sealing
        self.ids = session.peer_id + core.peer_id + keys.remote
        self.link = link
        self.number = link.number
        self.tagging = tagging
        self.tally: Tally | None = None
        """Where datagrams to this peer are counted one by one, if they are."""
        self.at = core.now
        """What `Core.now` is, that very object, until another input comes."""
        self.until = math.inf


class Expected:
    """What packets need to be taken that name the same ids and the same index, and come by one link."""

    __slots__ = ("at", "checking", "flags", "keys", "link", "number", "onward", "session")

    def __init__(self, at: float, link: LinkState, checking: CheckingKey, flags: int) -> None:
        self.at = at
        """As of `Armed`."""
        self.link = link
        self.number = link.number
        self.checking = checking
        self.flags = flags
        self.session: Session | None = None
        """Whose packets these are; None where they go on."""
        self.keys: Keys | None = None
        self.onward: LinkState | None = None


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
        self.core = core
        self._links = links.all
        self._hops = router.hops
        self._pinned = resolver.pinned
        self._sessions = table.by_id
        self._keys = table.keys
        self._direct = direct
        self._at = 0.0
        """What `_mark` put into `Core.now`."""
        self.expected: dict[bytes, Expected] = {}
        """By ids and index; at most FAST_PATH_EXPECTED, and none from before another input."""

    def _mark(self, now: float) -> float:
        """Return what `Core.now` is, an object that no other input leaves there: who finds it there later knows that
        none came."""
        if self.core.now is not self._at:
            self.expected.clear()
            self.core.now = self._at = now + 0.0
        return self._at

    # --- out -------------------------------------------------------------------------------------------------

    def arm(self, destination: Destination, now: float) -> Armed | None:
        """Return what `seal` needs, if datagrams to `destination` may leave at once: its peer's session stands, nothing
        waits before them, there is no timer to set and nothing to begin."""
        peer_id = self._pinned.get(destination) if isinstance(destination, Prefix) else destination
        session = self._sessions.get(peer_id) if peer_id is not None else None
        keys = None if session is None else session.keys
        if peer_id is None or session is None or keys is None or session.liveness_timer is None:
            return None
        if session.outgoing or session.pending or session.state is not _OPEN or keys.sealing.worn:
            return None
        if not session.solicited or now - session.idle_since > SESSION_IDLE:
            return None
        link = self._hops[session.alternate].get(peer_id)
        if link is None or link.tagging is None or not _is_calm(link):
            return None
        self._mark(now)
        counting = self._direct.counting(peer_id)
        if counting is None:
            return None
        armed = Armed(self.core, session, keys, link, link.tagging)
        armed.tally, until = counting
        armed.until = min(until, now + FAST_PATH_ARMED)
        return armed

    def seal(self, armed: Armed, form: int, source_port: int, port: int, datagram: bytes, now: float) -> bytes:
        """Return the bundle that carries one datagram over link `armed.number`; b"" if it has to go the common way, or
        to be armed anew."""
        session, link, sealing, tally, size = armed.session, armed.link, armed.sealing, armed.tally, len(datagram)
        in_flight = session.in_flight + size + _PRICE
        if armed.at is not self.core.now or now > armed.until or size + ENVELOPE > link.unit:
            return b""
        if in_flight > SESSION_WINDOW or not (tally is None or tally.takes(size)):
            return b""
        number = next(sealing.numbers)  # one step: whatever interrupts this, no number comes twice
        sealing.sealed = number + 1
        sealing.used += size + _KEY_PRICE
        front = pack_front(_SEALED, HOP_LIMIT, session.alternate, size + _BODY, armed.ids, number)
        record = pack_record(_DATAGRAMS, 9 + size, form, source_port, port, 1, size) + datagram
        sealed = sealing.encrypt(pack_nonce(number), record, None)
        counter = pack_counter(next(armed.tagging.numbers))
        mac = armed.tagging.fresh()
        mac.update(counter + front + sealed[-TAG_BYTES:])
        session.idle_since = now
        link.tx_bytes += size + _LONE_BYTES
        link.tx_packets += 1
        if session.silent_since is None:
            session.silent_since = now
        if not session.flights:
            session.acked_at = now
        session.flights.append((number, size + _PRICE))
        session.in_flight = in_flight
        return b"".join((front, sealed, counter, mac.digest()))

    # --- in, and on ------------------------------------------------------------------------------------------

    def _expect(self, number: int, ids: bytes, flags: int, now: float) -> Expected | None:
        """Return what packets need to be taken, if nothing else is to be done for them."""
        link, to, sender = self._links.get(number), ids[:ID_BYTES], ids[ID_BYTES : 2 * ID_BYTES]
        if link is None or not link.up or link.checking is None or not (link.serves or sender == link.peer_id):
            return None
        expected = Expected(self._mark(now), link, link.checking, flags)
        if to == self.core.peer_id:
            session, keys = self._keys.get(ids[2 * ID_BYTES :], _UNKNOWN)
            if session is None or keys is None or keys is not session.keys or session.peer_id != sender:
                return None
            if session.heard_under is not keys or session.state is not _OPEN or session.ack_timer is None:
                return None
            expected.session, expected.keys = session, keys
        else:
            onward = self._hops[flags].get(to) if flags < wire.ALTERNATES and self.core.config.serves else None
            if onward is None or onward is link or onward.tagging is None or not _is_calm(onward):
                return None
            expected.onward = onward
        make_room(self.expected, FAST_PATH_EXPECTED)
        self.expected[ids] = expected
        return expected

    def hear(self, number: int, bundle: bytes, now: float) -> Deliver | tuple[int, bytes] | tuple[()] | None:
        """Take a bundle that link `number` brought, if it is one sealed packet that needs nothing else.

        Returns: what to deliver; or a link, and what to send by it; or NOTHING, where it was an acknowledgement; or
            None, with nothing done.
        """
        size = len(bundle)
        end = size - BUNDLE_TAG
        if end < _LEAST:
            return None
        kind, hop_limit, flags, length, ids, counter = read_front(bundle)
        if kind != _SEALED or HEADER_BYTES + length != end:
            return None
        expected = self.expected.get(ids)
        if expected is None or expected.at is not self.core.now or expected.number != number or expected.flags != flags:
            expected = self._expect(number, ids, flags, now)
            if expected is None:
                return None
        link, checking, session, keys = expected.link, expected.checking, expected.session, expected.keys
        octets, packets, pool = link.traffic.bytes, link.traffic.packets, link.pool
        bundles, tag = checking.newest + 1, bundle[end:]
        if octets.level < size or packets.level < 2.0 or pool.level < 2.0 or tag[:8] != pack_counter(bundles):
            return None  # also out of order: others know more
        if session is None or keys is None:
            return self._pass_on(expected, bundle, hop_limit, bundles, now)
        opening = keys.opening
        if counter != opening.newest + 1 or session.unacked + length >= _ACK_EVERY:
            return None
        mac = checking.fresh()
        mac.update(tag[:8] + bundle[:COVERED_FRONT] + bundle[end - TAG_BYTES : end])
        if not compare_digest(mac.digest(), tag[8:]):
            return None
        try:
            plain = opening.decrypt(pack_nonce(counter), bundle[COVERED_FRONT:end], None)
        except InvalidTag:
            return None
        run = wire.only_datagram(plain)
        if run is None and (session.blocked or len(plain) != _ACK_BYTES or plain[:_ACK_HEAD] != _ACK):
            return None
        if opening.newest + 1 != counter or checking.newest + 1 != bundles:
            return None  # another input came between
        # From here on none can, for want of a call: only there does CPython let handlers and threads in.
        opening.missing = opening.missing << 1 & WINDOW_MASK
        opening.newest = counter
        checking.missing = checking.missing << 1 & WINDOW_MASK
        checking.newest = bundles
        session.idle_since = session.heard_at = link.received_at = now
        session.missed_probes = 0
        session.silent_since = now if session.flights else None
        if counter >= keys.highest:
            keys.highest = counter + 1
        octets.level -= size - 0.75 * end
        packets.level -= 2.0
        pool.level -= 2.0
        link.rx_bytes += size
        link.rx_packets += 1
        if run is None:
            session.acknowledged(int.from_bytes(plain[_ACK_HEAD:]), now)
            return NOTHING
        session.unacked += length
        if not session.solicited:
            session.heard_first = True
        form, source_port, port, datagram = run
        return new(Deliver, (session.peer_id, source_port, port, form, [datagram], session.address_conflict))

    def _pass_on(
        self, expected: Expected, bundle: bytes, hop_limit: int, bundles: int, now: float
    ) -> tuple[int, bytes] | None:
        link, checking, onward, size = expected.link, expected.checking, expected.onward, len(bundle)
        if onward is None or onward.tagging is None or hop_limit <= 1 or size > onward.unit:
            return None
        end = size - BUNDLE_TAG
        own_tag = bundle[end - TAG_BYTES : end]
        mac = checking.fresh()
        mac.update(bundle[end : end + 8] + bundle[:COVERED_FRONT] + own_tag)
        if not compare_digest(mac.digest(), bundle[end + 8 :]) or checking.newest + 1 != bundles:
            return None
        checking.missing = checking.missing << 1 & WINDOW_MASK
        checking.newest = bundles
        head = _HEADS[hop_limit - 1]
        counter = pack_counter(next(onward.tagging.numbers))
        mac = onward.tagging.fresh()
        mac.update(b"".join((counter, head, bundle[2:COVERED_FRONT], own_tag)))
        link.received_at = now
        link.traffic.bytes.level -= size
        link.traffic.packets.level -= 2.0
        link.pool.level -= 2.0
        link.rx_bytes += size
        link.rx_packets += 1
        onward.tx_bytes += size
        onward.tx_packets += 1
        core = self.core
        core.forwarded_bytes += end
        core.forwarded_packets += 1
        return onward.number, b"".join((head, bundle[2:end], counter, mac.digest()))


def _is_calm(link: LinkState) -> bool:
    """Return whether a packet may leave by it past all others: nothing waits there, and there is no timer to set."""
    if not link.up or link.full or link.out or link.watch is None:
        return False
    return link.lane is None or not link.lane.live
