"""What fresh UDP sockets tell of this machine's addresses: nothing is sent for it.

Lives here: the two questions. May not live here: what follows from the answers.
"""

from __future__ import annotations

import errno
from _socket import AF_INET, AF_INET6, SOCK_DGRAM

from ..originals import stdlib_socket


def source_toward(outside: str) -> str:
    """Return the address from which this machine would send to an IP literal; "" without a route."""
    try:
        with stdlib_socket(_family(outside), SOCK_DGRAM) as sock:
            sock.connect((outside, 9))
            return str(sock.getsockname()[0])
    except OSError:
        return ""


def is_gone(address: tuple[str | int, ...]) -> bool:
    """Return whether `address`, of `socket.getsockname`, is certainly not this machine's any more. A socket that is
    bound there keeps the address, so the port is not looked at."""
    host, _, *rest = address
    try:
        with stdlib_socket(_family(str(host)), SOCK_DGRAM) as sock:
            sock.bind((host, 0, *rest))
    except OSError as error:
        return error.errno == errno.EADDRNOTAVAIL
    return False


def _family(host: str) -> int:
    return AF_INET6 if ":" in host else AF_INET
