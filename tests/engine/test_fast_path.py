"""The short way of one packet, out, in and onward: it does what the common way would, or nothing.

(bridge/test_fast_path.py is about the threads that take it.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.packet import BUNDLE_TAG, HEADER_BYTES, Kind, Record
from peer_relay_socket.engine.effects import Deliver, Effect
from peer_relay_socket.engine.engine import Engine
from peer_relay_socket.engine.fast_path import Armed
from peer_relay_socket.engine.link import LinkState
from peer_relay_socket.engine.session import Happening, Session
from peer_relay_socket.limits import (
    ACK_DELAY,
    FAST_PATH_ARMED,
    HOP_LIMIT,
    LINK_ANSWER,
    PACKET_TARGET,
    SESSION_IDLE,
    SESSION_SILENCE,
    SESSION_WINDOW,
)
from peer_relay_socket.rate import TrafficBucket
from tests.interruption import interrupted
from tests.sim import tags
from tests.sim.bench import Bench, Node, kind_of, talking
from tests.sim.tags import tagged, untagged

FIRST_CONTENT = HEADER_BYTES + 4 + 8
"""Where a SEALED packet's ciphertext begins."""


def session_of(node: Node, other: Node) -> Session:
    """What `node` knows of its session with `other`."""
    session = node.engine._table.get(other.peer_id)
    assert session is not None
    return session


def sealed(sender: Node, receiver: Node, plain: bytes, *, alternate: int = 0) -> bytes:
    """A packet of `sender`'s with any records."""
    keys = session_of(sender, receiver).keys
    assert keys is not None
    return wire.sealed(receiver.peer_id, sender.peer_id, keys.remote, keys.sealing.seal(plain), alternate)


def datagram(sender: Node, receiver: Node, data: bytes, *, alternate: int = 0) -> bytes:
    """A packet of `sender`'s with one datagram."""
    return sealed(sender, receiver, wire.datagrams_record(4, 9, 5, [data]), alternate=alternate)


def number_of(node: Node, far: Node) -> int:
    """The number by which `node` knows its link to `far`."""
    return next(number for number, cable in node.cables.items() if far in cable.ends.values())


def link_of(node: Node, far: Node) -> LinkState:
    return node.engine._links.all[number_of(node, far)]


class Came(NamedTuple):
    """What an input made an engine say and do."""

    bundles: list[tuple[int, bytes]]
    effects: list[Effect]


def taken(engine: Engine) -> Came:
    bundles = engine.take_bundles()
    effects = engine.take_effects()
    return Came([(number, untagged(b"".join(chunks))) for number, chunks in bundles + engine.take_bundles()], effects)


def receive(node: Node, number: int, packet: bytes) -> Came:
    """The common way."""
    return receive_bundle(node, number, tagged(node.engine, number, packet))


def receive_bundle(node: Node, number: int, bundle: bytes) -> Came:
    node.engine.receive(number, bundle, node.bench.now)
    return taken(node.engine)


def hear(node: Node, number: int, packet: bytes) -> Came | None:
    """The short way; None where it is not for it."""
    return hear_bundle(node, number, tagged(node.engine, number, packet))


def hear_bundle(node: Node, number: int, bundle: bytes) -> Came | None:
    heard = node.engine.fast_path.hear(number, bundle, node.bench.now)
    if heard is None:
        return None
    assert taken(node.engine) == ([], []), "the short way leaves nothing to be done"
    if not heard:
        return Came([], [])
    return Came([], [heard]) if isinstance(heard, Deliver) else Came([(heard[0], untagged(heard[1]))], [])


def state(node: Node) -> object:
    """All that an engine knows of its links and sessions and that what it hears may change."""
    engine = node.engine
    links = [
        (
            link.number,
            link.received_at,
            link.traffic.bytes.level,
            link.traffic.packets.level,
            link.up,
            link.out,
            link.watch is None,
        )
        for link in engine._links.all.values()
    ]
    sessions = [
        (
            session.peer_id,
            (session.unacked, session.ack_timer is None, session.state, session.attempt is None),
            (session.alternate,),
            (session.heard_at, session.idle_since, session.silent_since, session.acked_at, session.missed_probes),
            (session.in_flight, list(session.flights), session.heard_under is session.keys),
            [
                (keys.highest, keys.opening.newest, keys.opening.missing, keys.sealing.counter)
                for keys in [session.keys, *session.older]
                if keys is not None
            ],
        )
        for session in engine._table.by_id.values()
    ]
    hops = [dict(cache) for cache in engine._router.hops]
    return links, sessions, [{to: via.number for to, via in hop.items()} for hop in hops], engine.counters


# --- out -------------------------------------------------------------------------------------------------------


def send_fast(sender: Node, receiver: Node, data: bytes) -> bool:
    """Send one datagram past the bundles, and carry it over. Returns: False when it has to go the common way."""
    armed = sender.engine.fast_path.arm(receiver.peer_id, sender.bench.now)
    bundle = fast_bundle(sender, armed, data)
    if armed is None or not bundle:
        return False
    cable = sender.cables[armed.number]
    tags.receive(receiver.engine, cable.number(receiver), untagged(bundle), sender.bench.now)
    receiver.bench.flow()
    return True


def fast_bundle(sender: Node, armed: Armed | None, data: bytes) -> bytes:
    """What `seal` makes of one datagram; b"" where it has to go the common way."""
    return b"" if armed is None else sender.engine.fast_path.seal(armed, 4, 9, 5, data, sender.bench.now)


def test_lone_datagrams_arrive_like_others_and_are_acknowledged() -> None:
    bench = Bench()
    low, high = talking(bench)
    low.send(high, b"a")  # sets the timers that a lone one does not
    bench.flow()
    for number in range(300):
        assert send_fast(low, high, bytes((number % 256,)) * number)
    low.send(high, b"z")
    bench.flow()
    assert high.heard() == [b"a", *(bytes((number % 256,)) * number for number in range(300)), b"z"]
    assert low.engine.room(high.peer_id) < SESSION_WINDOW
    bench.advance(2 * ACK_DELAY)
    assert low.engine.room(high.peer_id) == SESSION_WINDOW


@pytest.mark.parametrize("state", ["no session", "no timer", "something packed", "no room", "long idle", "link down"])
def test_a_datagram_is_not_lone_where_there_is_more_to_do(state: str) -> None:
    bench = Bench()

    def fast_path() -> bytes:
        return fast_bundle(low, low.engine.fast_path.arm(high.peer_id, bench.now), bytes(10))

    if state == "no session":
        low, high = bench.pair()
        assert not fast_path()
        return
    low, high = talking(bench)
    if state == "no timer":
        bench.advance(2 * SESSION_SILENCE)
        assert not fast_path()
        return
    low.send(high, b"a")
    bench.flow()
    armed = low.engine.fast_path.arm(high.peer_id, bench.now)
    assert fast_bundle(low, armed, bytes(10))
    if state == "something packed":
        low.send(high, b"b")
    elif state == "no room":
        bench.gate = lambda _node, _far, data: None if kind_of(data) == Kind.SEALED else data
        while low.engine.room(high.peer_id) > 0:
            low.send(high, bytes(PACKET_TARGET))
            bench.flow()
    elif state == "long idle":
        bench.now += SESSION_IDLE + 1
    else:
        next(iter(low.cables.values())).cut()
    assert not fast_bundle(low, armed, bytes(10)), "void"
    assert not fast_path()


INPUTS: dict[str, Callable[[Node, Node], object]] = {
    "timer": lambda low, _high: low.engine.handle_timer(low.bench.now),
    "sent": lambda low, high: low.engine.send(high.peer_id, 4, 9, 5, [b"x"], low.bench.now),
    "received": lambda low, high: low.engine.receive(number_of(low, high), b"garbage", low.bench.now),
    "link full": lambda low, high: low.engine.link_full(number_of(low, high), True, low.bench.now),
    "armed for another": lambda low, high: low.engine.fast_path.arm(high.peer_id, low.bench.now),
}


@pytest.mark.parametrize("what", INPUTS)
def test_any_other_input_voids_what_was_armed(what: str) -> None:
    bench = Bench()
    low, high = talking(bench)
    low.send(high, b"a")
    bench.flow()
    armed = low.engine.fast_path.arm(high.peer_id, bench.now)
    for _ in range(3):
        assert fast_bundle(low, armed, b"x")
    INPUTS[what](low, high)
    assert not fast_bundle(low, armed, b"x")


def test_what_was_armed_is_armed_anew_in_time() -> None:
    bench = Bench()
    low, high = talking(bench)
    low.send(high, b"a")
    bench.flow()
    armed = low.engine.fast_path.arm(high.peer_id, bench.now)
    bench.now += FAST_PATH_ARMED
    assert fast_bundle(low, armed, b"x")
    bench.now += 0.01
    assert not fast_bundle(low, armed, b"x")


@pytest.mark.parametrize("instruction", range(0, 400, 9))
def test_what_a_signal_handler_raises_while_a_lone_datagram_is_sealed_costs_that_one_alone(instruction: int) -> None:
    bench = Bench()
    low, high = talking(bench)
    low.send(high, b"a")
    bench.flow()
    with interrupted(instruction):
        send_fast(low, high, b"perhaps")
    bench.flow()
    assert high.heard() in ([b"a"], [b"a", b"perhaps"])
    for number in range(5):
        low.send(high, bytes((number,)))
        bench.flow()
    assert high.heard() == [bytes((number,)) for number in range(5)]
    bench.advance(2 * SESSION_SILENCE)
    assert low.engine.room(high.peer_id) == SESSION_WINDOW
    assert low.engine.counters == {}


# --- in --------------------------------------------------------------------------------------------------------


def listening(bench: Bench) -> tuple[Node, Node, int]:
    """`talking`, and the second has just heard something, so that it owes an acknowledgement; and its link's number."""
    low, high = talking(bench)
    low.send(high, b"hello")
    bench.flow()
    assert high.heard() == [b"hello"]
    return low, high, number_of(high, low)


@pytest.mark.parametrize("lone", [True, False], ids=["sent lone", "sent the common way"])
@pytest.mark.parametrize("size", [0, 1, 1200, 15_000])
def test_a_datagram_is_heard_as_it_was_sent_and_once(lone: bool, size: int) -> None:
    bench = Bench()
    low, high, number = listening(bench)
    counters = high.engine.counters
    for count in range(5):
        data = bytes((count,)) * size
        if lone:
            armed = low.engine.fast_path.arm(high.peer_id, bench.now)
            assert armed is not None
            bundle = untagged(low.engine.fast_path.seal(armed, 6, 11, 7, data, bench.now))
        else:
            low.engine.send(high.peer_id, 6, 11, 7, [data], bench.now)
            ((_, bundle),) = taken(low.engine).bundles
        assert hear(high, number, bundle) == ([], [Deliver(low.peer_id, 11, 7, 6, [data], False)])
        assert hear(high, number, bundle) is None
        assert receive(high, number, bundle) == ([], [])
    assert high.engine.counters == {**counters, "dropped: did not open": 5}
    bench.advance(2 * ACK_DELAY)
    assert low.engine.room(high.peer_id) == SESSION_WINDOW
    assert low.engine.counters == {}


def test_what_is_heard_counts_for_acknowledgements_and_the_link() -> None:
    bench = Bench()
    low, high, number = listening(bench)
    session, link = session_of(high, low), link_of(high, low)
    high.send(low, b"not acknowledged")
    taken(high.engine)
    session.missed_probes = 2
    spare, packets, unacked = link.traffic.bytes.level, link.traffic.packets.level, session.unacked
    bench.now += 0.1
    bundle = datagram(low, high, b"x" * 100)
    assert hear(high, number, bundle)
    assert (session.missed_probes, session.silent_since) == (0, bench.now)
    session.forget_flights()
    assert hear(high, number, datagram(low, high, b"x"))
    assert session.silent_since is None
    assert receive(high, number, bundle) == ([], [])
    link.traffic.bytes.level, link.traffic.packets.level, session.unacked = spare, packets, unacked
    bundle = datagram(low, high, b"x" * 100)
    assert hear(high, number, bundle)
    charged = len(bundle) / 4 + BUNDLE_TAG
    assert (link.traffic.bytes.level, link.traffic.packets.level) == (spare - charged, packets - 2)
    assert session.unacked == unacked + len(bundle) - HEADER_BYTES
    assert link.received_at == session.heard_at == session.idle_since == bench.now
    assert session.keys is not None
    assert session.keys.highest == session.keys.opening.newest + 1 == int.from_bytes(bundle[HEADER_BYTES + 4 :][:8]) + 1


def test_a_stranger_under_a_known_address_is_heard_as_doubtful() -> None:
    bench = Bench()
    low, high, number = listening(bench)
    session_of(high, low).address_conflict = True
    came = hear(high, number, datagram(low, high, b"x"))
    assert came == ([], [Deliver(low.peer_id, 9, 5, 4, [b"x"], True)])


def test_acknowledgements_come_every_so_many_bytes_of_what_is_heard() -> None:
    bench = Bench()
    low, high, number = listening(bench)
    size = sum(bool(hear(high, number, datagram(low, high, bytes(10_000)))) for _ in range(200)) * 10_000
    assert SESSION_WINDOW // 2 - 30_000 < size < SESSION_WINDOW // 2, "the other side never runs out of room"
    came = receive(high, number, datagram(low, high, bytes(10_000)))
    assert len(came.bundles) == 1
    assert hear(high, number, datagram(low, high, b"x"))
    bench.advance(ACK_DELAY)
    assert session_of(high, low).unacked == 0, "the timer goes on"


def test_an_acknowledgement_is_heard_without_the_loop_where_no_sender_waits_for_it() -> None:
    bench = Bench()
    low, high, number = listening(bench)
    session = session_of(high, low)
    high.send(low, b"to be acknowledged")
    taken(high.engine)
    keys = session.keys
    assert keys is not None
    acknowledged = wire.record(Record.ACK, keys.sealing.counter.to_bytes(8))
    session.blocked = True
    assert hear(high, number, sealed(low, high, acknowledged)) is None
    session.blocked = False
    assert hear(high, number, sealed(low, high, acknowledged + acknowledged)) is None
    for _ in range(3):  # what was left out is out of order now
        receive(high, number, sealed(low, high, acknowledged))
        high.send(low, b"to be acknowledged, too")
        taken(high.engine)
        acknowledged = wire.record(Record.ACK, keys.sealing.counter.to_bytes(8))
        assert hear(high, number, sealed(low, high, acknowledged)) == ([], [])
        assert (session.in_flight, session.silent_since) == (0, None)
    assert high.engine.room(low.peer_id) == SESSION_WINDOW


def unlinked(node: Node, far: Node) -> None:
    next(iter(node.cables.values())).cut()


MORE_TO_DO: dict[str, Callable[[Node, Node], object]] = {
    "link down": unlinked,
    "link not up": lambda high, low: setattr(link_of(high, low), "up", False),
    "no bytes to spare": lambda high, low: setattr(link_of(high, low).traffic.bytes, "level", 10.0),
    "no packets to spare": lambda high, low: setattr(link_of(high, low).traffic.packets, "level", 1.5),
    "no timer for the acknowledgement": lambda high, _low: high.bench.advance(2 * ACK_DELAY),
    "acknowledgement due": lambda high, low: setattr(session_of(high, low), "unacked", SESSION_WINDOW // 2 - 43),
    "handshake under way": lambda high, low: high.engine._sessions._handshakes.begin(session_of(high, low)),
    "keys suspect": lambda high, low: session_of(high, low).move(Happening.DOUBTED),
    "nothing heard under these keys": lambda high, low: setattr(session_of(high, low), "heard_under", None),
    "session forgotten": lambda high, low: high.engine._table.close(session_of(high, low)),
}


@pytest.mark.parametrize("more", MORE_TO_DO)
def test_what_comes_is_left_to_the_common_way_where_there_is_more_to_do(more: str) -> None:
    bench = Bench()
    low, high, number = listening(bench)
    assert hear(high, number, datagram(low, high, b"can be heard"))
    MORE_TO_DO[more](high, low)
    taken(high.engine)
    bundle = datagram(low, high, b"x")
    before = state(high)
    assert hear(high, number, bundle) is None
    assert state(high) == before


def test_what_comes_under_older_keys_is_left_to_the_common_way() -> None:
    bench = Bench()
    low, high, number = listening(bench)
    older, another = (datagram(low, high, data) for data in (b"under the older", b"another"))
    low.engine._sessions._handshakes.begin(session_of(low, high))
    bench.flow()
    low.send(high, b"under the new")
    bench.flow()
    assert high.heard() == [b"under the new"]
    before = state(high)
    assert hear(high, number, older) is None
    assert state(high) == before
    assert receive(high, number, older).effects == [Deliver(low.peer_id, 9, 5, 4, [b"under the older"], False)]
    assert hear(high, number, another) is None, "though these are acknowledged now"
    assert hear(high, number, datagram(low, high, b"x")) is None, "and these are not"


@pytest.mark.parametrize(
    "kind", [kind for kind in Kind if kind not in (Kind.SEALED, Kind.LINK)], ids=lambda kind: kind.name
)
def test_packets_of_other_kinds_are_left_to_the_common_way(kind: Kind) -> None:
    bench = Bench()
    low, high, number = listening(bench)
    bundle = datagram(low, high, b"x")
    before = state(high)
    assert hear(high, number, bytes((kind,)) + bundle[1:]) is None
    assert state(high) == before


def test_bundles_that_are_not_one_whole_packet_are_left_to_the_common_way() -> None:
    bench = Bench()
    low, high, number = listening(bench)
    bundle = datagram(low, high, b"x")
    before = state(high)
    assert hear(high, number, bundle + datagram(low, high, b"y")) is None
    for size in range(len(bundle)):
        assert hear(high, number, bundle[:size]) is None
    assert hear(high, number, bundle + b"\0") is None
    assert hear(high, number + 1000, bundle) is None
    assert state(high) == before
    assert hear(high, number, bundle)


@pytest.mark.parametrize("serves", [True, False], ids=["relay", "leaf"])
def test_only_who_relays_may_bring_what_others_sent(serves: bool) -> None:
    bench = Bench()
    hub, left, right = star(bench, serves=serves)
    bundle = datagram(right, hub, b"x")
    heard = hear(hub, number_of(hub, left), bundle)
    assert (heard is not None) is serves
    if not serves:
        receive(hub, number_of(hub, left), bundle)
        assert hub.engine.counters["dropped: forged source"] == 1


def test_what_a_relay_says_is_anothers_is_not_heard() -> None:
    bench = Bench()
    hub, left, right = star(bench, serves=True)
    bundle = datagram(left, hub, b"x")
    before = state(hub)
    assert hear(hub, number_of(hub, left), bundle[:28] + right.peer_id + bundle[48:]) is None
    assert state(hub) == before
    assert hear(hub, number_of(hub, left), bundle)


# --- onward ----------------------------------------------------------------------------------------------------


def star(bench: Bench, *, serves: bool = False) -> tuple[Node, Node, Node]:
    """A relay and two peers linked to it that talk with it and, across it, with each other; all have just been heard.

    Args: serves: whether the first of them relays, too.
    """
    hub = bench.node("hub", serves=True)
    left, right = bench.node("left", serves=serves), bench.node("right")
    for node in (left, right):
        bench.join(node, hub)
    bench.flow()
    for _ in range(2):
        left.send(right, b"across")
        right.send(left, b"across")
        for node in (left, right):
            node.send(hub, b"to the hub")
        hub.send(left, b"from the hub")
        bench.flow()
    for node in bench.nodes:
        node.effects.clear()
    return hub, left, right


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


NO_WAY_ON: dict[str, Callable[[Node, Node, Node], object]] = {
    "not a relay": lambda hub, _left, _right: setattr(hub.config, "serves", False),
    "onward link full": lambda hub, _left, right: hub.engine.link_full(number_of(hub, right), True, hub.bench.now),
    "something packed for it": lambda hub, _left, right: hub.send(right, b"first") or hub.engine._sessions.flush(),
    "onward link down": lambda hub, _left, right: hub.cables[number_of(hub, right)].cut(),
    "nobody watches it": lambda hub, _left, _right: _wait(hub, LINK_ANSWER),
    "unit too small": lambda hub, _left, right: setattr(link_of(hub, right), "unit", 60),
    "way not decided": lambda hub, _left, _right: hub.engine._router.links_changed(),
    "no bytes to spare": lambda hub, left, _right: setattr(link_of(hub, left).traffic.bytes, "level", 10.0),
    "no packets to spare": lambda hub, left, _right: setattr(link_of(hub, left).traffic.packets, "level", 1.5),
}


def _wait(hub: Node, seconds: float) -> Came:
    hub.bench.now += seconds
    hub.engine.handle_timer(hub.bench.now)
    return taken(hub.engine)


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


# --- both ways at once -----------------------------------------------------------------------------------------


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
            self.each(lambda nodes: _wait(nodes[0], step[1]))
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


# --- what may come amid it -------------------------------------------------------------------------------------


def until_undisturbed(attempt: Callable[[int], bool], least: int) -> None:
    """Call `attempt` with 1, 2, 3, ..., the instruction to interrupt at, until it returns that nothing did."""
    for instruction in range(1, 1000):
        if attempt(instruction):
            assert instruction > least, "it was over before it began"
            return
    raise AssertionError("always interrupted")


@pytest.mark.parametrize("onward", [False, True], ids=["own", "passed on"])
def test_what_a_signal_handler_raises_while_a_packet_is_heard_costs_that_one_at_most(onward: bool) -> None:
    bench = Bench()
    hub, left, right = star(bench)
    receiver = right if onward else hub
    number = number_of(hub, left)

    def arrived(came: Came | None) -> list[bytes]:
        if came is None:
            return []
        for _, bundle in came.bundles:
            tags.receive(right.engine, number_of(right, hub), bundle, bench.now)
        right.effects += right.engine.take_effects()
        return right.heard() + [data for each in came.effects if isinstance(each, Deliver) for data in each.datagrams]

    def attempt(instruction: int) -> bool:
        bundle = datagram(left, receiver, b"perhaps")
        came, done = None, False
        with interrupted(instruction):
            came = hear(hub, number, bundle)
            done = True
        if came is None:  # it still lies there, and the loop takes it
            came = receive(hub, number, bundle)
        first = arrived(came)
        assert first in ([b"perhaps"], []), "lost at most, never twice"
        for n in range(2):
            following = datagram(left, receiver, b"%d" % n)
            assert arrived(hear(hub, number, following) or receive(hub, number, following)) == [b"%d" % n]
        if not onward:
            assert receive(hub, number, bundle) == ([], [])
        bench.now += 1e-4
        return done

    until_undisturbed(attempt, least=100)
    own = session_of(hub, left)
    assert own.keys is not None
    assert own.keys.opening.missing == 0
    assert own.keys.highest == own.keys.opening.newest + 1


@pytest.mark.parametrize("way", ["the next is heard", "the next is received", "the same is received"])
def test_no_packet_opens_twice_when_the_loop_takes_one_amid_another(way: str) -> None:
    """As when who has borrowed the turn is held up, and the loop takes it back."""
    bench = Bench()
    low, high, number = listening(bench)
    take = hear_bundle if way.endswith("heard") else receive_bundle

    def attempt(instruction: int) -> bool:
        first, second = (datagram(low, high, data) for data in (b"first", b"second"))
        ahead = {first: 1, second: 2}
        bundles = {data: tagged(high.engine, number, data, ahead[data]) for data in ahead}
        amid: list[Came | None] = []
        with interrupted(
            instruction,
            lambda: amid.append(take(high, number, bundles[first if "same" in way else second])),
            after_calls=True,
        ):
            heard = high.engine.fast_path.hear(number, bundles[first], bench.now)
        came = [data for each in amid if each for effect in each.effects for data in effect.datagrams]
        came += heard.datagrams if isinstance(heard, Deliver) else []
        for bundle in (first, second) * 2:
            came += [data for effect in receive(high, number, bundle).effects for data in effect.datagrams]
        assert sorted(came) == [b"first", b"second"]
        following = datagram(low, high, b"following")
        assert receive(high, number, following).effects[0].datagrams == [b"following"]
        return not amid

    until_undisturbed(attempt, least=10)
