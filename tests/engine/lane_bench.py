"""Engines joined by cables and, beside them, by UDP that a test may look at, lose, repeat and send from elsewhere."""

from __future__ import annotations

from collections.abc import Callable

from peer_relay_socket.codec import lane as wire
from peer_relay_socket.engine.lane import Lane, Place, State
from peer_relay_socket.engine.link import LinkState
from peer_relay_socket.limits import LANE_PACKETS
from tests.sim.bench import Bench, Node

Path = Callable[[Place, Place, bytes], "list[tuple[Place, bytes]]"]
"""(from, to, frame) -> what arrives at `to`, and where it seems to come from."""


def straight(source: Place, _to: Place, frame: bytes) -> list[tuple[Place, bytes]]:
    return [(source, frame)]


def lost(_source: Place, _to: Place, _frame: bytes) -> list[tuple[Place, bytes]]:
    return []


class LaneBench(Bench):
    """A relay and peers that have dialled it."""

    def __init__(self, seed: int = 1, peers: int = 2) -> None:
        super().__init__(seed)
        self.places: dict[Place, Node] = {}
        """Who is where; what goes to another place vanishes."""
        self.path: Path = straight
        self.frames: list[tuple[Place, Place, bytes]] = []
        """Every frame that left: from, to, what."""
        self.relay = self.node("relay", serves=True)
        self.peers = [self.node(f"peer{number}") for number in range(peers)]
        for number, node in enumerate(self.nodes):
            node.config.lane = True
            self.places[f"8.0.0.{1 + number}", 4000 + number] = node
        self.relay.config.udp = ("", 4000)

    def start(self) -> LaneBench:
        """Link every peer to the relay."""
        for peer in self.peers:
            self.join(peer, self.relay)
        self.flow()
        return self

    def talk(self, times: int = 2 * LANE_PACKETS, gap: float = 0.05) -> list[bytes]:
        """Let the first peer send to the second; return what arrives."""
        one, other = self.peers[:2]
        for number in range(times):
            one.send(other, b"%d" % number)
            self.advance(gap)
        return other.heard()

    def place_of(self, node: Node) -> Place:
        return next(place for place, each in self.places.items() if each is node)

    def move(self, node: Node, place: Place) -> None:
        """A NAT gives a node another address."""
        del self.places[self.place_of(node)]
        self.places[place] = node

    def link(self, node: Node, far: Node) -> LinkState:
        return node.engine._links.by_id[far.peer_id]

    def lane(self, node: Node, far: Node) -> Lane:
        lane = self.link(node, far).lane
        assert lane is not None
        return lane

    def states(self) -> list[State]:
        """Of the lanes between the relay and each peer: at the peer, at the relay."""
        found = []
        for peer in self.peers:
            for node, far in ((peer, self.relay), (self.relay, peer)):
                lane = self.link(node, far).lane
                found.append(State.NONE if lane is None else lane.state)
        return found

    def signs(self, step: wire.Step, to: Place | None = None) -> list[bytes]:
        """Return the frames of a step that left, to a place or to any."""
        frames = [frame for _, place, frame in self.frames if to in (None, place) and frame[0] == wire.SIGN]
        return [frame for frame in frames if frame[wire.FRONT_BYTES] == step]

    def data(self, node: Node) -> int:
        """Return how many frames with packets left from a node."""
        here = self.place_of(node)
        return sum(source == here and frame[0] == wire.DATA for source, _, frame in self.frames)

    def flow(self, limit: int = 10_000) -> None:
        """Let everything under way arrive, by cable and by UDP."""
        super().flow(limit)
        while moved := [(node, *each) for node in self.nodes for each in node.engine.lanes.take_frames()]:
            for node, place, frame in moved:
                source = self.place_of(node)
                self.frames.append((source, place, frame))
                for seems, each in self.path(source, place, frame):
                    self.deliver(seems, place, each)
            super().flow(limit)

    def deliver(self, source: Place, place: Place, frame: bytes) -> None:
        """Let a frame arrive."""
        node = self.places.get(place)
        if node is not None:
            node.engine.lane_heard(frame, *source, self.now)


def live() -> LaneBench:
    """Two peers with lanes to their relay."""
    bench = LaneBench().start()
    bench.talk()
    assert bench.states() == [State.LIVE] * 4
    return bench
