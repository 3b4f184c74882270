"""Real processes, real WebSockets: one relay, a chain of relays, relays that are killed and come back."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from peer_relay_socket.address import AF_PEER
from peer_relay_socket.surface.udp_socket import Socket
from tests.patience import LIMIT
from tests.processes import environment, read_line

NOWHERE = "ws://127.0.0.1:1"
"""An advertised URL at which nobody answers: neighbours of such a node are only those that were told its real one."""

Start = Callable[..., "Node"]


class Node:
    """A `peer-relay node` process."""

    def __init__(self, *options: str, port: int = 0) -> None:
        command = [sys.executable, "-m", "peer_relay", "node", "--port", str(port), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(), text=True)
        assert self.process.stdout is not None
        _, self.id, self.ipv4, self.url = read_line(self.process.stdout).split()
        self.port = int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(LIMIT)
        if self.process.stdout is not None:
            self.process.stdout.close()


@pytest.fixture
def start() -> Iterator[Start]:
    nodes: list[Node] = []

    def node(*options: str, port: int = 0) -> Node:
        nodes.append(Node(*options, port=port))
        return nodes[-1]

    yield node
    for each in nodes:
        each.kill()


@pytest.fixture
def open_socket() -> Iterator[Callable[..., Socket]]:
    sockets: list[Socket] = []

    def made(*bootstrap: str, family: int = socket.AF_INET) -> Socket:
        sock = Socket(family, socket.SOCK_DGRAM, bootstrap=bootstrap)
        sock.settimeout(LIMIT)
        sock.bind(("", 0))
        sockets.append(sock)
        return sock

    yield made
    for sock in sockets:
        sock.close()


def exchange(a: Socket, b: Socket, text: bytes) -> None:
    """Ask from `a` until `b`'s answer is back: datagrams may be lost while paths change, and then both are repeated."""
    port = b.getsockname()[1]
    to = b.peer.id.hex() if b.family == AF_PEER else b.peer.address
    deadline = time.monotonic() + LIMIT
    while not (ask(a, b, text, (to, port)) and hears(a, b"re: " + text)):
        assert time.monotonic() < deadline, "no answer"


def ask(a: Socket, b: Socket, text: bytes, to: tuple[str, int]) -> bool:
    a.sendto(text, to)
    b.settimeout(0.25)
    try:
        data, source = b.recvfrom(65535)
    except TimeoutError:
        return False
    finally:
        b.settimeout(LIMIT)
    b.sendto(b"re: " + text, source)
    return data == text


def hears(sock: Socket, text: bytes) -> bool:
    sock.settimeout(0.25)
    try:
        while sock.recvfrom(65535)[0] != text:
            pass
    except TimeoutError:
        return False
    finally:
        sock.settimeout(LIMIT)
    return True


@pytest.mark.slow
@pytest.mark.parametrize("family", [socket.AF_INET, AF_PEER])
def test_two_hosts_talk_through_one_relay(start: Start, open_socket: Callable[..., Socket], family: int) -> None:
    relay = start()
    a, b = open_socket(relay.url, family=family), open_socket(relay.url, family=family)
    exchange(a, b, b"hello")
    port = b.getsockname()[1]
    to = b.peer.id.hex() if family == AF_PEER else b.peer.address
    for size in (0, 1, 1200, 9000, 65_507):
        data = os.urandom(size)
        a.sendto(data, (to, port))
        while (got := b.recvfrom(65_535)[0]) == b"hello":
            pass  # sent again while the first was still on its way
        assert got == data
    assert a.peer.peers == b.peer.peers == [bytes.fromhex(relay.id)]


@pytest.mark.slow
def test_two_hosts_talk_through_a_chain_of_relays_that_only_know_the_next(
    start: Start, open_socket: Callable[..., Socket]
) -> None:
    r1 = start("--public-url", NOWHERE)
    r2 = start("--public-url", NOWHERE, "--bootstrap", r1.url)
    r3 = start("--public-url", NOWHERE, "--bootstrap", r2.url)
    a, b = open_socket(r1.url), open_socket(r3.url)
    exchange(a, b, b"far")
    assert a.peer.peers == [bytes.fromhex(r1.id)]
    assert b.peer.peers == [bytes.fromhex(r3.id)]


@pytest.mark.slow
def test_a_killed_relay_is_routed_around(start: Start, open_socket: Callable[..., Socket]) -> None:
    r1 = start()
    r2 = start("--bootstrap", r1.url)
    a, b = open_socket(r1.url, r2.url), open_socket(r1.url, r2.url)
    exchange(a, b, b"before")
    r1.kill()
    exchange(a, b, b"after")


@pytest.mark.slow
def test_a_restarted_relay_is_found_again(start: Start, open_socket: Callable[..., Socket]) -> None:
    relay = start()
    a, b = open_socket(relay.url), open_socket(relay.url)
    exchange(a, b, b"before")
    relay.kill()
    again = start(port=relay.port)
    assert again.id != relay.id
    exchange(a, b, b"after")


@pytest.mark.slow
def test_the_middle_of_a_chain_may_restart(start: Start, open_socket: Callable[..., Socket]) -> None:
    r1 = start("--public-url", NOWHERE)
    r2 = start("--public-url", NOWHERE, "--bootstrap", r1.url)
    r3 = start("--public-url", NOWHERE, "--bootstrap", r2.url)
    a, b = open_socket(r1.url), open_socket(r3.url)
    exchange(a, b, b"before")
    r2.kill()
    start("--public-url", NOWHERE, "--bootstrap", r1.url, port=r2.port)
    exchange(a, b, b"after")
