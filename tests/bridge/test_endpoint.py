from __future__ import annotations

import select
import socket

import pytest

from peer_relay_socket.bridge.endpoint import Endpoint, endpoint_of, open_endpoint
from peer_relay_socket.bridge.host import Host
from peer_relay_socket.config import peer_config
from peer_relay_socket.system import AF_UNIX


def test_send_budget_makes_fd_unwritable_until_half_is_free(endpoint):
    end, sock = endpoint

    def writable() -> bool:
        return bool(select.select([], [sock], [], 0)[1])

    end.inbox.observe(sock)
    flow = end.flow(bytes(20), 2, 4)
    end.remember(("x", 1), flow)
    assert end.has_room(sock)
    flow.waiting += [bytes(1000)] * 300
    assert not end.has_room(sock)
    assert AF_UNIX is None or not writable()  # where pairs are made of UDP, a socket is always writable
    assert not end.wait_for_room(0.01)
    flow.take(60_000)
    assert AF_UNIX is None or not writable()
    flow.take(200_000)
    assert writable()
    assert end.wait_for_room(0)


def test_endpoint_is_found_by_any_duplicate_of_its_fd(endpoint):
    end, sock = endpoint
    with sock.dup() as twin:
        assert endpoint_of(twin.fileno()) is end
    assert endpoint_of(sock.fileno()) is end
    with socket.socket() as stranger:
        assert endpoint_of(stranger.fileno()) is None
    assert endpoint_of(-1) is None


def test_endpoint_outlives_its_socket_objects_while_a_bare_fd_is_open():
    host = Host(peer_config())
    fd, end = open_endpoint(host, None, socket.AF_INET, socket.SOCK_DGRAM, 0)
    host.ports.bind(end, "", 4000)
    sock = socket.socket(fileno=fd)
    holder = end.hold(sock)
    sock.detach()
    end.release(holder, escaped=True)
    assert not end.inbox.closed
    other_fd, other = open_endpoint(host, None, socket.AF_INET, socket.SOCK_DGRAM, 0)
    with pytest.raises(OSError, match="in use"):
        host.ports.bind(other, "", 4000)
    socket.close(fd)
    host.ports.bind(other, "", 4000)
    assert end.inbox.closed
    socket.close(other_fd)
    assert other.close_if_abandoned()


def test_endpoint_closes_when_its_last_socket_is_garbage():
    host = Host(peer_config())
    fd, end = open_endpoint(host, None, socket.AF_INET, socket.SOCK_DGRAM, 0)
    sock = socket.socket(fileno=fd)
    end.hold(sock)
    with pytest.warns(ResourceWarning):
        del sock
    assert end.inbox.closed
    assert isinstance(end, Endpoint)
