"""Sealed packets that overtake the last message of their session's handshake: a shorter way came up behind it."""

from __future__ import annotations

from peer_relay_socket.codec.packet import Kind
from peer_relay_socket.limits import EARLY_BYTES, EARLY_PACKETS, LINK_HANDSHAKE_TIME
from tests.sim.bench import Bench, Cable, Node, kind_of, step_of

UNKNOWN = "dropped: unknown session"


class Overtaken:
    """Two nodes, of which one has opened a session; the other has not got the third message."""

    def __init__(self) -> None:
        self.bench = Bench()
        self.one, self.other = self.bench.pair()
        self.last: list[bytes] = []
        self.bench.gate = self._gate
        self.one.send(self.other, b"0")
        self.bench.flow()
        assert len(self.last) == 1

    def _gate(self, _sender: Node, _receiver: Node, data: bytes) -> bytes | None:
        if kind_of(data) == Kind.HANDSHAKE and step_of(data) == 3:
            self.last.append(data)
            return None
        return data

    @property
    def cable(self) -> Cable:
        return next(iter(self.one.cables.values()))

    def send(self, *datagrams: bytes) -> None:
        """Send each in a packet of its own."""
        for datagram in datagrams:
            self.one.send(self.other, datagram)
            self.bench.flow()

    def complete(self) -> None:
        """Let the third message arrive."""
        self.bench.inject(self.cable, self.other, self.last[0])


def test_what_overtakes_the_end_of_a_handshake_is_delivered_once_that_comes() -> None:
    scene = Overtaken()
    scene.send(b"1", b"2", b"3")
    assert scene.other.heard() == []
    scene.complete()
    assert scene.other.heard() == [b"0", b"1", b"2", b"3"]
    assert UNKNOWN not in scene.other.engine.counters
    scene.bench.advance(2.0)
    assert scene.other.heard() == [], "nothing comes twice"


def test_few_are_held_and_the_rest_is_counted() -> None:
    scene = Overtaken()
    scene.send(*(b"%d" % number for number in range(1, EARLY_PACKETS + 5)))
    assert scene.other.engine.counters[UNKNOWN] == 5
    scene.complete()
    assert scene.other.heard() == [b"%d" % number for number in range(EARLY_PACKETS)]


def test_bytes_that_are_held_are_bounded_and_forgotten_with_the_handshake() -> None:
    scene = Overtaken()
    handshakes = scene.other.engine._sessions._handshakes
    held = handshakes._early_bytes
    assert held > 0
    handshakes._early_bytes = EARLY_BYTES
    scene.send(b"1")
    assert scene.other.engine.counters[UNKNOWN] == 1
    handshakes._early_bytes = held
    scene.bench.gate = lambda *_: None
    scene.bench.advance(LINK_HANDSHAKE_TIME + 1.0)
    handshakes._core.now = scene.bench.now
    handshakes.expire()
    assert handshakes._early_bytes == 0


def test_what_does_not_open_is_counted_and_harms_nothing() -> None:
    scene = Overtaken()
    scene.bench.gate = lambda _sender, _receiver, data: (
        data[:-1] + bytes((data[-1] ^ 1,)) if kind_of(data) == Kind.SEALED else data
    )
    scene.send(b"1")
    scene.bench.gate = lambda _sender, _receiver, data: data
    scene.send(b"2")
    scene.complete()
    assert scene.other.heard() == [b"0", b"2"]
    assert scene.other.engine.counters["dropped: did not open"] == 1
