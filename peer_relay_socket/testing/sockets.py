"""Sockets on one peer of a test's network, with loss and delay on request."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from ..bridge.endpoint import open_endpoint
from ..surface.peer import Peer
from ..surface.udp_socket import Socket

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def open_socket(peer: Peer, loss: float, delay: float, seed: int) -> Socket:
    """Return an unbound UDP socket of `peer`."""
    fd, _ = open_endpoint(peer._host, peer, socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP)
    return ImpairedSocket(fd, loss, delay, seed) if loss or delay else Socket(fileno=fd)


class ImpairedSocket(Socket):
    """A socket some of whose datagrams are lost, or late."""

    def __init__(self, fd: int, loss: float, delay: float, seed: int) -> None:
        super().__init__(fileno=fd)
        self._loss, self._delay, self._dice = loss, delay, Random(seed)

    def _lossy(self, size: int, send: Callable[[], object]) -> int:
        if self._dice.random() < self._loss:
            return size
        if self._delay:
            late = threading.Timer(self._dice.uniform(0, self._delay), _quietly, (send,))
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


def _quietly(send: Callable[[], object]) -> None:
    with contextlib.suppress(OSError):  # closed meanwhile
        send()
