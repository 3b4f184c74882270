"""Peer.path, and real sockets whose traffic moves to a direct link and back while the program goes on."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path as File
from typing import Any

import ifaddr
import pytest

from peer_relay_socket import AF_PEER, Path, Peer, Socket
from peer_relay_socket.errors import PeerClosedError
from tests.patience import LIMIT, until
from tests.transport.rtc_fakes import Air


def own_address() -> str | None:
    """An IPv4 address of this machine that is not loopback; a relay there is not "on this machine" to its peers."""
    addresses = [str(ip.ip) for adapter in ifaddr.get_adapters() for ip in adapter.ips if ip.is_IPv4]
    return next((a for a in addresses if not a.startswith(("127.", "169.254."))), None)


pytestmark = pytest.mark.skipif(own_address() is None, reason="needs address: an IPv4 one that is not loopback")


class Conversation:
    """Two sockets, one of which answers the other through a relay."""

    def __init__(self, wrtc: Any) -> None:
        address = own_address()
        assert address is not None
        self.relay = Peer(port=0, host=address, wrtc=False)
        url = self.relay.url
        assert url is not None
        self.a = Socket(AF_PEER, bootstrap=[url], wrtc=wrtc)
        self.b = Socket(AF_PEER, bootstrap=[url], wrtc=wrtc)
        self.b.bind(("", 5000))
        self.there = (self.b.peer.id.hex(), 5000)
        self.sent = 0
        for socket in (self.a, self.b):
            socket.settimeout(LIMIT)
            assert socket.peer.wait_connected(LIMIT)

    def once(self, size: int = 1200) -> bool:
        """Send one datagram and have it sent back; whether that came through."""
        self.sent += 1
        data = self.sent.to_bytes(8) + bytes(size - 8)
        try:
            self.a.sendto(data, self.there)
            got, source = self.b.recvfrom(65535)
            self.b.sendto(got, source)
            return self.a.recv(65535) == data
        except TimeoutError:
            return False

    def path(self) -> Path:
        return self.a.peer.path(self.b.peer.id)

    def until(self, condition: Callable[[Path], bool], limit: float = LIMIT) -> list[bool]:
        """Talk until the path is as wanted; what came through."""
        end = time.monotonic() + limit
        passed = []
        while not condition(self.path()):
            assert time.monotonic() < end, self.path()
            passed.append(self.once())
        return passed

    def close(self) -> None:
        self.a.close()
        self.b.close()
        self.relay.destroy()


@pytest.fixture
def talk() -> Iterator[Callable[[Any], Conversation]]:
    made: list[Conversation] = []

    def make(wrtc: Any) -> Conversation:
        made.append(Conversation(wrtc))
        return made[-1]

    yield make
    for conversation in made:
        conversation.close()


def test_datagrams_move_to_webrtc_and_none_is_lost(talk: Callable[[Any], Conversation]) -> None:
    conversation = talk(None)
    assert conversation.path().reached == "unknown"
    assert conversation.once()
    before = conversation.path()
    assert (before.reached, before.transport, before.via) == ("relayed", "websocket", conversation.relay.id)
    assert before.why_not_direct == "too little traffic so far"
    assert all(conversation.until(lambda path: path.reached == "direct"))
    after = conversation.path()
    assert (after.transport, after.via, after.why_not_direct) == ("webrtc", None, None)
    assert after.since is not None
    assert time.time() - LIMIT < after.since < time.time() + 1
    assert after.rtt is not None
    assert after.rtt != before.rtt
    assert all(conversation.once(size) for size in (8, 1200, 20_000, 65_507))


@pytest.mark.slow
def test_traffic_is_on_the_relay_within_seconds_of_a_cut(talk: Callable[[Any], Conversation]) -> None:
    air = Air()
    conversation = talk(air.factory)
    assert all(conversation.until(lambda path: path.reached == "direct"))
    conversation.a.settimeout(0.25)
    conversation.b.settimeout(0.25)
    air.cut = True
    start = time.monotonic()
    while not conversation.once():
        assert time.monotonic() < start + 10  # some 2.5, on a machine that does nothing else
    path = conversation.path()
    assert (path.reached, path.why_not_direct) == ("relayed", "the direct link was lost")


@pytest.mark.slow
def test_connect_links_two_peers_until_one_of_them_disconnects(talk: Callable[[Any], Conversation]) -> None:
    conversation = talk(Air().factory)
    a, b = conversation.a.peer, conversation.b.peer
    up: list[tuple[str, bytes]] = []
    a.on("peer", lambda peer_id: up.append(("a", peer_id)))
    b.on("peer", lambda peer_id: up.append(("b", peer_id)))
    a.connect(b.id)
    until(lambda: {("a", b.id), ("b", a.id)} <= set(up))
    assert b.id in a.peers
    assert a.id in b.peers
    b.disconnect(a.id)
    until(lambda: b.id not in a.peers and a.id not in b.peers)
    assert a.path(b.id).why_not_direct == "the other side's program disconnected it"
    a.connect(b.id)
    until(lambda: b.id in a.peers and a.id in b.peers)


def test_webrtc_turned_off_is_the_reason_given(talk: Callable[[Any], Conversation]) -> None:
    conversation = talk(False)
    conversation.until(lambda path: path.why_not_direct == "WebRTC is turned off here")
    assert conversation.path().reached == "relayed"


def test_path_checks_its_argument_and_the_peer(talk: Callable[[Any], Conversation]) -> None:
    conversation = talk(False)
    peer = conversation.a.peer
    assert peer.path(peer.id.hex()).reached == "own"
    with pytest.raises(ValueError, match="not a peer id"):
        peer.path("somebody")
    conversation.a.close()
    with pytest.raises(PeerClosedError):
        peer.path(peer.id)


def test_a_relayed_echo_imports_no_aiortc() -> None:
    code = """
import sys
from peer_relay_socket import AF_PEER, Peer, Socket
relay = Peer(port=0, host="127.0.0.1")
a, b = (Socket(AF_PEER, bootstrap=[relay.url]) for _ in range(2))
b.bind(("", 5000))
a.settimeout(10), b.settimeout(10)
for _ in range(100):
    a.sendto(b"hello", (b.peer.id.hex(), 5000))
    b.sendto(*b.recvfrom(100))
    a.recv(100)
loaded = {"aiortc", "aioice", "av"} & set(sys.modules)
a.close(), b.close(), relay.destroy()
sys.exit(f"imported {loaded}" if loaded else 0)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=File(__file__).parents[2])
