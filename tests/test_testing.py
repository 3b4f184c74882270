"""The fixture for other people's tests: a network of five peers, with loss and delay on request."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest
from pytest_peer_relay import peer_relay_network  # noqa: F401  # also where it is not installed

from peer_relay_socket.testing import MakeNetwork, Network
from tests.patience import LIMIT
from tests.snippets import ROOT, snippet


@pytest.fixture
def make(peer_relay_network: MakeNetwork) -> MakeNetwork:  # noqa: F811
    return peer_relay_network


def test_every_peer_of_a_network_reaches_every_other(make: MakeNetwork) -> None:
    began = time.monotonic()
    network = make()
    took = time.monotonic() - began
    socks = [network.socket(number) for number in range(5)]
    for sock in socks:
        sock.settimeout(LIMIT)
        sock.sendto(b"to the next", socks[(socks.index(sock) + 1) % 5].getsockname())
    came = [sock.recvfrom(100) for sock in socks]
    assert [data for data, _ in came] == [b"to the next"] * 5
    assert [source for _, source in came] == [socks[number - 1].getsockname() for number in range(5)]
    assert took < LIMIT


def test_networks_are_apart(make: MakeNetwork) -> None:
    one, other = make(2), make(2)
    assert {peer.id for peer in one.peers}.isdisjoint(peer.id for peer in other.peers)
    assert len(one.peers[0].peers) == 1


def lost(network: Network, seed: int) -> list[int]:
    receiver = network.socket(0)
    receiver.settimeout(LIMIT)
    sender = network.socket(1, loss=0.5, seed=seed)
    for number in range(20):
        assert sender.sendto(b"%d" % number, receiver.getsockname()) > 0
    network.socket(1, ("", sender.getsockname()[1] + 1)).sendto(b"end", receiver.getsockname())
    came = []
    while (data := receiver.recv(100)) != b"end":
        came.append(int(data))
    return came


def test_loss_is_the_seeds(make: MakeNetwork) -> None:
    network = make(2)
    first = lost(network, 7)
    assert 0 < len(first) < 20
    assert lost(network, 7) == first != lost(network, 8)


def test_every_call_that_sends_may_lose_and_delay(make: MakeNetwork) -> None:
    network = make(2)
    receiver, lossy, late = network.socket(0), network.socket(1, loss=1.0), network.socket(1, delay=0.001)
    for sock in (lossy, late):
        sock.connect(receiver.getsockname())
        for send in (sock.send, lambda data, sock=sock: sock.sendmsg([data[:1], data[1:]])):
            assert send(b"lost" if sock is lossy else b"late") == 4
        assert sock.sendto(b"lost" if sock is lossy else b"late", receiver.getsockname()) == 4
    receiver.settimeout(LIMIT)
    assert [receiver.recv(100) for _ in range(3)] == [b"late"] * 3


def test_the_same_datagrams_are_lost_with_and_without_delay(make: MakeNetwork) -> None:
    network = make(2)
    senders = [network.socket(1, loss=0.5, delay=delay, seed=11) for delay in (0.0, 0.001)]
    came = []
    for sender in senders:
        receiver = network.socket(0)
        for number in range(20):
            sender.sendto(b"%d" % number, receiver.getsockname())
        receiver.settimeout(LIMIT)
        dice = Random(11)
        expected = sum(dice.random() >= 0.5 for _ in range(20))
        came.append(sorted(int(receiver.recv(100)) for _ in range(expected)))
    assert came[0] == came[1]


def test_late_datagrams_arrive_and_overtake(make: MakeNetwork) -> None:
    network = make(2)
    receiver, sender = network.socket(0), network.socket(1, delay=0.3, seed=3)
    receiver.settimeout(LIMIT)
    for number in range(10):
        sender.sendto(b"%d" % number, receiver.getsockname())
    came = [int(receiver.recv(100)) for _ in range(10)]
    assert sorted(came) == list(range(10)) != came


UNUSED = """
import pytest, sys
before = set(sys.modules)
import pytest_peer_relay
print(*set(sys.modules) - before)
"""


def test_the_plugin_loads_nothing_until_it_is_used() -> None:
    environ = os.environ | {"PYTHONPATH": str(ROOT / "compat")}
    done = subprocess.run(
        [sys.executable, "-c", UNUSED], env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "pytest_peer_relay\n"


@pytest.mark.slow
def test_pytest_finds_the_fixture_in_other_peoples_tests(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(snippet("tests/README.md", "fixture"))
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", tmp_path]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=2 * LIMIT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
