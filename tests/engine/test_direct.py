"""Direct paths in virtual time: when they are tried, that traffic moves there and back, back-off."""

from __future__ import annotations

from itertools import pairwise

import pytest

from peer_relay_socket import limits
from peer_relay_socket.engine.direct import Path
from peer_relay_socket.engine.effects import ConnectFailed
from tests.sim.network import Host, Network
from tests.sim.rtc import Rtc, numbers, path, talk, trio


def test_sustained_traffic_moves_to_a_direct_link_without_loss_or_repetition() -> None:
    network, rtc, relay, a, b = trio(1)
    assert path(a, b).reached == "unknown"
    count = talk(network, a, b, 0.5)
    assert path(a, b)._replace(since=None) == Path(
        "relayed", "websocket", relay.peer_id, None, path(a, b).rtt, "too little traffic so far"
    )
    count += talk(network, a, b, 5.0)
    network.run(0.5)
    assert path(a, b).reached == path(b, a).reached == "direct"
    assert path(a, b).transport == "webrtc"
    heard = numbers(b)
    assert len(heard) == count
    assert len(rtc.links) == 1
    bundles = network.bundles
    a.send(b.peer_id, 5, b"x")
    network.run(0.004)
    assert network.bundles == bundles + 1
    assert network.run(0.002, lambda: len(numbers(b)) == count + 1), "5 ms is the direct link's latency"


def test_a_few_datagrams_are_not_worth_an_attempt() -> None:
    network, rtc, _, a, b = trio(2)
    talk(network, a, b, 20.0, rate=9)
    assert rtc.attempts == []


def test_large_datagrams_are_worth_one_sooner() -> None:
    network, rtc, _, a, b = trio(2)
    for _ in range(2):
        a.send(b.peer_id, 5, bytes(50_000))
    network.run(2.0)
    assert [name for _, name, offer in rtc.attempts if offer] == ["a"]


def test_traffic_is_on_the_relay_again_at_once_when_the_link_closes() -> None:
    network, rtc, _, a, b = trio(3)
    talk(network, a, b, 4.0)
    assert path(a, b).reached == "direct"
    before = len(numbers(b))
    for host in (a, b):  # each end's transport notices by itself
        number = rtc.links[0].ends[0 if host is rtc.links[0].ends[0][0] else 1][1]
        host.connections.pop(number)
        host.engine.link_closed(number, network.now)
        host.pump()
    a.send(b.peer_id, 5, b"after")
    assert network.run(0.1, lambda: len(numbers(b)) == before + 1)
    assert path(a, b).reached == "relayed"
    assert path(a, b).why_not_direct == "the direct link was lost"


def test_a_pair_that_cannot_meet_is_left_alone_for_longer_each_time() -> None:
    network, rtc, _, a, b = trio(4)
    rtc.passes = False
    count = talk(network, a, b, 200.0)
    network.run(0.5)
    assert len(numbers(b)) == count
    offers = [when for when, _, offer in rtc.attempts if offer]
    waits = [later - earlier for earlier, later in pairwise(offers)]
    assert 2 <= len(waits) <= 4
    assert all(later > 1.2 * earlier for earlier, later in pairwise(waits)), waits
    assert path(a, b).why_not_direct == "no direct path was found"


def test_who_can_be_dialled_is_dialled_and_webrtc_is_not_tried() -> None:
    network, rtc, _, a, _ = trio(7)
    server = network.host("server", serves=True, bootstrap=("relay",))
    server.config.direct = True
    network.run(2.0)
    a.engine._membership._wanted = list  # type: ignore[method-assign]  # it would be linked as a near relay anyway
    talk(network, server, a, 6.0)
    assert path(server, a).transport == "websocket"
    assert rtc.attempts == []


def test_an_idle_direct_link_is_let_go_and_one_in_use_is_kept() -> None:
    network, _, _, a, b = trio(8)
    talk(network, a, b, 3.0)
    talk(network, a, b, 3 * limits.DIRECT_IDLE, rate=1)
    assert path(a, b).reached == path(b, a).reached == "direct"
    network.run(2 * limits.DIRECT_IDLE)
    assert path(a, b).reached == "relayed"
    assert path(a, b).why_not_direct == "too little traffic so far"
    talk(network, a, b, 3.0)
    assert path(a, b).reached == "direct"


@pytest.mark.parametrize("who", ["a", "b"])
def test_a_peer_that_the_program_disconnects_stays_relayed_whatever_the_traffic(who: str) -> None:
    network, _, _, a, b = trio(14)
    talk(network, a, b, 3.0)
    assert path(a, b).reached == "direct"
    one, other = (a, b) if who == "a" else (b, a)
    disconnect(one, other)
    talk(network, a, b, 200.0)
    assert path(a, b).reached == "relayed"
    assert "program disconnected it" in (path(a, b).why_not_direct or "")
    assert not linked(a, b)


# --- links that the program asks for -----------------------------------------------------------------------------


def connect(one: Host, other: Host) -> None:
    one.engine.connect(other.peer_id, one.network.now)
    one.pump()


def disconnect(one: Host, other: Host) -> None:
    one.engine.disconnect(other.peer_id, one.network.now)
    one.pump()


def linked(a: Host, b: Host) -> bool:
    """Whether both list the other."""
    assert (b.peer_id in a.up) is (b.peer_id in a.engine.neighbours)
    return b.peer_id in a.up and a.peer_id in b.up


def failures(host: Host) -> list[str]:
    """Why the links that the program of `host` asked for did not come to be."""
    return [effect.reason for effect in host.effects if isinstance(effect, ConnectFailed)]


def test_two_peers_that_cannot_be_dialled_link_by_webrtc_when_one_program_asks() -> None:
    network, rtc, _, a, b = trio(20)
    connect(a, b)
    assert network.run(5.0, lambda: linked(a, b))
    assert path(a, b).transport == path(b, a).transport == "webrtc"
    assert [(name, offer) for _, name, offer in rtc.attempts] == [("a", True), ("b", False)]
    assert failures(a) == []


def test_a_link_that_a_program_asked_for_stays_without_traffic() -> None:
    network, rtc, _, a, b = trio(21)
    connect(a, b)
    network.run(10 * limits.DIRECT_IDLE)
    assert linked(a, b)
    assert len(rtc.links) == 1


@pytest.mark.parametrize("asks_again", ["a", "b"])
@pytest.mark.parametrize("ends", ["a", "b"])
def test_a_disconnected_link_stays_ended_until_either_program_asks_again(ends: str, asks_again: str) -> None:
    network, rtc, _, a, b = trio(22)
    connect(a, b)
    network.run(5.0)
    assert linked(a, b)
    disconnect(*((a, b) if ends == "a" else (b, a)))
    network.run(0.1)
    assert b.peer_id not in a.up
    assert a.peer_id not in b.up
    talk(network, a, b, 300.0, rate=1)
    talk(network, a, b, 10.0)
    assert not linked(a, b)
    assert len(rtc.links) == 1
    connect(*((a, b) if asks_again == "a" else (b, a)))
    assert network.run(5.0, lambda: linked(a, b))


@pytest.mark.parametrize("ends", ["a", "b"])
def test_a_disconnected_websocket_stays_ended_until_a_program_asks_again(ends: str) -> None:
    network, rtc, _, a, _ = trio(23)
    b = network.host("server", serves=True, bootstrap=("relay",))
    network.run(2.0)
    connect(a, b)
    assert network.run(5.0, lambda: linked(a, b))
    assert path(a, b).transport == "websocket"
    disconnect(*((a, b) if ends == "a" else (b, a)))
    network.run(400.0)
    assert not linked(a, b)
    connect(a, b)
    assert network.run(5.0, lambda: linked(a, b))
    assert rtc.attempts == []


def test_a_wish_that_a_disconnect_refused_does_not_come_back_by_repetition() -> None:
    network, rtc, _, a, b = trio(24)
    rtc.passes = False
    connect(a, b)
    network.run(15.0)
    rtc.passes = True
    disconnect(b, a)  # there is no link yet, over which to say so
    network.run(300.0)
    assert not linked(a, b)
    assert path(a, b).why_not_direct == "the other side refuses: the program disconnected it"
    connect(a, b)
    assert network.run(5.0, lambda: linked(a, b))


@pytest.mark.parametrize(
    ("webrtc", "why"),
    [((False, True), "WebRTC is turned off here"), ((True, False), "the other side refuses: WebRTC is turned off")],
)
def test_a_link_that_cannot_be_is_explained_to_the_program_once(webrtc: tuple[bool, bool], why: str) -> None:
    network, rtc, _, a, b = trio(25, webrtc=webrtc)
    connect(a, b)
    network.run(300.0)
    assert failures(a) == [why]
    assert path(a, b).why_not_direct == why
    assert not rtc.links


def test_a_wanted_link_that_is_lost_is_made_again() -> None:
    network, rtc, _, a, b = trio(26)
    connect(a, b)
    network.run(5.0)
    assert linked(a, b)
    for host, number in rtc.links[0].ends:
        host.connections.pop(number)
        host.engine.link_closed(number, network.now)
        host.pump()
    assert not linked(a, b)
    assert network.run(30.0, lambda: linked(a, b))


def test_a_wish_waits_for_the_network_and_for_the_peer() -> None:
    network = Network(27)
    Rtc(network)
    relay = network.host("relay", serves=True, start=False)
    a, b = (network.host(name, bootstrap=("relay",), start=False) for name in "ab")
    for host in (a, b):
        host.config.direct = host.config.webrtc = True
    a.start()
    connect(a, b)
    network.run(40.0)
    relay.start()
    b.start()
    assert network.run(2 * limits.DIRECT_WANTED_MAX, lambda: linked(a, b))


def test_a_wish_is_tried_where_the_relay_is_on_this_machine() -> None:
    network = Network(28)
    Rtc(network)
    relay = network.host("relay", serves=True)
    a, b = (network.host(name, bootstrap=("relay",), start=False) for name in "ab")
    relay.address = "127.0.0.1"
    for host in (a, b):
        host.config.direct = host.config.webrtc = True
        host.start()
    network.run(2.0)
    connect(a, b)
    assert network.run(5.0, lambda: linked(a, b))


def test_the_peer_itself_needs_no_path() -> None:
    _, _, _, a, _ = trio(12)
    assert path(a, a) == Path("own", None, None, None, 0.0, None)


def test_small_datagrams_share_packets_and_large_ones_do_not_over_a_direct_link() -> None:
    network, _, _, a, b = trio(13)
    talk(network, a, b, 4.0)
    assert path(a, b).reached == "direct"
    sizes: list[int] = []
    network.tap = lambda sender, receiver, data: sizes.append(len(data)) if receiver is b else None
    for _ in range(4):
        a.engine.send(b.peer_id, 4, 9, 5, [bytes(1200)], network.now)
    for _ in range(20):
        a.engine.send(b.peer_id, 4, 9, 5, [bytes(50)], network.now)
    a.pump()
    assert len(sizes) == 6
    assert max(sizes) < limits.RTC_UNIT
    assert 1000 < a.engine.room(b.peer_id) < limits.RTC_UNIT
