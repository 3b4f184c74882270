"""Named UDP sockets of one implementation, and what each call on them did, in words that can be compared.

Law: addresses are compared with ports replaced by the name of the socket that owns them, everything else as it is:
values, exception types, errnos, messages.
"""

from __future__ import annotations

import ctypes
import os
import select
import socket
from collections.abc import Callable
from typing import Any

GROUP = f"224.9.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"
"""A multicast group of this process: the kernel gives what is sent to one to every process of the machine."""


class At:
    """Stands for the address of the socket called `name`, or for its port alone."""

    def __init__(self, name: str, host: str | None = None, *, port_only: bool = False) -> None:
        self.name, self.host, self.port_only = name, host, port_only

    def __repr__(self) -> str:
        return f"{self.host or ''}@{self.name}"


class World:
    """Named sockets of one implementation."""

    def __init__(self, make: Callable[..., Any]) -> None:
        self.make = make
        self.socks: dict[str, Any] = {}
        self.names: dict[int, str] = {}

    def open(self, name: str, family: int = socket.AF_INET, timeout: float | None = 0.0) -> None:
        """Open a datagram socket."""
        sock = self.make(family, socket.SOCK_DGRAM)
        sock.settimeout(timeout)
        self.socks[name] = sock

    def learn(self) -> None:
        """Remember who owns which port."""
        for name, sock in self.socks.items():
            if sock.fileno() >= 0:
                port = sock.getsockname()[1]
                owner = self.names.get(port)
                if port and (owner is None or self.socks[owner].fileno() < 0):  # an old owner's port comes round again
                    self.names[port] = name

    def fill(self, argument: Any) -> Any:
        """Return `argument` with what stands for an address replaced by it."""
        if isinstance(argument, At):
            host, port, *rest = self.socks[argument.name].getsockname()
            if argument.port_only:
                return port
            loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}
            return (argument.host or loopback.get(host, host), port, *rest)
        if isinstance(argument, list):
            return [self.fill(item) for item in argument]
        if isinstance(argument, tuple):
            return tuple(self.fill(item) for item in argument)
        return argument

    def show(self, value: Any) -> Any:
        """Return `value` with ports replaced by names."""
        if isinstance(value, tuple) and len(value) in (2, 4) and isinstance(value[0], str):
            return (value[0], self.names.get(value[1], value[1]), *value[2:])
        if isinstance(value, tuple | list):
            return type(value)(self.show(item) for item in value)
        if isinstance(value, int | bytes | bytearray | str | float | None):
            return value
        return type(value).__name__

    def do(self, name: str, method: str | Callable[[Any], Any], *args: Any) -> tuple[Any, ...]:
        """Call a method of the socket called `name`, or a function with it. Returns: what happened."""
        sock = self.socks[name]
        filled = [self.fill(argument) for argument in args]
        try:
            value: Any
            if callable(method):
                value = method(sock, *filled)
            elif method == "disconnect":
                sock.disconnect() if hasattr(sock, "disconnect") else disconnect(sock)
                value = None
            elif method == "dup":
                self.socks[args[0]] = sock.dup()
                value = None
            elif method in ("recv_into", "recvfrom_into"):
                buffer = bytearray(b"." * args[0])
                value = (getattr(sock, method)(buffer, *args[1:]), bytes(buffer))
            elif method == "recvmsg_into":
                buffers = [bytearray(b"." * size) for size in args[0]]
                value = (sock.recvmsg_into(buffers, *args[1:]), [bytes(buffer) for buffer in buffers])
            else:
                value = getattr(sock, method)(*filled)
        except Exception as error:
            self.learn()
            return (
                "raises",
                type(error).__name__,
                getattr(error, "errno", None),
                str(error).replace(f"'{type(sock).__name__}'", "'socket'"),
            )
        self.learn()
        return ("returns", self.show(value))

    def readable(self, name: str, timeout: float = 0) -> bool:
        """Return what select says."""
        sock = self.socks[name]
        return sock.fileno() >= 0 and bool(select.select([sock], [], [], timeout)[0])

    def close(self) -> None:
        """Close every socket."""
        for sock in self.socks.values():
            sock.close()


def disconnect(sock: socket.socket) -> None:
    """connect(2) to AF_UNSPEC, which the standard library cannot spell."""
    if ctypes.CDLL(None, use_errno=True).connect(sock.fileno(), bytes(16), 16) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
