"""Engines joined by cables whose packets a test may look at, hold back, alter, repeat or drop one by one.

Lives here: nodes, cables, a clock that only the test moves. May not live here: latency, dialling (network.py).

Law: nothing moves unless the test calls `flow` or `advance`; the same calls give the same run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from random import Random
from typing import TypeVar

from peer_relay_socket.address import PeerId
from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.control import proof
from peer_relay_socket.codec.packet import HEADER_BYTES, Kind
from peer_relay_socket.engine.core import EngineConfig
from peer_relay_socket.engine.effects import CloseLink, Deliver, DialBack, Effect
from peer_relay_socket.engine.engine import Engine
from peer_relay_socket.identity import Identity
from tests.sim.tags import receive, untagged

E = TypeVar("E")
Gate = Callable[["Node", "Node", bytes], "bytes | Iterable[bytes] | None"]
"""(from, to, packet) -> the packet, other packets, or None to lose it. Link handshake messages come whole."""


def kind_of(data: bytes) -> int:
    """Return the kind of a packet; LINK_HANDSHAKE for a link handshake message."""
    return data[0]


def step_of(data: bytes) -> int:
    """Return the step of a HANDSHAKE packet, else 0."""
    return data[HEADER_BYTES] if data[0] == Kind.HANDSHAKE else 0


def packets_of(bundle: bytes) -> list[bytes]:
    """Cut a bundle, without its tag, into its packets."""
    if bundle[0] == wire.LINK_HANDSHAKE:
        return [bundle]
    packets, offset = [], 0
    while offset < len(bundle):
        end = wire.read_header(bundle, offset).end
        packets.append(bundle[offset:end])
        offset = end
    return packets


class Node:
    """An engine and what it asked for."""

    def __init__(self, bench: Bench, name: str, identity: Identity, config: EngineConfig) -> None:
        self.bench = bench
        self.name = name
        self.identity = identity
        self.config = config
        self.effects: list[Effect] = []
        self.cables: dict[int, Cable] = {}
        self.engine = self._make()

    def _make(self) -> Engine:
        dice = Random(self.bench.random.getrandbits(64))
        return Engine(self.identity, self.config, random=dice, entropy=dice.randbytes, now=self.bench.now)

    @property
    def peer_id(self) -> PeerId:
        return self.engine.peer_id

    def restart(self) -> None:
        """Come back under the same key with an empty memory; every cable is cut."""
        for cable in list(self.cables.values()):
            cable.cut()
        self.engine = self._make()
        self.effects.clear()

    def send(self, other: Node, *datagrams: bytes, port: int = 5, source_port: int = 9) -> None:
        """Send datagrams; `flow` must follow."""
        self.engine.send(other.peer_id, 4, source_port, port, datagrams, self.bench.now)

    def take(self, kind: type[E]) -> list[E]:
        """Return the effects of `kind` so far, and forget them."""
        found = [effect for effect in self.effects if isinstance(effect, kind)]
        self.effects = [effect for effect in self.effects if not isinstance(effect, kind)]
        return found

    def heard(self) -> list[bytes]:
        """Return the datagrams delivered so far, and forget them."""
        return [datagram for deliver in self.take(Deliver) for datagram in deliver.datagrams]


class Cable:
    """A connection between two nodes."""

    def __init__(self, bench: Bench, number: int, dialler: Node, acceptor: Node) -> None:
        self.bench = bench
        self.ends = {2 * number: dialler, 2 * number + 1: acceptor}
        self.alive = True

    def number(self, node: Node) -> int:
        """Return the number by which `node` knows this cable."""
        return next(number for number, end in self.ends.items() if end is node)

    def cut(self) -> None:
        """Close it at both ends."""
        if self.alive:
            self.alive = False
            for number, node in self.ends.items():
                node.cables.pop(number, None)
                node.engine.link_closed(number, self.bench.now)


class Bench:
    """All nodes, cables and the clock."""

    def __init__(self, seed: int = 1) -> None:
        self.random = Random(seed)
        self.now = 0.0
        self.nodes: list[Node] = []
        self.gate: Gate = lambda _sender, _receiver, packet: packet
        self.seen: list[tuple[Node, Node, bytes]] = []
        """Every packet that entered a cable, before the gate."""
        self._cables = 0
        self._waiting: deque[tuple[Cable, int, bytes]] = deque()
        self._backs: deque[tuple[Node, DialBack]] = deque()
        """Carried out once all else has arrived."""

    def node(self, name: str, *, serves: bool = False, psk: bytes | None = None) -> Node:
        """Add a node; one that serves relays."""
        config = EngineConfig(serves=serves, urls=(f"ws://{name}.example",) if serves else (), psk=psk)
        node = Node(self, name, Identity.from_seed(self.random.randbytes(32)), config)
        self.nodes.append(node)
        return node

    def pair(self, *, serves: bool = True) -> tuple[Node, Node]:
        """Return two linked nodes, the lower id first; the second serves."""
        low, high = sorted((self.node("one"), self.node("two")), key=lambda node: node.peer_id)
        high.config.serves = serves
        self.join(low, high)
        self.flow()
        for node in (low, high):
            node.effects.clear()
        return low, high

    def join(self, dialler: Node, acceptor: Node, url: str = "") -> Cable:
        """Connect two nodes."""
        self._cables += 1
        cable = Cable(self, self._cables, dialler, acceptor)
        for number, node in cable.ends.items():
            node.cables[number] = cable
            far = next(end for end in cable.ends.values() if end is not node)
            dialled = (url or f"ws://{acceptor.name}.example") if node is dialler else None
            node.engine.link_opened(number, url=dialled, remote_host=f"8.0.0.{1 + self.nodes.index(far)}", now=self.now)
        return cable

    def flow(self, limit: int = 10_000) -> None:
        """Let everything under way arrive, through the gate, and what comes of it too."""
        stirred = self.nodes
        """Whose engines may have something new: after a packet its receiver's alone."""
        for _ in range(limit):
            for node in stirred:
                self._collect(node)
            if not self._waiting and stirred is not self.nodes:
                stirred = self.nodes
                continue
            if not self._waiting:
                if not self._backs:
                    return
                self._dial_back(*self._backs.popleft())
                stirred = self.nodes
                continue
            cable, number, packet = self._waiting.popleft()
            node = cable.ends[number]
            stirred = [node]
            if cable.alive:
                receive(node.engine, number, packet, self.now)
        raise AssertionError("the packets never end")

    def _collect(self, node: Node) -> None:
        for number, chunks in node.engine.take_bundles():
            cable = node.cables.get(number)
            if cable is None:
                continue
            far_number = number ^ 1
            far = cable.ends[far_number]
            for packet in packets_of(untagged(b"".join(chunks))):
                self.seen.append((node, far, packet))
                through = self.gate(node, far, packet)
                if through is not None:
                    for each in (through,) if isinstance(through, bytes) else through:
                        self._waiting.append((cable, far_number, each))
        for effect in node.engine.take_effects():
            node.effects.append(effect)
            if isinstance(effect, CloseLink) and effect.link in node.cables:
                node.cables[effect.link].cut()
            elif isinstance(effect, DialBack):
                self._backs.append((node, effect))

    def _dial_back(self, node: Node, effect: DialBack) -> None:
        """Carry out a DialBack effect, if it leads to a node."""
        for other in self.nodes:
            if effect.url == f"ws://{other.name}.example":
                self._cables += 1
                host = f"8.0.0.{1 + self.nodes.index(node)}"
                other.engine.link_opened(2 * self._cables, url=None, remote_host=host, now=self.now)
                other.engine.receive(2 * self._cables, proof(effect.nonce), self.now)

    def inject(self, cable: Cable, to: Node, *packets: bytes) -> None:
        """Let packets that nobody sent arrive at `to`."""
        for packet in packets:
            receive(to.engine, cable.number(to), packet, self.now)
        self.flow()

    def advance(self, seconds: float) -> None:
        """Let time pass, timer by timer, everything flowing at once."""
        end = self.now + seconds
        self.flow()
        for _ in range(100_000):
            due = [when for when in (node.engine.next_timer() for node in self.nodes) if when is not None]
            when = min(due, default=end)
            if when > end:
                break
            self.now = max(self.now, when)
            for node in self.nodes:
                timer = node.engine.next_timer()
                if timer is not None and timer <= self.now:
                    node.engine.handle_timer(self.now)
            self.flow()
        else:
            raise AssertionError("the timers never end")
        self.now = end

    def sent(self, kind: Kind, sender: Node | None = None) -> list[bytes]:
        """Return the packets of `kind` that entered a cable so far (those of `sender`)."""
        return [data for node, _, data in self.seen if data[0] == kind and sender in (None, node)]


def talking(bench: Bench) -> tuple[Node, Node]:
    """Two nodes with a session and nothing owed."""
    low, high = bench.pair()
    low.send(high, b"first")
    bench.advance(1.0)
    assert high.heard() == [b"first"]
    bench.seen.clear()
    return low, high
