"""Nothing is lost or doubled when a conversation changes its way on a clean network; and what breaks costs 3 s at most.

Three relays at different distances and two peers, real programs that send numbered datagrams both ways: from what
routing finds to the best relay, to a better one, to a direct path and back; a relay killed, and one that hangs; a peer
whose uplink is another network from one moment to the next. `pytest -m slow -s -n 0 tests/lab/test_changes.py`
prints what each cost.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.nat_lab import Talker
from tests.lab.wide_area import WideArea

pytestmark = [pytest.mark.slow, pytest.mark.alone]

RATE = 50.0
LIMIT = 3.0
"""Seconds from a break to the last datagram that it cost."""
SLACK = 1.0
"""Seconds more on a busy machine. What is noticed by nothing but a timeout of TCP or ICE costs five and more."""
IN_FLIGHT = 0.5
"""Seconds before a break in which what was sent may still have been on its way."""
RELAYS = 3
ONE, OTHER = 3, 4
"""The machines of the two peers."""


def delays(*relays: float) -> list[list[float]]:
    """Relays so many milliseconds from both peers, which are 40 from each other."""
    spurs = [*relays, 20.0, 20.0]
    return [[0.0 if i == j else one + other for j, other in enumerate(spurs)] for i, one in enumerate(spurs)]


class Conversation:
    """Two peers that talk, and what became of each datagram."""

    def __init__(self, lab: WideArea) -> None:
        self.lab = lab
        started = [lab.relay(port, bootstrap=0 if port else None) for port in range(RELAYS)]
        self.relays = {peer_id: node for node, peer_id in started}
        peers = [lab.peer(port, 0, LAB_WRTC="1") for port in (ONE, OTHER)]
        self.peers: list[Talker] = [peer for peer, _ in peers]
        self.ids = [peer_id for _, peer_id in peers]
        self.got: list[list[int]] = [[], []]
        """By the end that sent: numbers, as they came."""
        self.accounts: list[dict[str, Any]] = [{}, {}]
        for end in (0, 1):
            self.peers[end].order(to=[self.ids[1 - end]], rate=RATE)

    def look(self) -> None:
        """Take in what has come so far."""
        for end in (0, 1):
            account = self.accounts[1 - end] = self.peers[1 - end].order(account=True)
            self.got[end] += [number for number, _, _ in account["got"].get(self.ids[end], [])]

    def until(self, condition: Any, limit: float) -> None:
        """Let it go on until `condition` holds for the way of each end: (state, id of the relay, counters)."""
        end = time.monotonic() + limit
        while True:
            self.look()
            ways = [self.accounts[at]["paths"].get(self.ids[1 - at], (None, None, None)) for at in (0, 1)]
            if all(condition(*way[:2], account["counters"]) for way, account in zip(ways, self.accounts, strict=True)):
                return
            assert time.monotonic() < end, (ways, [account["counters"] for account in self.accounts])
            time.sleep(0.2)

    def via(self) -> str:
        """Return the relay by which the first end sends."""
        return str(self.accounts[0]["paths"][self.ids[1]][1])

    def go_on(self, seconds: float) -> None:
        """Let it go on for a while."""
        time.sleep(seconds)
        self.look()

    def sent(self) -> list[int]:
        """Return how many datagrams each end has sent so far."""
        self.look()
        return [self.accounts[end]["sent"][self.ids[1 - end]] for end in (0, 1)]

    def cost(self, since: list[int], broken: list[int] | None = None) -> tuple[int, float]:
        """Return how many datagrams were lost, and the seconds from `since` to the last of them. Nothing may be lost
        before `broken`; None = `since`."""
        for peer in self.peers:
            peer.order(to=[])
        time.sleep(2.0)
        lost, last = 0, 0.0
        for end, count in enumerate(self.sent()):
            assert len(self.got[end]) == len({*self.got[end]}), "a datagram came twice"
            missing = {*range(count)} - {*self.got[end]}
            whole = (broken or since)[end] - int(IN_FLIGHT * RATE)
            assert not [number for number in missing if number < whole], "lost while nothing had broken"
            lost += len(missing)
            last = max(last, (max(missing, default=since[end]) - since[end]) / RATE)
        return lost, last


@pytest.fixture
def talk() -> Iterator[Conversation]:
    with WideArea(delays(60.0, 10.0, 30.0)) as lab:
        lab.change(no_udp=[ONE, OTHER])
        conversation = Conversation(lab)
        conversation.until(lambda state, via, counters: counters.get("paths chosen"), 60)
        conversation.go_on(1.0)
        yield conversation
        complaints = lab.complaints()
        assert "Traceback" not in complaints, complaints


def _report(what: str, cost: tuple[int, float]) -> None:
    print(f"\n{what:40}{cost[0]:5} lost, the last {cost[1]:.2f} s after the break")


def test_no_change_to_a_better_way_loses_or_doubles_anything(talk: Conversation) -> None:
    nearest = talk.via()
    talk.lab.change(delays=delays(60.0, 70.0, 12.0))
    talk.until(lambda state, via, counters: counters.get("paths changed"), 60)
    assert talk.via() != nearest
    talk.lab.change(no_udp=[])
    talk.until(lambda state, via, counters: state == "direct", 90)
    talk.go_on(2.0)
    before = talk.sent()
    talk.lab.change(no_udp=[ONE, OTHER])
    talk.until(lambda state, via, counters: state == "relayed", 30)
    talk.go_on(2.0)
    cost = talk.cost(before)
    _report("direct path cut, after three changes", cost)
    assert cost[1] <= LIMIT + SLACK


def test_a_killed_relay_costs_a_moment(talk: Conversation) -> None:
    before = talk.sent()
    talk.relays[talk.via()].process.kill()
    talk.go_on(6.0)
    cost = talk.cost(before)
    _report("relay killed", cost)
    assert cost[1] <= LIMIT + SLACK


def test_a_relay_that_hangs_costs_three_seconds_at_most(talk: Conversation) -> None:
    before = talk.sent()
    process = talk.relays[talk.via()].process
    process.send_signal(signal.SIGSTOP)
    talk.go_on(8.0)
    cost = talk.cost(before)
    process.send_signal(signal.SIGCONT)
    _report("relay hangs", cost)
    assert cost[1] <= LIMIT + SLACK


@pytest.mark.parametrize("way", ["relayed", "direct"])
def test_a_peer_that_moves_to_another_network_goes_on(talk: Conversation, way: str) -> None:
    if way == "direct":
        talk.lab.change(no_udp=[])
        talk.until(lambda state, via, counters: state == "direct", 90)
        talk.go_on(2.0)
    before = talk.sent()
    talk.lab.move(ONE, 82)
    talk.go_on(8.0)
    cost = talk.cost(before)
    _report(f"uplink switched, {way} before", cost)
    assert cost[1] <= LIMIT + SLACK


def test_a_peer_that_had_no_network_goes_on_once_there_is_one(talk: Conversation) -> None:
    broken = talk.sent()
    talk.lab.leave(ONE)
    talk.go_on(8.0)
    talk.lab.arrive(ONE, 82)
    back = talk.sent()
    talk.go_on(8.0)
    cost = talk.cost(back, broken)
    _report("8 s without a network", cost)
    assert cost[1] <= LIMIT + SLACK
