"""A node of npm's whose k-bucket is full: it tells newcomers its id and nothing else, for ever."""

from __future__ import annotations

import json
import logging
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from peer_relay_socket import Socket
from peer_relay_socket.identity import Identity
from tests.npm.npm_nodes import PATIENCE, NodePeer
from tests.patience import until

pytestmark = pytest.mark.slow
NodePeers = Callable[..., NodePeer]
OurSockets = Callable[..., Socket]
_SHARED, _ROOM = 8, 20
_UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: node\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def crowd(hub: NodePeer, stack: ExitStack) -> None:
    """Fill the hub for every id that does not begin with its own first byte."""
    dice = random.Random(1)
    address = ("localhost", urlsplit(hub.url).port or 0)
    own = int.from_bytes(hub.id)
    for shared in range(_SHARED):
        for _ in range(_ROOM):
            apart = 159 - shared  # the first bit that differs
            peer_id = (own ^ (1 << apart) ^ dice.getrandbits(apart)).to_bytes(20)
            guest = stack.enter_context(socket.create_connection(address, PATIENCE))
            guest.sendall(_UPGRADE)
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += guest.recv(4096)
            text = json.dumps(peer_id.hex()).encode()
            guest.sendall(bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text)
    until(lambda: len(hub.peers()) >= _SHARED * _ROOM)


@pytest.fixture
def hub(node_peer: NodePeers) -> Iterator[NodePeer]:
    """Return a full one."""
    with ExitStack() as stack:
        made = node_peer(port=0)
        crowd(made, stack)
        yield made


def test_a_peer_without_a_key_file_comes_back_under_an_id_for_which_there_is_room(
    hub: NodePeer, our_socket: OurSockets
) -> None:
    sock = our_socket(bootstrap=hub.url)
    assert sock.peer.wait_connected(PATIENCE)
    assert sock.peer.id[0] == hub.id[0]
    hub.wait("peer", id=sock.peer.id)
    sock.peer.send(hub.id, "there is room")
    assert hub.wait("message", data="there is room")["from"] == sock.peer.id.hex()


def test_a_peer_with_a_key_file_keeps_its_id_and_says_what_is_wrong(
    hub: NodePeer, our_socket: OurSockets, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = tmp_path / "key"
    while Identity.load_or_create(str(key)).peer_id[0] == hub.id[0]:
        key.unlink()
    with caplog.at_level(logging.WARNING, "peer_relay"):
        sock = our_socket(bootstrap=hub.url, identity=str(key))
        until(lambda: caplog.messages)
    (line,) = caplog.messages
    assert "has no room for our id" in line
    assert "key file" in line
    assert not sock.peer.wait_connected(0)
    assert sock.peer.id == Identity.load(str(key)).peer_id
