"""The fixture for other people's tests: a network of five peers, with loss and delay on request."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from peer_relay_socket.testing import MakeNetwork, Network, peer_relay_network  # noqa: F401  # as where it is installed

LATE = 10.0


@pytest.fixture
def make(peer_relay_network: MakeNetwork) -> MakeNetwork:  # noqa: F811
    return peer_relay_network


def test_every_peer_of_a_network_reaches_every_other(make: MakeNetwork) -> None:
    began = time.monotonic()
    network = make()
    took = time.monotonic() - began
    socks = [network.socket(number) for number in range(5)]
    for sock in socks:
        sock.settimeout(LATE)
        sock.sendto(b"to the next", socks[(socks.index(sock) + 1) % 5].getsockname())
    came = [sock.recvfrom(100) for sock in socks]
    assert [data for data, _ in came] == [b"to the next"] * 5
    assert [source for _, source in came] == [socks[number - 1].getsockname() for number in range(5)]
    assert took < LATE


def test_networks_are_apart(make: MakeNetwork) -> None:
    one, other = make(2), make(2)
    assert {peer.id for peer in one.peers}.isdisjoint(peer.id for peer in other.peers)
    assert len(one.peers[0].peers) == 1


def lost(network: Network, seed: int) -> list[int]:
    receiver = network.socket(0)
    receiver.settimeout(LATE)
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


def test_late_datagrams_arrive_and_overtake(make: MakeNetwork) -> None:
    network = make(2)
    receiver, sender = network.socket(0), network.socket(1, delay=0.05, seed=3)
    receiver.settimeout(LATE)
    for number in range(10):
        sender.sendto(b"%d" % number, receiver.getsockname())
    came = [int(receiver.recv(100)) for _ in range(10)]
    assert sorted(came) == list(range(10)) != came


UNUSED = """
import pytest, sys
before = set(sys.modules)
import peer_relay_socket.testing
rooms = ("asyncio", "websockets", "janus", "cryptography", "peer_relay_socket.bridge", "peer_relay_socket.surface")
print(*sorted((set(sys.modules) - before).intersection(rooms)))
"""


def test_the_plugin_loads_nothing_of_the_relay_until_it_is_used() -> None:
    done = subprocess.run([sys.executable, "-c", UNUSED], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "\n"
