"""Sessions on a bench that make new keys, and ends that disagree on which keys there are."""

from __future__ import annotations

from random import Random

import pytest

from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.packet import HEADER_BYTES, Kind
from peer_relay_socket.engine import seal
from peer_relay_socket.engine.authentication import Handshake, StaticKey, session_prologue
from peer_relay_socket.engine.effects import Unreachable
from peer_relay_socket.identity import Identity
from peer_relay_socket.limits import (
    SESSION_IDLE,
    SESSION_REKEY,
    SESSION_WINDOW,
)
from tests.engine.test_sessions import handshake_steps, lose, lose_nothing
from tests.sim.bench import Bench, Node, kind_of, step_of, talking

# --- renewal ---------------------------------------------------------------------------------------------------


def test_new_keys_replace_old_ones_without_losing_a_datagram() -> None:
    bench = Bench()
    low, high = talking(bench)
    lost: list[bytes] = []

    def gate(_sender: Node, _receiver: Node, data: bytes) -> bytes | None:
        if step_of(data) and len(lost) < 4:
            lost.append(data)
            return None
        return data

    bench.gate = gate
    sent = []
    for n in range(int(SESSION_REKEY / 10) + 60):
        datagram = b"%d" % n
        (low if n % 2 else high).send(high if n % 2 else low, datagram)
        bench.advance(10.0)
        sent.append(datagram)
    assert lost
    assert high.heard() == sent[1::2]
    assert low.heard() == sent[::2]
    indexes = {data[HEADER_BYTES : HEADER_BYTES + 4] for data in bench.sent(Kind.SEALED, low)}
    assert len(indexes) >= 2


def test_new_keys_are_made_before_the_old_ones_are_worn_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal, "SEAL_REKEY_BYTES", 20_000)
    monkeypatch.setattr(seal, "SEAL_KEY_BYTES", 40_000)
    bench = Bench()
    low, high = bench.pair()
    sent = [b"%d" % n * 300 for n in range(200)]
    for datagram in sent:
        low.send(high, datagram)
        bench.advance(0.05)
    assert high.heard() == sent
    assert len([step for name, step in handshake_steps(bench) if step == 3]) > 5
    assert "dropped: keys worn out" not in low.engine.counters


def test_a_key_seals_no_more_than_it_may_though_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal, "SEAL_REKEY_BYTES", 20_000)
    monkeypatch.setattr(seal, "SEAL_KEY_BYTES", 40_000)
    bench = Bench()
    low, high = bench.pair()
    low.send(high, b"hello")
    bench.advance(0.5)
    bench.gate = lambda _node, _far, data: None if kind_of(data) == Kind.HANDSHAKE else data
    for _ in range(100):
        low.send(high, bytes(1000))
        bench.advance(0.01)
    assert len(high.heard()) in range(35, 41)  # 40,000 bytes, each packet counting some extra
    assert low.engine.counters["dropped: keys worn out"] > 50


def test_a_datagram_after_a_long_pause_is_not_lost() -> None:
    bench = Bench()
    low, high = talking(bench)
    bench.advance(SESSION_IDLE + 1)
    low.send(high, b"are you there?")
    bench.flow()
    assert high.heard() == [b"are you there?"]
    bench.advance(3 * SESSION_IDLE)
    high.send(low, b"yes")
    bench.flow()
    assert low.heard() == [b"yes"]


# --- ends that disagree ----------------------------------------------------------------------------------------


def test_ends_left_on_different_keys_still_acknowledge_each_other() -> None:
    """low answers high's question and high low's late one: each installs last what the other made first."""
    bench = Bench()
    low, high = bench.pair()
    held: dict[tuple[str, int], bytes] = {}

    def gate(node: Node, _far: Node, data: bytes) -> bytes | None:
        mark = (node.name, step_of(data))
        if mark in ((low.name, 1), (high.name, 3), (low.name, 3)) and mark not in held:
            held[mark] = data
            return None
        return data

    bench.gate = gate
    low.send(high, b"x")
    high.send(low, b"y")
    bench.flow()
    (cable,) = low.cables.values()
    bench.inject(cable, high, held[low.name, 1])
    bench.inject(cable, low, held[high.name, 3])
    bench.inject(cable, high, held[low.name, 3])
    lose_nothing(bench)
    low.send(high, b"by this index")
    high.send(low, b"and by this")
    bench.flow()
    ours, theirs = (bench.sent(Kind.SEALED, node)[-1] for node in (low, high))
    assert ours[HEADER_BYTES : HEADER_BYTES + 4] == bench.sent(Kind.HANDSHAKE, high)[0][HEADER_BYTES + 1 :][:4]
    assert theirs[HEADER_BYTES : HEADER_BYTES + 4] == held[low.name, 1][HEADER_BYTES + 1 :][:4]
    for sender, receiver in ((low, high), (high, low)):
        bench.advance(1.0)
        for _ in range(SESSION_WINDOW // 50_000 + 10):
            assert sender.engine.room(receiver.peer_id) > 0
            sender.send(receiver, bytes(50_000))
            bench.flow()
        bench.advance(1.0)
        assert sender.engine.room(receiver.peer_id) == SESSION_WINDOW
        assert sender.engine.counters.get("gave up packets in flight", 0) == 0


def test_an_answerer_that_restarts_before_the_end_is_asked_anew_at_once() -> None:
    """The asker has keys, the answerer never had: its "no session" must end the asker's repetitions."""
    bench = Bench()
    low, high = bench.pair()
    bench.gate = lambda _a, _b, data: None if step_of(data) == 3 else data
    low.send(high, b"before")
    bench.flow()
    lose_nothing(bench)
    high.restart()
    bench.join(low, high)
    for n in range(8):
        low.send(high, b"%d" % n)
        bench.advance(0.1)
    assert high.heard()[-1] == b"7"


def test_a_question_whose_index_was_altered_gets_no_answer() -> None:
    bench = Bench()
    low, high = bench.pair()
    bench.gate = lambda node, _far, data: (
        data[: HEADER_BYTES + 1] + b"EVIL" + data[HEADER_BYTES + 5 :] if step_of(data) == 1 else data
    )
    low.send(high, b"x")
    bench.flow()
    assert bench.sent(Kind.HANDSHAKE, high) == []


def test_a_question_that_is_too_long_gets_no_answer() -> None:
    bench = Bench()
    low, high = bench.pair()
    body = b"\x01" + b"abcd" + bytes(4) + (9).to_bytes(32, "little") + b"abcd" + bytes(1000)
    (cable,) = low.cables.values()
    bench.inject(cable, high, wire.packet(Kind.HANDSHAKE, high.peer_id, low.peer_id, body))
    assert bench.sent(Kind.HANDSHAKE, high) == []


def test_somebody_else_who_answers_in_the_right_name_is_not_believed() -> None:
    bench = Bench()
    low, high = bench.pair()
    bench.gate = lambda node, _far, data: None if node is low and kind_of(data) == Kind.HANDSHAKE else data
    low.send(high, b"x")
    bench.flow()
    question = bench.sent(Kind.HANDSHAKE, low)[0][HEADER_BYTES:]
    dice = Random(1)
    impostor = Handshake(
        initiator=False,
        static=StaticKey(Identity.from_seed(b"i" * 32), dice.randbytes),
        prologue=session_prologue(low.peer_id, high.peer_id),
        psk=None,
        entropy=dice.randbytes,
    )
    impostor.read(question[9:])
    answer = b"\x02" + b"fake" + question[1:5] + impostor.write(b"fake")
    (cable,) = low.cables.values()
    bench.inject(cable, low, wire.packet(Kind.HANDSHAKE, low.peer_id, high.peer_id, answer))
    assert bench.sent(Kind.SEALED, low) == []
    assert low.engine.counters["dropped: malformed control packet"] == 1


def renewing(bench: Bench, low: Node, high: Node) -> None:
    """Let time pass until new keys are due, and talk so that nobody is idle."""
    while not bench.sent(Kind.HANDSHAKE):
        low.send(high, b"tick")
        bench.advance(5.0)
    high.effects.clear()


def test_no_datagram_is_lost_when_the_last_message_of_a_renewal_is() -> None:
    bench = Bench()
    low, high = talking(bench)
    bench.gate = lambda _a, _b, data: None if step_of(data) == 3 else data
    renewing(bench, low, high)
    bench.seen.clear()
    for n in range(40):
        low.send(high, b"%d" % n)
        bench.advance(0.05)
    assert high.heard() == [b"%d" % n for n in range(40)]
    assert bench.sent(Kind.NO_SESSION) == []


def test_a_renewal_that_fails_leaves_the_old_keys_working() -> None:
    bench = Bench()
    low, high = talking(bench)
    lose(bench, Kind.HANDSHAKE)
    renewing(bench, low, high)
    for n in range(60):
        low.send(high, b"%d" % n)
        bench.advance(1.0)
    assert high.heard() == [b"%d" % n for n in range(60)]
    assert low.take(Unreachable) == high.take(Unreachable) == []


def test_a_datagram_is_not_sealed_under_keys_that_the_other_side_just_forgot() -> None:
    """The receiver's upkeep runs soon after the session went idle, the sender's much later."""
    bench = Bench()
    bench.now = 100.0
    sender = bench.node("sender")
    bench.now = 111.0
    receiver = bench.node("receiver", serves=True)
    bench.join(sender, receiver)
    bench.now = 200.0
    sender.send(receiver, b"first")
    bench.advance(670.0)
    assert receiver.heard() == [b"first"]
    sender.send(receiver, b"second")
    bench.flow()
    assert receiver.heard() == [b"second"]
