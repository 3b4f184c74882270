"""Broadcasts: whom they reach, and what a relay or a stranger can do with them (nothing but not pass them on)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from peer_relay_socket.address import PeerId
from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.broadcast import Broadcast, BroadcastBody, broadcast_body, broadcast_content
from peer_relay_socket.codec.packet import Kind
from peer_relay_socket.engine.effects import DeliverBroadcast
from peer_relay_socket.identity import Identity
from peer_relay_socket.limits import (
    BROADCAST_AGE,
    BROADCAST_BYTES,
    BROADCAST_CHECKS,
    BROADCAST_COPIES,
    BROADCAST_COPIES_SHARE,
    BROADCAST_COPY,
    BROADCAST_PATIENCE,
    BROADCAST_RATE,
    BROADCAST_SHARES,
    BROADCAST_WINDOW,
)
from tests.sim.bench import Bench, Node
from tests.sim.tags import receive

GROUP = "239.1.2.3"
DATA = b"who is there?"


def cast(node: Node, data: bytes = DATA, relays: int = 255) -> None:
    node.engine.broadcast(GROUP, relays, 4, 9, 53, [data], node.bench.now)


def heard(node: Node) -> list[tuple[PeerId, bytes]]:
    return [(each.source, each.datagram) for each in node.take(DeliverBroadcast)]


def counted(node: Node, reason: str) -> int:
    return node.engine.counters.get(reason, 0)


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def star(bench: Bench) -> tuple[Node, Node, Node, Node]:
    """A relay and three leaves of it."""
    relay = bench.node("relay", serves=True)
    leaves = [bench.node(name) for name in "abc"]
    for leaf in leaves:
        bench.join(leaf, relay)
    bench.flow()
    return relay, *leaves


def chain(bench: Bench, relays: int, hops: int) -> list[Node]:
    """A leaf, some relays in a row, and a leaf; everybody's setting is `hops`."""
    nodes = [bench.node("first"), *(bench.node(f"r{n}", serves=True) for n in range(relays)), bench.node("last")]
    for node in nodes:
        node.config.broadcast_hops = hops
    for left, right in pairwise(nodes):
        bench.join(*((right, left) if right is nodes[-1] else (left, right)))
    bench.flow()
    return nodes


def made(identity: Identity, stamp: int, data: bytes = DATA, sender: PeerId | None = None, hops: int = 1) -> bytes:
    """Return the packet of a broadcast."""
    value = BroadcastBody(
        identity.public_key, stamp, bytes(12), b"", broadcast_content(Broadcast(4, 9, 53, GROUP, data))
    )
    value = value._replace(signature=identity.sign(value.signed))
    source = identity.peer_id if sender is None else sender
    return wire.packet(Kind.BROADCAST, bytes(20), source, broadcast_body(value), hop_limit=hops)


def test_everybody_at_one_relay_hears_it_once_but_who_sent_it(bench: Bench, star: tuple[Node, ...]) -> None:
    relay, a, b, c = star
    cast(a)
    bench.flow()
    assert [heard(node) for node in (relay, b, c)] == [[(a.peer_id, DATA)]] * 3
    assert heard(a) == []
    (deliver,) = (cast(relay), bench.flow(), a.take(DeliverBroadcast))[-1]
    assert deliver == DeliverBroadcast(relay.peer_id, 9, 53, 4, GROUP, DATA)


def test_copies_by_several_relays_count_once(bench: Bench) -> None:
    relays = [bench.node(f"r{n}", serves=True) for n in range(3)]
    leaves = [bench.node(name) for name in "ab"]
    for relay in relays:
        for leaf in leaves:
            bench.join(leaf, relay)
    bench.flow()
    cast(leaves[0])
    bench.flow()
    assert heard(leaves[1]) == [(leaves[0].peer_id, DATA)]
    assert len(bench.sent(Kind.BROADCAST)) > 3


@pytest.mark.parametrize(("hops", "reached"), [(0, 0), (1, 2), (2, 3), (3, 4), (8, 4)])
def test_it_passes_as_many_relays_as_the_setting_says(bench: Bench, hops: int, reached: int) -> None:
    first, *others = chain(bench, 3, hops)
    cast(first)
    bench.flow()
    assert [len(heard(node)) for node in others] == [1] * reached + [0] * (4 - reached)


def test_a_relay_lets_it_pass_no_further_than_its_own_setting(bench: Bench) -> None:
    first, *others = chain(bench, 3, 8)
    others[0].config.broadcast_hops = 1
    cast(first)
    bench.flow()
    assert [len(heard(node)) for node in others] == [1, 1, 0, 0]


def test_the_sender_may_want_less_than_the_setting(bench: Bench) -> None:
    first, *others = chain(bench, 3, 8)
    cast(first, relays=1)
    bench.flow()
    assert [len(heard(node)) for node in others] == [1, 1, 0, 0]


def test_what_is_sent_before_the_first_link_waits_for_it(bench: Bench) -> None:
    relay, leaf = bench.node("relay", serves=True), bench.node("leaf")
    leaf.config.bootstrap = ("ws://relay.example",)
    cast(leaf)
    assert not leaf.engine.idle
    bench.join(leaf, relay)
    bench.flow()
    assert heard(relay) == [(leaf.peer_id, DATA)]
    assert leaf.engine.idle


def test_what_waits_for_a_link_in_vain_is_dropped_and_counted(bench: Bench) -> None:
    leaf = bench.node("leaf")
    leaf.config.bootstrap = ("ws://relay.example",)
    cast(leaf)
    bench.advance(BROADCAST_PATIENCE)
    assert leaf.engine.idle
    assert counted(leaf, "dropped: broadcast, nobody is linked") == 1
    cast(leaf)
    leaf.engine.serve(("ws://127.0.0.1:7317",), bench.now)  # we are the network
    assert leaf.engine.idle
    cast(leaf)
    assert leaf.engine.idle
    assert counted(leaf, "dropped: broadcast, nobody is linked") == 3


def test_replays_are_dropped_at_once_and_later(bench: Bench, star: tuple[Node, ...]) -> None:
    relay, a, b, _ = star
    cast(a)
    bench.flow()
    (packet,) = bench.sent(Kind.BROADCAST, a)
    assert len(heard(b)) == 1
    (cable,) = b.cables
    for pause in (0.0, 1.0, BROADCAST_AGE, BROADCAST_AGE):
        bench.advance(pause)
        receive(b.engine, cable, packet, bench.now)
        assert b.engine.take_effects() == []
    assert counted(b, "dropped: broadcast, its time is not ours") >= 1
    assert counted(relay, "dropped: forged broadcast") == 0


def test_a_replay_to_somebody_who_came_later_is_too_old(bench: Bench, star: tuple[Node, ...]) -> None:
    relay, a, *_ = star
    cast(a)
    bench.advance(BROADCAST_AGE + 1.0)
    (packet,) = bench.sent(Kind.BROADCAST, a)
    newcomer = bench.node("newcomer")
    cable = bench.join(newcomer, relay)
    bench.flow()
    bench.inject(cable, newcomer, packet)
    assert heard(newcomer) == []


ALTERED: dict[str, Callable[[bytes], bytes]] = {
    "source": lambda packet: packet[:28] + Identity.from_seed(b"x" * 32).peer_id + packet[48:],
    "public key": lambda packet: packet[:48] + Identity.from_seed(b"x" * 32).public_key + packet[80:],
    "stamp": lambda packet: packet[:87] + bytes((packet[87] ^ 1,)) + packet[88:],
    "nonce": lambda packet: packet[:88] + b"x" + packet[89:],
    "signature": lambda packet: packet[:100] + bytes((packet[100] ^ 1,)) + packet[101:],
    "port": lambda packet: packet[:168] + bytes((packet[168] ^ 1,)) + packet[169:],
    "datagram": lambda packet: packet[:-1] + b"!",
}


@pytest.mark.parametrize("what", ALTERED)
def test_what_a_relay_altered_reaches_nobody(bench: Bench, star: tuple[Node, ...], what: str) -> None:
    relay, a, b, c = star
    bench.gate = lambda sender, _, data: ALTERED[what](data) if sender is relay and data[0] == Kind.BROADCAST else data
    cast(a)
    bench.flow()
    assert heard(b) == heard(c) == []
    assert counted(b, "dropped: forged broadcast") == 1
    bench.gate = lambda _sender, _receiver, data: data
    cast(a, b"again")
    bench.flow()
    assert heard(b) == [(a.peer_id, b"again")]


def test_a_leaf_speaks_for_nobody_else(bench: Bench, star: tuple[Node, ...]) -> None:
    relay, _, b, _ = star
    stranger = Identity.from_seed(b"x" * 32)
    bench.inject(relay.bench.nodes[1].cables[next(iter(relay.bench.nodes[1].cables))], relay, made(stranger, 1))
    assert heard(relay) == heard(b) == []
    assert counted(relay, "dropped: forged source") == 1


def test_a_hop_limit_that_a_relay_raised_is_cut_to_the_setting(bench: Bench) -> None:
    first, *others = chain(bench, 4, 1)
    relay = others[0]

    def raised(sender: Node, _receiver: Node, data: bytes) -> bytes:
        return data[:1] + b"\xff" + data[2:] if sender is relay and data[0] == Kind.BROADCAST else data

    bench.gate = raised
    cast(first)
    bench.flow()
    assert [len(heard(node)) for node in others] == [1, 1, 1, 0, 0]


def test_a_sender_is_held_to_its_rate(bench: Bench, star: tuple[Node, ...]) -> None:
    _, a, b, _ = star
    for _ in range(3 * int(BROADCAST_RATE)):
        cast(a)
    bench.flow()
    assert len(heard(b)) == BROADCAST_RATE
    assert counted(a, "dropped: too much is broadcast") == 2 * BROADCAST_RATE
    bench.advance(1.0)
    cast(a)
    bench.flow()
    assert len(heard(b)) == 1


def test_a_leaf_that_keeps_to_no_rate_is_held_to_it_by_its_relay(bench: Bench, star: tuple[Node, ...]) -> None:
    relay, a, b, _ = star
    (cable,) = a.cables.values()
    packets = [made(a.identity, 1000 + n) for n in range(300)]
    bench.inject(cable, relay, *packets)
    assert len(heard(b)) == BROADCAST_RATE
    assert counted(relay, "dropped: too much is broadcast") == 300 - BROADCAST_RATE
    big = [made(a.identity, 5000 + n, bytes(60_000)) for n in range(9)]
    bench.advance(2.0)
    bench.inject(cable, relay, *big)
    assert len(heard(b)) == BROADCAST_BYTES // 60_300


def test_what_is_verified_is_bounded_however_many_links_it_comes_over(bench: Bench) -> None:
    relay = bench.node("relay", serves=True)
    leaves = [bench.node(f"leaf{n}") for n in range(5)]
    for leaf in leaves:
        bench.join(leaf, relay)
    bench.flow()
    for leaf in leaves:
        (cable,) = leaf.cables.values()
        bench.inject(cable, relay, *(made(leaf.identity, 1000 + n) for n in range(int(BROADCAST_RATE))))
    assert BROADCAST_CHECKS / 2 <= len(heard(relay)) <= BROADCAST_CHECKS < 5 * BROADCAST_RATE


def test_those_that_broadcast_all_they_may_leave_something_to_one_that_seldom_does(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate = 20
    monkeypatch.setattr("peer_relay_socket.engine.broadcasts.BROADCAST_RATE", rate)
    monkeypatch.setattr("peer_relay_socket.engine.broadcasts.BROADCAST_CHECKS", 3 * rate)
    monkeypatch.setattr("peer_relay_socket.engine.broadcasts.BROADCAST_COPIES", 20 * rate * BROADCAST_COPY)
    relay, caller = bench.node("relay", serves=True), bench.node("caller")
    floods = [bench.node(f"flood{n}") for n in range(12)]
    for leaf in (*floods, caller):
        bench.join(leaf, relay)
    bench.flow()
    for tenth in range(20):  # the first second uses up what may be sent at once
        for leaf in floods:
            for _ in range(rate // 10):
                cast(leaf, b"flood")
        bench.flow()
        if tenth in (11, 15, 19):
            cast(caller)
        bench.advance(0.1)
    called = [sum(source == caller.peer_id for source, _ in heard(leaf)) for leaf in (relay, *floods)]
    assert called == [3] * (1 + len(floods))


def test_where_not_all_can_hear_each_broadcast_each_hears_some(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peer_relay_socket.engine.broadcasts.BROADCAST_COPIES", 100 * BROADCAST_COPY)
    relay, caller = bench.node("relay", serves=True), bench.node("caller")
    listeners = [bench.node(f"listener{n}") for n in range(20)]
    for leaf in (caller, *listeners):
        bench.join(leaf, relay)
    bench.flow()
    for _ in range(100):
        cast(caller)
        bench.advance(0.1)
    counts = [len(heard(leaf)) for leaf in listeners]
    assert min(counts) > 0.3 * max(counts)
    assert 9 * 100 / BROADCAST_COPIES_SHARE < sum(counts) <= 11 * 100 / BROADCAST_COPIES_SHARE


def test_what_a_relay_sends_out_for_others_is_bounded(bench: Bench) -> None:
    relay = bench.node("relay", serves=True)
    leaves = [bench.node(f"leaf{n}") for n in range(60)]
    for leaf in leaves:
        bench.join(leaf, relay)
    bench.flow()
    for leaf in leaves[:3]:
        cast(leaf, bytes(60_000))
        cast(leaf, bytes(60_000))
    bench.flow()
    out = sum(map(len, bench.sent(Kind.BROADCAST, relay)))
    assert 0.9 * BROADCAST_COPIES / BROADCAST_COPIES_SHARE < out <= BROADCAST_COPIES
    assert counted(relay, "dropped: too much is broadcast") > 0


def test_a_slow_neighbour_is_left_out(bench: Bench, star: tuple[Node, ...]) -> None:
    relay, a, b, c = star
    (cable,) = b.cables.values()
    relay.engine.link_full(cable.number(relay), True, bench.now)
    cast(a)
    bench.flow()
    assert (heard(b), len(heard(c))) == ([], 1)
    assert counted(relay, "dropped: broadcast, slow neighbour") == 1


def test_broadcasts_may_overtake_one_another_within_the_window(bench: Bench, star: tuple[Node, ...]) -> None:
    relay, a, b, _ = star
    (cable,) = b.cables.values()
    stamps = [1000 + n for n in range(BROADCAST_WINDOW + 2)]
    for stamp in [*reversed(stamps[2:]), stamps[1], stamps[0]]:
        bench.inject(cable, b, made(a.identity, stamp))
        bench.advance(0.1)
    assert len(heard(b)) == BROADCAST_WINDOW
    assert relay.engine.counters.get("dropped: forged broadcast") is None


def test_memory_of_origins_is_bounded_and_never_gives_up_a_fresh_one(
    bench: Bench, star: tuple[Node, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peer_relay_socket.engine.broadcasts.MAX_BROADCASTERS", 3)
    _, _, b, _ = star
    (cable,) = b.cables.values()
    origins = [Identity.from_seed(bytes((n,)) * 32) for n in range(5)]
    bench.inject(cable, b, *(made(origin, 1) for origin in origins[:4]))
    assert len(heard(b)) == 3
    assert counted(b, "dropped: too many broadcast") == 1
    bench.advance(BROADCAST_AGE + 1.0)
    bench.inject(cable, b, made(origins[4], int(bench.now * 1e6)))
    assert heard(b) == [(origins[4].peer_id, DATA)]
    bench.inject(cable, b, made(origins[0], 1))
    assert heard(b) == []


@pytest.mark.parametrize("wrong", ["open", "another key"])
def test_a_network_key_keeps_the_contents_from_strangers(bench: Bench, wrong: str) -> None:
    psk = b"k" * 32
    relay, a, b = (bench.node(name, serves=name == "relay", psk=psk) for name in ("relay", "a", "b"))
    for leaf in (a, b):
        bench.join(leaf, relay)
    bench.flow()
    cast(a)
    bench.flow()
    assert heard(b) == [(a.peer_id, DATA)]
    assert all(DATA not in packet for packet in bench.sent(Kind.BROADCAST))
    other = Bench(2)
    stranger = other.node("stranger", serves=True, psk=None if wrong == "open" else b"x" * 32)
    friend = other.node("friend", psk=stranger.config.psk)
    other.join(friend, stranger)
    other.flow()
    cast(friend)
    other.flow()
    (cable,) = b.cables.values()
    bench.inject(cable, b, other.sent(Kind.BROADCAST, friend)[0])
    assert heard(b) == []
    assert counted(b, "dropped: did not open") == 1


def test_lists_of_whom_to_talk_with_hold_for_broadcasts(bench: Bench, star: tuple[Node, ...]) -> None:
    relay, a, b, c = star
    b.config.may_talk = lambda peer_id: peer_id != a.peer_id
    cast(a)
    bench.flow()
    assert (heard(b), len(heard(c)), len(heard(relay))) == ([], 1, 1)
    cast(b)
    bench.flow()
    assert len(heard(relay)) == 1  # admitted, and a neighbour; whom it would pass it on to, no list was asked about
    assert heard(a) == heard(c) == []


def test_a_peer_that_turned_broadcasts_off_neither_takes_nor_passes_any(bench: Bench, star: tuple[Node, ...]) -> None:
    relay, a, b, _ = star
    relay.config.broadcast_hops = 0
    cast(a)
    bench.flow()
    assert heard(relay) == heard(b) == []
    assert counted(relay, "refused: broadcast") == 1


@pytest.mark.parametrize("size", [0, 31, 115, 116, 120])
def test_bodies_cut_short_are_counted_and_the_link_stays(bench: Bench, star: tuple[Node, ...], size: int) -> None:
    _, a, b, _ = star
    (cable,) = b.cables.values()
    body = made(a.identity, 1)[48 : 48 + size]
    bench.inject(cable, b, wire.packet(Kind.BROADCAST, bytes(20), a.peer_id, body, hop_limit=1))
    assert heard(b) == []
    assert counted(b, "dropped: malformed broadcast") + counted(b, "dropped: forged broadcast") == 1
    assert cable.alive


@pytest.mark.parametrize("ahead", [0.0, BROADCAST_AGE - 2.0], ids=["now", "ahead"])
def test_throwaway_keys_over_one_link_shut_no_newcomer_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    monkeypatch.setattr("peer_relay_socket.engine.broadcasts.MAX_BROADCASTERS", 64)
    relay, evil, listener = bench.node("relay", serves=True), bench.node("evil", serves=True), bench.node("listener")
    cable = bench.join(evil, relay)
    bench.join(listener, relay)
    bench.flow()
    for number in range(100):
        thrown_away = Identity.from_seed(number.to_bytes(32))
        bench.inject(cable, relay, made(thrown_away, int((bench.now + ahead) * 1e6)))
        bench.advance(0.02)
    heard(listener)
    newcomer = bench.node("newcomer")
    bench.join(newcomer, relay)
    bench.flow()
    for _ in range(5):
        cast(newcomer)
        bench.advance(0.1)
    assert heard(listener) == [(newcomer.peer_id, DATA)] * 5
    places = relay.engine._broadcasts._seen
    assert sum(map(len, places.values())) <= 64
    assert max(map(len, places.values())) == 64 // BROADCAST_SHARES


def test_what_one_link_crowded_out_is_its_own(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that brings many origins takes no place of one that brings few: what those sent is not heard again."""
    monkeypatch.setattr("peer_relay_socket.engine.broadcasts.MAX_BROADCASTERS", 16)
    relay, evil, honest = bench.node("relay", serves=True), bench.node("evil", serves=True), bench.node("honest")
    cable, other = bench.join(evil, relay), bench.join(honest, relay)
    bench.flow()
    cast(honest)
    bench.flow()
    (packet,) = bench.sent(Kind.BROADCAST, honest)
    for number in range(40):
        bench.inject(cable, relay, made(Identity.from_seed(number.to_bytes(32)), int(bench.now * 1e6)))
        bench.advance(0.02)
    heard(relay)
    bench.inject(other, relay, packet)
    bench.inject(cable, relay, packet)
    assert heard(relay) == []
