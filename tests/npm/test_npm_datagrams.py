"""Datagrams between sockets of ours and PeerRelay.Socket of npm, by every way there is, both ways, byte for byte."""

from __future__ import annotations

import hashlib
import random
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from peer_relay_socket import AF_PEER, Peer, Socket, is_authenticated
from tests.npm.conftest import Listening
from tests.npm.npm_nodes import PATIENCE, NodePeer
from tests.patience import until

pytestmark = pytest.mark.slow
NodePeers = Callable[..., NodePeer]
OurPeers = Callable[..., Listening]
OurSockets = Callable[..., Socket]
WAYS = ["node serves", "we serve", "node relays", "we relay", "we and node relay", "node and we relay"]


def joined(
    way: str, node_peer: NodePeers, our_peer: OurPeers, our_socket: OurSockets, family: int = -1
) -> tuple[NodePeer, Socket]:
    """Return a socket of npm's and one of ours that reach each other by `way`, and in no other."""

    def ours(**settings: object) -> Socket:
        return our_socket(family, **settings)

    if way == "node serves":
        node = node_peer("socket", port=0)
        sock = ours(bootstrap=node.url)
    elif way == "we serve":
        sock = ours(port=0, host="127.0.0.1")
        node = node_peer("socket", bootstrap=[sock.peer.url])
    elif way == "node relays":
        hub = node_peer(port=0)
        node = node_peer("socket", bootstrap=[hub.url])
        sock = ours(bootstrap=hub.url)
    elif way == "we relay":
        relay = our_peer(port=0, host="127.0.0.1")
        node = node_peer("socket", bootstrap=[relay.url])
        sock = ours(bootstrap=relay.url)
    elif way == "we and node relay":
        hub = node_peer(port=0)
        relay = our_peer(port=0, host="127.0.0.1", bootstrap=hub.url)
        node = node_peer("socket", bootstrap=[hub.url])
        sock = ours(bootstrap=relay.url)
        relay.wait_linked(hub.id)
    else:
        relay = our_peer(port=0, host="127.0.0.1")
        hub = node_peer(port=0, bootstrap=[relay.url])
        node = node_peer("socket", bootstrap=[relay.url])
        sock = ours(bootstrap=hub.url)
        hub.wait("peer", id=relay.peer.id)
    node.wait("peer")
    assert sock.peer.wait_connected(10)
    return node, sock


@pytest.mark.parametrize("way", WAYS)
def test_datagrams_go_both_ways(way: str, node_peer: NodePeers, our_peer: OurPeers, our_socket: OurSockets) -> None:
    node, sock = joined(way, node_peer, our_peer, our_socket)
    node.do("echo")
    node.wait("echoing")
    sock.sendto(b"", (node.id.hex(), 7))
    assert node.wait("datagram")["address"] == sock.peer.id.hex()
    data, address = sock.recvfrom(100)
    assert data == b""
    assert not is_authenticated(address)
    payload = random.Random(way).randbytes(1200)
    sock.sendto(payload, address)
    assert node.wait("datagram", digest=hashlib.sha256(payload).hexdigest())["port"] == sock.getsockname()[1]
    assert sock.recvfrom(2000) == (payload, address)
    largest = b"\xff" * 65_507  # four characters a byte: the longest message there is
    sock.sendto(largest, address)
    assert sock.recvfrom(65_535) == (largest, address)


@pytest.mark.parametrize("way", WAYS)
def test_the_npm_side_may_speak_first(
    way: str, node_peer: NodePeers, our_peer: OurPeers, our_socket: OurSockets
) -> None:
    node, sock = joined(way, node_peer, our_peer, our_socket, AF_PEER)
    for _ in range(20):  # the way across is found by the first ones
        node.do("datagram", id=sock.peer.id, port=9, data=b"hello")
        sock.settimeout(0.5)
        try:
            data, (host, port) = sock.recvfrom(100)
            break
        except TimeoutError:
            continue
    assert (data, host) == (b"hello", node.id.hex())
    sock.sendto(b"and back", (host, port))
    node.wait("datagram", size=8)


@pytest.mark.parametrize("between", ["nothing", "a relay without npm_peers"])
def test_two_node_sockets_reach_each_other_across_two_relays_of_ours(
    between: str, node_peer: NodePeers, our_peer: OurPeers
) -> None:
    with ExitStack() as stack:
        one = our_peer(port=0, host="127.0.0.1")
        meeting = one.url
        if between != "nothing":
            meeting = stack.enter_context(Peer(port=0, host="127.0.0.1", bootstrap=one.url)).url or ""
        two = our_peer(port=0, host="127.0.0.1", bootstrap=meeting)
        assert two.peer.wait_connected(PATIENCE)
        if between != "nothing":
            one.peer.disconnect(two.peer.id)
        here, there = (node_peer("socket", bootstrap=[relay.url], bind=1007) for relay in (one, two))
        for node, relay in ((here, one), (there, two)):
            node.wait("peer", id=relay.peer.id)
        there.do("echo")
        there.wait("echoing")
        dice = random.Random(between)
        for size in (0, 1, 1200, 60_000, 65_507):
            data = dice.randbytes(size)
            here.do("datagram", id=there.id, port=1007, data=data)
            there.wait("datagram", size=size, address=here.id)
            here.wait("datagram", digest=hashlib.sha256(data).hexdigest(), address=there.id)
        assert here.peers() == {one.peer.id}
        here.do("send", id=there.id, data="x" * 100_000)
        until(lambda: one.peer.counters().get("dropped: does not fit a packet"))


@pytest.mark.parametrize("way", WAYS)
def test_a_thousand_random_datagrams_each_way(
    way: str, node_peer: NodePeers, our_peer: OurPeers, our_socket: OurSockets
) -> None:
    node, sock = joined(way, node_peer, our_peer, our_socket)
    node.do("echo")
    node.wait("echoing")
    dice = random.Random(7)
    waiting: deque[bytes] = deque()
    for number in range(1000):
        size = (0, 1, 1200, 60_000)[number % 4] if number < 40 else int(60_000 * dice.random() ** 8)
        waiting.append(dice.randbytes(size))
        sock.sendto(waiting[-1], (node.id.hex(), 7))
        while len(waiting) > 8 or (number == 999 and waiting):
            sent = waiting.popleft()
            assert sock.recvfrom(65_535)[0] == sent
            node.wait("datagram", size=len(sent), digest=hashlib.sha256(sent).hexdigest())
