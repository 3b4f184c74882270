"""WebRTC attempts in virtual time: glare, refusals, what is lost and repeated, what strangers offer."""

from __future__ import annotations

import pytest

from peer_relay_socket import limits
from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.packet import Record, Signal
from tests.sim.network import Network
from tests.sim.rtc import Rtc, numbers, path, talk, trio


@pytest.mark.parametrize("seed", range(6))
def test_of_two_offers_that_cross_one_stands(seed: int) -> None:
    network, rtc, _, a, b = trio(seed)
    rtc.grid = 1.0
    count = talk(network, a, b, 4.0, both=True)
    network.run(1.0)
    assert path(a, b).reached == path(b, a).reached == "direct"
    assert len(rtc.links) == 1
    assert sum(offer for _, _, offer in rtc.attempts) == 2, "or they did not cross"
    assert len(numbers(a)) == len(numbers(b)) == count


@pytest.mark.parametrize(
    ("webrtc", "why"),
    [((False, True), "WebRTC is turned off here"), ((True, False), "the other side refuses: WebRTC is turned off")],
)
def test_either_end_can_do_without(webrtc: tuple[bool, bool], why: str) -> None:
    network, rtc, _, a, b = trio(5, webrtc=webrtc)
    talk(network, a, b, 5.0)
    assert path(a, b).reached == "relayed"
    assert path(a, b).why_not_direct == why
    assert not rtc.links


def test_an_offer_that_is_lost_is_made_again() -> None:
    network, rtc, _, a, b = trio(6)
    lost = []
    take = b.engine.signal_heard

    def deaf(peer_id: bytes, content: bytes) -> None:
        if lost:
            take(peer_id, content)
        else:
            lost.append(content)

    b.engine.signal_heard = deaf
    talk(network, a, b, 6.0)
    assert lost
    assert path(a, b).reached == "direct"
    assert len(rtc.links) == 1


def test_signals_that_nobody_waits_for_are_ignored() -> None:
    network, rtc, _, a, b = trio(9)
    talk(network, a, b, 0.2)
    signals = [bytes((step,)) + b"tokentok" + b"sdp" for step in (0, Signal.ANSWER, Signal.REFUSAL, 77)]
    for signal in [*signals, b"short", b"\x01tokentok\xff\xfe"]:
        b.engine._sessions.send(a.peer_id, wire.record(Record.SIGNAL, signal))
        b.pump()
    network.run(1.0)
    assert rtc.attempts == []
    assert a.engine.counters["dropped: did not open"] == 2
    assert path(a, b).reached == "relayed"


def test_a_stranger_cannot_have_us_answer_offers_without_end() -> None:
    network, rtc, _, a, b = trio(10)
    talk(network, a, b, 0.2)
    for number in range(100):
        offer = bytes((Signal.OFFER,)) + number.to_bytes(8) + b"sdp"
        b.engine._sessions.send(a.peer_id, wire.record(Record.SIGNAL, offer))
    b.pump()
    network.run(1.0)
    assert 0 < len(rtc.attempts) <= limits.DIRECT_OFFER_RATE + 1


def test_a_relay_on_this_machine_is_as_good_as_a_direct_path() -> None:
    network = Network(11)
    rtc = Rtc(network)
    relay = network.host("relay", serves=True, start=False)
    relay.start()
    a, b = (network.host(name, bootstrap=("relay",), start=False) for name in "ab")
    relay.address = "127.0.0.1"
    for host in (a, b):
        host.config.direct = host.config.webrtc = True
        host.start()
    network.run(2.0)
    talk(network, a, b, 4.0)
    assert rtc.attempts == []
    assert path(a, b).why_not_direct == "the relay is on this machine"


def test_what_the_other_side_says_of_its_refusal_is_one_printable_line() -> None:
    network, _, _, a, b = trio(12)

    def refuse(peer_id: bytes, content: bytes) -> None:
        said = bytes((Signal.REFUSAL,)) + content[1:9] + "no\x1b[2J\r\n\u202e".encode() + 100 * b"x"
        b.engine._sessions.send(peer_id, wire.record(Record.SIGNAL, said))

    b.engine.signal_heard = refuse
    talk(network, a, b, 6.0)
    assert path(a, b).why_not_direct == "the other side refuses: no?[2J???" + 71 * "x"
