"""Broadcasts: one datagram for everybody near who hears a group.

Lives here: signing them, telling new ones from copies and replays, passing them on. May not live here: who hears which
group (the driver's port table).

Law: nothing is delivered or passed on but what the peer that it names signed, and that once. There is no session with
everybody, so relays and neighbours can read what is cast; with a network key only its holders can.

A broadcast passes as many relays as its hop limit says, and each relay lets pass no more than its own setting says. An
origin's stamps only grow, and a receiver remembers its last BROADCAST_WINDOW; what differs from the receiver's clock by
more than BROADCAST_AGE is nothing, so a replay finds it remembered, or too old. Only a receiver that has started since
remembers nothing: within BROADCAST_AGE it may hear one again.
"""

from __future__ import annotations

import hashlib
import hmac
from bisect import bisect_left, insort
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..address import ID_BYTES, PeerId
from ..codec import packet as wire
from ..codec.broadcast import (
    BROADCAST_DOMAIN,
    Broadcast,
    BroadcastBody,
    broadcast_body,
    broadcast_content,
    read_broadcast_body,
    read_broadcast_content,
)
from ..codec.packet import Header, Kind
from ..identity import peer_id_of, verify
from ..limits import (
    BROADCAST_AGE,
    BROADCAST_AHEAD,
    BROADCAST_BYTES,
    BROADCAST_CHECKS,
    BROADCAST_COPIES,
    BROADCAST_COPIES_SHARE,
    BROADCAST_COPY,
    BROADCAST_PATIENCE,
    BROADCAST_PENDING,
    BROADCAST_PRICE,
    BROADCAST_RATE,
    BROADCAST_RELAY_FACTOR,
    BROADCAST_SHARES,
    BROADCAST_WINDOW,
    MAX_BROADCASTERS,
    REFUSED_BROADCAST_PRICE,
)
from ..rate import TokenBucket, TrafficBucket
from .effects import DeliverBroadcast
from .timers import Due

if TYPE_CHECKING:
    from .address_claims import AddressClaims
    from .core import Core
    from .link import LinkState
    from .links import Links

_NO_NONCE: Final = bytes(12)
_EVERYBODY: Final = bytes(ID_BYTES)


def _allowance(factor: float, now: float) -> TrafficBucket:
    """Return what one peer may broadcast."""
    return TrafficBucket(BROADCAST_RATE * factor, BROADCAST_BYTES * factor, now)


class _Neighbour:
    """What is taken from one neighbour, and sent out for it."""

    __slots__ = ("checks", "copies", "traffic")

    def __init__(self, serves: bool, now: float) -> None:
        factor = BROADCAST_RELAY_FACTOR if serves else 1.0
        self.traffic = _allowance(factor, now)
        self.checks = TokenBucket(BROADCAST_CHECKS / BROADCAST_SHARES * factor, now)
        self.copies = TokenBucket(BROADCAST_COPIES / (1 if serves else BROADCAST_COPIES_SHARE), now)


class Broadcasts:
    """Those of one peer, and those it hears."""

    def __init__(self, core: Core, links: Links, claims: AddressClaims) -> None:
        self._core = core
        self._links = links
        self._claims = claims
        psk = core.config.psk
        self._seal = None if psk is None else AESGCM(hmac.digest(psk, BROADCAST_DOMAIN, hashlib.sha256))
        self._stamp = 0
        self._own = _allowance(1.0, core.now)
        self._copies = TokenBucket(BROADCAST_COPIES, core.now)
        self._checks = TokenBucket(BROADCAST_CHECKS, core.now)
        self._neighbours: dict[int, _Neighbour] = {}
        """By link."""
        self._seen: dict[int, dict[PeerId, list[int]]] = {}
        """Stamps of the last broadcasts of each origin, ascending, by the link that brought its first; the origin heard
        longest ago first. In all at most MAX_BROADCASTERS of BROADCAST_WINDOW."""
        self._brought_by: dict[PeerId, int] = {}
        """The link under which an origin is in `_seen`."""
        self._pending: list[bytes] = []
        """What waits for the first link, at most BROADCAST_PENDING packets."""

    @property
    def idle(self) -> bool:
        """Whether nothing waits for a link."""
        return not self._pending

    # --- sending ---------------------------------------------------------------------------------------------

    def send(self, broadcast: Broadcast, relays: int) -> None:
        """Send one datagram past at most `relays` relays."""
        core = self._core
        relays = min(relays, core.config.broadcast_hops)
        if relays <= 0:
            return
        if core.config.may_talk is not None:
            relays = 0  # relays would pass it on to peers about which `may_talk` was not asked
        packet = self._packet(broadcast, relays)
        if not self._own.take(core.now, len(packet)):
            core.counters["dropped: too much is broadcast"] += 1
        elif self._links.by_id:
            self._emit(packet)
        elif len(self._pending) < BROADCAST_PENDING and core.config.bootstrap and not core.config.serves:
            if not self._pending:
                core.timers.at(Due.BROADCAST_PENDING, core.now + BROADCAST_PATIENCE, self.give_up)
            self._pending.append(packet)
        else:
            core.counters["dropped: broadcast, nobody is linked"] += 1

    def _packet(self, broadcast: Broadcast, relays: int) -> bytes:
        core = self._core
        self._stamp = max(self._stamp + 1, self._core.wall)
        made = BroadcastBody(core.identity.public_key, self._stamp, _NO_NONCE, b"", broadcast_content(broadcast))
        if self._seal is not None:
            nonce = core.entropy(len(_NO_NONCE))
            made = made._replace(nonce=nonce, content=self._seal.encrypt(nonce, made.content, made.associated))
        made = made._replace(signature=core.identity.sign(made.signed))
        return wire.packet(Kind.BROADCAST, _EVERYBODY, core.peer_id, broadcast_body(made), hop_limit=relays)

    def _emit(self, packet: bytes) -> None:
        may_talk = self._core.config.may_talk
        for link in self._links.by_id.values():
            if may_talk is None or may_talk(link.peer_id):
                self._pass(link, packet)

    def _pass(self, link: LinkState, packet: bytes) -> None:
        if link.full:
            self._core.counters["dropped: broadcast, slow neighbour"] += 1
        else:
            self._links.emit(link, packet)

    def give_up(self) -> None:
        """No neighbour came to send to: drop what waits."""
        if self._pending:
            self._core.counters["dropped: broadcast, nobody is linked"] += len(self._pending)
            self._pending.clear()

    def link_up(self) -> None:
        """There is a neighbour to send to: send what waits."""
        pending, self._pending = self._pending, []
        for packet in pending:
            self._emit(packet)

    def link_down(self, link: LinkState) -> None:
        """Forget what `link` sent."""
        self._neighbours.pop(link.number, None)

    # --- hearing ---------------------------------------------------------------------------------------------

    def heard(self, bundle: bytes, offset: int, header: Header, arrived: LinkState) -> None:
        """Take a BROADCAST, and pass it on.

        Raises: PacketError.
        """
        core = self._core
        arrived.charge(BROADCAST_PRICE)
        limit = core.config.broadcast_hops
        if limit <= 0:
            core.counters["refused: broadcast"] += 1
            return
        heard = read_broadcast_body(bundle[header.body : header.end])
        if abs(heard.stamp - self._core.wall) > BROADCAST_AGE * 1e6:
            core.counters["dropped: broadcast, its time is not ours"] += 1
            return
        if self._is_known(header.sender, heard.stamp):
            return
        allowed = self._neighbours.get(arrived.number)
        if allowed is None:
            allowed = self._neighbours[arrived.number] = _Neighbour(arrived.serves, core.now)
        allowed.checks.overdraw(core.now, 1.0, most=0.0)
        spare = self._checks.spare(core.now, allowed.checks)
        if spare < 1.0 or not allowed.traffic.take(core.now, header.end - offset):
            core.counters["dropped: too much is broadcast"] += 1
            arrived.charge(REFUSED_BROADCAST_PRICE)
            return
        self._checks.level -= 1.0
        genuine = peer_id_of(heard.public_key) == header.sender
        if not genuine or not verify(heard.public_key, heard.signature, heard.signed):
            core.counters["dropped: forged broadcast"] += 1
            return
        if not self._remember(header.sender, heard.stamp, arrived):
            core.counters["dropped: too many broadcast"] += 1
            return
        self._deliver(header.sender, heard)
        left = min(header.hop_limit, limit) - 1
        if left >= 0 and core.config.serves:
            self._pass_on(bytes((header.kind, left)) + bundle[offset + 2 : header.end], header.sender, arrived)

    def _deliver(self, source: PeerId, heard: BroadcastBody) -> None:
        core = self._core
        data = heard.content
        if core.config.may_talk is not None and not core.config.may_talk(source):
            core.counters["refused: broadcast"] += 1
            return
        if self._seal is not None:
            try:
                data = self._seal.decrypt(heard.nonce, data, heard.associated)
            except InvalidTag:
                core.counters["dropped: did not open"] += 1
                return
        broadcast = read_broadcast_content(data)
        if broadcast.form == 4 and self._claims.is_anothers(source):
            core.counters["refused: broadcast from another's IPv4 address"] += 1
            return
        form, source_port, port, group, datagram = broadcast
        core.effects.append(DeliverBroadcast(source, source_port, port, form, group, datagram))

    def _pass_on(self, packet: bytes, source: PeerId, arrived: LinkState) -> None:
        """Send copies to as many neighbours as may be: where not all get one, to others each time."""
        links, copies, share = self._links.by_id, self._copies, self._neighbours[arrived.number].copies
        price = max(len(packet), BROADCAST_COPY)
        share.refill(self._core.now)
        had, share.level = share.level, max(0.0, share.level - price * len(links))
        most = min(had, copies.spare(self._core.now, share)) // price
        start = 0 if most >= len(links) else int(self._core.random.random() * len(links))
        sent = 0
        for link in islice(chain(links.values(), links.values()), start, start + len(links)):
            if link is arrived or link.peer_id == source:
                continue
            if sent >= most:
                self._core.counters["dropped: too much is broadcast"] += 1
                break
            sent += 1
            self._pass(link, packet)
        copies.level -= sent * price

    def _is_known(self, origin: PeerId, stamp: int) -> bool:
        link = self._brought_by.get(origin)
        if link is None:
            return False
        stamps = self._seen[link][origin]
        at = bisect_left(stamps, stamp)
        return (at < len(stamps) and stamps[at] == stamp) or (at == 0 and len(stamps) >= BROADCAST_WINDOW)

    def _remember(self, origin: PeerId, stamp: int, arrived: LinkState) -> bool:
        """Note a broadcast that is not known; return False where there is no room for its origin."""
        link = self._brought_by.get(origin, arrived.number)
        places = self._seen.get(link)
        stamps = None if places is None else places.pop(origin, None)
        if stamps is None:
            if not self._has_place(arrived, stamp):
                return False
            places = self._seen.setdefault(link, {})
            self._brought_by[origin] = link
            stamps = []
        assert places is not None
        insort(stamps, stamp)
        if len(stamps) > BROADCAST_WINDOW:
            del stamps[0]
        places[origin] = stamps
        return True

    def _has_place(self, arrived: LinkState, stamp: int) -> bool:
        """Make room for one more origin that `arrived` brings: silent ones of its own go first, then one of the link
        that brought most. A neighbour that dialled us has a share, and so have stamps ahead of our clock, which hold a
        place for longer."""
        link = arrived.number
        mine = self._seen.get(link, {})
        limited = arrived.url is None or stamp > self._core.wall + BROADCAST_AHEAD * 1e6
        if limited and len(mine) >= MAX_BROADCASTERS // BROADCAST_SHARES:
            return self._forget_silent(link)
        if len(self._brought_by) < MAX_BROADCASTERS or self._forget_silent(link):
            return True
        most = max(self._seen, key=lambda other: len(self._seen[other]))
        if self._forget_silent(most):
            return True
        if len(self._seen[most]) <= len(mine) + 1:
            return False
        self._forget(most, next(iter(self._seen[most])))
        return True

    def _forget_silent(self, link: int) -> bool:
        """Forget the origin of `link` heard longest ago, if its broadcasts are too old to be taken again."""
        origin = next(iter(self._seen.get(link, {})), None)
        if origin is None or self._seen[link][origin][-1] >= self._core.wall - BROADCAST_AGE * 1e6:
            return False
        self._forget(link, origin)
        return True

    def _forget(self, link: int, origin: PeerId) -> None:
        places = self._seen[link]
        del places[origin], self._brought_by[origin]
        if not places:
            del self._seen[link]
