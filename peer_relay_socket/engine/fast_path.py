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
from struct import Struct
from typing import TYPE_CHECKING, Final, Protocol

from cryptography.exceptions import InvalidTag

from ..address import ID_BYTES, Destination, PeerId, Prefix
from ..codec import packet as wire
from ..codec.packet import BUNDLE_TAG, COVERED_FRONT, FRONT, HEADER_BYTES, LONE, SEALED_LEAST, TAG_BYTES, Kind
from ..limits import (
    FAST_PATH_ARMED,
    FAST_PATH_EXPECTED,
    HOP_LIMIT,
    MAX_DATAGRAM,
    SESSION_IDLE,
    SESSION_WINDOW,
    make_room,
)
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
_IDS: Final = slice(8, COVERED_FRONT - 8)
"""Where both ids and the index are."""
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
pack_head: Final = Struct(">BBBxI").pack
pack_front, read_front, pack_record = FRONT.pack, FRONT.unpack_from, LONE.pack


class Tally(Protocol):
    """Where datagrams to one peer are counted one by one."""

    def takes(self, size: int) -> bool:
        """Count a datagram, if that is all that there is to do for it; else return False."""


class Armed:
    """What datagrams to one peer need to leave at once."""

    __slots__ = (
        *("at", "core", "encrypt", "fresh", "ids", "link", "number", "numbers", "sealing", "session", "tag_numbers"),
        *("tally", "until"),
    )

    def __init__(self, core: Core, session: Session, keys: Keys, link: LinkState, tagging: TaggingKey) -> None:
        self.core = core
        self.session = session
        self.sealing = keys.sealing
        self.numbers, self.encrypt = keys.sealing.numbers, keys.sealing.encrypt
        self.ids = session.peer_id + core.peer_id + keys.remote
        self.link = link
        self.number = link.number
        self.tag_numbers, self.fresh = tagging.numbers, tagging.fresh
        self.tally: Tally | None = None
        """Where datagrams to this peer are counted one by one, if they are."""
        self.at = core.now
        """What `Core.now` is, that very object, until another input comes."""
        self.until = math.inf

    def seal(self, form: int, source_port: int, port: int, datagram: bytes, now: float) -> bytes:
        """Return the bundle that carries one datagram over link `number`; b"" if it has to go the common way, or
        to be armed anew."""
        session, link, sealing, tally, size = self.session, self.link, self.sealing, self.tally, len(datagram)
        in_flight = session.in_flight + size + _PRICE
        if self.at is not self.core.now or now > self.until or size + ENVELOPE > link.unit:
            return b""
        if in_flight > SESSION_WINDOW or not (tally is None or tally.takes(size)):
            return b""
        number = next(self.numbers)  # one step: whatever interrupts this, no number comes twice
        sealing.sealed = number + 1
        sealing.used += size + _KEY_PRICE
        front = pack_front(_SEALED, HOP_LIMIT, session.alternate, size + _BODY, self.ids, number)
        record = pack_record(_DATAGRAMS, 9 + size, form, source_port, port, 1, size) + datagram
        sealed = self.encrypt(pack_nonce(number), record, None)
        counter = pack_counter(next(self.tag_numbers))
        mac = self.fresh()
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


class Run:
    """What datagrams that are heard one after the other have in common: what opens them, which port they are for."""

    __slots__ = ("decrypt", "form", "keys", "opening", "port", "route", "session", "source_port")

    def __init__(self, session: Session, keys: Keys, form: int = 0, source_port: int = 0, port: int = 0) -> None:
        self.session, self.keys = session, keys
        self.opening, self.decrypt = keys.opening, keys.opening.decrypt
        self.form, self.source_port, self.port = form, source_port, port
        self.route: object = None
        """Where the last one went: a note of the driver's, which knows how long it holds."""

    @property
    def key(self) -> tuple[PeerId, int, int, int, type]:
        """What tells it from others."""
        source = self.session.peer_id
        return source, self.source_port, self.port, self.form, source.__class__

    def deliver(self, datagram: bytes) -> Deliver:
        """Return what the common way would have asked for."""
        source, conflict = self.session.peer_id, self.session.address_conflict
        return new(Deliver, (source, self.source_port, self.port, self.form, [datagram], conflict))


class Expected:
    """What packets need to be taken that name the same ids and the same index, and come by one link."""

    __slots__ = ("at", "checking", "flags", "fresh", "hop_limit", "ids", "link", "number", "onward", "run")

    def __init__(
        self, at: float, link: LinkState, checking: CheckingKey, hop_limit: int, flags: int, ids: bytes
    ) -> None:
        self.at = at
        """As of `Armed`."""
        self.link = link
        self.number = link.number
        self.checking, self.fresh = checking, checking.fresh
        self.hop_limit, self.flags, self.ids = hop_limit, flags, ids
        self.run: Run | None = None
        """Of the last datagram, and what opens the next; None where they go on."""
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

    # --- in, and on ------------------------------------------------------------------------------------------

    def _expect(self, number: int, bundle: bytes, now: float) -> Expected | None:
        """Return what packets like this one need to be taken, if nothing else is to be done for them."""
        kind, hop_limit, flags, _, ids, _ = read_front(bundle)
        link, to, sender = self._links.get(number), ids[:ID_BYTES], ids[ID_BYTES : 2 * ID_BYTES]
        if kind != _SEALED or link is None or not link.up or link.checking is None:
            return None
        if not (link.serves or sender == link.peer_id):
            return None
        expected = Expected(self._mark(now), link, link.checking, hop_limit, flags, ids)
        if to == self.core.peer_id:
            session, keys = self._keys.get(ids[2 * ID_BYTES :], _UNKNOWN)
            if session is None or keys is None or keys is not session.keys or session.peer_id != sender:
                return None
            if session.heard_under is not keys or session.state is not _OPEN or session.ack_timer is None:
                return None
            expected.run = Run(session, keys)
        else:
            onward = self._hops[flags].get(to) if flags < wire.ALTERNATES and self.core.config.serves else None
            if hop_limit <= 1 or onward is None or onward is link or onward.tagging is None or not _is_calm(onward):
                return None
            expected.onward = onward
        make_room(self.expected, FAST_PATH_EXPECTED)
        self.expected[ids] = expected
        return expected

    def hear(self, number: int, bundle: bytes, now: float) -> tuple[Run, bytes] | tuple[int, bytes] | tuple[()] | None:
        """Take a bundle that link `number` brought, if it is one sealed packet that needs nothing else.

        Returns: a datagram, and of which run it is; or a link's number, and what to send by it; or NOTHING, where it
            was an acknowledgement; or None, with nothing done.
        """
        size = len(bundle)
        end = size - BUNDLE_TAG
        if end < _LEAST:
            return None
        expected = self.expected.get(bundle[_IDS])
        if expected is None or expected.at is not self.core.now or expected.number != number:
            expected = self._expect(number, bundle, now)
            if expected is None:
                return None
        link, checking, run = expected.link, expected.checking, expected.run
        octets, packets, pool = link.traffic.bytes, link.traffic.packets, link.pool
        if octets.level < size or packets.level < 2.0 or pool.level < 2.0:
            return None
        if run is None:
            return self._pass_on(expected, bundle, now)
        session, opening, length = run.session, run.opening, end - HEADER_BYTES
        counter, bundles = opening.newest + 1, checking.newest + 1
        front = pack_front(_SEALED, expected.hop_limit, expected.flags, length, expected.ids, counter)
        if session.unacked + length >= _ACK_EVERY or not bundle.startswith(front):
            return None  # also out of order: others know more
        tag_counter = pack_counter(bundles)
        mac = expected.fresh()
        mac.update(tag_counter + front + bundle[end - TAG_BYTES : end])
        if not compare_digest(tag_counter + mac.digest(), bundle[end:]):
            return None
        try:
            plain = run.decrypt(pack_nonce(counter), bundle[COVERED_FRONT:end], None)
        except InvalidTag:
            return None
        data_size = length - _BODY
        datagram: bytes | None = plain[_RECORD:]
        if (
            not 0 <= data_size <= MAX_DATAGRAM
            or not run.port
            or not plain.startswith(
                pack_record(_DATAGRAMS, 9 + data_size, run.form, run.source_port, run.port, 1, data_size)
            )
        ):
            only = wire.only_datagram(plain)
            if only is not None:
                run = expected.run = Run(session, run.keys, *only[:3])
            elif session.blocked or len(plain) != _ACK_BYTES or plain[:_ACK_HEAD] != _ACK:
                return None
            else:
                datagram = None
        if opening.newest + 1 != counter or checking.newest + 1 != bundles:
            return None  # another input came between
        # From here on none can, for want of a call: only there does CPython let handlers and threads in.
        if opening.missing:
            opening.missing = opening.missing << 1 & WINDOW_MASK
        opening.newest = counter
        if checking.missing:
            checking.missing = checking.missing << 1 & WINDOW_MASK
        checking.newest = bundles
        session.idle_since = session.heard_at = link.received_at = now
        session.missed_probes = 0
        session.silent_since = now if session.flights else None
        run.keys.highest = counter + 1
        octets.level -= size - 0.75 * end
        packets.level -= 2.0
        pool.level -= 2.0
        link.rx_bytes += size
        link.rx_packets += 1
        if datagram is None:
            session.acknowledged(int.from_bytes(plain[_ACK_HEAD:]), now)
            return NOTHING
        session.unacked += length
        if not session.solicited:
            session.heard_first = True
        return run, datagram

    def _pass_on(self, expected: Expected, bundle: bytes, now: float) -> tuple[int, bytes] | None:
        link, checking, onward, size = expected.link, expected.checking, expected.onward, len(bundle)
        if onward is None or onward.tagging is None or size > onward.unit:
            return None
        end, bundles = size - BUNDLE_TAG, checking.newest + 1
        if not bundle.startswith(pack_head(_SEALED, expected.hop_limit, expected.flags, end - HEADER_BYTES)):
            return None
        tag_counter, own_tag = pack_counter(bundles), bundle[end - TAG_BYTES : end]
        mac = expected.fresh()
        mac.update(tag_counter + bundle[:COVERED_FRONT] + own_tag)
        if not compare_digest(tag_counter + mac.digest(), bundle[end:]) or checking.newest + 1 != bundles:
            return None
        if checking.missing:
            checking.missing = checking.missing << 1 & WINDOW_MASK
        checking.newest = bundles
        head = _HEADS[expected.hop_limit - 1]
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
