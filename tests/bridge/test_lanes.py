"""Datagram lanes over real sockets: on this machine's own address, at which peers meet as strangers do."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from peer_relay_socket import AF_PEER, Peer, Socket
from peer_relay_socket.limits import LANE_FEW, LANE_IDLE
from peer_relay_socket.observe.checks import running
from tests.bridge.test_flood import own_address
from tests.patience import LIMIT, until


class Pair:
    """Two sockets that talk through a relay."""

    def __init__(self, **settings: Any) -> None:
        relay = {"host": own_address()} | settings.pop("relay", {})
        self.relay = Peer(port=0, wrtc=False, **relay)
        self.port = int((self.relay.url or "").rpartition(":")[2])
        url = f"ws://{own_address()}:{self.port}"
        self.ends = [Socket(AF_PEER, bootstrap=[url], wrtc=False, **settings) for _ in range(2)]
        for end in self.ends:
            end.settimeout(LIMIT)
            assert end.peer.wait_connected(LIMIT)
        self.one, self.other = self.ends
        self.other.bind(("", 5000))
        self.to = self.other.peer.id.hex(), 5000

    def talk(self, times: int = 1, size: int = 1000) -> None:
        """Send datagrams one after another, each of which must arrive."""
        for number in range(times):
            data = number.to_bytes(8) * (size // 8)
            self.one.sendto(data, self.to)
            assert self.other.recv(65535) == data

    def lanes(self) -> list[str | None]:
        """Return the states of the lanes, at both peers and at the relay."""
        links = [link for peer in (self.one.peer, self.other.peer, self.relay) for link in peer.status()["links"]]
        return [link["lane"] and link["lane"]["state"] for link in links]

    def until_lanes(self, states: list[str | None]) -> None:
        def seen() -> bool:
            self.talk(4)
            time.sleep(0.01)  # the rate of a game, not of a flood
            return self.lanes() == states

        until(seen)

    def close(self) -> None:
        for end in self.ends:
            end.close()
        self.relay.destroy()


@pytest.fixture
def pair() -> Iterator[Callable[..., Pair]]:
    made: list[Pair] = []

    def make(**settings: Any) -> Pair:
        made.append(Pair(**settings))
        return made[-1]

    yield make
    for each in made:
        each.close()


LIVE: list[str | None] = ["live"] * 4


def udp_sockets() -> int:
    """Return how many this process has."""
    held = {descriptor.readlink().name for descriptor in Path("/proc/self/fd").iterdir() if descriptor.is_symlink()}
    rows = [row.split() for row in Path("/proc/self/net/udp").read_text().splitlines()[1:]]
    return sum(f"socket:[{row[9]}]" in held for row in rows)


def test_steady_traffic_takes_udp_both_ways_and_a_flood_arrives_whole(pair: Callable[..., Pair]) -> None:
    talk = pair()
    talk.until_lanes(LIVE)
    (link,) = talk.one.peer.status()["links"]
    assert link["carrier"] == "websocket"
    assert link["lane"] is not None
    assert link["lane"]["lost"] == 0.0
    seen = f"small packets go by UDP on 1 link: {link['id'][:8]} (0.0% lost)"
    assert seen in [each.detail for each in running(talk.one.peer.status())]
    count = 20 * LANE_FEW
    for number in range(count):
        talk.one.sendto(number.to_bytes(4) * 300, talk.to)
    assert sorted(talk.other.recv(2000)[:4] for _ in range(count)) == [number.to_bytes(4) for number in range(count)]
    assert "dropped: a lane's frame not the neighbour's, or not new" not in talk.relay.counters()


def test_a_relay_on_all_interfaces_has_lanes_too(pair: Callable[..., Pair]) -> None:
    talk = pair(relay={"host": ""})
    talk.until_lanes(LIVE)


@pytest.mark.parametrize("settings", [{"lane": False}, {"relay": {"lane": False}}])
def test_a_setting_turns_it_off(pair: Callable[..., Pair], settings: dict[str, Any]) -> None:
    talk = pair(**settings)
    for _ in range(20):
        talk.talk(4)
    assert talk.lanes() == [None] * 4
    assert talk.relay.counters() == {}


def test_on_loopback_and_without_traffic_there_is_no_socket_for_it() -> None:
    with (
        Peer(port=0, host="127.0.0.1", wrtc=False) as relay,
        Socket(AF_PEER, bootstrap=[relay.url or ""], wrtc=False) as one,
    ):
        before = udp_sockets()  # where a socket's descriptor is one of a UDP pair, it is there
        assert one.peer.wait_connected(LIMIT)
        for _ in range(50):
            one.sendto(b"to nobody", (relay.id.hex(), 1))
        assert udp_sockets() == before


def test_strangers_frames_get_no_answer_and_are_counted(pair: Callable[..., Pair]) -> None:
    talk = pair()
    talk.until_lanes(LIVE)
    name = "dropped: a frame of no datagram lane"
    before = talk.relay.counters().get(name, 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.settimeout(0.2)
        for first in (0xC0, 0xC1, 0xFF):
            stranger.sendto(bytes((first,)) + bytes(1300), (own_address(), talk.port))
        with pytest.raises(TimeoutError):
            stranger.recv(2000)
    until(lambda: talk.relay.counters().get(name, 0) >= before + 3)
    talk.talk(10)


@pytest.mark.slow
def test_the_socket_is_closed_with_the_last_lane(pair: Callable[..., Pair]) -> None:
    talk = pair()
    before = udp_sockets()
    talk.until_lanes(LIVE)
    assert udp_sockets() == before + 2
    until(lambda: talk.lanes() == [None] * 4, 2 * LANE_IDLE)
    until(lambda: udp_sockets() == before, 2 * LANE_IDLE)
    talk.until_lanes(LIVE)
