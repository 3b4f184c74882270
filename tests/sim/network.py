"""A network of real engines in virtual time: one clock, one seed, an event heap.

Lives here: hosts, connections with latency, loss and bandwidth, dialling by URL, crashes and cuts. May not live here:
scenarios, measuring.

Law: the same seed gives the same run. Nothing here reads a clock, a hash order or the system's randomness.

How it fails: a crashed host's neighbours see a reset at once, as when a process dies. A host that *vanishes*, and every
connection that a partition crosses, says nothing ever again: the other end must find out (the case of a machine that
lost power, or of TCP whose retransmissions have backed off). Dialler into silence is repeated as SYNs are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from random import Random
from struct import pack

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from peer_relay_socket.address import Destination, PeerId
from peer_relay_socket.codec.control import proof
from peer_relay_socket.codec.packet import BUNDLE_TAG, is_tagged
from peer_relay_socket.engine.authentication import Handshake
from peer_relay_socket.engine.core import EngineConfig
from peer_relay_socket.engine.effects import (
    AddressChecked,
    CloseLink,
    Deliver,
    Dial,
    DialBack,
    Effect,
    Message,
    PeerDown,
    PeerUp,
    Writable,
)
from peer_relay_socket.engine.engine import Engine
from peer_relay_socket.identity import Identity
from peer_relay_socket.limits import ADDRESS_MOVES, PACKET_TARGET
from tests.sim.clock import Clock
from tests.sim.tags import receive, untagged

_SYN_AFTER = (1.0, 3.0, 7.0)
"""Seconds after which a SYN that nobody answered is sent again (Linux: 1, 3, 7 s); the dial fails at DIAL_TIME."""
_DIAL_TIME = 10.0
_FIRST_ROUTED = 0x10
"""Packet kinds from here on are routed; below are those of the link itself, which a full backlog never drops."""


class Connection:
    """One WebSocket between two hosts: ordered, `latency` seconds each way, until it is cut."""

    __slots__ = ("alive", "arrivals", "ends", "latency", "silent")

    def __init__(self, latency: float) -> None:
        self.alive = True
        self.arrivals = [0.0, 0.0]
        """When what was sent last from each end arrives: nothing overtakes it."""
        self.silent = False
        """Nothing passes any more, and nobody is told."""
        self.latency = latency
        self.ends: list[tuple[Host, int]] = []


class Host:
    """A process: an engine, its connections, and what it was given."""

    def __init__(self, network: Network, name: str, identity: Identity, config: EngineConfig, address: str) -> None:
        self.network = network
        self.name = name
        self.identity = identity
        self.config = config
        self.address = address
        self.place = (0.0, 0.0)
        """Where it is; `Network.distance` makes latency of it."""
        self.uplink = 0.0
        """Bytes per second that leave; 0 = no limit."""
        self.busy_until = 0.0
        self.alive = False
        self.silent = False
        """Vanished: who dials it hears nothing, where a crashed one's machine would refuse."""
        self.ended: float | None = None
        """When it last left, crashed or vanished; None while it runs."""
        self.settled: float | None = None
        """When it knew its address to be its own."""
        self.moved = 0
        """How often it took a new identity because its address was taken."""
        self.engine = self._make()
        self.connections: dict[int, tuple[Connection, int]] = {}
        self.received: list[Deliver] = []
        self.effects: list[Effect] = []
        self.up: dict[PeerId, float] = {}
        self.intercept: Callable[[Host, int, bytes], bytes] | None = None
        """What a dishonest host does with a bundle before its engine sees what this returns."""
        self._timer_at: float | None = None

    def _make(self) -> Engine:
        dice = Random(self.network.random.getrandbits(64))
        return Engine(
            self.identity,
            self.config,
            random=dice,
            entropy=dice.randbytes,
            now=self.network.now,
            handshake=self.network.handshake,
        )

    @property
    def peer_id(self) -> PeerId:
        return self.engine.peer_id

    def start(self) -> None:
        """Boot, or boot again after a crash."""
        if self.alive:
            return
        self.alive = True
        self.silent = False
        self.ended = self.settled = None
        if self.network.now or self.connections:
            self.engine = self._make()
        self.engine.start(self.network.now)
        self.pump()

    def leave(self) -> None:
        """Say goodbye and end."""
        self.engine.leave(self.network.now)
        self.pump()
        self.crash()

    def crash(self) -> None:
        """End as a killed process does: connections are reset, nothing is said."""
        self.alive = False
        self.ended = self.network.now
        for number in list(self.connections):
            self.network.cut(self, number)
        self.connections.clear()
        self.up.clear()

    def vanish(self) -> None:
        """End as a machine without power does: nobody is told."""
        self.alive = False
        self.silent = True
        self.ended = self.network.now
        for connection, _ in self.connections.values():
            connection.silent = True
        self.connections.clear()
        self.up.clear()

    def send(self, destination: Destination, port: int, *datagrams: bytes, source_port: int = 9) -> None:
        """Send datagrams from `source_port` to `port`."""
        assert sum(map(len, datagrams)) <= PACKET_TARGET or len(datagrams) == 1
        self.engine.send(destination, 4, source_port, port, datagrams, self.network.now)
        self.pump()

    def receive(self, number: int, data: bytes) -> None:
        """Take a bundle from a connection."""
        if self.intercept is not None:
            data = self.intercept(self, number, data)
        receive(self.engine, number, data, self.network.now)
        self.pump()

    def pump(self) -> None:
        """Perform what the engine asks for."""
        network = self.network
        engine = self.engine
        for number, chunks in engine.take_bundles():
            entry = self.connections.get(number)
            if entry is not None:
                network.transmit(self, entry[0], entry[1], untagged(b"".join(chunks)))
        for effect in engine.take_effects():
            self._perform(effect)
        due = self.engine.next_timer()
        if due is not None and (self._timer_at is None or due < self._timer_at):
            self._timer_at = max(due, network.now)
            network.at(self._timer_at, self._timer, self._timer_at, self.engine)

    def _timer(self, when: float, engine: Engine) -> None:
        if engine is not self.engine:
            return
        if self._timer_at == when:
            self._timer_at = None
        if self.alive:
            engine.handle_timer(self.network.now)
            self.pump()

    def _perform(self, effect: Effect) -> None:
        network = self.network
        if isinstance(effect, Deliver):
            if network.keep:
                self.received.append(effect)
            network.delivered(self, effect)
        elif isinstance(effect, Dial):
            network.dial(self, effect.url)
        elif isinstance(effect, DialBack):
            network.dial_back(self, effect)
        elif isinstance(effect, CloseLink):
            network.cut(self, effect.link)
        elif isinstance(effect, AddressChecked):
            self._settle(effect)
        else:
            if isinstance(effect, PeerUp):
                self.up[effect.peer_id] = network.now
            elif isinstance(effect, PeerDown):
                self.up.pop(effect.peer_id, None)
            network.on_effect(self, effect)
            if network.keep:
                self.effects.append(effect)

    def _settle(self, effect: AddressChecked) -> None:
        """Our address is ours; or it is not, and then we take another, if no program has seen this one."""
        network = self.network
        if network.keep:
            self.effects.append(effect)
        may_move = not self.identity.pinned and self.settled is None and self.moved < len(ADDRESS_MOVES)
        if not effect.other or not may_move:
            if self.settled is None:
                self.settled = network.now
            return
        network.at(network.now + ADDRESS_MOVES[self.moved], self._move, self.engine)
        self.moved += 1

    def _move(self, engine: Engine) -> None:
        if engine is self.engine and self.alive:
            self.leave()
            self.identity = self.network.identity(pinned=False)
            self._timer_at = None
            self.start()

    def messages(self) -> list[Message]:
        """Return the JSON messages received so far."""
        return [effect for effect in self.effects if isinstance(effect, Message)]

    def writable(self) -> bool:
        """Return whether a Writable effect came."""
        return any(isinstance(effect, Writable) for effect in self.effects)


class Network(Clock):
    """All hosts, and time."""

    def __init__(
        self,
        seed: int,
        *,
        latency: float = 0.01,
        jitter: float = 0.0,
        loss: float = 0.0,
        keep: bool = True,
        handshake: type[Handshake] = Handshake,
    ) -> None:
        super().__init__()
        self.random = Random(seed)
        self.hosts: dict[str, Host] = {}
        self.by_url: dict[str, Host] = {}
        self.latency = latency
        self.jitter = jitter
        self.loss = loss
        """Share of bundles that a link drops (its backlog was full)."""
        self.keep = keep
        """Whether hosts remember what was delivered to them and what their engines said."""
        self.handshake = handshake
        """What engines prove themselves by: the real one, or `plain.PlainHandshake` where there are thousands."""
        self.wobble = 0.0
        """Share of a connection's latency by which each bundle's varies, either way."""
        self.bundles = 0
        self.bytes = 0
        self.blocked: Callable[[Host, Host], bool] = lambda _a, _b: False
        """Whether one host cannot dial another (NAT): refused at once."""
        self.severed: Callable[[Host, Host], bool] | None = None
        """Whether a partition lies between two hosts: silence."""
        self.lossy: Callable[[Host, Host, bytes], bytes | None] | None = None
        """What becomes of a bundle on its way: itself, something else, or None."""
        self.tap: Callable[[Host, Host, bytes], None] | None = None
        """Sees every bundle that leaves."""
        self.trace = hashlib.sha256()
        """Of every bundle, when and on which link it left."""
        self.shape = hashlib.sha256()
        """The same, but of the bundles their sizes only: what the random keys do not change."""
        self._links = 0
        self.on_deliver: Callable[[Host, Deliver], None] = lambda _host, _effect: None
        self.on_effect: Callable[[Host, Effect], None] = lambda _host, _effect: None
        """Told of the effects that the network itself does not perform."""

    # --- making ----------------------------------------------------------------------------------------------

    def identity(self, *, pinned: bool) -> Identity:
        """Return a new identity, drawn from the seed."""
        return Identity(Ed25519PrivateKey.from_private_bytes(self.random.randbytes(32)), pinned=pinned)

    def host(
        self,
        name: str,
        *,
        bootstrap: tuple[str, ...] = (),
        serves: bool = False,
        listens: bool = False,
        start: bool = True,
        identity: Identity | None = None,
        address: str | None = None,
    ) -> Host:
        """Add a host; its URL, if it serves, is ws://8.x.y.z:80/. One that `listens` may serve, if others reach it."""
        number = len(self.hosts) + 1
        address = address or f"8.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        url = f"ws://{address}:80/"
        config = EngineConfig(
            bootstrap=tuple(self.url(other) for other in bootstrap),
            serves=serves,
            urls=(url,) if serves else (),
            listens=("ws://*:80",) if listens else (),
        )
        host = Host(self, name, identity or self.identity(pinned=True), config, address)
        self.hosts[name] = host
        self.by_url[url] = self.by_url[url.rstrip("/")] = host
        if start:
            host.start()
        return host

    def url(self, name: str) -> str:
        """Return the URL of a host that was added."""
        return f"ws://{self.hosts[name].address}:80/"

    def distance(self, one: Host, other: Host) -> float:
        """Return the latency between two hosts: a floor, and what lies between their places."""
        (ax, ay), (bx, by) = one.place, other.place
        return self.latency + ((ax - bx) ** 2 + (ay - by) ** 2) ** 0.5 + self.jitter * self.random.random()

    # --- connections -----------------------------------------------------------------------------------------

    def dial(self, host: Host, url: str) -> None:
        """Carry out a Dial effect: three crossings (SYN, its answer, the upgrade request) lie before it stands."""
        other = self.by_url.get(url)
        latency = self.latency if other is None else self.distance(host, other)
        self.at(self.now + 3 * latency, self._arrive, host, host.engine, url, latency, 0)

    def _arrive(self, host: Host, engine: Engine, url: str, latency: float, attempt: int) -> None:
        if not host.alive or host.engine is not engine:
            return
        other = self.by_url.get(url)
        if other is not None and (other.silent or (self.severed is not None and self.severed(host, other))):
            waited = 0.0 if not attempt else _SYN_AFTER[attempt - 1]
            if attempt < len(_SYN_AFTER):
                again = self.now + _SYN_AFTER[attempt] - waited
                self.at(again, self._arrive, host, engine, url, latency, attempt + 1)
            else:
                self.at(self.now + _DIAL_TIME - waited, self._fail, host, engine, url)
            return
        if other is None or not self._accepts(host, other):
            self._fail(host, engine, url)
            return
        connection = Connection(latency)
        for end, dialled, far in ((host, url, other), (other, None, host)):
            self._links += 1
            number = self._links
            connection.ends.append((end, number))
            end.connections[number] = (connection, len(connection.ends) - 1)
            end.engine.link_opened(number, url=dialled, remote_host=far.address, now=self.now)
        host.pump()
        other.pump()

    def _accepts(self, host: Host, other: Host) -> bool:
        return other.alive and (other.config.serves or bool(other.config.listens)) and not self.blocked(host, other)

    def dial_back(self, host: Host, effect: DialBack) -> None:
        """Carry out a DialBack effect: the proof arrives, if somebody accepts, behind the acceptor's first word."""
        other = self.by_url.get(effect.url)
        if other is not None:
            self.at(self.now + 5 * self.distance(host, other), self._dialled_back, host, other, effect.nonce)

    def _dialled_back(self, host: Host, other: Host, nonce: bytes) -> None:
        cut_off = self.severed is not None and self.severed(host, other)
        if host.alive and self._accepts(host, other) and not cut_off:
            self._links += 1
            other.engine.link_opened(self._links, url=None, remote_host=host.address, now=self.now)
            other.engine.receive(self._links, proof(nonce), self.now)
            other.pump()

    def _fail(self, host: Host, engine: Engine, url: str) -> None:
        if host.alive and host.engine is engine:
            engine.dial_failed(url, self.now)
            host.pump()

    def transmit(self, sender: Host, connection: Connection, side: int, data: bytes) -> None:
        """Send a bundle from one end of a connection to the other."""
        self.bundles += 1
        self.bytes += len(data) + (BUNDLE_TAG if is_tagged(data) else 0)
        stamp = pack(">dII", self.now, connection.ends[side][1], len(data))
        self.shape.update(stamp)
        self.trace.update(stamp)
        self.trace.update(data)
        if self.tap is not None:
            self.tap(sender, connection.ends[1 - side][0], data)
        leaves = self.now
        if sender.uplink:
            leaves = sender.busy_until = max(leaves, sender.busy_until) + len(data) / sender.uplink
        arrives = leaves + connection.latency
        if self.wobble:
            arrives += connection.latency * self.wobble * (2.0 * self.random.random() - 1.0)
            arrives = connection.arrivals[side] = max(arrives, connection.arrivals[side])
        self.at(arrives, self._deliver, connection, 1 - side, data)

    def _deliver(self, connection: Connection, side: int, data: bytes) -> None:
        if not connection.alive or connection.silent:
            return
        if self.loss and _FIRST_ROUTED <= data[0] < 0xF0 and self.random.random() < self.loss:
            return
        host, number = connection.ends[side]
        if not host.alive:
            return
        if self.lossy is not None:
            through = self.lossy(connection.ends[1 - side][0], host, data)
            if through is None:
                return
            data = through
        host.receive(number, data)

    def sever(self, severed: Callable[[Host, Host], bool]) -> None:
        """Begin a partition: connections across it fall silent for good, dials across it meet silence."""
        self.severed = severed
        for host in self.hosts.values():
            for connection, _ in host.connections.values():
                connection.silent = connection.silent or severed(connection.ends[0][0], connection.ends[1][0])

    def cut(self, host: Host, number: int) -> None:
        """Close a connection; the other end hears of it after the latency, behind what was sent."""
        entry = host.connections.pop(number, None)
        if entry is None:
            return
        connection, side = entry
        if not connection.silent:
            leaves = max(self.now, host.busy_until)
            arrives = max(leaves + connection.latency, connection.arrivals[side])
            self.at(arrives, self._closed, connection, 1 - side)

    def _closed(self, connection: Connection, side: int) -> None:
        connection.alive = False
        for end, number in connection.ends:
            end.connections.pop(number, None)
        host, number = connection.ends[side]
        if host.alive and not connection.silent:
            host.engine.link_closed(number, self.now)
            host.pump()

    def delivered(self, host: Host, effect: Deliver) -> None:
        """A host was given datagrams."""
        self.trace.update(host.peer_id + b"".join(effect.datagrams))
        self.on_deliver(host, effect)
