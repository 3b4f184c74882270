"""Peers of another version of the wire: both sides are told why they cannot link, by close code and reason."""

from __future__ import annotations

import json
import logging
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from peer_relay_socket import Peer
from peer_relay_socket.codec import packet as wire
from tests.patience import LIMIT, until
from tests.sim.bench import Bench

RECORDED: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "codec" / "vectors" / "peer-relay.2.json").read_text("ascii")
)


@pytest.mark.parametrize("npm_peers", [False, True])
def test_a_client_of_the_version_before_is_told_by_code_and_reason_and_never_by_a_text(npm_peers: bool) -> None:
    with (
        Peer(port=0, host="127.0.0.1", wrtc=False, npm_peers=npm_peers) as peer,
        connect(peer.url or "", proxy=None, subprotocols=["peer-relay.2"]) as client,  # type: ignore[list-item]
    ):
        assert client.subprotocol == "peer-relay.2"
        with pytest.raises(ConnectionClosed) as caught:
            client.recv(timeout=10)
        assert caught.value.rcvd is not None
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (
            4002,
            "this peer speaks peer-relay.3, the other end peer-relay.2: update one",
        )
        assert peer.peers == []


@pytest.mark.slow
def test_the_request_that_the_version_before_makes_is_accepted_and_closed() -> None:
    with Peer(port=0, host="127.0.0.1", wrtc=False) as peer:
        port = int((peer.url or "").rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port), LIMIT) as client:
            client.sendall(RECORDED["client request"].encode())
            answer = b""
            while more := client.recv(65536):
                answer += more
    head, _, frames = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"Sec-WebSocket-Protocol: peer-relay.2" in head
    assert frames[:4] == b"\x88" + bytes((len(frames) - 2,)) + (4002).to_bytes(2)


def test_a_client_that_knows_both_versions_is_served_with_ours() -> None:
    offered = ["peer-relay.4", "peer-relay.3", "peer-relay.2"]
    with (
        Peer(port=0, host="127.0.0.1", wrtc=False) as peer,
        connect(peer.url or "", proxy=None, subprotocols=offered) as client,  # type: ignore[arg-type]
    ):
        assert client.subprotocol == "peer-relay.3"
        assert client.recv(timeout=10)[:1] == bytes((wire.LINK_HANDSHAKE,))


def test_a_node_of_the_version_before_is_told_and_so_is_our_log(caplog: pytest.LogCaptureFixture) -> None:
    closes: list[tuple[int, str]] = []

    def older(connection: ServerConnection) -> None:
        connection.send(bytes.fromhex(RECORDED["server first message"]))
        with pytest.raises(ConnectionClosed) as caught:
            connection.recv(timeout=10)
        assert caught.value.rcvd is not None
        closes.append((caught.value.rcvd.code, caught.value.rcvd.reason))

    with serve(older, "127.0.0.1", 0, subprotocols=["peer-relay.2"]) as server:  # type: ignore[list-item]
        url = f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        with caplog.at_level(logging.WARNING, "peer_relay"), Peer(bootstrap=[url], wrtc=False) as peer:
            peer.start()
            until(lambda: closes)
            until(lambda: "speaks peer-relay.2, this peer peer-relay.3: update the older of the two" in caplog.text)
            assert peer.peers == []
        server.shutdown()
        thread.join(10)
    assert closes[0] == (4002, "this peer speaks peer-relay.3, the other end peer-relay.2: update one")


def test_what_the_version_before_says_on_a_link_proves_nothing_and_is_not_heard() -> None:
    bench = Bench()
    node = bench.node("node", serves=True)
    node.engine.link_opened(1, url=None, remote_host="8.8.8.8", now=0.0)
    node.engine.take_bundles()
    for sender, message in RECORDED["link"]:
        if sender == "dialler":
            node.engine.receive(1, bytes.fromhex(message), 0.0)
    assert node.engine.neighbours == []
    assert node.engine.take_bundles() == []
    assert node.engine.counters["link failed"] == 1
