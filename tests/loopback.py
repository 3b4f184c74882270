"""Ports of this machine's loopback."""

from __future__ import annotations

import socket


def free_port() -> int:
    """Return a TCP port that nothing listened on a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
