"""Whom a peer links to and talks to: the program's own lists, and the network key."""

from __future__ import annotations

from peer_relay_socket.address import PeerId
from peer_relay_socket.codec.packet import Kind
from peer_relay_socket.engine.effects import CloseLink, Note, PeerDown, Unreachable
from tests.sim.bench import Bench, Node


class Lists:
    """What a file of ids would hold."""

    def __init__(self) -> None:
        self.denied: set[PeerId] = set()

    def __call__(self, peer_id: PeerId) -> bool:
        return peer_id not in self.denied


def trio(bench: Bench) -> tuple[Node, Node, Node]:
    relay, a, b = bench.node("relay", serves=True), bench.node("a"), bench.node("b")
    for node in (a, b):
        bench.join(node, relay)
    bench.flow()
    return relay, a, b


def test_a_peer_that_is_not_admitted_does_not_link_from_either_side() -> None:
    for denier in (0, 1):
        bench = Bench()
        dialler, acceptor = bench.node("dialler"), bench.node("acceptor", serves=True)
        nodes = (dialler, acceptor)
        nodes[denier].config.may_link = lambda peer_id, other=nodes[1 - denier]: peer_id != other.peer_id  # type: ignore[misc]
        bench.join(dialler, acceptor)
        bench.flow()
        assert dialler.engine.neighbours == acceptor.engine.neighbours == []
        assert any("is not admitted" in note.text for note in nodes[denier].take(Note))


def test_a_link_goes_when_its_peer_is_no_longer_admitted() -> None:
    bench = Bench()
    relay, a, b = trio(bench)
    lists = Lists()
    relay.config.may_link = lists
    relay.engine.recheck(bench.now)
    bench.flow()
    assert len(relay.engine.neighbours) == 2
    lists.denied.add(a.peer_id)
    relay.effects.clear()
    relay.engine.recheck(bench.now)
    bench.flow()
    assert relay.engine.neighbours == [b.peer_id]
    assert [close.reason for close in relay.take(CloseLink)] == ["not admitted any more"]
    assert relay.take(PeerDown) == [PeerDown(a.peer_id)]


def test_a_peer_that_is_not_accepted_is_neither_heard_nor_sent_to() -> None:
    bench = Bench()
    relay, a, b = trio(bench)
    b.config.may_talk = lambda peer_id: peer_id != a.peer_id
    a.send(b, b"knock")
    bench.advance(10.0)
    assert b.heard() == []
    assert bench.sent(Kind.HANDSHAKE, b) == []
    assert a.take(Unreachable) == [Unreachable(b.peer_id, "it refuses us")]
    b.send(a, b"never")
    bench.flow()
    assert b.take(Unreachable) == [Unreachable(a.peer_id, "our own lists refuse it")]
    assert bench.sent(Kind.HANDSHAKE, b) == []
    relay.send(b, b"others may")
    bench.flow()
    assert b.heard() == [b"others may"]


def test_a_session_ends_when_its_peer_is_no_longer_accepted() -> None:
    bench = Bench()
    _, a, b = trio(bench)
    lists = Lists()
    b.config.may_talk = lists
    a.send(b, b"one")
    bench.advance(1.0)
    assert b.heard() == [b"one"]
    lists.denied.add(a.peer_id)
    b.engine.recheck(bench.now)
    for _ in range(20):
        a.send(b, b"two")
        bench.advance(0.5)
    assert b.heard() == []
    assert bench.sent(Kind.NO_SESSION, b) == []
    lists.denied.clear()
    for _ in range(8):
        a.send(b, b"three")
        bench.advance(0.5)
    assert b.heard()[-1] == b"three"


def test_a_list_that_changes_during_a_handshake_is_heeded() -> None:
    bench = Bench()
    _, a, b = trio(bench)
    lists = Lists()
    b.config.may_talk = lists
    bench.gate = lambda node, _far, data: lists.denied.add(a.peer_id) or data if node is b else data  # type: ignore[func-returns-value]
    a.send(b, b"x")
    bench.advance(1.0)
    assert b.heard() == []


def test_without_the_network_key_nobody_links_and_nothing_is_learned() -> None:
    for keys in ((None, b"k" * 32), (b"k" * 32, None), (b"j" * 32, b"k" * 32)):
        bench = Bench()
        dialler, acceptor = bench.node("dialler", psk=keys[0]), bench.node("acceptor", serves=True, psk=keys[1])
        bench.join(dialler, acceptor)
        bench.advance(20.0)
        assert dialler.engine.neighbours == acceptor.engine.neighbours == []
        assert len(acceptor.take(CloseLink)) + len(dialler.take(CloseLink)) >= 1


def test_with_the_network_key_peers_link_and_talk() -> None:
    bench = Bench()
    relay, a, b = (bench.node(name, serves=name == "relay", psk=b"k" * 32) for name in ("relay", "a", "b"))
    for node in (a, b):
        bench.join(node, relay)
    a.send(b, b"hello")
    bench.advance(1.0)
    assert b.heard() == [b"hello"]
