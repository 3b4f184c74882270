"""The record of a peer: what it says of links, bootstrap URLs, sockets, sessions and losses, of peers that are real."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate

import pytest
from websockets.http11 import Response
from websockets.sync.server import ServerConnection, serve

from peer_relay_socket import Peer, PeerClosedError, Socket
from peer_relay_socket.bridge.status import PeerStatus, SessionRecord
from peer_relay_socket.transport.versions import SUBPROTOCOL
from tests.loopback import free_port
from tests.patience import LIMIT, until

KEYS = {
    "": "id ipv4 ipv6 pid program uptime_s relays clock_skew_s certificate_expires forwarded_bytes forwarded_packets "
    "links bootstrap reachability advertised listens sockets sessions counters handshakes",
    "links": "id url host scope carrier relays role rtt_s up_s rx_bytes tx_bytes rx_packets tx_packets throttled full "
    "lane",
    "bootstrap": "url state failures last_error next_try_s",
    "sockets": "address port waiting_bytes lost",
    "sessions": "id state via chosen rtt_s since why_not_direct why",
}


@pytest.fixture
def network() -> Iterator[tuple[Peer, Socket, Socket]]:
    """A relay, and two sockets of peers that are linked to it only."""
    with Peer(port=0, host="127.0.0.1", wrtc=False) as relay:
        assert relay.url is not None
        with Socket(bootstrap=relay.url, wrtc=False) as a, Socket(bootstrap=relay.url, wrtc=False) as b:
            b.bind(("", 5000))
            for sock in (a, b):
                sock.settimeout(LIMIT)
                assert sock.peer.wait_connected(LIMIT)
            yield relay, a, b


def session_of(status: PeerStatus, name: str) -> SessionRecord:
    (found,) = [each for each in status["sessions"] if each["id"] == name]
    return found


def test_status_tells_links_sessions_and_sockets(network: tuple[Peer, Socket, Socket]) -> None:
    relay, a, b = network
    size = 1000
    for _ in range(3):
        a.sendto(bytes(size), (b.peer.address, 5000))
        data, source = b.recvfrom(65535)
        b.sendto(data, source)
        a.recvfrom(65535)
    status = a.peer.status()
    assert json.loads(json.dumps(status)) == status
    assert set(status) == set(KEYS[""].split())
    for name, keys in KEYS.items():
        if name:
            (entry,) = status[name]  # type: ignore[literal-required]
            assert set(entry) == set(keys.split())
    assert (status["id"], status["ipv4"], status["pid"]) == (a.peer.id.hex(), a.peer.address, os.getpid())
    (link,) = status["links"]
    assert (link["id"], link["url"], link["carrier"]) == (relay.id.hex(), relay.url, "websocket")
    assert (link["scope"], link["host"], link["relays"]) == ("loopback", "127.0.0.1", True)
    assert link["role"] in (None, "chance")  # bootstrap nodes are nobody's home
    assert 3 * size < link["tx_bytes"] < 3 * size + 4000
    assert 3 * size < link["rx_bytes"] < 3 * size + 4000
    assert 3 < link["tx_packets"] < 30
    assert link["rtt_s"] is not None
    assert 0 < link["rtt_s"] < 5 > link["up_s"] > 0
    (place,) = status["bootstrap"]
    assert place == {"url": relay.url, "state": "linked", "failures": 0, "last_error": None, "next_try_s": None}
    assert status["clock_skew_s"] is not None
    assert abs(status["clock_skew_s"]) < 3
    assert status["certificate_expires"] is None
    assert status["handshakes"] == {"link agreed": 1, "session agreed": 1}
    session = session_of(status, b.peer.id.hex())
    assert (session["state"], session["via"]) == ("relayed", relay.id.hex())
    assert abs(session["since"] - time.time()) < 60
    assert session["why_not_direct"]
    theirs = relay.status()
    assert theirs["relays"]
    assert theirs["forwarded_packets"] >= 6
    assert 6 * size < theirs["forwarded_bytes"] < 6 * size + 8000
    inward = {each["id"]: each for each in theirs["links"]}[a.peer.id.hex()]
    assert inward["url"] is None
    until(
        lambda: {each["id"]: each for each in relay.status()["links"]}[a.peer.id.hex()]["rx_bytes"] >= link["tx_bytes"]
    )


def test_status_tells_what_waits_and_what_was_lost_also_of_a_closed_socket(
    network: tuple[Peer, Socket, Socket],
) -> None:
    _, a, b = network
    b.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    a.sendto(b"first", (b.peer.address, 5000))
    assert b.recvfrom(100)[0] == b"first"
    for _ in range(200):
        a.sendto(bytes(500), (b.peer.address, 5000))
    until(lambda: b.peer.status()["sockets"][0]["lost"] > 150)
    (record,) = b.peer.status()["sockets"]
    assert (record["address"], record["port"]) == ("0.0.0.0", 5000)
    assert 500 <= record["waiting_bytes"] <= 8192 + 500
    reason = "dropped: a socket's receive buffer was full"
    assert b.peer.counters()[reason] == record["lost"]
    peer = b.peer
    b.close()
    assert peer.counters()[reason] == record["lost"]


def test_status_says_why_a_bootstrap_url_does_not_answer() -> None:
    url = f"ws://127.0.0.1:{free_port()}"
    with Peer(bootstrap=url, wrtc=False) as peer:
        until(lambda: peer.status()["bootstrap"][0]["failures"] >= 2)
        (place,) = peer.status()["bootstrap"]
        assert place["url"] == url
        assert place["state"] in ("waiting", "dialling")
        assert "refused" in (place["last_error"] or "").lower()
        until(lambda: peer.status()["bootstrap"][0]["next_try_s"] is not None)


@pytest.mark.slow
def test_status_tells_of_peers_that_are_looked_for_and_of_those_given_up(network: tuple[Peer, Socket, Socket]) -> None:
    _, a, _ = network
    address = "100.64.1.1"
    a.sendto(b"x", (address, 5))
    until(lambda: address in {each["id"] for each in a.peer.status()["sessions"]})
    assert session_of(a.peer.status(), address)["state"] == "looking"
    until(lambda: session_of(a.peer.status(), address)["state"] == "unreachable")
    why = "nobody has this address in the network of the 1 relay we are linked to"
    assert session_of(a.peer.status(), address)["why"] == why


@pytest.mark.parametrize(("date", "skew"), [("an hour ago", 3600), ("soon", None), ("", None)])
def test_status_says_how_wrong_a_clock_is(date: str, skew: float | None) -> None:
    told = formatdate(time.time() - 3600, usegmt=True) if date == "an hour ago" else date
    opened = threading.Event()

    def dated(connection: object, request: object, response: Response) -> None:
        del response.headers["Date"]
        response.headers["Date"] = told

    def hear(link: ServerConnection) -> None:
        if link.ping().wait(LIMIT):
            opened.set()
        list(link)

    with serve(hear, "127.0.0.1", 0, subprotocols=[SUBPROTOCOL], process_response=dated) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with Peer(bootstrap=f"ws://127.0.0.1:{server.socket.getsockname()[1]}", wrtc=False) as peer:
            until(lambda: peer.status()["clock_skew_s"] is not None if skew else opened.is_set())
            found = peer.status()["clock_skew_s"]
            assert found is None if skew is None else found is not None and abs(found - skew) < 30
        server.shutdown()


@pytest.mark.slow
def test_handshakes_that_come_to_nothing_are_counted(network: tuple[Peer, Socket, Socket]) -> None:
    relay, a, _ = network
    a.sendto(b"x", ("77" * 20, 5))
    until(lambda: a.peer.status()["handshakes"].get("session unanswered") == 1)
    with Peer(bootstrap=relay.url or "", network_key="other", wrtc=False):
        until(lambda: relay.status()["handshakes"].get("link failed", 0) >= 1)


def test_status_of_a_peer_that_was_destroyed_is_an_error() -> None:
    peer = Peer(port=0, host="127.0.0.1", wrtc=False)
    peer.destroy()
    with pytest.raises(PeerClosedError):
        peer.status()
