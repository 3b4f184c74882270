"""What is said to an npm peer that had a data channel with us, and lost it."""

from __future__ import annotations

from peer_relay_socket.codec import npm as wire
from peer_relay_socket.codec import packet
from peer_relay_socket.codec.npm import Answer, Envelope
from peer_relay_socket.engine.effects import Describe, Message
from peer_relay_socket.limits import NPM_GRACE
from tests.engine.npm_world import FAR, HIGH, LOW, Node, World
from tests.engine.test_npm_signals import OFFER, Scene
from tests.sim.tags import receive


def next_to(peer_id: bytes) -> bytes:
    return peer_id[:-1] + bytes([peer_id[-1] ^ 1])


def lost() -> Scene:
    """Return a scene whose peer had a data channel to the engine, which has gone."""
    scene = Scene()
    node = scene.opened()
    node.say(wire.FIND_PEERS, LOW)
    scene.engine.link_closed(node.number, scene.world.now)
    scene.world.pump()
    scene.hub.texts.clear()
    return scene


def test_a_peer_with_a_dead_channel_to_us_is_spoken_with_under_another_name() -> None:
    scene = lost()
    scene.hub.say(wire.FOUND_PEERS, [LOW])
    scene.engine.send_message(LOW, b'"still here"', scene.world.now)
    scene.world.run(NPM_GRACE + 0.1)
    (said,) = scene.hub.envelopes(wire.USER)
    assert (said.sender, said.to, said.path) == (next_to(scene.engine.peer_id), LOW, (scene.engine.peer_id,))
    scene.hub.say(wire.USER, "so am I", sender=LOW, path=(LOW, FAR), to=said.sender)
    assert [(message.source, message.data) for message in scene.of(Message)] == [(LOW, b'"so am I"')]
    scene.engine.send_message(FAR, b'"you know me"', scene.world.now)
    scene.world.pump()
    assert scene.hub.envelopes(wire.USER)[-1].sender == scene.engine.peer_id


def test_webrtc_is_not_tried_again_with_a_peer_that_has_a_dead_channel() -> None:
    scene = lost()
    scene.say(wire.OFFER)
    assert scene.told(wire.ANSWER) == [Answer(None, False)]
    scene.say(wire.SIGNAL, OFFER)
    scene.connect(Answer(None, True))
    assert not scene.of(Describe)


def test_a_new_websocket_mends_what_a_dead_channel_spoilt() -> None:
    scene = lost()
    node = scene.world.node(scene.engine, LOW)
    scene.engine.send_message(LOW, b'"again"', scene.world.now)
    scene.world.pump()
    assert [envelope.sender for envelope in node.envelopes(wire.USER)] == [scene.engine.peer_id]


def test_a_relay_lets_a_peer_that_does_not_relay_speak_as_its_neighbour_and_as_nobody_else() -> None:
    world = World()
    relay, ours = world.engine(), world.engine(serves=False, webrtc=True)
    world.join(ours, relay)
    node = world.node(relay, LOW)
    world.links += 1
    channel = Node(world, LOW, ours, world.links)
    world.nodes[ours, channel.number] = channel
    ours.link_opened(channel.number, url=None, remote_host="8.8.8.1", now=world.now, peer_id=LOW, native=False)
    channel.say(wire.FIND_PEERS, LOW)
    ours.link_closed(channel.number, world.now)
    ours.send_message(LOW, b'"over the relay"', world.now)
    world.run(1.0)
    (said,) = node.envelopes(wire.USER)
    assert (said.sender, said.data) == (next_to(ours.peer_id), "over the relay")
    node.say(wire.USER, "and back", to=said.sender)
    world.run(1.0)
    assert [message.data for message in world.of(ours, Message)] == [b'"and back"']
    forged = wire.pack(Envelope(LOW, HIGH, (HIGH,), "1", wire.USER, "forged"))
    number = next(number for engine, number in world.joins if engine is relay)
    receive(relay, number, packet.packet(packet.Kind.LEGACY, LOW, HIGH, forged), world.now)
    world.pump()
    assert len(node.envelopes(wire.USER)) == 1
    assert relay.counters["dropped: forged source"] == 1
