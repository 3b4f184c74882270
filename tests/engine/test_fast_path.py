"""The short way of one packet, out and in: it does what the common way would, or nothing.

(Onward: test_fast_path_onward. All ways at once: test_fast_path_twins. The threads that take it:
bridge/test_fast_path.)
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.packet import BUNDLE_TAG, HEADER_BYTES, Kind, Record
from peer_relay_socket.engine.effects import Deliver
from peer_relay_socket.engine.fast_path import Armed
from peer_relay_socket.engine.session import Happening
from peer_relay_socket.limits import (
    ACK_DELAY,
    FAST_PATH_ARMED,
    PACKET_TARGET,
    SESSION_IDLE,
    SESSION_SILENCE,
    SESSION_WINDOW,
)
from tests.engine.fast_path_bench import (
    Came,
    datagram,
    hear,
    hear_bundle,
    link_of,
    listening,
    number_of,
    receive,
    receive_bundle,
    sealed,
    session_of,
    star,
    state,
    taken,
)
from tests.interruption import interrupted
from tests.sim import tags
from tests.sim.bench import Bench, Node, kind_of, talking
from tests.sim.tags import tagged, untagged

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
    return b"" if armed is None else armed.seal(4, 9, 5, data, sender.bench.now)


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
            bundle = untagged(armed.seal(6, 11, 7, data, bench.now))
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
    assert hear(high, number, datagram(low, high, b"first"))
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
    high.engine.link_full(number, False, bench.now)  # nothing of it changes but by an input
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


def test_datagrams_of_no_port_are_left_to_the_common_way() -> None:
    low, high, number = listening(Bench())
    for ports in ((0, 0), (9, 0), (0, 5)):
        assert hear(high, number, sealed(low, high, wire.datagrams_record(0, *ports, [b"x"]))) is None
        receive(high, number, datagram(low, high, b"x"))


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
        came += [] if heard is None else [heard[1]]
        for bundle in (first, second) * 2:
            came += [data for effect in receive(high, number, bundle).effects for data in effect.datagrams]
        assert sorted(came) == [b"first", b"second"]
        following = datagram(low, high, b"following")
        assert receive(high, number, following).effects[0].datagrams == [b"following"]
        return not amid

    until_undisturbed(attempt, least=10)
