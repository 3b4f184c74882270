"""A node's UDP port: STUN for its neighbours, nothing for anybody else."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys

import pytest
from aioice import stun

from peer_relay_socket import Peer
from tests.loopback import free_port
from tests.patience import LIMIT, until
from tests.processes import environment


def asked() -> bytes:
    return bytes(stun.Message(stun.Method.BINDING, stun.Class.REQUEST, os.urandom(12)))


@pytest.mark.parametrize("host", ["127.0.0.1", ""])
def test_a_node_tells_its_neighbours_where_it_sees_them_and_nobody_else(host: str) -> None:
    with Peer(port=0, host=host, wrtc=False) as node, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        where = "127.0.0.1", int((node.url or "").rpartition(":")[2])
        asker.bind(("127.0.0.1", 0))
        asker.settimeout(0.1)
        asker.sendto(asked(), where)
        with pytest.raises(TimeoutError):
            asker.recv(100)
        until(lambda: node.counters() == {"refused: a STUN request from an address without a link": 1})
        with Peer(bootstrap=[f"ws://127.0.0.1:{where[1]}"], wrtc=False) as neighbour:
            assert neighbour.wait_connected(LIMIT)
            until(lambda: node.peers)
            asker.settimeout(LIMIT)
            asker.sendto(b"no STUN", where)
            asker.sendto(asked(), where)
            answer, source = asker.recvfrom(100)
            assert source == where
            assert stun.parse_message(answer).attributes["XOR-MAPPED-ADDRESS"] == asker.getsockname()
            assert node.counters()["dropped: no STUN request, or one whose answer would be too long"] == 1


def test_a_node_whose_udp_port_is_taken_serves_without() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        port = free_port()
        with contextlib.suppress(OSError):  # another program has it: as good
            taken.bind(("127.0.0.1", port))
        place = f"ws://127.0.0.1:{port}"
        with Peer(port=port, host="127.0.0.1", wrtc=False), Peer(bootstrap=[place], wrtc=False) as neighbour:
            assert neighbour.wait_connected(LIMIT)


FOUR_PORTS = "ip link set lo up && echo 40000 40003 >/proc/sys/net/ipv4/ip_local_port_range && exec "
SERVE_ON_ANY = """
import socket
from peer_relay_socket import Peer
others = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(4)]
for number, other in enumerate(others):
    with Peer(port=0, host="localhost", wrtc=False) as node:
        assert int(node.url.rpartition(":")[2]) >= 40000 + number, node.url
    other.bind(("127.0.0.1", 40000 + number))
with Peer(port=0, host="localhost", wrtc=False) as node:
    print(node.url.rpartition(":")[0])
"""


def test_a_node_that_serves_on_any_port_takes_one_that_is_free_for_udp_if_there_is_one() -> None:
    words = ["unshare", "-r", "-n", "sh", "-c", f'{FOUR_PORTS}"$0" -c "$1"', sys.executable, SERVE_ON_ANY]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=LIMIT, check=False)
    if done.returncode and "Traceback" not in done.stderr:
        pytest.skip(f"needs lab: network namespaces are not permitted here: {done.stderr[:200]}")
    assert (done.stdout, done.stderr) == ("ws://localhost\n", "")


def test_a_node_that_serves_ipv6_alone_leaves_ipv4_to_others() -> None:
    port = free_port()  # for IPv4, too
    with Peer(port=port, host="::", wrtc=False):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_INET, kind) as other:
                if kind == socket.SOCK_STREAM:
                    other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                other.bind(("", port))
            with socket.socket(socket.AF_INET6, kind) as other, pytest.raises(OSError, match="in use"):
                other.bind(("::1", port))


def test_a_node_behind_a_proxy_has_a_udp_port_only_where_it_says_how_that_is_reached() -> None:
    def is_taken(port: int) -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return True
            return False

    for public_udp in (None, "192.0.2.1:3478"):
        port = free_port()
        with Peer(
            port=port, host="127.0.0.1", wrtc=False, public_url="wss://relay.example", public_udp=public_udp
        ) as node:
            assert node.url == f"ws://127.0.0.1:{port}"  # once it serves
            assert is_taken(port) is (public_udp is not None)
