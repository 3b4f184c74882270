"""Ports of this machine's loopback."""

from __future__ import annotations

import contextlib
import socket

TRIES = 100


def free_port() -> int:
    """Return a TCP port that nothing listens on, and that no process gets which asks for any: it stays bound until this
    process ends. Servers may share it, as they all set SO_REUSEADDR. UDP's port of that number is free, too, for now.

    It is bound on all addresses. The kernel gives a port out once for 127.0.0.1, once for ::1 and once for each other
    address, also to connections, and nothing can serve on all addresses where one of these is in use.
    """
    for _ in range(TRIES):
        with _bound(socket.SOCK_STREAM, 0) as reserved, contextlib.suppress(OSError):
            port = int(reserved.getsockname()[1])
            _bound(socket.SOCK_DGRAM, port).close()
            reserved.detach()
            return port
    raise AssertionError(f"{TRIES} ports, none of them free for UDP")


def _bound(kind: socket.SocketKind, port: int) -> socket.socket:
    """Return a socket that has `port` on all addresses. Raises OSError if it is taken on one."""
    sock = socket.socket(socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET, kind)
    try:
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("", port))
    except BaseException:
        sock.close()
        raise
    return sock
