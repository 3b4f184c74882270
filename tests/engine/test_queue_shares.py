"""A link between relays that takes less than is sent into it: who floods it loses, and not who sends little."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.packet import Kind
from peer_relay_socket.engine.queue_shares import QueueShares
from peer_relay_socket.limits import LINK_HIGH_WATER, LINK_LOW_WATER, MAX_LINK_QUEUE, SESSION_WINDOW
from tests.sim.bench import Bench, Cable, Node

TICK = 0.02
DROPPED = "dropped: fills the queue of a slow neighbour"


class SlowLink:
    """What a relay's driver and connection do with what the relay sends to another."""

    def __init__(self, bench: Bench, cable: Cable, near: Node, far: Node, rate: int) -> None:
        """Args: rate: bytes that leave in one TICK."""
        self._number = cable.number(near)
        self._near, self._far, self._rate = near, far, rate
        self.waiting = 0
        bench.gate = self._send

    def _send(self, sender: Node, receiver: Node, data: bytes) -> bytes | None:
        if (sender, receiver) != (self._near, self._far):
            return data
        if self.waiting > MAX_LINK_QUEUE:
            return None
        self.waiting += len(data)
        if self.waiting > LINK_HIGH_WATER:
            self._near.engine.link_full(self._number, True, self._near.bench.now, self.waiting)
        return data

    def drain(self) -> None:
        was_full = self.waiting > LINK_LOW_WATER
        self.waiting = max(0, self.waiting - self._rate)
        if was_full and self.waiting <= LINK_LOW_WATER:
            self._near.engine.link_full(self._number, False, self._near.bench.now)


def scene(leaves: int, rate: int) -> tuple[Bench, SlowLink, Node, Node, list[tuple[Node, Cable]]]:
    """Two relays with a slow link between, leaves at one of them, a receiver at the other."""
    bench = Bench(3)
    near, far, receiver = bench.node("near", serves=True), bench.node("far", serves=True), bench.node("receiver")
    between = bench.join(near, far)
    bench.join(receiver, far)
    senders = [bench.node(f"leaf{number}") for number in range(leaves)]
    cables = [bench.join(leaf, near) for leaf in senders]
    bench.advance(2.0)
    bench.seen.clear()
    return bench, SlowLink(bench, between, near, far, rate), near, receiver, list(zip(senders, cables, strict=True))


def sealed(sender: Node, receiver: Node, size: int) -> bytes:
    return wire.packet(Kind.SEALED, receiver.peer_id, sender.peer_id, bytes(size))


@pytest.mark.parametrize("floods", [1, 3])
def test_one_that_sends_little_loses_nothing_beside_those_that_flood(floods: int) -> None:
    bench, slow, near, receiver, ((little, cable), *others) = scene(1 + floods, rate=125_000)
    for _ in range(150):
        for flood, its_cable in others:
            bench.inject(its_cable, near, *[sealed(flood, receiver, 40_000)] * 8)
        bench.inject(cable, near, sealed(little, receiver, 1_200))
        slow.drain()
        bench.now += TICK
    passed = [packet for packet in bench.sent(Kind.SEALED, near) if packet[28:48] == little.peer_id]
    assert slow.waiting <= MAX_LINK_QUEUE * (floods + 0.2) / (floods + 1)
    assert len(passed) == 150
    assert near.engine.counters[DROPPED] > 0


def test_one_that_sends_a_window_to_two_peers_at_once_loses_nothing() -> None:
    bench, _, near, receiver, ((leaf, cable),) = scene(1, rate=0)
    count = 2 * SESSION_WINDOW // 50_000 - 1
    for _ in range(count):
        bench.inject(cable, near, sealed(leaf, receiver, 50_000))
    assert len(bench.sent(Kind.SEALED, near)) == count
    assert DROPPED not in near.engine.counters


def test_what_was_held_before_the_link_was_free_again_counts_no_more() -> None:
    bench, slow, near, receiver, ((leaf, cable),) = scene(1, rate=MAX_LINK_QUEUE)
    for _ in range(3):
        bench.inject(cable, near, *[sealed(leaf, receiver, 50_000)] * 60)
        assert slow.waiting > LINK_HIGH_WATER
        slow.drain()
        bench.now += 1.0
    assert DROPPED not in near.engine.counters


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 60_000), st.integers(0, 90_000)), max_size=400))
def test_nobody_holds_more_than_is_free_and_a_newcomer_is_let_in(steps: list[tuple[int, int, int]]) -> None:
    """Against a queue that remembers what each packet is and from where."""
    shares, held = QueueShares(), []
    admitted: Callable[[int, int], bool] = shares.admit
    for source, size, drained in steps:
        if admitted(source, size):
            held.append((source, size))
        while held and drained >= held[0][1]:
            drained -= held.pop(0)[1]
        shares.waiting = sum(size for _, size in held)
        assert shares.waiting <= MAX_LINK_QUEUE
        assert shares.admit(99, 0)
