"""The scenarios of npm peer-relay's own test file against the real package, with each role played by ours in turn."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from peer_relay_socket import is_authenticated
from tests.npm.conftest import Listening
from tests.npm.npm_nodes import NodePeer

pytestmark = pytest.mark.slow
NodePeers = Callable[..., NodePeer]
OurPeers = Callable[..., Listening]


def pair(role: str, node_peer: NodePeers, our_peer: OurPeers) -> tuple[NodePeer, Listening]:
    """Return two peers, the second bootstrapped from the first, of which `role` is ours."""
    if role == "first":
        ours = our_peer(port=0, host="127.0.0.1")
        return node_peer(port=0, bootstrap=[ours.url]), ours
    node = node_peer(port=0)
    return node, our_peer(port=0, host="127.0.0.1", bootstrap=node.url)


both_roles = pytest.mark.parametrize("role", ["first", "second"])


@both_roles
def test_two_peers_connect(role: str, node_peer: NodePeers, our_peer: OurPeers) -> None:
    node, ours = pair(role, node_peer, our_peer)
    node.wait("peer", id=ours.peer.id)
    ours.wait_linked(node.id)
    assert ours.peer.peers == [node.id]


@both_roles
def test_direct_message(role: str, node_peer: NodePeers, our_peer: OurPeers) -> None:
    node, ours = pair(role, node_peer, our_peer)
    node.wait("peer", id=ours.peer.id)
    node.do("send", id=ours.peer.id, data="TEST1")
    data, source = ours.message()
    assert (data, source) == ("TEST1", node.id)
    assert not is_authenticated(source)
    ours.peer.send(node.id, {"any": ["JSON", 1.5, None, True, "é"]})
    assert node.wait("message", **{"from": ours.peer.id})["data"] == {"any": ["JSON", 1.5, None, True, "é"]}


@both_roles
def test_message_sent_before_the_peers_connect(role: str, node_peer: NodePeers, our_peer: OurPeers) -> None:
    if role == "first":
        ours = our_peer(port=0, host="127.0.0.1")
        node = node_peer(port=0, bootstrap=[ours.url])
        node.do("send", id=ours.peer.id, data="TEST2")
        ours.peer.send(node.id, "TEST1")
    else:
        node = node_peer(port=0)
        ours = our_peer(port=0, host="127.0.0.1", bootstrap=node.url)
        ours.peer.send(node.id, "TEST1")
        node.do("send", id=ours.peer.id, data="TEST2")
    assert ours.message() == ("TEST2", node.id)
    node.wait("message", data="TEST1")


@pytest.mark.parametrize("role", ["end", "hub"])
def test_relay_message(role: str, node_peer: NodePeers, our_peer: OurPeers) -> None:
    if role == "hub":
        hub = our_peer(port=0, host="127.0.0.1")
        one, other = (node_peer(bootstrap=[hub.url]) for _ in range(2))
        one.wait("peer", id=hub.peer.id)
        other.wait("peer", id=hub.peer.id)
        one.do("send", id=other.id, data="TEST")
        other.wait("message", data="TEST", **{"from": one.id})
        assert not hub.peer.counters().get("dropped: not a relay")
        return
    relay = node_peer(port=0)
    far = node_peer(bootstrap=[relay.url])
    far.wait("peer", id=relay.id)
    ours = our_peer(bootstrap=relay.url)
    ours.wait_linked(relay.id)
    ours.peer.send(far.id, "THERE")
    far.wait("message", data="THERE", **{"from": ours.peer.id})
    far.do("send", id=ours.peer.id, data="BACK")
    assert ours.message() == ("BACK", far.id)


@pytest.mark.parametrize("role", ["one", "hub", "other"])
def test_peers_populate_by_themselves(role: str, node_peer: NodePeers, our_peer: OurPeers) -> None:
    """c1 <-> c2 <-> c3: c1 and c3 link up, c1 drops c2, and still reaches c3."""
    if role == "hub":
        hub = our_peer(port=0, host="127.0.0.1")
        one = node_peer(port=0, bootstrap=[hub.url])
        one.wait("peer", id=hub.peer.id)
        other = node_peer(port=0, bootstrap=[hub.url])
        one.wait("peer", id=other.id)
        one.do("disconnect", id=hub.peer.id)
        one.do("send", id=other.id, data="TEST")
        other.wait("message", data="TEST", **{"from": one.id})
        return
    relay = node_peer(port=0)
    if role == "one":
        other = node_peer(port=0, bootstrap=[relay.url])
        other.wait("peer", id=relay.id)
        ours = our_peer(port=0, host="127.0.0.1", bootstrap=relay.url)
    else:
        ours = our_peer(port=0, host="127.0.0.1", bootstrap=relay.url)
        ours.wait_linked(relay.id)
        other = node_peer(port=0, bootstrap=[relay.url])
    other.wait("peer", id=ours.peer.id)
    ours.wait_linked(other.id)
    ours.peer.disconnect(relay.id)
    ours.peer.send(other.id, "TEST")
    other.wait("message", data="TEST", **{"from": ours.peer.id})
    assert other.id in ours.peer.peers


@pytest.mark.parametrize("lower", ["ours", "node"])
def test_a_link_is_asked_for_and_comes_up_whoever_has_the_lower_id(
    lower: str, node_peer: NodePeers, our_peer: OurPeers
) -> None:
    """connect(id) over a relay of ours, by both at once: the glare rule of both sides must agree on who dials."""
    hub = our_peer(port=0, host="127.0.0.1")
    while True:
        node = node_peer(port=0, bootstrap=[hub.url])
        ours = our_peer(port=0, host="127.0.0.1", bootstrap=hub.url)
        if (ours.peer.id < node.id) == (lower == "ours"):
            break
    node.wait("peer", id=hub.peer.id)
    ours.wait_linked(hub.peer.id)
    node.do("connect", id=ours.peer.id)
    ours.peer.connect(node.id)
    node.wait("peer", id=ours.peer.id)
