"""Two ends that have talked over a direct link."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from peer_relay_socket.surface.udp_socket import Socket
from tests.patience import LIMIT


def free_tcp_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
def ends() -> Iterator[tuple[Socket, Socket, tuple[str, int]]]:
    """A socket, one of another peer that it has talked with over a direct link, and the address of that."""
    port = free_tcp_port()
    with Socket(port=port, wrtc=False) as answering, Socket(bootstrap=[f"ws://127.0.0.1:{port}"], wrtc=False) as asking:
        answering.bind(("", 9000))
        where = answering.peer.address, 9000
        for end in (answering, asking):
            end.settimeout(LIMIT)
        for _ in range(3):
            asking.sendto(b"hello", where)
            _, source = answering.recvfrom(100)
            answering.sendto(b"hello", source)
            asking.recvfrom(100)
        yield asking, answering, where
