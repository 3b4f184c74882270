"""A relay node, gateways of it as processes, and peers of it as sockets."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from peer_relay_socket.surface.udp_socket import Socket
from tests.patience import LIMIT
from tests.processes import environment, read_line

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., "subprocess.Popen[str]"]
Peer = Callable[..., Socket]
COMMAND = [sys.executable, "-m", "peer_relay"]


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
        self.line = read_line(self.process.stdout).split()
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


def own_addresses() -> list[str]:
    """Return loopback's address and, if there is a default route, this machine's there: no name server is asked."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return ["127.0.0.1"]
        return ["127.0.0.1", str(probe.getsockname()[0])]


# --- native programs ------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def run_command(node: str) -> list[str]:
    """The words before a program; skips where this machine permits no namespaces."""
    words = [*COMMAND, "run", "--bootstrap", node]
    done = subprocess.run(
        [*words, "true"], env=environment(), capture_output=True, text=True, timeout=LIMIT, check=False
    )
    if done.returncode == 2:
        pytest.skip(done.stderr.strip())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return words


@pytest.fixture
def run(run_command: list[str]) -> Run:
    """Runs a program to its end."""

    def run(
        *words: str, options: tuple[str, ...] = (), input: str = "", **settings: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*run_command, *options, *words],
            env=environment(**settings),
            input=input,
            capture_output=True,
            text=True,
            timeout=2 * LIMIT,
            check=False,
        )

    return run


@pytest.fixture
def start(run_command: list[str]) -> Iterator[Start]:
    """Starts a program."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str, options: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*run_command, *options, *words],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=LIMIT)


@pytest.fixture(scope="session")
def udp_tool(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A static C program that asks and echoes."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    made = tmp_path_factory.mktemp("native") / "udp_tool"
    subprocess.run(
        [compiler, "-O1", "-static", "-o", made, Path(__file__).parent / "udp_tool.c"], check=True, timeout=60
    )
    return str(made)


@pytest.fixture
def key(tmp_path: Path) -> tuple[str, str, str, str]:
    """A key file, and the id, IPv4 and IPv6 address of its peer."""
    path = tmp_path / "key"
    told = subprocess.run([*COMMAND, "id", path], env=environment(), capture_output=True, text=True, check=True).stdout
    peer_id, ipv4, ipv6 = told.split()
    return str(path), peer_id, ipv4, ipv6
