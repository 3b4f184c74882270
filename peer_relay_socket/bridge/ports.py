"""Which endpoint a datagram is for: the port table of one host.

Lives here: bind rules, ephemeral ports, connected filters, delivery to own sockets and from the network. May not live
here: parsing of addresses, waiting, the network.

Law: the rules are Linux's (net/ipv4/udp.c: udp_lib_get_port, compute_score), for two address families over one port
space, and delivery between own sockets happens on the caller's thread before the call returns.
"""

from __future__ import annotations

import _socket
import errno
import os
import random
from asyncio import _get_running_loop
from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from ..address import AF_PEER, Destination, PeerId, Spelling, UnprovedHost, UnprovedId
from ..limits import DATAGRAM_OVERHEAD, EPHEMERAL_PORTS, SPELLED_SOURCES
from .binding import OWN, WILDCARD, Binding, Place
from .events import Filling
from .inbox import Address, Inbox
from .matching import NO_SCORE, conflict, forms, group_source, same, score, source_for, speaks
from .waiting import guard

if TYPE_CHECKING:
    from ..engine.effects import Deliver, Segment
    from ..engine.fast_path import Run

__all__ = ["OWN", "WILDCARD", "Place", "PortTable"]

_AF_INET: Final = int(_socket.AF_INET)
_AF_INET6: Final = int(_socket.AF_INET6)
_ALL: Final = (int(_socket.IPPROTO_IP), 49)
"""IP_MULTICAST_ALL."""
_ALL6: Final = (int(_socket.IPPROTO_IPV6), 29)
"""IPV6_MULTICAST_ALL."""
_ALL_HOSTS: Final = frozenset({"224.0.0.1", "ff01::1", "ff02::1"})
"""Groups that every host is a member of."""

INBOX_FULL: Final = "dropped: a socket's receive buffer was full"
"""Counter of datagrams that came faster than a program read them; SO_RCVBUF makes room for more."""


def failure(code: int, why: str = "") -> OSError:
    """Return the OSError (of the right subclass) that CPython raises for errno `code`; `why` adds what is known of the
    reason to its text."""
    text = os.strerror(code)
    return OSError(code, f"{text}: {why}" if why else text)


class _Route:
    """Where a run of datagrams goes, as long as `table` is the port table's."""

    __slots__ = ("address", "inbox", "table")

    def __init__(self, table: object, inbox: Inbox, address: Address) -> None:
        self.table, self.inbox, self.address = table, inbox, address


class PortTable:
    """Every bound endpoint of a host. Any thread; each call is atomic."""

    def __init__(self, spelling: Spelling, own_id: Callable[[], PeerId]) -> None:
        self._spelling = spelling
        self._own_id = own_id
        self._lock = guard()
        self._open: WeakSet[Binding] = WeakSet()
        self._bound: dict[int, list[Binding]] = {}
        self._routes: dict[tuple[PeerId, int, int, int, type], tuple[Binding, Address]] = {}
        """Where `deliver` found that a datagram goes, and how its source is spelled there; forgotten at any change."""
        self._sources: dict[tuple[PeerId, int, int, int, bool], Address] = {}
        self._dice = random.Random()

    def add(self, endpoint: Binding) -> None:
        """Know of a new socket of this host, which is not bound yet."""
        with self._lock:
            self._open.add(endpoint)

    def sockets(self) -> list[Binding]:
        """Return the open sockets of this host."""
        with self._lock:
            return [each for each in self._open if not each.inbox.closed]

    # --- binding -----------------------------------------------------------------------------------------------

    def bind(self, endpoint: Binding, place: Place, port: int, *, mapped: bool = False) -> None:
        """Give `endpoint` its local address; port 0 = any free one.

        Raises: OSError: EINVAL (already bound), EADDRINUSE.
        """
        with self._lock:
            if endpoint.port:
                raise failure(errno.EINVAL)
            self._routes = {}
            endpoint.local, endpoint.mapped = place, mapped
            only = endpoint.v6only
            chosen = place != WILDCARD or mapped
            if chosen and not mapped and endpoint.family == _AF_INET6:
                endpoint.v6only = True  # as __inet6_bind does
            try:
                self._claim(endpoint, port)
            except OSError:
                endpoint.local, endpoint.mapped = WILDCARD, False  # Linux also forgets one from before a disconnect
                endpoint.v6only = only
                raise
            endpoint.pinned = endpoint.pinned or chosen  # Linux forgets no lock
            endpoint.port_pinned = endpoint.port_pinned or port != 0

    def autobind(self, endpoint: Binding) -> None:
        """Give `endpoint` an ephemeral port if it has none, as the first send or connect does.

        Raises: OSError: EAGAIN when no port is free.
        """
        with self._lock:
            if not endpoint.port:
                try:
                    self._claim(endpoint, 0)
                except OSError:
                    raise failure(errno.EAGAIN) from None

    def _claim(self, endpoint: Binding, port: int) -> None:
        self._routes = {}
        if port == 0:
            port = self._ephemeral()
        elif any(conflict(endpoint, other) and not other.close_if_abandoned() for other in self._at(port)):
            raise failure(errno.EADDRINUSE)
        endpoint.port = port
        self._bound.setdefault(port, []).append(endpoint)

    def _ephemeral(self) -> int:
        first, last = EPHEMERAL_PORTS
        start = self._dice.randint(first, last)
        for port in chain(range(start, last + 1), range(first, start)):
            if port not in self._bound:
                return port
        raise failure(errno.EADDRINUSE)

    def _at(self, port: int) -> list[Binding]:
        return list(self._bound.get(port, ()))

    def remove(self, endpoint: Binding) -> None:
        """Free the endpoint's port. Harmless if it has none."""
        with self._lock:
            self._routes = {}
            others = self._bound.get(endpoint.port, [])
            if endpoint in others:
                others.remove(endpoint)
                if not others:
                    del self._bound[endpoint.port]
            endpoint.port = 0

    def connect(self, endpoint: Binding, peer: Address, place: Place, port: int, source: Place, mapped: bool) -> None:
        """Let `endpoint`, bound by now, send to and hear only (`place`, `port`), whose spelling is `peer`; `source` is
        the local address if there is none yet."""
        with self._lock:
            self._routes = {}
            endpoint.peer, endpoint.peer_place, endpoint.peer_port = peer, place, port
            if endpoint.local == WILDCARD:  # the first connect chooses; reconnecting keeps it, as Linux does
                endpoint.local, endpoint.mapped = source, mapped

    def disconnect(self, endpoint: Binding) -> None:
        """Undo `connect`; a port that bind() did not choose is freed, as Linux does."""
        with self._lock:
            self._routes = {}
            endpoint.peer = endpoint.peer_place = None
            endpoint.peer_port = 0
            if not endpoint.pinned:
                endpoint.local, endpoint.mapped = WILDCARD, False
            if not endpoint.port_pinned:
                self.remove(endpoint)

    # --- delivery ----------------------------------------------------------------------------------------------

    def deliver(self, run: Deliver, filling: list[Filling] | None = None) -> bool:
        """Take in datagrams from the network, in order.

        Without a port they are for the only socket that hears the network; of several, for the one connected to their
        source; else for the one with the lowest port. With an address conflict no socket sees them at that address.

        Args: filling: where to note the inbox they went to, if it is more than half full now.

        Returns: False when no socket is bound to the port (or all are connected elsewhere).
        """
        source, source_port, port, form, datagrams, address_conflict = run
        key = (source, source_port, port, form, source.__class__)
        route = None if address_conflict else self._routes.get(key)
        if route is None:
            with self._lock:
                if port:
                    endpoint = self._find(OWN, port, form, source, source_port)
                else:
                    endpoint, form = self._landing(source, source_port)
                if endpoint is None:
                    return False
                if address_conflict and (endpoint.family == _AF_INET or (form == 4 and endpoint.family != AF_PEER)):
                    return True
                route = endpoint, self._spell(endpoint, source, source_port, form)
                if port and len(self._bound[port]) == 1:  # of several the options of each have a say, too
                    if len(self._routes) >= SPELLED_SOURCES:
                        self._routes = {}
                    self._routes[key] = route
        endpoint, address = route
        inbox = endpoint.inbox
        taken_in = inbox.put(address, datagrams)
        if taken_in and filling is not None and inbox.waiting_size * 2 > inbox.bound and inbox.is_filling():
            filling.append(inbox)
        return taken_in or not endpoint.close_if_abandoned()

    def deliver_lone(self, run: Run, datagram: bytes) -> bool:
        """Take in a datagram that a caller's thread read, as `deliver` would, to where others of its run went.

        Returns: False, with nothing done, where there is more to do.
        """
        if _get_running_loop() is not None:
            return False
        route, table = run.route, self._routes  # looked at once: another thread may change it
        if route.__class__ is not _Route or route.table is not table:
            found = table.get(run.key)
            if found is None or run.session.address_conflict:
                return False
            endpoint, address = found
            run.route = route = _Route(table, endpoint.inbox, address)
        inbox, item, added = route.inbox, (datagram, route.address), len(datagram) + DATAGRAM_OVERHEAD
        # From here until it is put, no call, and nothing is made that the garbage collector follows: so no other thread
        # counts, or begins to wait, between.
        if inbox.needs_check or inbox.observed or inbox.stamped or inbox.blocked:
            return False
        size = inbox.waiting_size + added
        if size + size > inbox.bound:
            return False
        inbox.waiting_size = size
        inbox.came += 1
        inbox.ready.append(item)
        if inbox.waiters.bells:
            inbox.waiters.wake_all()
        return True

    def send_local(
        self,
        sender: Binding,
        place: str,
        port: int,
        form: int,
        datagrams: list[bytes],
        mark: tuple[int, int] | None = None,
    ) -> bool:
        """Carry datagrams to another (or the same) socket of this host, before this returns.

        Returns: False when no socket is bound there; a connected sender then has ECONNREFUSED pending.
        """
        with self._lock:
            chosen = speaks(sender.local) and not (sender.local == "::1" and form == 4)
            source = sender.local if chosen else source_for(place, form)
            endpoint = self._find(place, port, form, source, sender.port)
            address = None if endpoint is None else self._spell(endpoint, source, sender.port, form)
        if endpoint is not None and (endpoint.inbox.put(address, datagrams, mark) or not endpoint.close_if_abandoned()):
            return True
        if not chosen and sender.local != WILDCARD:
            return False  # bound to a group: what comes back to `source` does not find it
        if sender.recverr or (sender.peer_place == place and sender.peer_port == port):
            sender.inbox.fail(errno.ECONNREFUSED)
        return False

    def send_group(
        self,
        sender: Binding,
        group: str,
        port: int,
        form: int,
        datagrams: list[bytes],
        mark: tuple[int, int] = (1, 0),
    ) -> int:
        """Carry datagrams to every socket of this host that hears broadcast or multicast address `group` on `port`.

        Returns: how many sockets that were.
        """
        reached = 0
        with self._lock:
            source = sender.local if speaks(sender.local) else group_source(sender, group)
            ears = [each for each in self._at(port) if self._hears(each, group, form, source, sender.port)]
            addressed = [(each, self._spell(each, source, sender.port, form)) for each in ears]
        for endpoint, address in addressed:
            reached += endpoint.inbox.put(address, list(datagrams), (*mark, group))
        return reached

    def deliver_segment(self, came: Segment) -> None:
        """Sockets have no TCP here; the peer's program is not told, as by a firewall that drops."""

    def deliver_group(
        self, source: PeerId, source_port: int, port: int, form: int, group: str, datagram: bytes
    ) -> None:
        """Take in a datagram from the network for everybody who hears `group` on `port`."""
        with self._lock:
            ears = [each for each in self._at(port) if self._hears(each, group, form, source, source_port)]
            addressed = [(each, self._spell(each, source, source_port, form)) for each in ears]
        for endpoint, address in addressed:
            if not endpoint.inbox.put(address, [datagram], (1, 0, group)):
                endpoint.close_if_abandoned()

    def _hears(self, endpoint: Binding, group: str, form: int, source: Place, source_port: int) -> bool:
        """Return whether what is sent to `group` is for `endpoint` (ip_mc_sf_allow, inet6_mc_check)."""
        if endpoint.local not in (WILDCARD, group) or form not in forms(endpoint):
            return False
        if endpoint.peer is not None and (endpoint.peer_port != source_port or not same(endpoint.peer_place, source)):
            return False
        if self._spelling.is_broadcast(group):
            return True
        memberships = endpoint.groups.get(group)
        if memberships is not None:
            address = self._address_of(source, form)
            return any(each.admits(address) for each in memberships.values())
        if not endpoint.options.get(*((_ALL, endpoint.family != _AF_INET6) if form == 4 else (_ALL6, 1))):
            return False
        # A socket that did not join the group hears it if any socket of the host joined it.
        return group in _ALL_HOSTS or any(group in each.groups for each in self._open)

    def hears(self, port: int) -> bool:
        """Return whether a socket that hears the network is bound to `port`."""
        with self._lock:
            return any(each.local in (WILDCARD, OWN) for each in self._at(port))

    def unreachable(self, destination: Destination, port: int, source_port: int, error: int) -> None:
        """Tell the sockets on `source_port` that are connected to (`destination`, `port`) that nothing is there.

        Args: error: ECONNREFUSED (no such port) or EHOSTUNREACH (no such peer).
        """
        with self._lock:
            connected = [
                each
                for each in self._at(source_port)
                if each.recverr or (each.peer_port == port and same(each.peer_place, destination))
            ]
        for endpoint in connected:
            endpoint.inbox.fail(error)

    def unreachable_peer(self, destination: Destination, error: int, why: str = "") -> None:
        """Tell every socket that is connected to some port of `destination` that the peer is not there."""
        with self._lock:
            connected = [each for group in self._bound.values() for each in group if same(each.peer_place, destination)]
        for endpoint in connected:
            endpoint.inbox.fail(error, why)

    def identity_changed(self) -> None:
        """Nothing is kept here that our own id went into, but for spellings under that id."""

    def _landing(self, source: PeerId, source_port: int) -> tuple[Binding | None, int]:
        """Return the endpoint for datagrams whose sender names no port, and the form in which it hears them."""
        best: tuple[bool, int, Binding, int] | None = None
        for port in sorted(self._bound):
            for form in (4, 6):
                endpoint = self._find(OWN, port, form, source, source_port)
                if endpoint is None:
                    continue
                if best is None or (endpoint.peer is not None and not best[0]):
                    best = (endpoint.peer is not None, port, endpoint, form)
                break
        return (None, 0) if best is None else best[2:]

    def _find(self, place: Place, port: int, form: int, source: Place, source_port: int) -> Binding | None:
        candidates = self._bound.get(port)
        if candidates is None:
            return None
        best: list[Binding] = []
        best_score = NO_SCORE
        for endpoint in reversed(candidates):  # the latest bound of equals, as the kernel's hash chains have it
            fit = score(endpoint, place, form, source, source_port)
            if fit > best_score:
                best, best_score = [endpoint], fit
            elif fit == best_score and fit != NO_SCORE:
                best.append(endpoint)
        if not best:
            return None
        if len(best) > 1 and best[0].reuse_port:
            group = [each for each in best if each.reuse_port]
            return group[hash((source, source_port)) % len(group)]
        return best[0]

    # --- spelling ----------------------------------------------------------------------------------------------

    def _spell(self, endpoint: Binding, place: Place, port: int, form: int) -> Address:
        """Return how `endpoint` sees (`place`, `port`) as a source."""
        if endpoint.peer is not None:
            if isinstance(place, UnprovedId):
                return (UnprovedHost(endpoint.peer[0]), *endpoint.peer[1:])
            return endpoint.peer
        if isinstance(place, str) and place != OWN:
            return self.spell(endpoint, place, port, mapped=form == 4)
        peer_id = place if isinstance(place, bytes) else self._own_id()
        key = (peer_id, port, endpoint.family, form, isinstance(peer_id, UnprovedId))
        address = self._sources.get(key)
        if address is None:
            if len(self._sources) >= SPELLED_SOURCES:
                self._sources.clear()
            address = self._sources[key] = self.spell(endpoint, peer_id, port, mapped=form == 4)
        return address

    def _address_of(self, place: Place, form: int) -> str:
        """Return the text of the address that `place` has in one IP version."""
        if isinstance(place, str) and place != OWN:
            return place
        peer_id = place if isinstance(place, bytes) else self._own_id()
        return self._spelling.ipv4(peer_id) if form == 4 else self._spelling.ipv6(peer_id)

    def spell(self, endpoint: Binding, place: Place, port: int, *, mapped: bool) -> Address:
        """Return (`place`, `port`) as sockets of the endpoint's family see it."""
        family = endpoint.family
        if family == AF_PEER:
            peer_id = place if isinstance(place, bytes) else self._own_id()
            return (UnprovedHost(peer_id.hex()) if isinstance(peer_id, UnprovedId) else peer_id.hex(), port)
        if isinstance(place, str) and place != OWN:
            text = place or ("0.0.0.0" if family == _AF_INET or mapped else "::")
        else:
            peer_id = place if isinstance(place, bytes) else self._own_id()
            short = family == _AF_INET or mapped
            text = self._spelling.ipv4(peer_id) if short else self._spelling.ipv6(peer_id)
        if mapped and family != _AF_INET and ":" not in text:
            text = "::ffff:" + text
        if isinstance(place, UnprovedId):
            text = UnprovedHost(text)
        return (text, port) if family == _AF_INET else (text, port, 0, 0)
