"""A relay that takes the short way where it can does exactly what its twin does that never takes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.packet import HEADER_BYTES, Record
from peer_relay_socket.rate import TrafficBucket
from tests.engine.fast_path_bench import Came, hear, number_of, receive, sealed, star, state, taken, wait
from tests.sim.bench import Bench, Node

records = st.one_of(
    st.builds(
        lambda form, ports, data: wire.datagrams_record(form, *ports, [data]),
        st.sampled_from([0, 4, 4, 4, 6, 6, 5]),
        st.sampled_from([(9, 5), (9, 5), (9, 5), (65_535, 1), (0, 5), (9, 0)]),
        st.one_of(st.binary(max_size=40), st.integers(0, 6_000).map(bytes)),  # in all, less than ACK_EVERY
    ),
    st.lists(st.binary(max_size=9), max_size=3).map(lambda many: wire.datagrams_record(4, 9, 5, many)),
    st.integers(0, 40).map(lambda highest: wire.record(Record.ACK, highest.to_bytes(8))),
    st.builds(wire.record, st.sampled_from([*Record, 77]), st.binary(max_size=30)),
)
common_records = st.builds(lambda data: wire.datagrams_record(4, 9, 5, [data]), st.binary(max_size=40))
plains = st.one_of(
    common_records,
    common_records,
    records,
    st.lists(records, min_size=2, max_size=3).map(b"".join),
    st.builds(lambda record, cut: record[: len(record) - cut], records, st.integers(1, 20)),
)


class Packet(NamedTuple):
    """One that is to be made, between 0 the hub, 1 left and 2 right, and what becomes of it on its way."""

    sender: int
    receiver: int
    plain: bytes
    via: int
    """Over whose link it comes."""
    head: tuple[int, int] | None
    """A byte of the header that is changed, and to what."""
    flip: int | None
    """A bit of the body that is changed."""
    cut: int
    """Bytes that are missing at its end; below 0: too many."""
    copies: int
    """How often it comes now; it may come again later."""


ends = st.sampled_from([(1, 0), (1, 0), (1, 0), (2, 0), (1, 2), (1, 2), (2, 1)])
rarely: st.SearchStrategy[bool] = st.sampled_from([False] * 7 + [True])


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    sender, receiver = draw(ends)
    head = flip = None
    if draw(rarely):
        head = draw(st.tuples(st.integers(0, 47), st.sampled_from([0, 1, 2, 3, 4, 9, 0x10, 0x11, 0x80, 0xFF])))
    if draw(rarely):
        flip = draw(st.integers(0, 400))
    return Packet(
        sender,
        receiver,
        draw(plains),
        3 - sender if draw(rarely) else sender,
        head,
        flip,
        draw(st.integers(-3, 30)) if draw(rarely) else 0,
        draw(st.sampled_from([1, 1, 1, 1, 1, 0, 2])),
    )


steps = st.one_of(
    packets(),
    packets(),
    packets(),
    st.tuples(st.just("again"), st.integers(0, 30)),
    st.tuples(st.just("together"), st.integers(0, 30)),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 0.01, 0.1, 0.3, 1.0, 5.0])),
    st.tuples(st.just("send"), st.sampled_from([1, 2])),
    st.tuples(st.just("full"), st.sampled_from([0, 1, 2])),
)


def made(nodes: tuple[Node, Node, Node], step: Packet) -> bytes:
    data = bytearray(sealed(nodes[step.sender], nodes[step.receiver], step.plain))
    if step.head is not None:
        data[step.head[0]] = step.head[1]
    if step.flip is not None:
        data[HEADER_BYTES + step.flip // 8 % (len(data) - HEADER_BYTES)] ^= 1 << step.flip % 8
    return bytes(data[: len(data) - step.cut] if step.cut >= 0 else data + bytes(-step.cut))


class Twins:
    """The same relay twice: what comes goes to one of them by the short way where it can, to the other never."""

    def __init__(self, seed: int, serves: bool, rates: tuple[float, float]) -> None:
        self.stars = [self._star(seed, serves, rates) for _ in range(2)]
        self.short = 0
        self.history: list[tuple[int, bytes]] = []

    @staticmethod
    def _star(seed: int, serves: bool, rates: tuple[float, float]) -> tuple[Node, Node, Node]:
        nodes = star(Bench(seed), serves=serves)
        for link in nodes[0].engine._links.all.values():
            link.traffic = TrafficBucket(*rates, 0.0)
        return nodes

    def come(self, via: int, bundle: bytes) -> None:
        (hub, *ends), (twin, *_) = self.stars
        number = number_of(hub, ends[via - 1])
        before = state(hub)
        came = hear(hub, number, bundle)
        if came is None:
            assert state(hub) == before
            came = receive(hub, number, bundle)
        else:
            self.short += 1
        assert came == receive(twin, number, bundle)
        assert state(hub) == state(twin)

    def each(self, act: Callable[[tuple[Node, Node, Node]], Came]) -> None:
        came = [act(nodes) for nodes in self.stars]
        assert came[0] == came[1]
        assert state(self.stars[0][0]) == state(self.stars[1][0])

    def take(self, step: Packet | tuple[str, int | float]) -> None:
        if isinstance(step, Packet):
            bundle = made(self.stars[0], step)
            self.history.append((step.via, bundle))
            for _ in range(step.copies):
                self.come(step.via, bundle)
        elif step[0] in ("again", "together"):
            position = int(step[1])
            chosen = self.history[position : position + (1 if step[0] == "again" else 2)]
            if chosen:
                self.come(chosen[0][0], b"".join(bundle for _, bundle in chosen))
        elif step[0] == "wait":
            self.each(lambda nodes: wait(nodes[0], step[1]))
        elif step[0] == "send":
            self.each(lambda nodes: self._send(nodes[0], nodes[int(step[1])]))
        else:
            self.each(lambda nodes: self._full(nodes, int(step[1])))

    @staticmethod
    def _send(hub: Node, to: Node) -> Came:
        hub.send(to, b"from the hub")
        return taken(hub.engine)

    @staticmethod
    def _full(nodes: tuple[Node, Node, Node], which: int) -> Came:
        hub = nodes[0]
        for position in (1, 2):
            number = number_of(hub, nodes[position])
            hub.engine.link_full(number, which == position, hub.bench.now)
        return taken(hub.engine)


@given(
    seed=st.integers(0, 3),
    serves=st.booleans(),
    rates=st.sampled_from([(1e6, 1e9), (1e6, 1e9), (20.0, 1e9), (1e6, 5_000.0)]),
    stream=st.lists(steps, max_size=40),
)
def test_a_relay_that_hears_does_exactly_what_one_does_that_only_receives(
    seed: int, serves: bool, rates: tuple[float, float], stream: list[Packet | tuple[str, int | float]]
) -> None:
    twins = Twins(seed, serves, rates)
    for step in stream:
        twins.take(step)


def test_twins_take_the_short_way_where_nothing_is_wrong() -> None:
    twins = Twins(1, serves=False, rates=(1e6, 1e9))
    for sender, receiver in [(1, 0), (1, 2), (2, 1), (2, 0)] * 10:
        twins.take(Packet(sender, receiver, wire.datagrams_record(4, 9, 5, [b"x"]), sender, None, None, 0, 1))
    assert twins.short >= 36
