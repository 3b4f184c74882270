"""Run the same calls on kernel UDP sockets and on ours.

Law: the kernel goes first; it is the oracle.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from peer_relay_socket.conformance.comparison import DELIVERY
from peer_relay_socket.conformance.worlds import GROUP as GROUP
from peer_relay_socket.conformance.worlds import At as At
from peer_relay_socket.conformance.worlds import World
from peer_relay_socket.surface.udp_socket import Socket


class Twins:
    """A kernel world and ours, side by side."""

    def __init__(self) -> None:
        self.kernel = World(socket.socket)
        self.ours = World(Socket)

    def __enter__(self) -> Twins:
        return self

    def __exit__(self, *exc: object) -> None:
        self.kernel.close()
        self.ours.close()

    def open(self, *names: str, family: int = socket.AF_INET, timeout: float | None = 0.0) -> None:
        for name in names:
            self.kernel.open(name, family, timeout)
            self.ours.open(name, family, timeout)

    def both(self, name: str, method: str | Callable[[Any], Any], *args: Any) -> tuple[Any, ...]:
        """Do the same in both worlds and assert that the same happened. Returns: what."""
        expected = self.kernel.do(name, method, *args)
        got = self.ours.do(name, method, *args)
        if expected != got and "BlockingIOError" in expected:  # a busy kernel may deliver a moment later
            self.kernel.readable(name, DELIVERY)
            expected = self.kernel.do(name, method, *args)
        assert got == expected, f"{name}.{method}{args}: kernel {expected}, ours {got}"
        return expected

    def same_readiness(self, name: str) -> None:
        expected, got = self.kernel.readable(name), self.ours.readable(name)
        if got and not expected:
            expected = self.kernel.readable(name, DELIVERY)
        assert got == expected, f"select says {name} readable: kernel {expected}, ours {got}"
