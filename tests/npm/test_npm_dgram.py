"""`peer_relay.dgram` against the npm package's own `PeerRelay.Socket`: the same dialect at both ends."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from queue import Queue
from typing import Any

import pytest
from peer_relay import dgram

from tests.npm.npm_nodes import PATIENCE, NodePeer

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("serves", ["node", "ours"])
def test_both_ends_send_and_hear(serves: str, node_peer: Callable[..., NodePeer]) -> None:
    heard: Queue[tuple[bytes, dict[str, Any]]] = Queue()
    if serves == "node":
        node = node_peer("socket", port=0, bind=1007)
        socket = dgram.Socket({"bootstrap": node.url, "npm_peers": True})
    else:
        socket = dgram.Socket(port=0, host="127.0.0.1", npm_peers=True)
        node = node_peer("socket", bootstrap=[socket.peer.url], bind=1007)
    with closing(socket):
        socket.on("message", lambda data, rinfo: heard.put((data, rinfo)))
        socket.bind(5000)
        node.wait("listening")
        assert socket.peer.wait_connected(PATIENCE)
        node.do("datagram", id=socket.peer.id, port=5000, data=b"from node")
        data, rinfo = heard.get(timeout=PATIENCE)
        assert (data, rinfo) == (
            b"from node",
            {"address": node.id.hex(), "port": 1007, "family": "peer-relay", "size": 9},
        )
        socket.send(b"--from us--", 2, 7, rinfo["port"], rinfo["address"])
        told = node.wait("datagram")
        assert (told["size"], told["address"], told["port"]) == (7, socket.peer.id.hex(), 5000)
