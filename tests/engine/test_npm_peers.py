"""Npm peers seen by the engine: scripted ones at one end of a list, engines at the other, no sockets and no clock."""

from __future__ import annotations

import pytest

from peer_relay_socket.address import Spelling, UnprovedId
from peer_relay_socket.codec import npm as wire
from peer_relay_socket.codec.npm import Answer, Datagram
from peer_relay_socket.engine.effects import CloseLink, Deliver, Dial, Message, NoRoom, Note, PeerUp, Writable
from peer_relay_socket.limits import (
    LINK_PING_IDLE,
    MAX_HALF_OPEN_LINKS,
    MAX_LINKS_PER_HOST,
    NPM_GRACE,
    NPM_HOPS,
    NPM_LINKS,
    NPM_SILENT,
)
from tests.engine.npm_world import FAR, HIGH, LOW, World


@pytest.fixture
def world() -> World:
    return World()


# --- links -------------------------------------------------------------------------------------------------------


def test_the_acceptor_tells_its_id_at_once_and_asks_once_it_knows_theirs(world: World) -> None:
    engine = world.engine()
    node = world.node(engine, FAR, greet=False)
    assert node.texts == [wire.id_text(engine.peer_id)]
    node.raw(wire.id_text(FAR))
    (asked,) = node.envelopes(wire.FIND_PEERS)
    assert len(node.texts) == 2
    assert (asked.to, asked.sender, asked.path, asked.data) == (FAR, *[engine.peer_id], (engine.peer_id,), asked.sender)
    node.say(wire.USER, "x")
    assert world.of(engine, PeerUp) == [PeerUp(UnprovedId(FAR))]
    assert isinstance(world.of(engine, PeerUp)[0].peer_id, UnprovedId)


def test_the_connector_answers_in_kind_when_the_first_message_is_text(world: World) -> None:
    engine = world.engine()
    node = world.node(engine, FAR, dialled="ws://8.8.8.8:80", greet=False)
    assert node.texts == []
    node.greet()
    assert node.texts[0] == wire.id_text(engine.peer_id)
    assert world.of(engine, PeerUp) == [PeerUp(UnprovedId(FAR))]


def test_where_npm_peers_is_off_a_node_that_was_named_is_refused_with_one_warning(world: World) -> None:
    engine = world.engine(npm_peers=False)
    for _ in range(2):
        node = world.node(engine, FAR, dialled="ws://8.8.8.8:80", greet=False)
        node.raw(wire.id_text(FAR))
        assert node.texts == []
    (warning,) = [note for note in world.of(engine, Note) if note.level >= 30]
    assert "npm_peers" in warning.text
    assert len(world.of(engine, CloseLink)) == 2


@pytest.mark.parametrize("first", ["nonsense", "null", '"00"', "[]", wire.id_text(LOW) + "x"])
def test_a_link_that_begins_with_no_id_is_dropped(world: World, first: str) -> None:
    engine = world.engine()
    node = world.node(engine, FAR, greet=False)
    node.raw(first)
    assert [effect.link for effect in world.of(engine, CloseLink)] == [node.number]


@pytest.mark.parametrize("native", [True, False])
def test_where_a_peer_was_named_no_npm_node_is_taken_for_it(world: World, native: bool) -> None:
    url = f"ws://8.8.8.8:80#{FAR.hex()}"
    engine = world.engine(bootstrap=(url,))
    engine.link_opened(1, url=url, remote_host="8.8.8.8", now=world.now, native=native)
    engine.link_text(1, wire.id_text(FAR), world.now)  # the id that was named, of which npm's wire proves nothing
    world.pump()
    assert len(world.of(engine, CloseLink)) == 1
    assert world.of(engine, PeerUp) == []


@pytest.mark.parametrize(
    ("host", "stand"),
    [("2a00:1:2:3::{:x}", MAX_LINKS_PER_HOST), ("8.8.8.8", MAX_LINKS_PER_HOST), ("", 400), ("127.0.0.1", 400)],
    ids=["one IPv6 /64", "one IPv4 address", "hidden by a proxy", "this machine"],
)
def test_links_of_one_host_are_bounded_as_native_ones_are(world: World, host: str, stand: int) -> None:
    engine = world.engine()
    for number in range(400):
        engine.link_opened(number, url=None, remote_host=host.format(number), now=world.now, native=False)
    refused = [effect for effect in engine.take_effects() if isinstance(effect, CloseLink)]
    assert 400 - len(refused) == stand


@pytest.mark.parametrize(("host", "stand"), [("9.9.9.{}", 2), ("2a00:1:2:3{:02x}::1", 2), ("2a00:1:2:{:02x}00::1", 4)])
def test_links_of_one_prefix_are_bounded_as_native_ones_are(world: World, host: str, stand: int) -> None:
    engine = world.engine()
    most = stand * MAX_LINKS_PER_HOST
    for number in range(most + 100):
        engine.link_opened(number, url=None, remote_host=host.format(number % 256), now=world.now, native=False)
    refused = [effect for effect in engine.take_effects() if isinstance(effect, CloseLink)]
    assert most + 100 - len(refused) == min(most, MAX_HALF_OPEN_LINKS)
    engine.link_opened(99_999, url=None, remote_host="1.1.1.1", now=world.now, native=False)
    assert [e.link for e in engine.take_effects() if isinstance(e, CloseLink)] != [99_999], "a newcomer gets in"


def test_a_full_node_is_left_again(world: World) -> None:
    engine = world.engine()
    node = world.node(engine, FAR, dialled="ws://8.8.8.8:80", greet=False)
    node.raw(wire.id_text(FAR))
    world.run(NPM_SILENT + 0.1)
    assert [effect.link for effect in world.of(engine, CloseLink)] == [node.number]
    assert not world.of(engine, PeerUp)
    assert world.of(engine, NoRoom) == [NoRoom(FAR, "ws://8.8.8.8:80")]


@pytest.mark.parametrize("others", ["an npm peer", "one of ours"])
def test_a_full_node_is_no_reason_for_another_id_where_others_are_linked(world: World, others: str) -> None:
    engine = world.engine()
    if others == "one of ours":
        world.join(world.engine(), engine)
    else:
        world.node(engine, LOW)
    node = world.node(engine, FAR, dialled="ws://8.8.8.8:80", greet=False)
    node.raw(wire.id_text(FAR))
    world.run(NPM_SILENT + 0.1)
    assert node.number in [effect.link for effect in world.of(engine, CloseLink)]
    assert not world.of(engine, NoRoom)


def test_two_links_with_one_id_are_one_too_many_and_the_first_stays(world: World) -> None:
    engine = world.engine()
    world.node(engine, FAR)
    second = world.node(engine, FAR)
    assert [effect.link for effect in world.of(engine, CloseLink)] == [second.number]
    assert len(second.texts) == 1  # our id, as any acceptor's


def test_a_dialled_node_that_is_linked_already_is_not_told_our_id(world: World) -> None:
    engine = world.engine()
    world.node(engine, FAR)
    assert world.node(engine, FAR, dialled="ws://8.8.8.8:80").texts == []


def test_a_silent_neighbour_is_asked_and_then_dropped(world: World) -> None:
    engine = world.engine()
    node = world.node(engine, FAR)
    world.run(LINK_PING_IDLE + 1)
    assert len(node.envelopes(wire.FIND_PEERS)) == 2
    assert not world.of(engine, CloseLink)
    world.run(LINK_PING_IDLE)
    assert [effect.reason for effect in world.of(engine, CloseLink)] == ["silent"]


def test_bad_texts_are_counted_and_cost_nobody_a_link(world: World) -> None:
    engine = world.engine()
    node = world.node(engine, FAR)
    for text in ("null", "{}", "[" * 1000, '{"to":1}'):
        node.raw(text)
    assert engine.counters["dropped: malformed npm message"] == 4
    assert not world.of(engine, CloseLink)


# --- envelopes -----------------------------------------------------------------------------------------------------


def test_messages_and_datagrams_reach_the_program_marked_and_once(world: World) -> None:
    engine = world.engine()
    node = world.node(engine, FAR)
    for _ in range(2):
        node.say(wire.USER, {"a": 1}, nonce="5")
        node.say(wire.USER, Datagram(0, b"hi"), nonce="6")
    (message,) = world.of(engine, Message)
    assert (message.source, message.data) == (FAR, b'{"a":1}')
    (got,) = world.of(engine, Deliver)
    assert got == Deliver(FAR, 1, 0, 0, [b"hi"])
    assert isinstance(message.source, UnprovedId)
    assert isinstance(got.source, UnprovedId)


def test_what_the_program_sends_goes_out_as_npm_writes_it(world: World) -> None:
    engine = world.engine()
    node = world.node(engine, FAR)
    engine.send(FAR, 4, 1007, 5, [b"one", b"two"], world.now)
    engine.send_message(FAR, b'{"a":[1]}', world.now)
    engine.send_message(FAR, b"null", world.now)  # would end a node process with a PeerRelay.Socket
    engine.send_message(FAR, b"NaN", world.now)
    world.pump()
    sent = node.envelopes(wire.USER)
    assert [envelope.data for envelope in sent] == [Datagram(1007, b"one"), Datagram(1007, b"two"), {"a": [1]}]
    assert len({envelope.nonce for envelope in sent}) == 3
    assert engine.counters["dropped: does not fit npm's wire"] == 2


def test_a_relay_sends_on_to_the_destination_alone(world: World) -> None:
    engine = world.engine()
    one, other, bystander = (world.node(engine, peer_id) for peer_id in (LOW, HIGH, FAR))
    one.say(wire.USER, "x", to=HIGH)
    (got,) = other.envelopes(wire.USER)
    assert (got.sender, got.path, got.data) == (LOW, (LOW, engine.peer_id), "x")
    assert not bystander.envelopes(wire.USER)


@pytest.mark.parametrize("shown", [None, "signal", "answer", "answer without"])
def test_signals_go_only_to_peers_that_showed_webrtc(world: World, shown: str | None) -> None:
    engine = world.engine()
    one, other = world.node(engine, LOW), world.node(engine, HIGH)
    if shown == "signal":
        other.say(wire.SIGNAL, {"type": "offer", "sdp": "x"}, to=LOW)
    elif shown is not None:
        other.say(wire.ANSWER, Answer(None, shown == "answer"), to=LOW)
    one.say(wire.SIGNAL, {"type": "offer", "sdp": "x"}, to=HIGH)
    assert len(other.envelopes(wire.SIGNAL)) == (shown in ("signal", "answer"))


def test_an_unknown_destination_goes_to_the_two_nearest_and_not_where_it_was(world: World) -> None:
    engine = world.engine()
    nodes = [world.node(engine, bytes([first]) * 20) for first in (1, 2, 3, 4)]
    nodes[0].say(wire.USER, "x", to=b"\x00" * 20)
    assert [len(node.envelopes(wire.USER)) for node in nodes] == [0, 1, 1, 0]


def test_replies_take_the_way_that_was_learned(world: World) -> None:
    engine = world.engine()
    near, hub = world.node(engine, FAR[:19] + b"\x78"), world.node(engine, LOW)
    hub.say(wire.USER, "x", sender=FAR, path=(FAR, LOW))
    engine.send_message(FAR, b'"back"', world.now)
    world.pump()
    world.run(NPM_GRACE + 0.1)
    assert [envelope.data for envelope in hub.envelopes(wire.USER)] == ["back"]
    assert not near.envelopes(wire.USER)


def test_envelopes_end_after_twenty_hops_and_at_peers_that_do_not_serve(world: World) -> None:
    engine, leaf = world.engine(), world.engine(serves=False)
    for relay, hops, arrives in ((engine, NPM_HOPS - 1, 1), (engine, NPM_HOPS, 0), (leaf, 1, 0)):
        one, other = world.node(relay, bytes([hops]) * 20), world.node(relay, bytes([hops + 100]) * 20)
        one.say(wire.USER, "x", to=other.id, path=(one.id,) * hops)
        assert len(other.envelopes(wire.USER)) == arrives


# --- becoming neighbours ---------------------------------------------------------------------------------------------


def test_candidates_are_offered_links_until_there_are_enough(world: World) -> None:
    engine = world.engine()
    node = world.node(engine, FAR)
    node.say(wire.FOUND_PEERS, [bytes([number]) * 20 for number in range(1, 60)] + [engine.peer_id, FAR])
    assert len({envelope.to for envelope in node.envelopes(wire.OFFER)}) == NPM_LINKS - 1
    node.say(wire.FIND_PEERS, b"\x01" * 20)
    found = node.envelopes(wire.FOUND_PEERS)[-1].data
    assert (len(found), found[0]) == (20, b"\x01" * 20)


@pytest.mark.parametrize(("peer_id", "answers"), [(LOW, 1), (HIGH, 0)])
def test_of_two_offers_the_higher_id_answers(world: World, peer_id: bytes, answers: int) -> None:
    engine = world.engine(urls=("ws://8.8.8.8:81",))
    hub = world.node(engine, FAR)
    engine.connect(peer_id, world.now)
    world.pump()
    hub.say(wire.OFFER, None, sender=peer_id, path=(peer_id, FAR))
    assert [envelope.data for envelope in hub.envelopes(wire.ANSWER)] == [Answer("ws://8.8.8.8:81", False)] * answers


@pytest.mark.parametrize(
    ("url", "host", "asked", "dialled"),
    [
        ("ws://9.9.9.9:5", "8.8.4.4", True, True),
        ("ws://localhost:5", "127.0.0.1", True, True),
        ("ws://localhost:5", "8.8.4.4", True, False),
        ("ws://192.168.1.1:5", "8.8.4.4", True, False),
        ("ws://9.9.9.9:5", "8.8.4.4", False, False),
    ],
)
def test_an_answer_is_dialled_if_asked_for_and_no_nearer_than_its_owner(
    world: World, url: str, host: str, asked: bool, dialled: bool
) -> None:
    engine = world.engine()
    hub = world.node(engine, FAR, host=host)
    if asked:
        engine.connect(LOW, world.now)
    hub.say(wire.ANSWER, Answer(url, False), sender=LOW, path=(LOW, FAR))
    assert (url in [effect.url for effect in world.of(engine, Dial)]) is dialled


# --- across the overlay, and trust --------------------------------------------------------------------------------


def test_npm_peers_of_two_relays_reach_each_other_across_the_overlay(world: World) -> None:
    one, transit, other = world.engine(), world.engine(npm_peers=False), world.engine()
    world.join(one, transit)
    world.join(other, transit)
    here, there = world.node(one, LOW), world.node(other, HIGH)
    here.say(wire.USER, Datagram(7, b"across" * 5000), to=HIGH)
    world.run(1.0)
    (got,) = there.envelopes(wire.USER)
    assert (got.sender, got.data) == (LOW, Datagram(7, b"across" * 5000))
    there.say(wire.USER, "back", to=LOW)
    world.run(1.0)
    assert [envelope.data for envelope in here.envelopes(wire.USER)] == ["back"]


@pytest.mark.parametrize("spelled", ["id", "ipv4", "ipv6"])
def test_an_npm_peer_behind_a_relay_is_found_by_any_spelling(world: World, spelled: str) -> None:
    relay, ours = world.engine(), world.engine(serves=False)
    world.join(ours, relay)
    node = world.node(relay, FAR)
    spelling = Spelling()
    text = {"id": FAR.hex(), "ipv4": spelling.ipv4(FAR), "ipv6": spelling.ipv6(FAR)}[spelled]
    ours.send(spelling.parse(text), 4, 9, 5, [b"hello"], world.now)  # type: ignore[arg-type]
    world.pump()
    world.run(2.0)
    assert [envelope.data for envelope in node.envelopes(wire.USER)] == [Datagram(9, b"hello")]


def test_a_relay_asks_its_npm_neighbours_for_whom_it_does_not_know(world: World) -> None:
    relay, ours = world.engine(), world.engine(serves=False)
    world.join(ours, relay)
    hub = world.node(relay, FAR)
    ours.send_message(LOW, b'"found"', world.now)
    world.run(1.0)
    assert LOW in [envelope.data for envelope in hub.envelopes(wire.FIND_PEERS)]
    hub.say(wire.FOUND_PEERS, [LOW])
    world.run(4.0)
    assert [(envelope.to, envelope.data) for envelope in hub.envelopes(wire.USER)] == [(LOW, "found")]


@pytest.mark.parametrize("relief", ["the link has room again", "there is another way"])
def test_who_waits_for_room_on_the_way_to_an_npm_peer_is_told(world: World, relief: str) -> None:
    relay, ours = world.engine(), world.engine(serves=False)
    world.join(ours, relay)
    world.node(relay, LOW)
    ours.send_message(LOW, b'"found"', world.now)
    world.run(2.0)
    path, _ = ours.path(LOW)
    assert (path.reached, path.transport, path.via) == ("relayed", "websocket", relay.peer_id)
    number = next(number for engine, number in world.joins if engine is ours)
    ours.link_full(number, True, world.now)
    assert ours.room(LOW) == 0
    if relief == "there is another way":
        world.node(ours, LOW)
    else:
        ours.link_full(number, False, world.now)
        world.pump()
    assert Writable(LOW) in world.of(ours, Writable)
    assert ours.room(LOW) > 0


def test_peers_with_keys_are_spoken_to_sealed_though_an_npm_peer_claims_their_id(world: World) -> None:
    relay, one, other = world.engine(), world.engine(), world.engine()
    world.join(one, relay)
    world.join(other, relay)
    liar = world.node(one, LOW)
    liar.say(wire.FOUND_PEERS, [other.peer_id])
    liar.say(wire.USER, "forged", sender=other.peer_id, path=(other.peer_id, LOW))
    one.send_message(other.peer_id, b'"secret"', world.now)
    world.pump()
    world.run(2.0)
    assert [message.data for message in world.of(other, Message)] == [b'"secret"']
    assert not liar.envelopes(wire.USER)
    before = len(world.of(one, Message))
    liar.say(wire.USER, "forged again", sender=other.peer_id, path=(other.peer_id, LOW))
    assert len(world.of(one, Message)) == before
    assert one.counters["refused: without its key, from an id that has one"] == 1
    impostor = world.node(one, other.peer_id)
    assert impostor.number in [effect.link for effect in world.of(one, CloseLink)]


def test_an_npm_link_ends_when_its_id_turns_out_to_have_a_key(world: World) -> None:
    one, other = world.engine(), world.engine()
    impostor = world.node(one, other.peer_id)
    world.join(other, one)
    assert impostor.number in [effect.link for effect in world.of(one, CloseLink)]
    assert other.peer_id in one.neighbours


def test_a_peer_without_npm_peers_hears_no_npm_envelopes(world: World) -> None:
    relay, strict = world.engine(), world.engine(npm_peers=False)
    world.join(strict, relay)
    node = world.node(relay, FAR)
    node.say(wire.USER, Datagram(7, b"x"), to=strict.peer_id)
    world.run(1.0)
    assert not world.of(strict, Deliver)
    assert strict.counters["refused: a legacy envelope"] == 1


def test_text_where_our_wire_was_agreed_costs_the_link(world: World) -> None:
    engine = world.engine()
    engine.link_opened(77, url=None, remote_host="8.8.4.4", now=world.now)
    engine.link_text(77, wire.id_text(FAR), world.now)
    world.pump()
    assert [effect.link for effect in world.of(engine, CloseLink)] == [77]
    assert not world.of(engine, PeerUp)


def test_a_peer_that_was_taken_for_npms_is_spoken_to_sealed_once_it_shows_its_key(world: World) -> None:
    one, other = world.engine(), world.engine()
    liar = world.node(one, LOW)
    liar.say(wire.FOUND_PEERS, [other.peer_id])
    one.send_message(other.peer_id, b'"first"', world.now)
    world.run(NPM_GRACE / 2)
    assert not liar.envelopes(wire.USER)
    world.run(NPM_GRACE)
    assert [envelope.data for envelope in liar.envelopes(wire.USER)] == ["first"]
    world.join(other, one)
    one.send_message(other.peer_id, b'"second"', world.now)
    world.pump()
    world.run(1.0)
    assert [message.data for message in world.of(other, Message)] == [b'"second"']
    assert len(liar.envelopes(wire.USER)) == 1


def test_an_address_means_the_peer_with_a_key_though_an_npm_peer_has_it_too(world: World) -> None:
    relay, ours, other = world.engine(), world.engine(), world.engine()
    world.join(ours, relay)
    world.join(other, relay)
    twin = world.node(relay, other.peer_id[:19] + bytes([other.peer_id[19] ^ 1]))
    for text in (Spelling().ipv4(other.peer_id), Spelling().ipv6(other.peer_id)):
        ours.send(Spelling().parse(text), 4, 9, 5, [b"hello"], world.now)  # type: ignore[arg-type]
        world.pump()
        world.run(2.0)
    assert [got.datagrams for got in world.of(other, Deliver)] == [[b"hello"], [b"hello"]]
    assert not twin.envelopes(wire.USER)
    twin.say(wire.USER, Datagram(7, b"I am it"), to=ours.peer_id)  # AF_INET would show it as from `other`
    world.run(1.0)
    assert not world.of(ours, Deliver)
    assert ours.counters["refused: the short address of an id that has a key"] == 1


def test_an_npm_peer_is_found_behind_relays_that_know_nothing_of_npm(world: World) -> None:
    ours, transit, relay = world.engine(serves=False), world.engine(npm_peers=False), world.engine()
    world.join(ours, transit)
    world.join(relay, transit)
    near = bytearray(transit.peer_id)  # so that nobody is nearer to it than the relay that does not know it
    near[5] ^= 1
    node = world.node(relay, bytes(near))
    ours.send(Spelling().parse(Spelling().ipv6(node.id)), 6, 9, 5, [b"hello"], world.now)  # type: ignore[arg-type]
    world.pump()
    world.run(3.0)
    assert [envelope.data for envelope in node.envelopes(wire.USER)] == [Datagram(9, b"hello")]
