"""The short way of one packet onward: a relay passes it on as the common way would, or does nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from peer_relay_socket.codec.packet import HEADER_BYTES
from peer_relay_socket.limits import FAST_PATH_EXPECTED, HOP_LIMIT, LINK_ANSWER
from tests.engine.fast_path_bench import datagram, hear, link_of, number_of, receive, star, state, wait
from tests.sim import tags
from tests.sim.bench import Bench, Node


def test_a_relay_passes_on_what_it_hears_as_the_common_way_would() -> None:
    by_short, by_common = Bench(), Bench()
    (hub, left, right), (twin, *_) = star(by_short), star(by_common)
    for size in (0, 1, 1200, 15_000):
        for alternate in (0, 1, 2):
            bundle = datagram(left, right, bytes(size), alternate=alternate)
            receive(hub, number_of(hub, left), bundle)  # the first of its alternate finds the way
            receive(twin, number_of(hub, left), bundle)
            came = hear(hub, number_of(hub, left), bundle)
            assert came == receive(twin, number_of(hub, left), bundle)
            assert came == ([(number_of(hub, right), bundle[:1] + bytes((HOP_LIMIT - 1,)) + bundle[2:])], [])
            assert state(hub) == state(twin)
    tags.receive(right.engine, number_of(right, hub), came.bundles[0][1], by_short.now)
    by_short.flow()
    assert right.heard() == [bytes(15_000)]


def altered(position: int, value: int) -> Callable[[bytes], bytes]:
    return lambda bundle: bundle[:position] + bytes((value,)) + bundle[position + 1 :]


@pytest.mark.parametrize(
    "alter",
    [
        *(altered(1, limit) for limit in (0, 1)),
        *(altered(2, flags) for flags in (3, 4, 8, 12, 16, 0x80)),
        altered(10, 0x55),
    ],
    ids=["no hops", "one hop", "alternate 3", "scan 1", "scan 2", "scan 3", "flag 16", "flag 128", "to nobody known"],
)
def test_packets_that_need_a_decision_are_not_passed_on_the_short_way(alter: Callable[[bytes], bytes]) -> None:
    bench = Bench()
    hub, left, right = star(bench)
    bundle = datagram(left, right, b"x")
    assert hear(hub, number_of(hub, left), bundle)
    before = state(hub)
    assert hear(hub, number_of(hub, left), alter(bundle)) is None
    assert state(hub) == before


def test_what_is_known_of_what_others_send_each_other_is_bounded() -> None:
    bench = Bench()
    hub, left, right = star(bench)
    bundle = datagram(left, right, b"x")
    for index in range(FAST_PATH_EXPECTED + 10):
        named = bundle[:HEADER_BYTES] + index.to_bytes(4) + bundle[HEADER_BYTES + 4 :]
        assert hear(hub, number_of(hub, left), named)
    assert len(hub.engine.fast_path.expected) == FAST_PATH_EXPECTED


NO_WAY_ON: dict[str, Callable[[Node, Node, Node], object]] = {
    "not a relay": lambda hub, _left, _right: setattr(hub.config, "serves", False),
    "onward link full": lambda hub, _left, right: hub.engine.link_full(number_of(hub, right), True, hub.bench.now),
    "something packed for it": lambda hub, _left, right: hub.send(right, b"first") or hub.engine._sessions.flush(),
    "onward link down": lambda hub, _left, right: hub.cables[number_of(hub, right)].cut(),
    "nobody watches it": lambda hub, _left, _right: wait(hub, LINK_ANSWER),
    "unit too small": lambda hub, _left, right: setattr(link_of(hub, right), "unit", 60),
    "way not decided": lambda hub, _left, _right: hub.engine._router.links_changed(),
    "no bytes to spare": lambda hub, left, _right: setattr(link_of(hub, left).traffic.bytes, "level", 10.0),
    "no packets to spare": lambda hub, left, _right: setattr(link_of(hub, left).traffic.packets, "level", 1.5),
}


@pytest.mark.parametrize("why", NO_WAY_ON)
def test_packets_are_not_passed_on_the_short_way_where_there_is_more_to_do(why: str) -> None:
    bench = Bench()
    hub, left, right = star(bench)
    assert hear(hub, number_of(hub, left), datagram(left, right, b"x"))
    NO_WAY_ON[why](hub, left, right)
    before = state(hub)
    assert hub.engine.fast_path.hear(number_of(hub, left), datagram(left, right, b"x"), bench.now) is None
    assert state(hub) == before


def test_packets_do_not_go_back_where_they_came_from() -> None:
    bench = Bench()
    hub, left, right = star(bench, serves=True)
    bundle = datagram(right, left, b"x")
    assert hear(hub, number_of(hub, right), bundle)
    before = state(hub)
    assert hear(hub, number_of(hub, left), bundle) is None
    assert state(hub) == before
