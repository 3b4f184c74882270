"""UDP sockets that differ from the kernel's, for tests/test_conformance.py to find.

Law: imports little: each is imported by a process of its own.
"""

from __future__ import annotations

import os
import socket
from typing import Any


class Chatty:
    """Says of a datagram that one byte less was sent, and waits where the kernel does not."""

    def __init__(self, *args: Any) -> None:
        self._sock = socket.socket(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def sendto(self, *args: Any) -> int:
        return self._sock.sendto(*args) - 1

    def shutdown(self, how: int) -> None:
        self._sock.setblocking(True)


class Fatal(Chatty):
    """Ends the process where it should send."""

    def sendto(self, *args: Any) -> int:
        os._exit(3)


class OnlyIPv4(Chatty):
    """Cannot be made for IPv6."""

    def __init__(self, family: int, *args: Any) -> None:
        if family != socket.AF_INET:
            raise OSError("no such family")
        super().__init__(family, *args)
