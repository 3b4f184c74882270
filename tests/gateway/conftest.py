"""A relay node, gateways of it as processes, and peers of it as sockets."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from peer_relay_socket.surface.udp_socket import Socket

LIMIT = 20.0
COMMAND = [sys.executable, "-m", "peer_relay"]


def environment(**settings: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PEER_RELAY_")} | settings


class Process:
    """A `peer-relay` command that said it is ready."""

    def __init__(self, words: list[str], **settings: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, *words],
            env=environment(**settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline().split()
        assert self.line[:1] == words[:1], self.process.communicate(timeout=LIMIT)[1]

    @property
    def id(self) -> str:
        return self.line[1]

    @property
    def ipv4(self) -> str:
        return self.line[2]

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
        """Returns: the exit status, and what else was printed."""
        self.process.send_signal(number)
        rest, errors = self.process.communicate(timeout=LIMIT)
        return self.process.returncode, rest, errors

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate(timeout=LIMIT)


@contextmanager
def command_node(network: str = "") -> Iterator[str]:
    """A relay node; its URL."""
    process = Process(["node"], **({"PEER_RELAY_IPV4_NETWORK": network} if network else {}))
    try:
        yield process.line[3]
    finally:
        process.kill()


@pytest.fixture(scope="session")
def node() -> Iterator[str]:
    """The URL of a relay node."""
    with command_node() as url:
        yield url


@pytest.fixture
def command(node: str) -> Iterator[Callable[..., Process]]:
    """Starts a command of the node's network."""
    started: list[Process] = []

    def start(*words: str, **settings: str) -> Process:
        started.append(Process([words[0], "--bootstrap", node, *words[1:]], **settings))
        return started[-1]

    yield start
    for process in started:
        process.kill()


@pytest.fixture
def peer(node: str) -> Iterator[Callable[..., Socket]]:
    """Makes a socket of a peer of its own."""
    made: list[Socket] = []

    def make(port: int = 0, *, identity: Path | None = None, family: int = socket.AF_INET) -> Socket:
        sock = Socket(family, socket.SOCK_DGRAM, bootstrap=[node], wrtc=False, identity=identity)
        made.append(sock)
        sock.settimeout(LIMIT)
        sock.bind(("", port))
        return sock

    yield make
    for sock in made:
        sock.close()


@pytest.fixture
def kernel() -> Iterator[Callable[..., socket.socket]]:
    """Makes a kernel UDP socket on loopback."""
    made: list[socket.socket] = []

    def make(port: int = 0, host: str = "127.0.0.1") -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.append(sock)
        sock.settimeout(LIMIT)
        sock.bind((host, port))
        return sock

    yield make
    for sock in made:
        sock.close()
