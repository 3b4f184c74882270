"""pytest's plugin: the fixture `peer_relay_network`, in any project where this package is installed.

    def test_hello(peer_relay_network):
        network = peer_relay_network()  # five peers that nothing outside can join
        a, b = network.socket(0), network.socket(1, loss=0.2, delay=0.01, seed=7)
        a.sendto(b"hello", b.getsockname())

Law: pytest imports this in every run of every project of the environment, so it loads nothing, not even the package,
until the fixture is used. That is why it stands beside the packages.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from peer_relay_socket.testing import MakeNetwork


@pytest.fixture
def peer_relay_network() -> Iterator[MakeNetwork]:
    """A function that makes private networks, each of five peers by default; they end with the test."""
    from peer_relay_socket.testing import Network

    with contextlib.ExitStack() as networks:
        yield lambda peers=5: networks.enter_context(Network(peers))
