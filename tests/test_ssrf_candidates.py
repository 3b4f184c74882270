"""Where a stranger's offer makes this machine send: one table of the addresses of WebRTC candidates, in every spelling,
and one of the strangers whose word goes how far."""

from __future__ import annotations

import pytest

from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.packet import Record, Signal
from peer_relay_socket.engine.effects import Describe
from peer_relay_socket.scope import Scope
from peer_relay_socket.transport.link import LinkError
from peer_relay_socket.transport.rtc_description import safe_description
from tests.sim.bench import Bench, Node

CANDIDATES: list[tuple[str, Scope | None]] = [
    # address of the candidate; the nearest confidence in its author with which it is tried, None: never
    ("8.8.8.8", Scope.GLOBAL),
    ("2600::1", Scope.GLOBAL),
    ("192.168.1.1", Scope.PRIVATE),
    ("10.0.0.1", Scope.PRIVATE),
    ("fd00::1", Scope.PRIVATE),
    ("::ffff:10.0.0.1", Scope.PRIVATE),
    ("2002:a00:1::1", Scope.PRIVATE),
    ("64:ff9b::a00:1", Scope.PRIVATE),
    ("127.0.0.1", None),
    ("::1", None),
    ("::ffff:127.0.0.1", None),
    ("2002:7f00:1::1", None),
    ("64:ff9b::7f00:1", None),
    ("169.254.169.254", None),
    ("fe80::1", None),
    ("fe80::1%eth0", None),
    ("0.0.0.0", None),
    ("224.0.0.251", None),
    ("ff02::fb", None),
    ("255.255.255.255", None),
    ("localhost", None),
    ("metadata.example", None),
    ("d3adb33f.local", None),
    ("2130706433", None),
    ("0x7f000001", None),
]


@pytest.mark.parametrize(("address", "nearest"), CANDIDATES, ids=[row[0] for row in CANDIDATES])
def test_a_candidate_is_tried_only_where_its_author_may_send_us(address: str, nearest: Scope | None) -> None:
    good = "a=candidate:1 1 udp 1 8.8.4.4 9 typ host"
    line = f"a=candidate:2 1 udp 1 {address} 9 typ host"
    sdp = "\r\n".join(["v=0", "m=application 9 x y", good, line, ""])
    for confidence in Scope:
        tried = line in safe_description(sdp, confidence.covers)
        assert tried is (nearest is not None and nearest >= confidence), confidence


@pytest.mark.parametrize("port", ["0", "65536", "99999999", "-1", "x", "²", "22.5"])
def test_a_candidate_with_a_port_that_is_none_is_not_tried(port: str) -> None:
    sdp = f"v=0\r\nm=application 9 x y\r\na=candidate:1 1 udp 1 8.8.4.4 {port} typ host\r\n"
    with pytest.raises(LinkError):
        safe_description(sdp, lambda _host: True)


ANSWERS, ASKS, NOTHING = "answers", "asks first", "nothing"


@pytest.mark.parametrize(
    ("relay_at", "program", "tried"),
    [
        ("8.0.0.1", NOTHING, None),
        ("8.0.0.1", ANSWERS, Scope.GLOBAL),
        ("8.0.0.1", ASKS, Scope.PRIVATE),
        ("10.0.0.1", ANSWERS, Scope.PRIVATE),
        ("10.0.0.1", NOTHING, None),
    ],
)
def test_private_candidates_are_tried_on_the_word_of_no_stranger(
    relay_at: str, program: str, tried: Scope | None
) -> None:
    """One that asks a server, and has its answer, is a stranger still."""
    bench = Bench()
    relay, us, them = bench.node("relay", serves=True), bench.node("us"), bench.node("them")
    for node in (us, them):
        node.config.direct = node.config.webrtc = True
        node.config.candidates = "auto"
        bench.join(node, relay)
    for link in us.engine._links.all.values():
        scope = Scope.of(relay_at)
        assert scope is not None
        link.scope = scope
    bench.flow()
    if program == ASKS:
        us.send(them, b"who is there?")
        bench.flow()
    them.send(us, b"knock")
    bench.flow()
    if program == ANSWERS:
        us.send(them, b"who is there?")
        bench.flow()
    _signal(them, us, b"\x07" * 8)
    bench.flow()
    described = [(effect.offer, effect.scope) for effect in us.take(Describe)]
    assert described == ([] if tried is None else [("an offer", tried)])


def _signal(sender: Node, receiver: Node, token: bytes) -> None:
    sender.engine._sessions.send(
        receiver.peer_id, wire.record(Record.SIGNAL, bytes((Signal.OFFER,)) + token + b"an offer")
    )
