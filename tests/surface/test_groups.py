"""Broadcast and multicast between peers: real sockets, real links, real processes."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import peer_relay_socket
from peer_relay_socket.address import AF_PEER
from peer_relay_socket.errors import ConfigError
from peer_relay_socket.surface.peer import Peer
from peer_relay_socket.surface.udp_socket import Socket
from tests.patience import LIMIT
from tests.processes import read_line

PORT = 5000
GROUP, GROUP6 = "239.1.2.3", "ff05::1:2"
MEMBER = socket.inet_aton(GROUP) + bytes(4)
MEMBER6 = socket.inet_pton(socket.AF_INET6, GROUP6) + bytes(4)


@pytest.fixture
def url() -> Iterator[str]:
    node = Peer(port=0, host="127.0.0.1")
    assert node.url is not None
    yield node.url
    node.destroy()


@contextlib.contextmanager
def ends(url: str, *families: int, **options: object) -> Iterator[list[Socket]]:
    """Give sockets of one peer each, linked to the relay and bound to PORT."""
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(Socket(family, bootstrap=url, **options)) for family in families]  # type: ignore[arg-type]
        for sock in socks:
            sock.bind(("", PORT))
            sock.settimeout(LIMIT)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            assert sock.peer.wait_connected(LIMIT)
        yield socks


@pytest.mark.parametrize("host", ["<broadcast>", "255.255.255.255", "100.127.255.255"])
def test_broadcast_reaches_every_peer_at_the_relay_and_its_sender(url: str, host: str) -> None:
    with ends(url, socket.AF_INET, socket.AF_INET, AF_PEER) as (a, b, c):
        a.sendto(b"who is there?", (host, PORT))
        assert a.recvfrom(100) == (b"who is there?", (a.peer.address, PORT))
        data, source = b.recvfrom(100)
        assert (data, source) == (b"who is there?", (a.peer.address, PORT))
        b.sendto(b"I am", source)
        assert a.recvfrom(100) == (b"I am", (b.peer.address, PORT))
        assert c.recvfrom(100) == (b"who is there?", (a.peer.id.hex(), PORT))
        c.sendto(b"all of you", ("<broadcast>", PORT))
        assert b.recvfrom(100)[0] == b"all of you"


def test_broadcast_wants_so_broadcast(url: str) -> None:
    with ends(url, socket.AF_INET) as (a,):
        a.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 0)
        for host in ("<broadcast>", "100.127.255.255"):
            with pytest.raises(PermissionError):
                a.sendto(b"x", (host, PORT))
            with pytest.raises(PermissionError):
                a.connect((host, PORT))


def test_multicast_reaches_members_and_nobody_else(url: str) -> None:
    with ends(url, socket.AF_INET, socket.AF_INET, socket.AF_INET) as (a, member, other):
        member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, MEMBER)
        a.sendto(b"group", (GROUP, PORT))
        assert member.recvfrom(100) == (b"group", (a.peer.address, PORT))
        member.setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, MEMBER)
        a.sendto(b"nobody", (GROUP, PORT))
        a.sendto(b"everybody", ("<broadcast>", PORT))
        assert member.recv(100) == other.recv(100) == b"everybody"


def test_ipv6_multicast_reaches_members(url: str) -> None:
    with ends(url, socket.AF_INET6, socket.AF_INET6) as (a, member):
        member.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, MEMBER6)
        a.sendto(b"group", (GROUP6, PORT))
        assert member.recvfrom(100) == (b"group", (a.peer.ipv6, PORT, 0, 0))


def test_a_dual_stack_member_of_an_ipv4_group_hears_it_mapped(url: str) -> None:
    with ends(url, socket.AF_INET, socket.AF_INET6) as (a, member):
        member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, MEMBER)
        a.sendto(b"group", (GROUP, PORT))
        assert member.recvfrom(100) == (b"group", (f"::ffff:{a.peer.address}", PORT, 0, 0))


def test_loop_and_ttl_say_whether_it_stays_or_goes(url: str) -> None:
    with ends(url, socket.AF_INET, socket.AF_INET) as (a, b):
        for sock in (a, b):
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, MEMBER)
        a.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        a.sendto(b"for others", (GROUP, PORT))
        assert b.recv(100) == b"for others"
        a.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        a.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)
        a.sendto(b"for ourselves", (GROUP, PORT))
        assert a.recv(100) == b"for ourselves"
        a.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        a.sendto(b"for all", (GROUP, PORT))
        assert a.recv(100) == b.recv(100) == b"for all"


def test_a_connected_socket_sends_to_its_group(url: str) -> None:
    with ends(url, socket.AF_INET, socket.AF_INET) as (a, b):
        a.connect(("<broadcast>", PORT))
        assert a.getpeername() == ("255.255.255.255", PORT)
        a.send(b"x")
        assert b.recv(10) == b"x"


def test_what_is_bound_to_loopback_stays_on_its_host(url: str) -> None:
    with ends(url, socket.AF_INET, socket.AF_INET) as (a, b), Socket(bootstrap=url) as inside:
        inside.bind(("127.0.0.1", 0))
        inside.sendto(b"inside", (GROUP, PORT))
        a.sendto(b"outside", ("<broadcast>", PORT))
        assert b.recv(100) == b"outside"


def test_hops_of_nought_keep_broadcasts_in_the_process(url: str) -> None:
    with ends(url, socket.AF_INET, socket.AF_INET, broadcast_hops=0) as (a, b):
        a.sendto(b"private", ("<broadcast>", PORT))
        assert a.recv(100) == b"private"
        a.sendto(b"to you", (b.peer.address, PORT))
        assert b.recv(100) == b"to you"


@pytest.mark.parametrize("value", [-1, 9, "many"])
def test_hops_that_mean_nothing_are_refused(value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="broadcast_hops"):
        Socket(broadcast_hops=value)  # type: ignore[arg-type]
    monkeypatch.setenv("PEER_RELAY_BROADCAST_HOPS", str(value))
    with pytest.raises(ConfigError, match="PEER_RELAY_BROADCAST_HOPS"):
        Socket(bootstrap="ws://127.0.0.1:9")


SERVER = """
import peer_relay as socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("", 5000))
assert server.peer.wait_connected(30)
print("ready", flush=True)
while True:
    data, source = server.recvfrom(100)
    server.sendto(data.upper(), source)
    if data == b"end":
        break
"""
CLIENT = """
import os
import peer_relay as socket
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
client.settimeout(30)
def found(data):
    client.sendto(data, ("<broadcast>", 5000))
    return {client.recvfrom(100) for _ in range(2)}
first = found(b"who")
assert len(first) == 2 and {data for data, _ in first} == {b"WHO"}, first
if hasattr(os, "fork"):
    pid = os.fork()
    if not pid:
        client.sendto(b"fork", ("<broadcast>", 5000))
        os._exit(0)
    os.waitpid(pid, 0)
    assert {client.recvfrom(100) for _ in range(2)} == {(b"FORK", source) for _, source in first}
assert found(b"end") == {(b"END", source) for _, source in first}
"""


@pytest.mark.slow
def test_processes_find_each_other_by_broadcast(url: str) -> None:
    env = {**os.environ, "PEER_RELAY_BOOTSTRAP": url, "PYTHONWARNINGS": "ignore::DeprecationWarning"}
    env["PYTHONPATH"] = str(Path(peer_relay_socket.__file__).parents[1] / "compat")
    servers = [
        subprocess.Popen([sys.executable, "-c", SERVER], env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    try:
        for server in servers:
            assert read_line(server.stdout) == "ready\n"
        done = subprocess.run([sys.executable, "-c", CLIENT], env=env, timeout=90, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        assert [server.wait(LIMIT) for server in servers] == [0, 0]
    finally:
        for server in servers:
            server.kill()
            server.communicate()
