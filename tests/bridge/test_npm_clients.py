"""A client that offers no subprotocol, as npm's and browsers' do, at the door of a peer."""

from __future__ import annotations

import json

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from peer_relay_socket import Peer

FAR = b"\x77" * 20


def test_an_npm_client_is_told_why_it_is_closed_where_npm_peers_is_off() -> None:
    with Peer(port=0, host="127.0.0.1") as peer, connect(peer.url or "", proxy=None) as client:
        with pytest.raises(ConnectionClosed) as caught:
            client.recv(timeout=10)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1008
        assert "npm_peers" in caught.value.rcvd.reason


def test_an_npm_client_is_told_our_id_first_where_npm_peers_is_on() -> None:
    with Peer(port=0, host="127.0.0.1", npm_peers=True) as peer, connect(peer.url or "", proxy=None) as client:
        assert json.loads(client.recv(timeout=10)) == {"type": "Buffer", "data": list(peer.id)}
        client.send(json.dumps(FAR.hex()).encode())  # binary frames will do
        asked = json.loads(client.recv(timeout=10))
        assert (asked["to"], asked["data"]) == (FAR.hex(), {"type": "findPeers", "data": peer.id.hex()})
