"""The npm package, and the peers of a test."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from peer_relay_socket import Peer, Socket
from tests.npm.npm_nodes import AGENT, PATIENCE, NodePeer

PACKAGES = (
    "peer-relay@0.0.2",
    "bittorrent-dht@7.10.0",
    "playwright-core@1.65.1",
    "@roamhq/wrtc@0.10.0",
    "socks@2.8.11",
)


@pytest.fixture(scope="session")
def npm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder where PACKAGES are installed: TESTS_NPM_DIR, or one that npm fills now."""
    given = os.environ.get("TESTS_NPM_DIR")
    if given:
        return Path(given)
    if shutil.which("npm") is None and not os.environ.get("CI"):
        pytest.skip("needs npm")
    folder = tmp_path_factory.mktemp("npm")
    command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), *PACKAGES]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return folder


@pytest.fixture
def node_peer(npm_folder: Path) -> Iterator[Callable[..., NodePeer]]:
    """Make npm peers; at the end every one of them must still run."""
    peers: list[NodePeer] = []

    def make(kind: str = "peer", script: Path = AGENT, inside: list[str] | None = None, **settings: Any) -> NodePeer:
        peers.append(NodePeer(npm_folder, script, inside, kind=kind, **settings))
        return peers[-1]

    with ExitStack() as stack:
        stack.callback(lambda: [stack.callback(peer.close) for peer in peers])
        yield make


class Listening:
    """A Peer of ours, and what it heard."""

    def __init__(self, **settings: Any) -> None:
        self.peer = Peer(npm_peers=True, **settings)
        self.messages: Queue[tuple[Any, bytes]] = Queue()
        self.up: Queue[bytes] = Queue()
        self.peer.on("message", lambda data, source: self.messages.put((data, source)))
        self.peer.on("peer", self.up.put)

    @property
    def url(self) -> str:
        """Where it can be dialled."""
        return self.peer.url or ""

    def message(self) -> tuple[Any, bytes]:
        """Return the next message and its source."""
        return self.messages.get(timeout=PATIENCE)

    def wait_linked(self, peer_id: bytes) -> None:
        """Wait until that peer is a neighbour."""
        while peer_id not in self.peer.peers:
            self.up.get(timeout=PATIENCE)


@pytest.fixture
def our_peer() -> Iterator[Callable[..., Listening]]:
    """Make peers of ours that speak with npm's."""
    with ExitStack() as stack:

        def make(**settings: Any) -> Listening:
            listening = Listening(**settings)
            stack.callback(listening.peer.destroy)
            return listening

        yield make


@pytest.fixture
def our_socket() -> Iterator[Callable[..., Socket]]:
    """Make sockets of ours on peers of their own that speak with npm's."""
    with ExitStack() as stack:

        def make(family: int = -1, **settings: Any) -> Socket:
            sock = stack.enter_context(Socket(family, npm_peers=True, **settings))
            sock.settimeout(PATIENCE)
            sock.bind(("", 0) if family == -1 else (sock.peer.id.hex(), 0))
            return sock

        yield make
