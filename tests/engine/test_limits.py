"""Every limit on strangers, driven past. Those of the engine's tables are here; where the others are:

links in all, per host; half-open ones        test_link_bounds
seconds for a link handshake                  test_links (stalls), transport/test_inbound (stalled)
connections: rate, per host, half-open        transport/test_inbound
message, packet, request, handshake sizes     transport/test_websocket (1009), codec/test_packet, test_link_tls (431)
packets/s and bytes/s of a link, announced    test_links (not read for a while and told), bridge/test_slow_relay
control packets/s of a link                   test_links (cut to its rate)
odd frames/s of a link                        transport/test_websocket
bytes queued for a link                       transport/test_websocket (hard limit)
routes, floods, notices                       test_routing
half-open session handshakes                  test_sessions
lies that cost a handshake                    test_sessions (no session), test_hostile_relay
offers, descriptions, candidates              test_signalling, transport/test_webrtc
dialling back                                 test_dialling_back
all at once                                   bridge/test_flood
"""

from __future__ import annotations

import pytest

from peer_relay_socket.address import Prefix
from peer_relay_socket.codec import control
from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.control import Contact
from peer_relay_socket.codec.packet import Kind, LinkOp
from peer_relay_socket.engine import candidates as candidates_module
from peer_relay_socket.engine import direct_pairs as pairs_module
from peer_relay_socket.engine import handshakes as handshakes_module
from peer_relay_socket.engine import pending as pending_module
from peer_relay_socket.engine import resolver as resolver_module
from peer_relay_socket.engine import session_table
from peer_relay_socket.engine.effects import Note, Unreachable
from peer_relay_socket.limits import NOTE_CHARACTERS
from tests.sim.bench import Bench, Node
from tests.sim.tags import receive


def relayed(bench: Bench) -> tuple[Node, Node]:
    """Return a relay and a peer linked to it."""
    relay, peer = bench.node("relay", serves=True), bench.node("peer")
    bench.join(peer, relay)
    bench.flow()
    for each in (relay, peer):
        each.effects.clear()
    return relay, peer


def question(dice: Bench) -> bytes:
    """Return the body of a first handshake message, as anybody can write it."""
    index = dice.random.randbytes(4)
    return b"\x01" + index + bytes(4) + dice.random.randbytes(32) + index


def test_first_handshake_messages_are_answered_at_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes_module, "HANDSHAKE_RATE", 20.0)
    bench = Bench()
    relay, peer = relayed(bench)
    cable = next(iter(peer.cables.values()))
    for _ in range(50):
        stranger = bench.random.randbytes(20)
        receive(
            peer.engine,
            cable.number(peer),
            wire.packet(Kind.HANDSHAKE, peer.peer_id, stranger, question(bench)),
            bench.now,
        )
    bench.flow()
    assert len(bench.sent(Kind.HANDSHAKE, peer)) == 20
    assert peer.engine.counters["refused: too many handshakes"] == 30
    bench.advance(1.0)
    bench.inject(cable, peer, wire.packet(Kind.HANDSHAKE, peer.peer_id, relay.peer_id, question(bench)))
    assert len(bench.sent(Kind.HANDSHAKE, peer)) == 21


def test_sessions_are_bounded_and_the_longest_idle_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_table, "MAX_SESSIONS", 5)
    bench = Bench()
    relay, peer = relayed(bench)
    others = [bench.node(f"other{n}") for n in range(8)]
    for other in others:
        bench.join(other, relay)
        bench.flow()
        other.send(peer, b"hello")
        bench.advance(0.5)
    assert sorted(peer.heard()) == [b"hello"] * 8
    table = peer.engine._table
    assert list(table.by_id) == [other.peer_id for other in others[3:]]
    assert len(table.keys) == 5
    assert peer.engine.counters["sessions forgotten: too many"] == 3


def test_what_waits_for_peers_that_do_not_answer_is_bounded_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending_module, "PENDING_TOTAL", 100_000)
    bench = Bench()
    _, peer = relayed(bench)
    bench.gate = lambda _node, _far, data: data if data[0] == Kind.LINK else None
    for _ in range(100):
        peer.engine.send(bench.random.randbytes(20), 4, 9, 5, [bytes(10_000)], bench.now)
    assert 100_000 <= peer.engine._table.pending.total < 120_000
    assert peer.engine.counters["dropped: too much waits for this peer"] >= 88


def test_addresses_being_resolved_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver_module, "MAX_RESOLVING", 10)
    bench = Bench()
    _, peer = relayed(bench)
    bench.gate = lambda _node, _far, _data: None
    for n in range(30):
        peer.engine.send(Prefix(22, bytes((n, 0x80)) + bytes(18)), 4, 9, 5, [b"x"], bench.now)
    bench.flow()
    assert len(peer.engine._resolver._questions) == 10
    assert peer.engine.counters["refused: too many addresses being resolved"] == 20
    assert len(peer.take(Unreachable)) == 20


def test_pinned_and_unknown_addresses_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver_module, "MAX_PINNED", 10)
    bench = Bench()
    _, peer = relayed(bench)
    resolver = peer.engine._resolver
    for n in range(30):
        resolver.pin(Prefix(22, bytes((n,)) + bytes(19)), bytes((n,)) * 20)
    assert len(resolver.pinned) == 10
    for n in range(30):
        peer.engine.send(Prefix(22, bytes((n, 0x40)) + bytes(18)), 4, 9, 5, [b"x"], bench.now)
    bench.advance(10.0)
    assert len(peer.take(Unreachable)) == 30
    assert len(resolver._unknown) <= 10
    assert not resolver._questions


def test_dialable_peers_that_a_neighbour_tells_of_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates_module, "MAX_CANDIDATES", 20)
    bench = Bench()
    relay, peer = relayed(bench)
    link = relay.engine._links.by_id[peer.peer_id]
    for n in range(50):
        made_up = [Contact(bench.random.randbytes(20), (f"ws://n{n}-{m}.example",)) for m in range(8)]
        relay.engine._links.tell(link, LinkOp.NEIGHBOURS, control.contacts(made_up))
    bench.flow()
    assert 18 < len(peer.engine._membership._candidates) <= 20  # a sixteenth makes room at once


def test_peers_whose_traffic_is_watched_for_a_direct_path_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs_module, "MAX_DIRECT_PAIRS", 4)
    bench = Bench()
    relay, peer = relayed(bench)
    peer.config.direct = True
    for n in range(8):
        other = bench.node(f"other{n}")
        bench.join(other, relay)
        bench.flow()
        peer.send(other, b"hello")
        bench.advance(0.5)
        assert other.heard() == [b"hello"]
    assert len(peer.engine._direct._pairs) == 4


def test_a_line_for_the_log_is_cut() -> None:
    node = Bench().node("node")
    node.engine._core.note(30, "claimed by " + "ab" * 80_000)
    node.engine._core.note(30, "a short one")
    long, short = [effect.text for effect in node.engine.take_effects() if isinstance(effect, Note)]
    assert (len(long), long[-3:], short) == (NOTE_CHARACTERS, "...", "a short one")
