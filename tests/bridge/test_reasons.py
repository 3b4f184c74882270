"""Why a link or a datagram came to nothing reaches the program and the log, of peers and servers that are real."""

from __future__ import annotations

import errno
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Origin

from peer_relay_socket import Peer, Socket
from peer_relay_socket.limits import FIRST_WORD
from tests.loopback import free_port
from tests.patience import LIMIT, until


def last_error(peer: Peer) -> str:
    (place,) = peer.status()["bootstrap"]
    return place["last_error"] or ""


@pytest.mark.parametrize(
    ("theirs", "ours", "reason"),
    [
        ({"allow_links": lambda _peer_id: False}, {}, "is not admitted: see allow_links and deny_links there"),
        ({"ipv4_network": "100.64.0.0/12"}, {}, "the IPv4 networks differ, 100.64.0.0/1"),
        ({"network_key": "a"}, {"network_key": "b"}, "network key"),
        ({"network_key": "a"}, {}, "network key"),
        ({}, {"network_key": "b"}, "network key"),
    ],
    ids=["not admitted", "another network", "another key", "a key there", "a key here"],
)
def test_a_link_refused_says_why_at_the_end_that_dialled(theirs: Any, ours: Any, reason: str) -> None:
    with (
        Peer(port=0, host="127.0.0.1", wrtc=False, **theirs) as relay,
        Peer(bootstrap=relay.url or "", wrtc=False, **ours) as peer,
    ):
        until(lambda: reason in last_error(peer))


def test_a_link_refused_says_why_at_the_end_that_refused_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "peer_relay")
    with (
        Peer(port=0, host="127.0.0.1", wrtc=False, allow_links=lambda _peer_id: False) as relay,
        Peer(bootstrap=relay.url or "", wrtc=False) as peer,
    ):
        until(lambda: relay.counters().get("refused: peer not admitted", 0) >= 4)
        name = peer.id.hex()[:8]
    refusals = [record for record in caplog.records if f"link from 127.0.0.1 refused: {name}" in record.getMessage()]
    assert [record.levelno for record in refusals] == [logging.INFO]
    told = [record for record in caplog.records if "it refuses us" in record.getMessage()]
    assert [record.levelno for record in told] == [logging.WARNING]


def test_a_web_page_that_is_not_admitted_is_told_to_the_operator_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "peer_relay")
    with Peer(port=0, host="127.0.0.1", wrtc=False) as relay:
        for _ in range(3):
            with pytest.raises(InvalidStatus, match="403"):
                connect(relay.url or "", origin=Origin("https://example.org"), proxy=None)
    (line,) = [record for record in caplog.records if "refused" in record.getMessage()]
    assert (line.levelno, line.getMessage()) == (
        logging.INFO,
        "! link from 127.0.0.1 refused: it comes from a web page of https://example.org; see origins (--origin)",
    )


@contextmanager
def foreign_server() -> Iterator[str]:
    """A WebSocket server that is none of ours."""

    def echo(connection: ServerConnection) -> None:
        for message in connection:
            connection.send(message)

    with serve(echo, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.slow
def test_a_foreign_server_is_complained_of_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "peer_relay")
    with foreign_server() as url, Peer(bootstrap=url, wrtc=False) as peer:
        until(lambda: peer.status()["bootstrap"][0]["failures"] >= 5)
    lines = [record.getMessage() for record in caplog.records if url in record.getMessage()]
    assert len(lines) == 1, lines
    assert "does not speak peer-relay" in lines[0]


@pytest.mark.slow
def test_a_place_that_swallows_what_is_sent_is_spoken_of_after_three_seconds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "peer_relay")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        with Peer(bootstrap=url, wrtc=False):
            until(lambda: any("no answer within 3 s" in record.getMessage() for record in caplog.records))
            assert time.monotonic() - began >= FIRST_WORD - 0.1


def test_a_failure_beside_another_link_is_information_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "peer_relay")
    port = free_port()
    with Peer(port=0, host="127.0.0.1", wrtc=False) as relay, Peer(bootstrap=relay.url or "", wrtc=False) as peer:
        assert peer.wait_connected(LIMIT)
        caplog.clear()
        urls = [relay.url or "", f"ws://127.0.0.1:{port}"]
        with Peer(bootstrap=urls, wrtc=False) as other:
            assert other.wait_connected(LIMIT)
            until(lambda: other.status()["bootstrap"][1]["failures"] >= 2)
            with Peer(port=port, host="127.0.0.1", wrtc=False):
                until(lambda: other.status()["bootstrap"][1]["state"] == "linked")
                until(lambda: any("answers again" in record.getMessage() for record in caplog.records))
    levels = {record.levelno for record in caplog.records if f"127.0.0.1:{port}" in record.getMessage()}
    assert levels <= {logging.INFO, logging.WARNING}
    again = [record.levelno for record in caplog.records if "answers again" in record.getMessage()]
    failed = [
        record.levelno for record in caplog.records if f"cannot reach ws://127.0.0.1:{port}" in record.getMessage()
    ]
    assert again == [max(failed)]


@pytest.mark.slow
def test_no_route_to_host_says_why() -> None:
    with Peer(port=0, host="127.0.0.1", wrtc=False) as relay, Socket(bootstrap=relay.url or "", wrtc=False) as sock:
        assert sock.peer.wait_connected(LIMIT)
        sock.settimeout(LIMIT)
        sock.connect(("100.64.1.1", 7))
        sock.send(b"x")
        with pytest.raises(
            OSError, match="No route to host: nobody has this address in the network of the 1 relay"
        ) as info:
            sock.recv(10)
        assert info.value.errno == errno.EHOSTUNREACH
        sock.send(b"y")


@pytest.mark.slow
def test_what_is_looked_for_is_told_at_debug_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "peer_relay")
    with Peer(port=0, host="127.0.0.1", wrtc=False) as relay, Socket(bootstrap=relay.url or "", wrtc=False) as sock:
        assert sock.peer.wait_connected(LIMIT)
        sock.sendto(b"x", ("100.64.1.1", 7))
        until(lambda: "gave up" in caplog.text)
        assert "looking for the peer whose id begins with" in caplog.text
        assert "link up: " in caplog.text
        sock.close()
        until(lambda: "link down: " in caplog.text)  # the relay hears of it
