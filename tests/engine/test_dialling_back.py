"""Dialling back: what a peer does for neighbours that ask whether they can be dialled, and how often."""

from __future__ import annotations

import pytest

from peer_relay_socket.codec import control
from peer_relay_socket.codec.packet import LinkOp
from peer_relay_socket.engine.effects import DialBack
from peer_relay_socket.limits import (
    DIAL_BACK_HOSTS,
    DIAL_BACK_PATIENCE,
    DIAL_BACK_RATE,
)
from tests.sim.bench import Bench, Node


def ask(node: Node, helper: Node, *, port: int = 22, nonce: bytes = b"n" * 8) -> None:
    link = node.engine._links.by_id[helper.peer_id]
    node.engine._links.tell(link, LinkOp.DIAL_BACK, control.dial_back(nonce, False, port))
    node.bench.flow()


def dialled(helper: Node) -> list[str]:
    return [effect.url for effect in helper.take(DialBack)]


def linked(count: int, *, host: str = "8.4.{0}.{1}") -> tuple[Bench, Node, list[Node]]:
    """Return a helper and `count` peers that dialled it, at an address each."""
    bench = Bench()
    helper = bench.node("helper", serves=True)
    peers = [bench.node(f"peer{number}") for number in range(count)]
    for number, peer in enumerate(peers):
        cable = bench.join(peer, helper)
        state = helper.engine._links.all[cable.number(helper)]
        state.remote_host = state.host = host.format(number >> 8, number & 255)
    bench.flow()
    bench.advance(2.0)
    return bench, helper, peers


def test_only_the_address_of_the_link_is_dialled_whatever_the_asker_says() -> None:
    bench, helper, (peer,) = linked(1)
    link = peer.engine._links.by_id[helper.peer_id]
    content = control.dial_back(b"n" * 8, False, 22) + b"ws://10.0.0.1:22"
    peer.engine._links.tell(link, LinkOp.DIAL_BACK, content)
    bench.flow()
    assert dialled(helper) == ["ws://8.4.0.0:22"]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "proxy.example", "0.0.0.0", "224.0.0.1"])
def test_whoever_is_seen_at_an_address_that_is_nobodys_is_not_dialled(address: str) -> None:
    """Behind a reverse proxy every asker seems to be on this machine, whose ports are nobody's business."""
    bench = Bench()
    helper, peer = bench.node("helper", serves=True), bench.node("peer")
    helper.engine.link_opened(2, url=None, remote_host=address, now=0.0)
    state = helper.engine._links.all.pop(2)
    cable = bench.join(peer, helper)
    bench.flow()
    link = helper.engine._links.all[cable.number(helper)]
    link.remote_host, link.scope, link.host = address, state.scope, state.host
    ask(peer, helper)
    assert dialled(helper) == []
    assert helper.engine.counters["refused: to dial back"] == 1


def test_one_asker_is_dialled_once_a_second_at_most() -> None:
    bench, helper, (peer,) = linked(1)
    for port in range(1, 400):
        ask(peer, helper, port=port)
    assert dialled(helper) == ["ws://8.4.0.0:1"]
    bench.advance(DIAL_BACK_PATIENCE + 0.01)
    ask(peer, helper, port=400)
    assert dialled(helper) == ["ws://8.4.0.0:400"]


def test_askers_behind_one_address_share_one_turn() -> None:
    _, helper, peers = linked(20, host="8.4.4.4")
    for peer in peers:
        ask(peer, helper)
    assert dialled(helper) == ["ws://8.4.4.4:22"]


def test_all_askers_together_are_dialled_a_few_times_a_second() -> None:
    bench, helper, peers = linked(60)
    for peer in peers:
        ask(peer, helper)
    assert len(dialled(helper)) == DIAL_BACK_RATE
    assert helper.engine.counters["refused: to dial back"] == 60 - DIAL_BACK_RATE
    bench.advance(1.0)
    for peer in peers[30:]:
        ask(peer, helper)
    assert len(dialled(helper)) == DIAL_BACK_RATE


def test_what_is_remembered_of_askers_is_bounded() -> None:
    _, helper, (peer,) = linked(1)
    link = helper.engine._links.by_id[peer.peer_id]
    reachability = helper.engine._reachability
    for number in range(2 * DIAL_BACK_HOSTS):
        link.host = f"8.{number >> 8}.{number & 255}.1"
        helper.engine._core.now += 1.0
        reachability.asked(link, control.dial_back(bytes(8), False, 1))
    assert len(reachability._dialled) == DIAL_BACK_HOSTS


@pytest.mark.parametrize("operand", [b"", bytes(10)])
def test_a_question_that_is_cut_short_is_a_bad_packet(operand: bytes) -> None:
    bench, helper, (peer,) = linked(1)
    link = peer.engine._links.by_id[helper.peer_id]
    peer.engine._links.tell(link, LinkOp.DIAL_BACK, operand)
    bench.flow()
    assert dialled(helper) == []
    assert helper.engine.counters["link dropped: bad bytes"] == 1
