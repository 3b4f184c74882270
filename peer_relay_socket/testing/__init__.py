"""For tests of other people's programs: a private network of peers inside the test's process.

pytest finds the fixture `peer_relay_network` by itself where this package is installed:

    def test_hello(peer_relay_network):
        network = peer_relay_network()  # five peers that nothing outside can join
        a, b = network.socket(0), network.socket(1, loss=0.2, delay=0.01, seed=7)
        a.sendto(b"hello", b.getsockname())

Lives here: the network, its sockets, loss and delay. May not live here: anything that a program needs outside tests.

Law: pytest imports this file in every run of any project, so it loads nothing of the relay until the fixture is used.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from ..surface.peer import Peer
    from ..surface.udp_socket import Socket


class Network:
    """Peers that are linked to the first of them. Close it, or use it in a `with` statement."""

    def __init__(self, peers: int = 5) -> None:
        """Args: peers: how many. Raises: TimeoutError when one is not linked within 5 s."""
        from os import urandom

        from ..surface.peer import Peer

        self.peers: list[Peer] = []
        """The first relays for the others."""
        self._sockets: list[Socket] = []
        key = urandom(32).hex()
        try:
            self.peers.append(Peer(host="127.0.0.1", port=0, wrtc=False, lan=False, remember=False, network_key=key))
            url = self.peers[0].url or ""
            for _ in range(peers - 1):
                self.peers.append(Peer(bootstrap=url, wrtc=False, lan=False, remember=False, network_key=key))
            for peer in self.peers[1:]:
                if not peer.wait_connected(5.0):
                    raise TimeoutError("a peer of the test's network was not linked within 5 s")
        except BaseException:
            self.close()
            raise

    def socket(
        self, peer: int = 0, address: tuple[str, int] = ("", 0), *, loss: float = 0.0, delay: float = 0.0, seed: int = 0
    ) -> Socket:
        """Return a UDP socket of one peer, bound to a port there; it is closed with the network.

        Args:
            peer: which. address: as for `bind`; ("", 0) is the peer's own address and any free port.
            loss: the part of the datagrams it sends that is lost, 0 to 1. delay: up to so many seconds each takes more,
                so that some overtake others. seed: the same seed loses the same datagrams.
        """
        from .sockets import open_socket

        sock = open_socket(self.peers[peer], loss, delay, seed)
        self._sockets.append(sock)
        sock.bind((self.peers[peer].address, address[1]) if address[0] == "" else address)
        return sock

    def close(self) -> None:
        """Close every socket and end every peer."""
        for sock in self._sockets:
            sock.close()
        for peer in reversed(self.peers):
            peer.destroy()

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class MakeNetwork(Protocol):
    """What the fixture gives."""

    def __call__(self, peers: int = 5) -> Network:
        """Return a new network, which ends with the test."""


@pytest.fixture
def peer_relay_network() -> Iterator[MakeNetwork]:
    """A function that makes private networks, each of five peers if not told otherwise; they end with the test."""
    with contextlib.ExitStack() as networks:
        yield lambda peers=5: networks.enter_context(Network(peers))
