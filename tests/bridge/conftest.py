"""Two ends that have talked over a direct link, and an endpoint without any."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from peer_relay_socket.bridge.endpoint import Endpoint, open_endpoint
from peer_relay_socket.bridge.host import Host
from peer_relay_socket.config import peer_config
from peer_relay_socket.surface.udp_socket import Socket
from tests.loopback import free_port
from tests.patience import LIMIT


@pytest.fixture
def ends() -> Iterator[tuple[Socket, Socket, tuple[str, int]]]:
    """A socket, one of another peer that it has talked with over a direct link, and the address of that."""
    port = free_port()
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


@pytest.fixture
def endpoint() -> Iterator[tuple[Endpoint, socket.socket]]:
    """An endpoint of a host that has not started, and a socket on it."""
    fd, endpoint = open_endpoint(Host(peer_config()), None, socket.AF_INET, socket.SOCK_DGRAM, 0)
    sock = socket.socket(fileno=fd)
    holder = endpoint.hold(sock)
    yield endpoint, sock
    sock.close()
    endpoint.release(holder)
