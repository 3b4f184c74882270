"""The states of a session: what moves it between them is a table, and real engines take every row of it."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from peer_relay_socket.address import PeerId
from peer_relay_socket.engine import sessions as sessions_module
from peer_relay_socket.engine.session import TRANSITIONS, Happening, Session, State
from tests.engine.test_machine import agrees_with_its_state
from tests.sim.network import Host, Network

RARE = {
    (State.NEW, Happening.CLOSED),
    (State.CONFIRMING, Happening.GIVEN_UP),
    (State.CONFIRMING, Happening.DOUBTED),
    (State.OPEN, Happening.CLOSED),
    (State.SUSPECT, Happening.COMPLETED),
    (State.SUSPECT, Happening.DOUBTED),
    (State.SUSPECT, Happening.HEARD),
    (State.SUSPECT, Happening.CLOSED),
    (State.RECOVERING, Happening.GIVEN_UP),
    (State.SWITCHING, Happening.GIVEN_UP),
    (State.SWITCHING, Happening.DOUBTED),
    (State.SWITCHING, Happening.COMPLETED),
    (State.CLOSED, Happening.CLOSED),
}
"""Rows for which the hosts below would have to be luckier."""


def test_every_state_can_be_reached_and_forgotten() -> None:
    assert set(TRANSITIONS) == set(State)
    reached = {state for row in TRANSITIONS.values() for state in row.values()}
    assert reached == set(State) - {State.NEW}
    assert all(row[Happening.CLOSED] is State.CLOSED for row in TRANSITIONS.values())


def disturb(network: Network, hosts: list[Host], dice: Random) -> None:
    """Something happens: mostly a datagram, at times a crash or other weather."""
    one, other = dice.sample(hosts, 2)
    what = dice.random()
    if what < 0.9 and one.alive:
        one.send(other.peer_id, 5, b"x")
        if what < 0.2 and other.alive:
            other.send(one.peer_id, 5, b"x")
    elif what < 0.95 and one.alive:
        one.crash()
        network.at(network.now + 3 * dice.random(), one.start)
    elif what > 0.98:
        network.loss = dice.choice([0.0, 0.3, 0.9])
    network.run(dice.choice([0.01, 0.3, 2.0, 20.0]))


@pytest.mark.parametrize("highest", range(5))
def test_what_is_acknowledged_is_no_longer_in_flight_and_the_rest_is(highest: int) -> None:
    session = Session(PeerId(bytes(20)), 0.0)
    for counter in range(3):
        session.note_sent(counter, 10 + counter, 1.0)
    session.silent_since = 1.0
    session.acknowledged(highest, 2.0)
    left = [(counter, 10 + counter) for counter in range(highest, 3)]
    assert list(session.flights) == left
    assert session.in_flight == sum(size for _, size in left)
    assert session.acked_at == (2.0 if highest else 1.0)
    assert session.silent_since == (1.0 if left else None)


@pytest.mark.slow
def test_sessions_of_real_engines_move_as_the_table_says(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: Counter[tuple[State, Happening]] = Counter()
    move = Session.move

    def watched(session: Session, happening: Happening) -> None:
        taken[session.state, happening] += 1
        move(session, happening)

    monkeypatch.setattr(Session, "move", watched)
    monkeypatch.setattr(sessions_module, "SESSION_REKEY", 20.0)
    for seed in range(6):
        dice = Random(seed)
        network = Network(seed, loss=(0.0, 0.1, 0.4)[seed % 3])
        network.host("first", serves=True)
        network.host("second", serves=True, bootstrap=("first",))
        hosts = [network.host(name, bootstrap=("first", "second")) for name in "abc"]
        network.run(2.0)
        for _ in range(400):
            disturb(network, hosts, dice)
            for host in hosts:
                for session in host.engine._table.by_id.values():
                    agrees_with_its_state(session)
    rows = {(state, happening) for state, row in TRANSITIONS.items() for happening in row}
    assert rows - set(taken) <= RARE
