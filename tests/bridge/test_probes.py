"""Pings and traces among peers that are real: who answers, by which way, and in which one state it ends otherwise."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest

from peer_relay_socket import Peer, Socket
from peer_relay_socket.address import Destination, PeerId, Special, Spelling
from peer_relay_socket.bridge.host import Host
from peer_relay_socket.bridge.probes import Hop, PingEnd, Pong, Trace
from peer_relay_socket.config import peer_config
from peer_relay_socket.limits import ECHO_RATE
from tests.loopback import free_port
from tests.patience import LIMIT, until
from tests.processes import read_line

ANSWERER = """
import sys
from peer_relay_socket import Socket
sock = Socket(bootstrap=sys.argv[1], wrtc=False)
sock.bind(("", 5000))
assert sock.peer.wait_connected(20)
print(sock.peer.id.hex(), flush=True)
sys.stdin.read()
"""


@contextmanager
def host(url: str, **settings: object) -> Iterator[Host]:
    """A host of its own for probes."""
    made = Host(replace(peer_config(bootstrap=url, wrtc=False), **settings))  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.destroy()


@pytest.fixture
def relay() -> Iterator[Peer]:
    with Peer(port=0, host="127.0.0.1", wrtc=False) as peer:
        yield peer


def destination(text: str) -> Destination:
    found = Spelling().parse(text)
    assert not isinstance(found, Special)
    return found


def ping(asker: Host, text: str, port: int = 0, count: int = 1) -> tuple[list[Pong], PingEnd, float]:
    pongs: list[Pong] = []
    began = time.monotonic()
    end = asker.ping(destination(text), port, count, pongs.append)
    return pongs, end, time.monotonic() - began


def trace(asker: Host, text: str) -> tuple[list[Hop], Trace]:
    hops: list[Hop] = []
    return hops, asker.trace(destination(text), hops.append)


@pytest.mark.parametrize("spelling", ["id", "name", "ipv4", "ipv6"])
def test_a_ping_is_answered_though_the_program_does_nothing(relay: Peer, spelling: str) -> None:
    with Socket(bootstrap=relay.url or "", wrtc=False) as sock, host(relay.url or "") as asker:
        sock.bind(("", 5000))
        assert sock.peer.wait_connected(LIMIT)
        peer = sock.peer
        names = {"id": peer.id.hex(), "name": f"{peer.id.hex()}.peer", "ipv4": peer.address, "ipv6": peer.ipv6}
        pongs, end, _ = ping(asker, names[spelling], 5000)
        assert [(pong["seq"], pong["path"], pong["via"]) for pong in pongs] == [(1, "relayed", relay.id.hex())]
        assert (end["sent"], end["received"], end["state"], end["id"]) == (1, 1, "answered", peer.id.hex())
        assert end["found_by"] == relay.id.hex()
        assert end["min_s"] == end["avg_s"] == end["max_s"] == pongs[0]["rtt_s"]
        assert end["why_not_direct"]
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(100)


@pytest.mark.slow
def test_a_ping_of_a_neighbour_is_direct_and_of_itself_its_own(relay: Peer) -> None:
    with host(relay.url or "") as asker:
        pongs, end, _ = ping(asker, relay.id.hex(), count=2)
        assert [(pong["seq"], pong["path"], pong["via"]) for pong in pongs] == [
            (1, "direct, websocket", None),
            (2, "direct, websocket", None),
        ]
        assert (end["received"], end["why_not_direct"]) == (2, None)
        pongs, end, _ = ping(asker, asker.peer_id.hex())
        assert [pong["path"] for pong in pongs] == ["own"]


def test_a_port_that_is_not_bound_is_said_to_be_refused(relay: Peer) -> None:
    with Socket(bootstrap=relay.url or "", wrtc=False) as sock, host(relay.url or "") as asker:
        sock.bind(("", 5000))
        assert sock.peer.wait_connected(LIMIT)
        pongs, end, spent = ping(asker, sock.peer.id.hex(), 5001)
        assert (pongs, end["state"], end["received"]) == ([], "port refused", 0)
        assert "5001" in (end["why"] or "")
        assert spent < 5


@pytest.mark.slow
def test_without_a_relay_a_ping_says_why_there_is_none() -> None:
    port = free_port()
    with host(f"ws://127.0.0.1:{port}") as asker:
        pongs, end, spent = ping(asker, "77" * 20)
        assert (pongs, end["state"], end["sent"]) == ([], "no relay linked", 0)
        assert end["why"] == f"ws://127.0.0.1:{port}: Connection refused"
        assert spent < 3


@pytest.mark.slow
def test_a_relay_that_swallows_everything_is_no_relay_within_five_seconds() -> None:
    with (
        socket.create_server(("127.0.0.1", 0), backlog=5) as silent,
        host(f"ws://127.0.0.1:{silent.getsockname()[1]}") as asker,
    ):
        _, end, spent = ping(asker, "77" * 20)
        assert end["state"] == "no relay linked"
        assert "no answer" in (end["why"] or "")
        assert spent < 5


@pytest.mark.slow
@pytest.mark.parametrize("nobody", ["77" * 20, "100.64.1.1"])
def test_an_address_that_nobody_has_is_told_from_a_peer_that_is_silent(relay: Peer, nobody: str) -> None:
    with host(relay.url or "") as asker:
        _, end, spent = ping(asker, nobody)
        assert (end["state"], end["id"]) == ("nobody has this address", None)
        assert "1 relay," in (end["why"] or "")
        assert spent < 5


@pytest.mark.slow
def test_a_peer_that_is_stopped_is_found_and_does_not_answer(relay: Peer) -> None:
    command = [sys.executable, "-c", ANSWERER, relay.url or ""]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program,
        host(relay.url or "") as asker,
    ):
        try:
            peer_id = read_line(program.stdout).strip()
            program.send_signal(signal.SIGSTOP)
            until(lambda: ping(asker, peer_id)[1]["state"] == "found, does not answer")
            program.send_signal(signal.SIGCONT)
            until(lambda: ping(asker, peer_id)[1]["state"] == "answered")
        finally:
            program.kill()


@pytest.mark.slow
def test_a_peer_whose_lists_refuse_us_says_so(relay: Peer) -> None:
    def nobody(_peer_id: PeerId) -> bool:
        return False

    with (
        Socket(bootstrap=relay.url or "", wrtc=False, allow_datagrams=nobody) as sock,
        host(relay.url or "") as asker,
    ):
        assert sock.peer.wait_connected(LIMIT)
        until(lambda: ping(asker, sock.peer.id.hex())[1]["state"] == "refuses us")
        assert ping(asker, sock.peer.id.hex())[1]["state"] == "refuses us"


def test_a_trace_names_every_relay_on_the_way(relay: Peer) -> None:
    with (
        Peer(port=0, host="127.0.0.1", bootstrap=relay.url or "", wrtc=False) as second,
        Socket(bootstrap=relay.url or "", wrtc=False) as far,
        host(relay.url or "") as asker,
    ):
        for peer in (second, far.peer):
            assert peer.wait_connected(LIMIT)
        hops, end = trace(asker, far.peer.id.hex())
        assert end["state"] == "answered"
        assert end["hops"] == hops
        assert hops[-1]["id"] == far.peer.id.hex()
        assert {hop["id"] for hop in hops[:-1]} <= {relay.id.hex(), second.id.hex()}
        assert hops[0]["url"] in (relay.url, second.url)
        assert all(hop["rtt_s"] is not None and hop["rtt_s"] < 5 for hop in hops)
        assert end["why_not_direct"]


def test_a_flood_of_pings_is_answered_at_its_rate_and_no_more(relay: Peer) -> None:
    with Socket(bootstrap=relay.url or "", wrtc=False) as sock, host(relay.url or "") as asker:
        assert sock.peer.wait_connected(LIMIT)
        assert ping(asker, sock.peer.id.hex())[1]["state"] == "answered"
        flood = 20 * int(ECHO_RATE)
        engine = asker.probes._driver.engine  # type: ignore[union-attr]

        def ask() -> None:
            for _ in range(flood):
                engine.probes.echo(os.urandom(8), sock.peer.id, 0, now=time.monotonic())
            asker.probes._driver.pump()  # type: ignore[union-attr]

        asker._runtime.call(partial(ask))  # type: ignore[union-attr]
        until(lambda: sock.peer.counters().get("refused: too many pings", 0) > flood - 5 * ECHO_RATE)
        until(lambda: ping(asker, sock.peer.id.hex())[1]["state"] == "answered")
