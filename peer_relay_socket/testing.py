"""For tests of other people's programs: a private network of peers inside the test's process.

Lives here: the network, its sockets, loss and delay; pytest's fixture is in compat/pytest_peer_relay.py. May not live
here: anything that a program needs outside tests.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable
from os import urandom
from random import Random
from typing import TYPE_CHECKING, Any, Final, Protocol

from .bridge.endpoint import open_endpoint
from .surface.peer import Peer
from .surface.udp_socket import Socket

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_KEY: Final = urandom(32).hex()
"""Shuts out other processes. One for all networks here: to stretch a key takes longer than to make a network."""
_LINK_TIME: Final = 30.0
"""Seconds in which a peer must be linked; it takes milliseconds, but on machines that run many tests at once."""


class Network:
    """Peers that are linked to the first of them. Close it, or use it in a `with` statement."""

    def __init__(self, peers: int = 5) -> None:
        """Args: peers: how many. Raises: TimeoutError when one is not linked within 30 s."""
        self.peers: list[Peer] = []
        """The first relays for the others."""
        self._sockets: list[Socket] = []
        try:
            self.peers.append(Peer(host="127.0.0.1", port=0, wrtc=False, lan=False, remember=False, network_key=_KEY))
            url = self.peers[0].url or ""
            for _ in range(peers - 1):
                self.peers.append(Peer(bootstrap=url, wrtc=False, lan=False, remember=False, network_key=_KEY))
            for peer in self.peers[1:]:
                if not peer.wait_connected(_LINK_TIME):
                    raise TimeoutError(f"a peer of the test's network was not linked within {_LINK_TIME:.0f} s")
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
        sock = _open(self.peers[peer], loss, delay, seed)
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


def _open(peer: Peer, loss: float, delay: float, seed: int) -> Socket:
    """Return an unbound UDP socket of `peer`."""
    fd, _ = open_endpoint(peer._host, peer, socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP)
    return ImpairedSocket(fd, loss, delay, seed) if loss or delay else Socket(fileno=fd)


class ImpairedSocket(Socket):
    """A socket some of whose datagrams are lost, or late."""

    def __init__(self, fd: int, loss: float, delay: float, seed: int) -> None:
        super().__init__(fileno=fd)
        self._loss, self._losses = loss, Random(seed)
        self._delay, self._delays = delay, Random(seed)

    def _lossy(self, size: int, send: Callable[[], object]) -> int:
        if self._losses.random() < self._loss:
            return size
        if self._delay:
            late = threading.Timer(self._delays.uniform(0, self._delay), _quietly, (send,))
            late.daemon = True
            late.start()
        else:
            send()
        return size

    def sendto(self, data: ReadableBuffer, *rest: Any) -> int:
        """As the socket's; a datagram that is lost or late counts as sent."""
        kept = bytes(data)
        return self._lossy(len(kept), lambda: super(ImpairedSocket, self).sendto(kept, *rest))

    def send(self, data: ReadableBuffer, flags: int = 0, /) -> int:
        """As `sendto`."""
        kept = bytes(data)
        return self._lossy(len(kept), lambda: super(ImpairedSocket, self).send(kept, flags))

    def sendmsg(self, buffers: Iterable[ReadableBuffer], *rest: Any) -> int:
        """As `sendto`."""
        kept = b"".join(buffers)
        return self._lossy(len(kept), lambda: super(ImpairedSocket, self).sendmsg([kept], *rest))


def _quietly(send: Callable[[], object]) -> None:
    with contextlib.suppress(OSError):  # closed meanwhile
        send()
