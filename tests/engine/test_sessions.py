"""Sessions of two engines on a bench: every packet seen, lost, repeated or held back as the test wants."""

from __future__ import annotations

import pytest

from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.packet import HEADER_BYTES, Kind
from peer_relay_socket.engine.effects import Deliver, Segment, Unreachable, Writable
from peer_relay_socket.limits import (
    ACK_DELAY,
    ACK_EVERY,
    HANDSHAKE_TRIES,
    MAX_HALF_OPEN,
    NO_SESSION_PATIENCE,
    PACKET_TARGET,
    PENDING_BYTES,
    SESSION_IDLE,
    SESSION_SILENCE,
    SESSION_WINDOW,
)
from tests.sim.bench import Bench, Node, kind_of, step_of, talking


def lose(bench: Bench, *kinds: int, sender: Node | None = None) -> None:
    bench.gate = lambda node, _far, data: None if kind_of(data) in kinds and sender in (None, node) else data


def lose_nothing(bench: Bench) -> None:
    bench.gate = lambda _sender, _receiver, data: data


def handshake_steps(bench: Bench) -> list[tuple[str, int]]:
    return [(node.name, step_of(data)) for node, _, data in bench.seen if kind_of(data) == Kind.HANDSHAKE]


# --- beginning -------------------------------------------------------------------------------------------------


def test_segment_of_tcp_waits_for_the_handshake_and_is_its_senders() -> None:
    bench = Bench()
    low, high = bench.pair()
    low.engine.send_segment(high.peer_id, 4, b"segment", bench.now)
    low.engine.send_segment(low.peer_id, 4, b"to itself", bench.now)
    low.engine.send_segment(high.peer_id, 5, b"of no IP version", bench.now)
    low.engine.send_segment(high.peer_id, 6, b"", bench.now)
    bench.flow()
    assert high.take(Segment) == [Segment(low.peer_id, 4, b"segment"), Segment(low.peer_id, 6, b"")]
    assert low.take(Segment) == []


def test_segment_for_which_there_is_no_room_is_lost() -> None:
    bench = Bench()
    low, high = talking(bench)
    lose(bench, Kind.SEALED)
    for _ in range(2 * SESSION_WINDOW // 60_000):
        low.engine.send_segment(high.peer_id, 4, bytes(60_000), bench.now)
    assert low.engine.room(high.peer_id) <= 0
    bench.flow()
    assert sum(map(len, bench.sent(Kind.SEALED, low))) < SESSION_WINDOW + 70_000


def test_first_datagrams_wait_for_the_handshake_and_arrive_together() -> None:
    bench = Bench()
    low, high = bench.pair()
    low.send(high, b"one")
    low.send(high, b"two", b"three", port=6)
    bench.flow()
    assert handshake_steps(bench) == [(low.name, 1), (high.name, 2), (low.name, 3)]
    assert [tuple(deliver)[:5] for deliver in high.take(Deliver)] == [
        (low.peer_id, 9, 5, 4, [b"one"]),
        (low.peer_id, 9, 6, 4, [b"two", b"three"]),
    ]
    assert len(bench.sent(Kind.SEALED, low)) == 1


@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("times", [1, 2])
def test_a_lost_handshake_message_is_repeated(step: int, times: int) -> None:
    bench = Bench()
    low, high = bench.pair()
    lost: list[bytes] = []

    def gate(_sender: Node, _receiver: Node, data: bytes) -> bytes | None:
        if step_of(data) == step and len(lost) < times:
            lost.append(data)
            return None
        return data

    bench.gate = gate
    low.send(high, b"hello")
    bench.advance(0.7 if times == 1 else 2.0)
    assert len(lost) == times
    low.send(high, b"again")
    bench.flow()
    assert high.heard()[-1] == b"again"
    high.send(low, b"back")
    bench.flow()
    assert low.heard() == [b"back"]


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_repeated_handshake_message_changes_nothing(step: int) -> None:
    bench = Bench()
    low, high = bench.pair()
    bench.gate = lambda _a, _b, data: [data, data, data] if step_of(data) == step else data
    low.send(high, b"hello")
    bench.flow()
    high.send(low, b"back")
    bench.advance(5.0)
    assert (high.heard(), low.heard()) == ([b"hello"], [b"back"])
    assert len(handshake_steps(bench)) == (5 if step == 1 else 3)  # an answer per question, one first message


@pytest.mark.parametrize("held", [(), (1,), (2,), (3,), (1, 2), (2, 3), (1, 3)])
def test_both_begin_at_once_and_both_are_heard_soon(held: tuple[int, ...]) -> None:
    """Steps in `held` are lost once in each direction."""
    bench = Bench()
    low, high = bench.pair()
    lost: set[tuple[str, int]] = set()

    def gate(sender: Node, _receiver: Node, data: bytes) -> bytes | None:
        mark = (sender.name, step_of(data))
        if step_of(data) in held and mark not in lost:
            lost.add(mark)
            return None
        return data

    bench.gate = gate
    low.send(high, b"from low")
    high.send(low, b"from high")
    bench.advance(0.0 if not held else 2.5)
    low.send(high, b"low again")
    high.send(low, b"high again")
    bench.flow()
    assert high.heard()[-1] == b"low again"
    assert low.heard()[-1] == b"high again"
    bench.seen.clear()
    bench.advance(10.0)
    assert handshake_steps(bench) == []


def test_the_higher_id_insists_at_once_when_its_first_message_was_lost() -> None:
    bench = Bench()
    low, high = bench.pair()
    lose(bench, Kind.HANDSHAKE)
    high.send(low, b"lost")
    bench.advance(0.1)
    lose_nothing(bench)
    low.send(high, b"hello")
    bench.flow()
    assert high.heard() == [b"hello"]
    assert low.heard() == [b"lost"]


def test_handshakes_that_crossed_leave_both_windows_moving() -> None:
    """The late first message of one side makes a second handshake, so that each side installs the other's last."""
    bench = Bench()
    low, high = bench.pair()
    low.send(high, b"x")
    high.send(low, b"y")
    bench.flow()
    first = next(data for node, _, data in bench.seen if node is low and step_of(data) == 1)
    cable = next(iter(high.cables.values()))
    bench.inject(cable, high, first)  # low's question, overtaken by everything else
    bench.advance(1.0)
    for sender, receiver in ((low, high), (high, low)):
        for _ in range(SESSION_WINDOW // 50_000 + 10):
            assert sender.engine.room(receiver.peer_id) > 0
            sender.send(receiver, bytes(50_000))
            bench.flow()
        bench.advance(1.0)
        assert sender.engine.room(receiver.peer_id) == SESSION_WINDOW


@pytest.mark.parametrize("found", [False, True], ids=["", "though searches find it"])
def test_nobody_there_is_unreachable_after_all_tries(found: bool) -> None:
    bench = Bench()
    low, high = bench.pair()
    lose(bench, Kind.HANDSHAKE, *([] if found else [Kind.DISCOVERED]))
    low.send(high, b"hello")
    bench.advance(20.0)
    assert HANDSHAKE_TRIES <= len(bench.sent(Kind.HANDSHAKE, low)) <= HANDSHAKE_TRIES + (2 if found else 0)
    why = "it was found, but does not answer" if found else low.engine.status(bench.now).sessions[0].why
    assert low.take(Unreachable) == [Unreachable(high.peer_id, why or "")]
    assert low.engine.counters["dropped: peer unreachable"] == 1
    assert low.engine.idle


def test_room_of_an_unanswering_peer_is_bounded_and_comes_back() -> None:
    bench = Bench()
    low, high = bench.pair()
    lose(bench, Kind.HANDSHAKE)
    while low.engine.room(high.peer_id) > 0:
        low.send(high, bytes(PACKET_TARGET))
        bench.flow()
    low.send(high, bytes(PACKET_TARGET))
    low.send(high, bytes(PACKET_TARGET))
    assert low.engine.counters["dropped: too much waits for this peer"] >= 1
    bench.advance(20.0)
    assert low.take(Writable) == [Writable(high.peer_id)]
    assert low.engine.room(high.peer_id) == PENDING_BYTES


def test_an_index_that_a_relay_altered_does_not_spoil_the_handshake() -> None:
    bench = Bench()
    low, high = bench.pair()
    spoiled: list[int] = []

    def gate(_sender: Node, _receiver: Node, data: bytes) -> bytes:
        step = step_of(data)
        if step in (1, 2) and spoiled.count(step) < 1:
            spoiled.append(step)
            return data[: HEADER_BYTES + 1] + b"EVIL" + data[HEADER_BYTES + 5 :]
        return data

    bench.gate = gate
    low.send(high, b"hello")
    bench.advance(1.5)
    assert spoiled == [1, 2]
    assert high.heard() == [b"hello"]


# --- restarts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", ["established", "first", "second", "third"])
@pytest.mark.parametrize("who", ["asker", "answerer"])
def test_a_side_that_restarts_in_any_state_is_reached_within_a_second(after: str, who: str) -> None:
    bench = Bench()
    low, high = bench.pair()
    if after != "established":
        stop = {"first": 1, "second": 2, "third": 3}[after]
        bench.gate = lambda _a, _b, data: None if step_of(data) == stop else data
    low.send(high, b"before")
    bench.flow()
    lose_nothing(bench)
    (low if who == "asker" else high).restart()
    bench.join(low, high)
    bench.flow()
    for node in (low, high):
        node.effects.clear()
    for n in range(10):
        low.send(high, b"low %d" % n)
        high.send(low, b"high %d" % n)
        bench.advance(0.1)
    assert high.heard()[-1] == b"low 9"
    assert low.heard()[-1] == b"high 9"


def test_no_session_makes_one_handshake_a_second_at_most() -> None:
    bench = Bench()
    low, high = talking(bench)
    low.send(high, b"x")
    bench.flow()
    cable = next(iter(low.cables.values()))
    for _ in range(50):
        index = bench.sent(Kind.SEALED, low)[-1][HEADER_BYTES : HEADER_BYTES + 4]
        bench.inject(cable, low, wire.packet(Kind.NO_SESSION, low.peer_id, high.peer_id, index))
        low.send(high, b"y")
        bench.advance(0.1)
    assert len([step for _, step in handshake_steps(bench) if step == 1]) <= 5 / NO_SESSION_PATIENCE + 1
    assert high.heard() == [b"x"] + [b"y"] * 50


def test_no_session_with_an_index_that_is_not_ours_is_ignored() -> None:
    bench = Bench()
    low, high = talking(bench)
    cable = next(iter(low.cables.values()))
    for index in (b"", b"\0\0\0\0", b"abcd", bytes(100)):
        bench.inject(cable, low, wire.packet(Kind.NO_SESSION, low.peer_id, high.peer_id, index))
    assert handshake_steps(bench) == []


# --- flow control ----------------------------------------------------------------------------------------------


def fill(bench: Bench, sender: Node, receiver: Node) -> int:
    """Send until there is no room; return how many datagrams that took."""
    count = 0
    while sender.engine.room(receiver.peer_id) > 0:
        sender.send(receiver, bytes(50_000))
        bench.flow()
        count += 1
    return count


def test_the_window_bounds_what_is_in_flight_and_an_acknowledgement_opens_it() -> None:
    bench = Bench()
    low, high = talking(bench)
    held: list[bytes] = []

    def gate(sender: Node, _receiver: Node, data: bytes) -> bytes | None:
        if sender is high:
            held.append(data)
            return None
        return data

    bench.gate = gate
    count = fill(bench, low, high)
    assert SESSION_WINDOW <= count * 50_100 < SESSION_WINDOW + 2 * 50_100
    assert low.take(Writable) == []
    lose_nothing(bench)
    bench.inject(next(iter(low.cables.values())), low, held[-1])
    assert low.take(Writable) == [Writable(high.peer_id)]
    assert low.engine.room(high.peer_id) > 0


def test_a_receiver_acknowledges_every_so_many_bytes_and_after_a_delay() -> None:
    bench = Bench()
    low, high = talking(bench)
    for _ in range(ACK_EVERY // 50_000 + 1):
        low.send(high, bytes(50_000))
        bench.flow()
    assert len(bench.sent(Kind.SEALED, high)) == 1
    low.send(high, b"a little")
    bench.advance(ACK_DELAY - 0.01)
    assert len(bench.sent(Kind.SEALED, high)) == 1
    bench.advance(0.02)
    assert len(bench.sent(Kind.SEALED, high)) == 2
    bench.advance(10.0)
    assert len(bench.sent(Kind.SEALED, high)) == 2


@pytest.mark.parametrize("chatty", [False, True])
def test_a_writer_is_freed_when_every_acknowledgement_is_lost(chatty: bool) -> None:
    """Chatty: the other side keeps sending datagrams, so the path never looks silent."""
    bench = Bench()
    low, high = talking(bench)
    bench.gate = lambda node, _far, data: None if node is high and len(data) == HEADER_BYTES + 4 + 24 + 13 else data
    fill(bench, low, high)
    for _ in range(8):
        if chatty:
            high.send(low, b"chatter, longer than an acknowledgement")
        bench.advance(SESSION_SILENCE / 4)
    assert low.take(Writable) == [Writable(high.peer_id)]
    assert low.engine.room(high.peer_id) > 0
    if chatty:
        assert low.engine.counters["gave up packets in flight"] == 1


def test_a_writer_is_freed_when_the_full_link_it_waits_for_goes() -> None:
    bench = Bench()
    low, high = talking(bench)
    ((number, cable),) = low.cables.items()
    low.engine.link_full(number, True, bench.now)
    assert low.engine.room(high.peer_id) == 0
    cable.cut()
    bench.flow()
    assert low.take(Writable) == [Writable(high.peer_id)]


def test_a_writer_is_freed_once_when_a_full_link_takes_more() -> None:
    bench = Bench()
    low, high = talking(bench)
    ((number, _),) = low.cables.items()
    low.engine.link_full(number, True, bench.now)
    assert low.engine.room(high.peer_id) == 0
    low.engine.link_full(number, False, bench.now)
    low.engine.link_full(number, False, bench.now)
    bench.flow()
    assert low.take(Writable) == [Writable(high.peer_id)]


def test_sessions_wait_for_a_link_while_a_handshake_or_a_record_does() -> None:
    bench = Bench()
    low, high = bench.pair()
    table = low.engine._table
    bench.gate = lambda _sender, _receiver, data: None if kind_of(data) == Kind.HANDSHAKE else data
    low.send(high, b"x")
    bench.flow()
    assert list(table.waiting) == [high.peer_id]
    bench.gate = lambda _sender, _receiver, data: data
    bench.advance(3.0)
    assert high.heard() == [b"x"]
    assert not table.waiting
    assert not high.engine._table.waiting
    bench.gate = lambda _sender, _receiver, data: None if kind_of(data) == Kind.HANDSHAKE else data
    low.engine.send(bytes(20), 4, 9, 5, [b"x"], bench.now)
    bench.advance(20.0)
    assert not table.waiting


def test_half_open_handshakes_are_bounded_and_expire() -> None:
    bench = Bench()
    low, high = bench.pair()
    lose(bench, Kind.HANDSHAKE, sender=low)
    low.send(high, b"x")
    bench.flow()
    question = bench.sent(Kind.HANDSHAKE, low)[0]
    cable = next(iter(high.cables.values()))
    for n in range(2 * MAX_HALF_OPEN):
        index = n.to_bytes(4)
        forged = question[: HEADER_BYTES + 1] + index + bytes(4) + question[HEADER_BYTES + 9 : -4] + index
        bench.inject(cable, high, forged)
        bench.advance(0.004)
    assert len(high.engine._sessions._handshakes._half_open) <= MAX_HALF_OPEN
    assert len(high.engine._sessions._handshakes._answered) <= MAX_HALF_OPEN
    lose_nothing(bench)
    for _ in range(10):
        low.send(high, b"y")
        bench.advance(0.5)
    assert high.heard()[-1] == b"y"
    bench.advance(SESSION_IDLE)
    assert not high.engine._sessions._handshakes._half_open
    assert not high.engine._sessions._handshakes._answered
