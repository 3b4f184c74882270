"""A network of real engines in virtual time: one clock, one seed, an event heap.

Lives here: hosts, connections with latency and loss, dialling by URL, crashes. May not live here: scenarios.

Law: the same seed gives the same run. Nothing here reads a clock, a hash order or the system's randomness.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random

from peer_relay_socket.address import Destination, PeerId
from peer_relay_socket.engine.core import EngineConfig
from peer_relay_socket.engine.effects import CloseLink, Deliver, Dial, Effect, Message, PeerDown, PeerUp, Writable
from peer_relay_socket.engine.engine import Engine
from peer_relay_socket.identity import Identity
from peer_relay_socket.limits import PACKET_TARGET


class Connection:
    """One WebSocket between two hosts: ordered, reliable, `latency` seconds each way, until it is cut."""

    __slots__ = ("alive", "ends", "latency")

    def __init__(self, latency: float) -> None:
        self.alive = True
        self.latency = latency
        self.ends: dict[str, tuple[Host, int]] = {}


class Host:
    """A process: an engine, its connections, and what it was given."""

    def __init__(self, network: Network, name: str, identity: Identity, config: EngineConfig, address: str) -> None:
        self.network = network
        self.name = name
        self.identity = identity
        self.config = config
        self.address = address
        self.alive = False
        self.engine = self._make()
        self.connections: dict[int, tuple[Connection, str]] = {}
        self.received: list[Deliver] = []
        self.effects: list[Effect] = []
        self.up: dict[PeerId, float] = {}
        self.sent: deque[tuple[Destination, int, int, list[bytes]]] = deque()
        self._timer_at: float | None = None

    def _make(self) -> Engine:
        seed = self.network.random.getrandbits(64)
        dice = Random(seed)
        return Engine(self.identity, self.config, random=dice, entropy=dice.randbytes, now=self.network.now)

    @property
    def peer_id(self) -> PeerId:
        return self.engine.peer_id

    def start(self) -> None:
        """Boot, or boot again after a crash."""
        if self.alive:
            return
        self.alive = True
        if self.network.now or self.connections:
            self.engine = self._make()
        self.engine.start(self.network.now)
        self.pump()

    def crash(self) -> None:
        """Vanish: connections are reset, nothing is said."""
        self.alive = False
        for number in list(self.connections):
            self.network.cut(self, number)
        self.connections.clear()

    def send(self, destination: Destination, port: int, *datagrams: bytes, source_port: int = 9) -> None:
        """Send datagrams from `source_port` to `port`."""
        assert sum(map(len, datagrams)) <= PACKET_TARGET or len(datagrams) == 1
        self.engine.send(destination, 4, source_port, port, datagrams, self.network.now)
        self.pump()

    def pump(self) -> None:
        """Perform what the engine asks for."""
        network = self.network
        for number, chunks in self.engine.take_bundles():
            if number in self.connections:
                connection, side = self.connections[number]
                network.transmit(connection, side, b"".join(chunks))
        for effect in self.engine.take_effects():
            self._perform(effect)
        due = self.engine.next_timer()
        if due is not None and (self._timer_at is None or due < self._timer_at):
            self._timer_at = max(due, network.now)
            network.at(self._timer_at, self._timer, self._timer_at, self.engine)

    def _timer(self, when: float, engine: Engine) -> None:
        if self._timer_at == when:
            self._timer_at = None
        if self.alive and engine is self.engine:
            self.engine.handle_timer(self.network.now)
            self.pump()

    def _perform(self, effect: Effect) -> None:
        network = self.network
        if isinstance(effect, Deliver):
            self.received.append(effect)
            network.delivered(self, effect)
        elif isinstance(effect, Dial):
            network.dial(self, effect.url)
        elif isinstance(effect, CloseLink):
            network.cut(self, effect.link)
        else:
            if isinstance(effect, PeerUp):
                self.up[effect.peer_id] = network.now
            elif isinstance(effect, PeerDown):
                self.up.pop(effect.peer_id, None)
            self.effects.append(effect)

    def messages(self) -> list[Message]:
        """Return the JSON messages received so far."""
        return [effect for effect in self.effects if isinstance(effect, Message)]

    def writable(self) -> bool:
        """Return whether a Writable effect came."""
        return any(isinstance(effect, Writable) for effect in self.effects)


class Network:
    """All hosts, and time."""

    def __init__(self, seed: int, *, latency: float = 0.01, jitter: float = 0.0) -> None:
        self.random = Random(seed)
        self.now = 0.0
        self.hosts: dict[str, Host] = {}
        self.by_url: dict[str, Host] = {}
        self.latency = latency
        self.jitter = jitter
        self.bundles = 0
        self.bytes = 0
        self.blocked: Callable[[Host, Host], bool] = lambda _a, _b: False
        """Whether one host cannot dial another (NAT, partition)."""
        self.lossy: Callable[[Host, Host, bytes], bytes | None] = lambda _a, _b, data: data
        """What becomes of a bundle on its way: itself, something else, or None."""
        self.trace = hashlib.sha256()
        self._heap: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []
        self._events = 0
        self._links = 0
        self.on_deliver: Callable[[Host, Deliver], None] = lambda _host, _effect: None

    # --- making ----------------------------------------------------------------------------------------------

    def host(self, name: str, *, bootstrap: tuple[str, ...] = (), serves: bool = False, start: bool = True) -> Host:
        """Add a host; its URL, if it serves, is ws://<name>.example:80/."""
        number = len(self.hosts) + 1
        address = f"8.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        url = f"ws://{address}:80/"
        config = EngineConfig(
            bootstrap=tuple(self.url(other) for other in bootstrap), serves=serves, urls=(url,) if serves else ()
        )
        host = Host(self, name, Identity.from_seed(self.random.randbytes(32)), config, address)
        self.hosts[name] = host
        self.by_url[url] = host
        if start:
            host.start()
        return host

    def url(self, name: str) -> str:
        """Return the URL of a host that was added."""
        return f"ws://{self.hosts[name].address}:80/"

    # --- time ------------------------------------------------------------------------------------------------

    def at(self, when: float, call: Callable[..., None], *args: object) -> None:
        """Arrange for call(*args)."""
        self._events += 1
        heappush(self._heap, (when, self._events, call, args))

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Let `seconds` pass, or less if `until` comes true; return whether it did."""
        end = self.now + seconds
        while self._heap and self._heap[0][0] <= end:
            when, _, call, args = heappop(self._heap)
            self.now = max(self.now, when)
            call(*args)
            if until is not None and until():
                return True
        self.now = end
        return until is not None and until()

    # --- connections -----------------------------------------------------------------------------------------

    def dial(self, host: Host, url: str) -> None:
        """Carry out a Dial effect."""
        self.at(self.now + self.latency, self._arrive, host, host.engine, url)

    def _arrive(self, host: Host, engine: Engine, url: str) -> None:
        other = self.by_url.get(url)
        if not host.alive or host.engine is not engine:
            return
        if other is None or not other.alive or not other.config.serves or self.blocked(host, other):
            engine.dial_failed(url, self.now)
            host.pump()
            return
        connection = Connection(self.latency + self.jitter * self.random.random())
        for side, end, dialled, far in (("a", host, url, other), ("b", other, None, host)):
            self._links += 1
            number = self._links
            connection.ends[side] = (end, number)
            end.connections[number] = (connection, side)
            end.engine.link_opened(number, url=dialled, remote_host=far.address, now=self.now)
        host.pump()
        other.pump()

    def transmit(self, connection: Connection, side: str, data: bytes) -> None:
        """Send a bundle from one end of a connection to the other."""
        self.bundles += 1
        self.bytes += len(data)
        self.trace.update(data)
        self.at(self.now + connection.latency, self._deliver, connection, "b" if side == "a" else "a", data)

    def _deliver(self, connection: Connection, side: str, data: bytes) -> None:
        if not connection.alive:
            return
        host, number = connection.ends[side]
        sender, _ = connection.ends["a" if side == "b" else "b"]
        through = self.lossy(sender, host, data)
        if through is not None and host.alive:
            host.engine.receive(number, through, self.now)
            host.pump()

    def cut(self, host: Host, number: int) -> None:
        """Close a connection; the other end hears of it after the latency."""
        entry = host.connections.pop(number, None)
        if entry is None:
            return
        connection, side = entry
        self.at(self.now + connection.latency, self._closed, connection, "b" if side == "a" else "a")

    def _closed(self, connection: Connection, side: str) -> None:
        connection.alive = False
        for end, number in connection.ends.values():
            end.connections.pop(number, None)
        host, number = connection.ends[side]
        if host.alive:
            host.engine.link_closed(number, self.now)
            host.pump()

    def delivered(self, host: Host, effect: Deliver) -> None:
        """A host was given datagrams."""
        self.trace.update(host.peer_id + b"".join(effect.datagrams))
        self.on_deliver(host, effect)
