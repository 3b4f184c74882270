"""How the engine comes to WebRTC links with npm peers: scripted ones behind a hub, at the other end of a list."""

from __future__ import annotations

from typing import Any

import pytest

from peer_relay_socket.address import UnprovedId
from peer_relay_socket.codec import npm as wire
from peer_relay_socket.codec.npm import Answer
from peer_relay_socket.engine.effects import Abandon, Accept, AddCandidate, Describe, Dial, PeerUp
from peer_relay_socket.engine.engine import Engine
from peer_relay_socket.limits import (
    MAX_DIRECT_ATTEMPTS,
    NPM_CANDIDATES,
    NPM_CROSSED,
    NPM_GRACE,
    NPM_OFFER_AGAIN,
    NPM_OFFER_TIME,
    NPM_SIGNAL_TIME,
    RTC_CANDIDATES,
)
from peer_relay_socket.scope import Scope
from tests.engine.npm_world import FAR, HIGH, LOW, Node, World

URL = "ws://9.9.9.9:5"
OFFER, ANSWER = {"type": "offer", "sdp": "their offer"}, {"type": "answer", "sdp": "their answer"}


def candidate(text: str) -> dict[str, Any]:
    return {"candidate": {"candidate": text, "sdpMLineIndex": 0, "sdpMid": "0"}}


class Scene:
    """An engine of ours, the hub that it is linked to, and a peer behind the hub."""

    def __init__(self, *, peer_id: bytes = LOW, host: str = "8.8.4.4", **settings: Any) -> None:
        self.world = World()
        self.engine: Engine = self.world.engine(**({"webrtc": True} | settings))
        self.hub: Node = self.world.node(self.engine, FAR, host=host)
        self.peer_id = peer_id

    def say(self, kind: str, data: Any = None) -> None:
        """The peer says something to the engine."""
        self.hub.say(kind, data, sender=self.peer_id, path=(self.peer_id, FAR))

    def told(self, kind: str) -> list[Any]:
        """Return what the engine told the peer."""
        return [envelope.data for envelope in self.hub.envelopes(kind) if envelope.to == self.peer_id]

    def of(self, kind: type[Any]) -> list[Any]:
        return self.world.of(self.engine, kind)

    def connect(self, answer: Answer | None) -> None:
        """The program asks for a link; the peer answers."""
        self.engine.connect(self.peer_id, self.world.now)
        self.world.pump()
        if answer is not None:
            self.say(wire.ANSWER, answer)

    def described(self, sdp: str = "our description") -> None:
        self.engine.described(self.of(Describe)[-1].attempt, sdp, self.world.now)
        self.world.pump()

    def failed(self) -> None:
        self.engine.direct_failed(self.of(Describe)[-1].attempt, "no path", self.world.now)
        self.world.pump()

    def opened(self) -> Node:
        """The data channel is open: return the peer's end of it."""
        self.world.links += 1
        node = Node(self.world, self.peer_id, self.engine, self.world.links)
        self.world.nodes[self.engine, node.number] = node
        self.engine.link_opened(
            node.number, url=None, remote_host="8.8.8.1", now=self.world.now, peer_id=self.peer_id, native=False
        )
        self.world.pump()
        return node


def test_the_offerer_of_a_link_offers_a_channel_and_takes_answer_and_candidates() -> None:
    scene = Scene()
    scene.connect(Answer(URL, True))
    (describe,) = scene.of(Describe)
    assert (describe.peer_id, describe.offer, describe.legacy) == (LOW, None, True)
    assert not scene.told(wire.SIGNAL)
    scene.described()
    assert scene.told(wire.SIGNAL) == [{"type": "offer", "sdp": "our description"}]
    scene.say(wire.SIGNAL, candidate("early"))
    scene.say(wire.SIGNAL, ANSWER)
    scene.say(wire.SIGNAL, candidate("late"))
    attempt = describe.attempt
    heard = [effect for effect in scene.world.effects[scene.engine] if isinstance(effect, AddCandidate | Accept)]
    assert heard == [AddCandidate(attempt, "early"), Accept(attempt, "their answer"), AddCandidate(attempt, "late")]
    assert not scene.of(Abandon)
    assert URL not in [dial.url for dial in scene.of(Dial)]


def test_the_other_end_answers_an_offer_whose_candidates_came_before_it() -> None:
    scene = Scene()
    scene.say(wire.OFFER)
    assert scene.told(wire.ANSWER) == [Answer(None, True)]
    for number in range(RTC_CANDIDATES + 1):
        scene.say(wire.SIGNAL, candidate(f"{number}"))
    assert not scene.of(Describe)
    scene.say(wire.SIGNAL, OFFER)
    (describe,) = scene.of(Describe)
    assert (describe.peer_id, describe.offer, describe.legacy) == (LOW, "their offer", True)
    assert scene.of(AddCandidate) == [AddCandidate(describe.attempt, f"{number}") for number in range(RTC_CANDIDATES)]
    scene.described()
    assert scene.told(wire.SIGNAL) == [{"type": "answer", "sdp": "our description"}]
    scene.world.run(NPM_SIGNAL_TIME + 0.1)
    assert not scene.told(wire.OFFER)  # they are on their way to us


def test_an_open_channel_begins_with_find_peers_and_is_a_link_once_they_speak() -> None:
    scene = Scene()
    scene.connect(Answer(None, True))
    scene.described()
    scene.say(wire.SIGNAL, ANSWER)
    node = scene.opened()
    (text,) = node.texts
    assert wire.read_envelope(text).kind == wire.FIND_PEERS
    scene.say(wire.SIGNAL, candidate("too late"))
    assert PeerUp(UnprovedId(LOW)) not in scene.of(PeerUp)
    node.say(wire.FIND_PEERS, LOW)
    assert PeerUp(UnprovedId(LOW)) in scene.of(PeerUp)
    scene.engine.send_message(LOW, b'"by channel"', scene.world.now)
    scene.world.pump()
    assert [envelope.data for envelope in node.envelopes(wire.USER)] == ["by channel"]
    path, _ = scene.engine.path(LOW)
    assert (path.reached, path.transport) == ("direct", "webrtc")
    scene.say(wire.SIGNAL, candidate("much too late"))
    assert (len(scene.of(Describe)), len(scene.of(AddCandidate)), scene.of(Abandon)) == (1, 0, [])
    scene.world.run(NPM_OFFER_TIME + 1)
    assert "WebRTC with npm peers failed" not in scene.engine.counters


@pytest.mark.parametrize(
    ("host", "urls", "webrtc", "answer"),
    [
        ("8.8.4.4", (), True, Answer(None, True)),
        ("8.8.4.4", (URL,), True, Answer(URL, True)),
        ("8.8.4.4", (URL,), False, Answer(URL, False)),
        ("127.0.0.1", ("ws://127.0.0.1:5",), True, Answer("ws://127.0.0.1:5", False)),
        ("127.0.0.1", (), True, Answer(None, True)),
    ],
)
def test_an_answer_says_that_we_do_webrtc_where_we_do(
    host: str, urls: tuple[str, ...], webrtc: bool, answer: Answer
) -> None:
    scene = Scene(host=host, urls=urls, webrtc=webrtc)
    scene.say(wire.OFFER)
    assert scene.told(wire.ANSWER) == [answer]


@pytest.mark.parametrize(
    ("answer", "webrtc", "host"),
    [
        (Answer(URL, False), True, "8.8.4.4"),
        (Answer(URL, True), False, "8.8.4.4"),
        (Answer("ws://localhost:5", True), True, "127.0.0.1"),
    ],
)
def test_who_does_no_webrtc_is_dialled_and_never_signalled(answer: Answer, webrtc: bool, host: str) -> None:
    scene = Scene(webrtc=webrtc, host=host)
    scene.connect(answer)
    assert answer.url in [dial.url for dial in scene.of(Dial)]
    assert not scene.of(Describe)
    assert not scene.told(wire.SIGNAL)


@pytest.mark.parametrize(
    ("host", "wished", "scope"),
    [
        ("8.8.4.4", False, Scope.GLOBAL),
        ("8.8.4.4", True, Scope.PRIVATE),
        ("192.168.1.9", False, Scope.PRIVATE),
        ("127.0.0.1", False, Scope.PRIVATE),
    ],
)
def test_a_stranger_names_no_addresses_in_our_own_network(host: str, wished: bool, scope: Scope) -> None:
    scene = Scene(host=host)
    if wished:
        scene.connect(None)
    scene.say(wire.OFFER)
    scene.say(wire.SIGNAL, OFFER)
    assert [describe.scope for describe in scene.of(Describe)] == [scope]


def test_a_link_that_the_program_no_longer_wants_is_given_up() -> None:
    scene = Scene()
    scene.connect(Answer(None, True))
    scene.engine.disconnect(LOW, scene.world.now)
    scene.world.pump()
    assert scene.of(Abandon) == [Abandon(scene.of(Describe)[0].attempt)]
    scene.say(wire.SIGNAL, ANSWER)
    assert not scene.of(Accept)


def test_signals_that_nobody_waited_for_are_refused() -> None:
    scene = Scene()
    for signal in (OFFER, ANSWER, candidate("x"), OFFER):
        scene.say(wire.SIGNAL, signal)
    assert not scene.of(Describe)
    assert scene.engine.counters["refused: a signal that was not asked for"] == 4


def test_signals_out_of_turn_change_nothing() -> None:
    scene = Scene()
    scene.say(wire.OFFER)
    scene.say(wire.SIGNAL, ANSWER)
    assert scene.engine.counters["dropped: a signal out of turn"] == 1
    scene.say(wire.SIGNAL, OFFER)
    scene.say(wire.SIGNAL, OFFER)
    assert len(scene.of(Describe)) == 1


def test_an_offer_of_ours_that_is_not_out_yet_gives_way_to_theirs() -> None:
    scene = Scene()
    scene.connect(Answer(None, True))
    scene.say(wire.SIGNAL, OFFER)
    mine, theirs = scene.of(Describe)
    assert (mine.offer, theirs.offer) == (None, "their offer")
    assert scene.of(Abandon) == [Abandon(mine.attempt)]
    scene.described()
    assert scene.told(wire.SIGNAL) == [{"type": "answer", "sdp": "our description"}]


def test_offers_that_cross_are_followed_by_another_of_ours() -> None:
    scene = Scene()
    scene.connect(Answer(None, True))
    scene.described()
    scene.say(wire.SIGNAL, OFFER)
    assert len(scene.of(Describe)) == len(scene.of(Abandon)) == 1
    scene.world.run(NPM_CROSSED + 0.1)
    assert [describe.offer for describe in scene.of(Describe)] == [None, None]
    scene.described("once more")
    assert scene.told(wire.SIGNAL)[-1] == {"type": "offer", "sdp": "once more"}


@pytest.mark.parametrize("answers", [True, False])
def test_an_offer_that_was_lost_when_two_crossed_keeps_nobody_waiting(answers: bool) -> None:
    scene = Scene(peer_id=HIGH)
    scene.connect(None)
    scene.say(wire.OFFER)
    assert not scene.told(wire.ANSWER)  # the higher id answers
    if answers:
        scene.say(wire.ANSWER, Answer(None, True))
    scene.world.run(NPM_SIGNAL_TIME + 0.1)
    assert scene.told(wire.ANSWER) == ([] if answers else [Answer(None, True)])


def test_a_link_that_the_program_wants_is_not_offered_to_who_is_about_to_connect() -> None:
    scene = Scene()
    scene.say(wire.OFFER)
    scene.connect(None)
    assert not scene.told(wire.OFFER)


def test_where_webrtc_fails_the_url_is_dialled() -> None:
    scene = Scene()
    scene.connect(Answer(URL, True))
    scene.described()
    scene.say(wire.SIGNAL, ANSWER)
    scene.failed()
    assert [dial.url for dial in scene.of(Dial)].count(URL) == 1
    assert scene.engine.counters["WebRTC with npm peers failed"] == 1


@pytest.mark.parametrize("silent_after", ["our offer", "their candidate"])
def test_a_peer_that_says_no_more_is_given_up(silent_after: str) -> None:
    scene = Scene()
    if silent_after == "our offer":
        scene.connect(Answer(None, True))
        scene.described()
    else:
        scene.say(wire.OFFER)
        scene.say(wire.SIGNAL, candidate("x"))
    scene.world.run(NPM_OFFER_TIME + 0.1)
    assert len(scene.of(Abandon)) == 1
    scene.say(wire.ANSWER, Answer(None, True))
    scene.say(wire.OFFER)
    assert scene.told(wire.ANSWER)[-1] == Answer(None, False)  # not again so soon
    for _ in range(2):
        scene.world.run(NPM_OFFER_AGAIN / 2)
        scene.hub.say(wire.FIND_PEERS, FAR)
    scene.say(wire.OFFER)
    assert scene.told(wire.ANSWER)[-1] == Answer(None, True)


def test_a_machine_that_cannot_describe_a_connection_says_so_for_a_while() -> None:
    scene = Scene()
    scene.connect(Answer(URL, True))
    scene.failed()
    assert URL in [dial.url for dial in scene.of(Dial)]
    scene.hub.say(wire.OFFER, sender=HIGH, path=(HIGH, FAR))
    (answer,) = (envelope.data for envelope in scene.hub.envelopes(wire.ANSWER))
    assert answer == Answer(None, False)


@pytest.mark.parametrize("signals", [True, False])
def test_who_can_reach_us_by_webrtc_alone_and_does_not_is_offered_a_dial(signals: bool) -> None:
    scene = Scene()
    scene.say(wire.OFFER)
    if signals:
        scene.say(wire.SIGNAL, OFFER)
    scene.world.run(NPM_SIGNAL_TIME - 0.1)
    assert not scene.told(wire.OFFER)
    scene.world.run(0.2)
    assert len(scene.told(wire.OFFER)) == (not signals)


def test_an_attempt_ends_when_the_id_turns_out_to_have_a_key() -> None:
    scene = Scene()
    other = scene.world.engine()
    scene.peer_id = other.peer_id
    scene.connect(Answer(None, True))
    scene.world.join(other, scene.engine)
    assert scene.of(Abandon) == [Abandon(scene.of(Describe)[0].attempt)]
    scene.say(wire.SIGNAL, ANSWER)
    assert not scene.of(Accept)


def test_attempts_and_offers_are_bounded() -> None:
    scene = Scene()
    for number in range(MAX_DIRECT_ATTEMPTS + 3):
        scene.peer_id = bytes([number]) * 20
        scene.connect(Answer(None, True))
    assert len(scene.of(Describe)) == MAX_DIRECT_ATTEMPTS
    for number in range(NPM_CANDIDATES + 50):
        sender = number.to_bytes(20)
        scene.hub.say(wire.OFFER, sender=sender, path=(sender, FAR))
    assert scene.engine.counters["refused: too many npm peers ask for links"] >= 50


def test_attempts_with_npm_and_native_peers_share_one_bound() -> None:
    scene = Scene(direct=True)
    world, engine = scene.world, scene.engine
    relay, native = world.engine(), world.engine(serves=False, webrtc=True, direct=True)
    world.join(engine, relay)
    world.join(native, relay)
    for number in range(MAX_DIRECT_ATTEMPTS - 1):
        scene.peer_id = bytes([number]) * 20
        scene.connect(Answer(None, True))
    engine.connect(native.peer_id, world.now)
    world.run(5.0)
    assert [effect.legacy for effect in scene.of(Describe)].count(False) == 1
    scene.peer_id = b"\x70" * 20
    scene.connect(Answer(None, True))
    assert len(scene.of(Describe)) == MAX_DIRECT_ATTEMPTS
    first = scene.of(Describe)[0].attempt
    engine.described(first, "our description", world.now)
    engine.direct_failed(first, "no path", world.now)
    scene.peer_id = b"\x71" * 20
    scene.connect(Answer(None, True))
    assert len(scene.of(Describe)) == MAX_DIRECT_ATTEMPTS + 1


def test_offers_of_channels_are_answered_at_a_bounded_rate() -> None:
    scene = Scene()
    for number in range(12):
        scene.peer_id = bytes([number]) * 20
        scene.say(wire.OFFER)
        scene.say(wire.SIGNAL, OFFER)
    assert 0 < len(scene.of(Describe)) < 12


def test_a_link_is_asked_for_across_the_overlay_of_npm_peers_alone() -> None:
    world = World()
    relay, ours, other = world.engine(), world.engine(serves=False, webrtc=True), world.engine(serves=False)
    ours.connect(LOW, world.now)  # before there is a way: it is looked for when there is one
    world.join(ours, relay)
    world.join(other, relay)
    node = world.node(relay, LOW)
    ours.connect(LOW, world.now)
    ours.connect(other.peer_id, world.now)
    world.pump()
    world.run(NPM_GRACE + 0.1)
    assert [envelope.sender for envelope in node.envelopes(wire.OFFER)] == [ours.peer_id]
    ours.connect(HIGH, world.now)  # who joins later
    world.run(1.0)
    late = world.node(relay, HIGH)
    world.run(4.0)
    assert [envelope.sender for envelope in late.envelopes(wire.OFFER)] == [ours.peer_id]
    node.say(wire.ANSWER, Answer(None, True), to=ours.peer_id)
    assert [describe.peer_id for describe in world.of(ours, Describe)] == [LOW]
    assert not other.counters
