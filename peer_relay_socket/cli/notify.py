"""What a node tells the service manager that started it: systemd's sd_notify protocol.

Lives here: one datagram to the socket that NOTIFY_SOCKET names. May not live here: when what is said.

Law: without that variable nothing is said, and nothing that goes wrong with it is the node's concern.
"""

from __future__ import annotations

import contextlib
import os
import socket

from ..originals import stdlib_socket
from ..system import AF_UNIX


def notify(*lines: str) -> None:
    """Tell the service manager `NAME=VALUE` lines. Never waits, never raises. Source: sd_notify(3)."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path[:1] not in ("/", "@") or AF_UNIX is None:
        return
    address = "\0" + path[1:] if path[0] == "@" else path  # an abstract name
    with contextlib.suppress(OSError, ValueError), stdlib_socket(AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.sendto("\n".join(lines).encode(), address)
