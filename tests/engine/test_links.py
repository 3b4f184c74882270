"""Links on a bench: who is let in, which of two stays, what a neighbour may say of its link."""

from __future__ import annotations

from random import Random

import pytest

from peer_relay_socket.codec import control
from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.control import Hello
from peer_relay_socket.codec.packet import Kind, LinkOp
from peer_relay_socket.engine.authentication import LINK_PROLOGUE, Handshake, StaticKey
from peer_relay_socket.engine.effects import CloseLink, Dial, Note, PeerDown, PeerUp
from peer_relay_socket.errors import WireError
from peer_relay_socket.identity import Identity
from peer_relay_socket.limits import (
    CONTROL_PER_LEAF,
    HELLO_RATE,
    LINK_HANDSHAKE_TIME,
)
from tests.sim.bench import Bench, Node, kind_of
from tests.sim.tags import receive

KEY = b"k" * 32


def closings(node: Node) -> list[str]:
    return [effect.reason for effect in node.take(CloseLink)]


def test_a_link_takes_three_messages_and_a_ready() -> None:
    bench = Bench()
    dialler, acceptor = bench.node("dialler"), bench.node("acceptor", serves=True)
    bench.join(dialler, acceptor)
    bench.flow()
    greetings = [(node.name, len(data)) for node, _, data in bench.seen if kind_of(data) == wire.LINK_HANDSHAKE]
    assert [name for name, _ in greetings] == ["acceptor", "dialler", "acceptor"]
    assert dialler.take(PeerUp) == [PeerUp(acceptor.peer_id)]
    assert acceptor.take(PeerUp) == [PeerUp(dialler.peer_id)]
    assert (dialler.engine.neighbours, acceptor.engine.neighbours) == ([acceptor.peer_id], [dialler.peer_id])


def test_with_a_network_key_the_dialler_shows_that_it_knows_it_first() -> None:
    bench = Bench()
    dialler, acceptor = bench.node("dialler", serves=True, psk=KEY), bench.node("acceptor", serves=True, psk=KEY)
    bench.join(dialler, acceptor)
    bench.flow()
    said = [(node.name, len(data)) for node, _, data in bench.seen if kind_of(data) == wire.LINK_HANDSHAKE]
    assert [name for name, _ in said] == ["acceptor", "dialler", "acceptor", "dialler"]
    assert said[0][1] == 1
    first = next(node.name for node, _, data in bench.seen if kind_of(data) != wire.LINK_HANDSHAKE)
    assert first == "acceptor"
    (theirs,) = dialler.engine._links.by_id.values()
    (ours,) = acceptor.engine._links.by_id.values()
    assert theirs.urls == ("ws://acceptor.example",)
    assert ours.urls == ("ws://dialler.example",)


def words_to_a_stranger(psk: bytes | None, guess: bytes | None) -> list[bytes]:
    """Return what a node says to somebody who connects, plays his part as if `guess` were the key, and hangs on."""
    bench = Bench()
    acceptor = bench.node("acceptor", serves=True, psk=psk)
    stranger = Handshake(
        initiator=True,
        static=StaticKey(Identity.from_seed(b"s" * 32), Random(5).randbytes),
        prologue=LINK_PROLOGUE,
        psk=guess,
        entropy=Random(6).randbytes,
    )
    said: list[bytes] = []

    def listen() -> None:
        said.extend(b"".join(chunks) for _, chunks in acceptor.engine.take_bundles())

    acceptor.engine.link_opened(1, url=None, remote_host="8.0.0.1", now=bench.now)
    listen()
    head = said[0][:1]
    acceptor.engine.receive(1, head + stranger.write(), bench.now)
    listen()
    if len(said) > 1:
        stranger.read(said[1][1:])
        acceptor.engine.receive(1, head + stranger.write(b"hello"), bench.now)
        listen()
    return said


def test_who_merely_connects_learns_nothing_by_which_to_test_guesses_of_the_network_key() -> None:
    """Everything that he sees is the same whatever the key."""
    said = words_to_a_stranger(KEY, b"g" * 32)
    assert said == words_to_a_stranger(b"another key".ljust(32), b"g" * 32)
    assert len(said) == 2
    assert b"acceptor.example" not in b"".join(said)
    assert len(said[1]) == 1 + 32 + 48 + 102 + 16 + 16 - 16  # the second message, and no hello


def test_a_network_with_a_key_and_one_without_do_not_link_and_say_why() -> None:
    for keys in ((None, KEY), (KEY, None), (KEY, b"j" * 32)):
        bench = Bench()
        dialler, acceptor = bench.node("dialler", psk=keys[0]), bench.node("acceptor", serves=True, psk=keys[1])
        dialler.config.bootstrap = ("ws://acceptor.example",)
        said = []
        for _ in range(2):
            bench.join(dialler, acceptor)
            bench.flow()
            bench.flow()  # what the dialler makes of it that the acceptor cut the cable
            assert dialler.engine.neighbours == acceptor.engine.neighbours == []
            notes = [note.text for note in dialler.take(Note)]
            said.append(any("have both sides the same network key" in text for text in notes))
        if None in keys:
            assert said[0], keys
        else:  # the acceptor closes without a word, as a node does that is just ending
            assert said == [False, True]


@pytest.mark.parametrize("psk", [None, KEY], ids=["open", "keyed"])
@pytest.mark.parametrize("message", [0, 1, 2, 3])
def test_a_link_that_stalls_is_dropped_after_its_time(message: int, psk: bytes | None) -> None:
    bench = Bench()
    dialler, acceptor = bench.node("dialler", psk=psk), bench.node("acceptor", serves=True, psk=psk)
    counted = [0]

    def gate(_sender: Node, _receiver: Node, data: bytes) -> bytes | None:
        counted[0] += 1
        return data if counted[0] <= message else None

    bench.gate = gate
    bench.join(dialler, acceptor)
    bench.advance(LINK_HANDSHAKE_TIME - 0.01)
    assert closings(acceptor) == []
    bench.advance(0.02)
    assert closings(acceptor) == ["handshake took too long"], message
    assert acceptor.engine.neighbours == []
    assert not acceptor.engine._links._half_open
    assert not acceptor.engine._links._accepted
    assert not acceptor.engine._links._opening


@pytest.mark.parametrize(("message", "psk"), [(0, None), (1, None), (2, None), (0, KEY), (1, KEY), (2, KEY), (3, KEY)])
def test_an_altered_greeting_fails_the_link(message: int, psk: bytes | None) -> None:
    length = [0]
    for position in range(0, 400, 13):
        bench = Bench()
        dialler, acceptor = bench.node("dialler", psk=psk), bench.node("acceptor", serves=True, psk=psk)
        count = [-1]

        def gate(
            _sender: Node, _receiver: Node, data: bytes, count: list[int] = count, position: int = position
        ) -> bytes:
            count[0] += 1
            if count[0] != message or position >= len(data):
                return data
            length[0] = len(data)
            return data[:position] + bytes((data[position] ^ 1,)) + data[position + 1 :]

        bench.gate = gate
        bench.join(dialler, acceptor)
        bench.flow()
        if position < length[0]:
            assert acceptor.engine.neighbours == dialler.engine.neighbours == []


@pytest.mark.parametrize("psk", [None, KEY], ids=["open", "keyed"])
@pytest.mark.parametrize("dialled", [False, True], ids=["by the acceptor", "by the dialler"])
def test_words_that_come_back_to_who_said_them_make_no_link(dialled: bool, psk: bytes | None) -> None:
    bench = Bench()
    node = bench.node("node", serves=True, psk=psk)
    node.engine.link_opened(1, url="ws://mirror.example" if dialled else None, remote_host="8.0.0.1", now=bench.now)
    if dialled:  # a mirror has to speak first
        other = bench.node("other", serves=True, psk=psk)
        other.engine.link_opened(1, url=None, remote_host="8.0.0.2", now=bench.now)
        ((_, first),) = other.engine.take_bundles()
        node.engine.receive(1, b"".join(first), bench.now)
    for _ in range(5):
        for _, chunks in node.engine.take_bundles():
            node.engine.receive(1, b"".join(chunks), bench.now)
    assert node.engine.neighbours == []
    assert any(isinstance(effect, CloseLink) for effect in node.engine.take_effects())


@pytest.mark.parametrize("psk", [None, KEY], ids=["open", "keyed"])
def test_a_replayed_acceptor_does_not_come_up(psk: bytes | None) -> None:
    bench = Bench()
    dialler, acceptor = bench.node("dialler", psk=psk), bench.node("acceptor", serves=True, psk=psk)
    bench.join(dialler, acceptor)
    bench.flow()
    said = [data for node, _, data in bench.seen if node is acceptor]
    next(iter(dialler.cables.values())).cut()
    dialler.effects.clear()
    dialler.engine.link_opened(99, url="ws://replay.example", remote_host="8.0.0.9", now=bench.now)
    for data in said:
        dialler.engine.receive(99, data, bench.now)
    bench.flow()
    assert dialler.take(PeerUp) == []
    assert len(dialler.take(CloseLink)) == 1


@pytest.mark.parametrize("psk", [None, KEY], ids=["open", "keyed"])
def test_a_replayed_dialler_does_not_come_up(psk: bytes | None) -> None:
    bench = Bench()
    dialler, acceptor = bench.node("dialler", psk=psk), bench.node("acceptor", serves=True, psk=psk)
    bench.join(dialler, acceptor)
    bench.flow()
    said = [data for node, _, data in bench.seen if node is dialler]
    cable = next(iter(dialler.cables.values()))
    cable.cut()
    bench.flow()
    acceptor.effects.clear()
    acceptor.engine.link_opened(99, url=None, remote_host="8.0.0.9", now=bench.now)
    for data in said:
        acceptor.engine.receive(99, data, bench.now)
    bench.flow()
    assert acceptor.take(PeerUp) == []
    assert len(acceptor.take(CloseLink)) == 1


def test_a_hello_in_the_unproved_first_message_counts_for_nothing() -> None:
    """And a peer that sends none in the proved one is refused: its network was never compared with ours."""
    bench = Bench()
    dialler, acceptor = bench.node("dialler"), bench.node("acceptor", serves=True)
    bench.join(dialler, acceptor)
    link = next(iter(acceptor.engine._links.all.values()))
    acceptor.engine._links._hello = lambda _link: b""  # type: ignore[method-assign]
    assert link.handshake is not None
    bench.flow()
    assert dialler.engine.neighbours == []


def test_networks_with_other_addresses_do_not_link() -> None:
    import ipaddress

    bench = Bench()
    dialler, acceptor = bench.node("dialler"), bench.node("acceptor", serves=True)
    dialler.config.ipv4_network = ipaddress.IPv4Network("10.0.0.0/8")
    bench.join(dialler, acceptor)
    bench.flow()
    assert acceptor.engine.neighbours == []
    assert any("IPv4 network" in note.text for note in acceptor.take(Note))


@pytest.mark.parametrize("operation", [LinkOp.PING, LinkOp.NEIGHBOURS, LinkOp.GOODBYE, LinkOp.HELLO])
def test_nothing_is_taken_before_ready(operation: LinkOp) -> None:
    bench = Bench()
    dialler, acceptor = bench.node("dialler"), bench.node("acceptor", serves=True)
    bench.gate = lambda node, _far, data: data if node is acceptor or kind_of(data) == wire.LINK_HANDSHAKE else None
    bench.join(dialler, acceptor)
    bench.flow()
    ((number, link),) = dialler.engine._links.all.items()
    bench.gate = lambda _a, _b, data: data
    dialler.engine._links.tell(link, operation)
    bench.flow()
    assert closings(acceptor) == ["spoke before READY"]
    assert number not in dialler.cables


# --- one link per neighbour ------------------------------------------------------------------------------------


def crossed(bench: Bench, psk: bytes | None = None) -> tuple[Node, Node]:
    nodes = (bench.node(name, serves=True, psk=psk) for name in ("one", "two"))
    low, high = sorted(nodes, key=lambda node: node.peer_id)
    bench.join(high, low)
    bench.join(low, high)
    bench.flow()
    return low, high


@pytest.mark.parametrize("psk", [None, KEY], ids=["open", "keyed"])
def test_of_two_links_that_crossed_the_lower_ids_stays_at_both_ends(psk: bytes | None) -> None:
    bench = Bench()
    low, high = crossed(bench, psk)
    assert [note.text for node in (low, high) for note in node.take(Note) if note.level > 20] == []
    for node in (low, high):
        (cable,) = node.cables.values()
        assert cable.ends[2 * 2] is low  # the second cable, dialled by low
        assert len(node.take(PeerUp)) == 1
        assert node.take(PeerDown) == []
        assert node.take(Dial) == []


def test_a_crossing_teaches_the_bootstrap_that_it_is_linked_already() -> None:
    bench = Bench()
    low, high = sorted((bench.node(name, serves=True) for name in ("one", "two")), key=lambda node: node.peer_id)
    for node, other in ((low, high), (high, low)):
        node.config.bootstrap = (other.config.urls[0],)
        node.engine = node._make()
        node.engine.start(bench.now)
    bench.flow()
    assert len(low.take(Dial)) == len(high.take(Dial)) == 1
    bench.join(low, high)
    bench.flow()
    bench.join(high, low)  # comes second, and loses: what it learned must not be lost with it
    bench.advance(120.0)
    assert low.take(Dial) == []
    assert high.take(Dial) == []


def test_a_second_link_of_the_same_dialler_replaces_the_first() -> None:
    bench = Bench()
    low, high = bench.pair()
    second = bench.join(low, high)
    bench.flow()
    assert list(low.cables.values()) == list(high.cables.values()) == [second]
    assert low.take(PeerUp) == low.take(PeerDown) == []
    assert high.engine.neighbours == [low.peer_id]


def test_a_link_that_takes_the_place_of_another_is_known_before_that_one_is_closed() -> None:
    """So two peers that dial each other again are not taken for two processes with one key."""
    bench = Bench()
    low, high = crossed(bench)
    bench.advance(LINK_HANDSHAKE_TIME + 1)
    (first,) = low.cables
    assert not low.engine.has_another(first)
    known: list[bool] = []

    def gate(_from: Node, _to: Node, data: bytes) -> bytes:
        if first in low.cables and first not in high.cables:  # high is done, and low does not know yet
            known.append(low.engine.has_another(first))
        return data

    bench.gate = gate
    bench.join(high, low)
    bench.flow()
    assert known
    assert all(known)


@pytest.mark.parametrize("redials", ["low", "high"])
def test_a_neighbour_that_lost_its_end_is_let_in_again(redials: str) -> None:
    """The old connection is dead but nobody told us: the other end dials anew, also from the other side."""
    bench = Bench()
    low, high = crossed(bench)
    bench.advance(LINK_HANDSHAKE_TIME + 1)
    one, other = (low, high) if redials == "low" else (high, low)
    for number, cable in list(one.cables.items()):
        one.engine.link_closed(number, bench.now)  # only this end hears of it
        del one.cables[number]
        assert cable.alive
    new = bench.join(one, other)
    bench.flow()
    assert one.engine.neighbours == [other.peer_id]
    assert other.engine.neighbours == [one.peer_id]
    assert new in other.cables.values()


# --- life of a link --------------------------------------------------------------------------------------------


def test_goodbye_closes_the_link_whatever_follows() -> None:
    bench = Bench()
    low, high = bench.pair()
    link = next(iter(low.engine._links.all.values()))
    low.engine._links.tell(link, LinkOp.GOODBYE)
    low.engine._links.tell(link, LinkOp.PING)
    (number, goodbye), (_, ping) = ((number, b"".join(chunks)) for number, chunks in low.engine.take_bundles())
    ((far, _),) = high.cables.items()
    high.engine.receive(far, goodbye, bench.now)
    assert [effect for effect in high.engine.take_effects() if isinstance(effect, CloseLink)] == [
        CloseLink(far, "they said goodbye")
    ]
    assert high.engine.take_bundles() == []
    high.engine.receive(far, ping, bench.now)  # what was under way still arrives
    assert high.engine.take_bundles() == []
    assert number in low.cables


@pytest.mark.parametrize("data", [b"\0", b"\xf2", bytes(48), b"\x01" + bytes(47), b"\x11" + bytes(3) + b"\xff" * 44])
def test_bad_bytes_cost_nothing(data: bytes) -> None:
    bench = Bench()
    low, high = bench.pair()
    cable = next(iter(high.cables.values()))
    bench.inject(cable, high, data)
    assert closings(high) == []  # they may be another's, on the way
    low.send(high, b"still there")
    bench.flow()
    assert high.heard() == [b"still there"]


def test_a_leaf_speaks_only_for_itself() -> None:
    bench = Bench()
    relay, leaf, victim = bench.node("relay", serves=True), bench.node("leaf"), bench.node("victim")
    cable = bench.join(leaf, relay)
    bench.join(victim, relay)
    bench.flow()
    bench.seen.clear()
    for kind in (Kind.SEALED, Kind.HANDSHAKE, Kind.NO_ROUTE, Kind.RESOLVE, Kind.DISCOVER):
        bench.inject(cable, relay, wire.packet(kind, victim.peer_id, bytes(20), bytes(40)))
    assert relay.engine.counters["dropped: forged source"] == 5
    assert bench.seen == []


def test_a_neighbour_that_changes_its_mind_without_end_is_not_followed() -> None:
    bench = Bench()
    leaf, relay = bench.pair()
    link = leaf.engine._links.by_id[relay.peer_id]
    seen = relay.engine._links.by_id[leaf.peer_id]
    network = leaf.config.ipv4_network
    minds = []
    for number in range(100):
        urls = (f"ws://8.8.8.8:{number + 1}",)
        leaf.engine._links.tell(link, LinkOp.HELLO, control.hello(Hello(number % 2 == 0, network, urls)))
        bench.flow()
        minds.append((seen.serves, seen.urls))
    assert 3 <= len(set(minds)) <= HELLO_RATE + 1
    assert relay.engine.counters["dropped: too much control traffic"] >= 90
    assert leaf.engine.neighbours == [relay.peer_id]


def test_a_peer_that_begins_to_serve_tells_its_neighbours() -> None:
    bench = Bench()
    low, high = bench.pair()
    third = bench.node("third")
    low.engine.serve(("ws://8.8.8.8:1",), bench.now)
    bench.join(third, low)
    bench.flow()
    third.send(high, b"through low")
    bench.advance(1.0)
    assert high.heard() == [b"through low"]
    assert high.engine._links.by_id[low.peer_id].urls == ("ws://8.8.8.8:1",)


def test_a_flood_of_control_packets_is_cut_to_its_rate() -> None:
    bench = Bench()
    relay, leaf, other = bench.node("relay", serves=True), bench.node("leaf"), bench.node("other")
    cable = bench.join(leaf, relay)
    bench.join(other, relay)
    bench.flow()
    bench.seen.clear()
    bundle = b"".join(wire.packet(Kind.NO_ROUTE, other.peer_id, leaf.peer_id, bytes(20)) for _ in range(5000))
    receive(relay.engine, cable.number(relay), bundle, bench.now)
    bench.flow()
    assert len(bench.sent(Kind.NO_ROUTE, relay)) <= CONTROL_PER_LEAF
    assert relay.engine.counters["dropped: too much control traffic"] >= 5000 - CONTROL_PER_LEAF


def test_a_hello_that_the_codec_cannot_read_fails_the_link() -> None:
    with pytest.raises(WireError):
        control.read_hello(b"\0\0" + bytes(4) + b"\x21" + b"\0")
