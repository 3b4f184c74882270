"""Two relays and three peers under whatever hypothesis thinks of: cuts, restarts, losses, repeats, wild orders."""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.packet import Kind
from peer_relay_socket.engine.effects import Deliver
from peer_relay_socket.engine.session import Session, State
from tests.sim.bench import Bench, Cable, Node, kind_of
from tests.sim.tags import receive

LEAVES = 3
node_numbers = st.integers(0, LEAVES + 1)
leaf_numbers = st.integers(2, LEAVES + 1)


def agrees_with_its_state(session: Session) -> None:
    """What a session has is what its state says."""
    state, attempt = session.state, session.attempt
    waits = (State.OPENING, State.REKEYING, State.RECOVERING)
    assert (session.keys is None) is (state in (State.NEW, State.OPENING))
    assert (attempt is not None) is (state in (*waits, State.CONFIRMING, State.SWITCHING))
    if attempt is not None:
        assert attempt.handshake.complete is (state not in waits)
        assert (attempt.keys is not None) is (state is State.SWITCHING)


class Overlay(RuleBasedStateMachine):
    """Nodes 0 and 1 relay; the others are linked to one or both of them."""

    @initialize(seed=st.integers(0, 2**32 - 1))
    def build(self, seed: int) -> None:
        self.bench = Bench(seed)
        self.dice = Random(seed)
        self.nodes = [self.bench.node(f"n{number}", serves=number < 2) for number in range(2 + LEAVES)]
        self.mode = "honest"
        self.held: list[tuple[Cable, int, bytes]] = []
        self.sent: Counter[tuple[bytes, bytes, bytes]] = Counter()
        self.arrived: Counter[tuple[bytes, bytes, bytes]] = Counter()
        self.count = 0
        self.bench.gate = self.gate
        self.mend()

    # --- the network's moods -----------------------------------------------------------------------------------

    def gate(self, sender: Node, receiver: Node, data: bytes) -> bytes | list[bytes] | None:
        if self.mode == "honest" or kind_of(data) in (Kind.LINK, wire.LINK_HANDSHAKE):
            return data
        if self.mode == "lossy":
            return data if self.dice.random() < 0.6 else None
        if self.mode == "repeating":
            return [data] * self.dice.randint(1, 3)
        cable = next((cable for cable in sender.cables.values() if receiver in cable.ends.values()), None)
        if cable is not None:
            self.held.append((cable, cable.number(receiver), data))
        return None

    @rule(mode=st.sampled_from(["honest", "lossy", "repeating", "holding"]))
    def change(self, mode: str) -> None:
        self.mode = mode

    @rule(twice=st.booleans())
    def release(self, twice: bool) -> None:
        """What was held arrives in any order, perhaps twice, perhaps by a cable that is no more."""
        held, self.held = self.held * (2 if twice else 1), []
        self.dice.shuffle(held)
        for cable, number, data in held:
            node = cable.ends[number]
            if number in node.cables:
                receive(node.engine, number, data, self.bench.now)
        self.bench.flow()

    @rule(seconds=st.sampled_from([0.0, 0.05, 0.3, 1.0, 2.0, 7.0, 45.0, 700.0]))
    def wait(self, seconds: float) -> None:
        self.bench.advance(seconds)

    # --- what happens to nodes ---------------------------------------------------------------------------------

    @rule(one=leaf_numbers, other=leaf_numbers, times=st.integers(1, 3))
    def send(self, one: int, other: int, times: int) -> None:
        if one != other:
            for _ in range(times):
                self.say(self.nodes[one], self.nodes[other])
            self.bench.flow()

    def say(self, sender: Node, receiver: Node) -> None:
        self.count += 1
        data = b"%d" % self.count
        self.sent[sender.peer_id, receiver.peer_id, data] += 1
        sender.send(receiver, data)

    @rule(number=node_numbers, which=st.integers(0, 3))
    def cut(self, number: int, which: int) -> None:
        cables = list(self.nodes[number].cables.values())
        if cables:
            cables[which % len(cables)].cut()
            self.bench.flow()

    @rule(one=node_numbers, other=st.integers(0, 1))
    def link(self, one: int, other: int) -> None:
        """Dial, be they linked already or not."""
        if one != other:
            self.bench.join(self.nodes[one], self.nodes[other])
            self.bench.flow()

    @rule(number=node_numbers)
    def restart(self, number: int) -> None:
        node = self.nodes[number]
        self.check()
        node.restart()
        self.bench.flow()

    # --- what must hold ----------------------------------------------------------------------------------------

    @invariant()
    def check(self) -> None:
        """Nothing arrives that was not sent, altered, at another's, or twice; tables stay small."""
        for node in self.nodes:
            for deliver in node.take(Deliver):
                assert (deliver.source_port, deliver.port, deliver.form) == (9, 5, 4)
                for data in deliver.datagrams:
                    self.arrived[deliver.source, node.peer_id, data] += 1
            engine = node.engine
            sessions = engine._table
            assert len(sessions.by_id) <= len(self.nodes)
            assert len(sessions.keys) <= 4 * len(self.nodes)
            assert all(len(session.older) <= 2 for session in sessions.by_id.values())
            assert set(engine._links.by_id.values()) <= set(engine._links.all.values())
            assert len(engine._links.by_id) < len(self.nodes)
            assert len(engine._core.timers._heap) < 10_000
            for session in sessions.by_id.values():
                assert session.in_flight == sum(size for _, size in session.flights)
                assert session.keys is not None or session.attempt is not None or not session.pending
                if session.flights:
                    assert session.liveness_timer is not None
                    assert session.liveness_timer.pending
                agrees_with_its_state(session)
                if session.blocked:
                    assert session.peer_id in sessions._blocked
        assert self.arrived <= self.sent

    def mend(self) -> None:
        """Make every node reach every other again."""
        first, second = self.nodes[:2]
        for one, other in [(first, second), *((leaf, relay) for leaf in self.nodes[2:] for relay in (first, second))]:
            if other.peer_id not in one.engine.neighbours:
                self.bench.join(one, other)
                self.bench.flow()

    def teardown(self) -> None:
        if not hasattr(self, "bench"):
            return
        self.mode = "honest"
        self.release(False)
        self.mend()
        pairs = list(permutations(self.nodes[2:], 2))
        for _ in range(20):
            for one, other in pairs:
                self.say(one, other)
            self.bench.advance(0.25)
        self.check()
        before = Counter(self.arrived)
        for one, other in pairs:
            self.say(one, other)
        self.bench.flow()
        self.check()
        fresh = self.arrived - before
        heard = {(source, receiver) for source, receiver, _ in fresh}
        assert heard == {(one.peer_id, other.peer_id) for one, other in pairs}


Overlay.TestCase.settings = settings(stateful_step_count=25)
TestOverlay = Overlay.TestCase
