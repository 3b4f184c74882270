"""Real UDP where `real_udp` says so: a local daemon, a local DNS server and a peer on one socket."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peer_relay_socket import Socket
from peer_relay_socket.config import peer_config
from peer_relay_socket.errors import ConfigError
from tests.compat.test_guard import run
from tests.patience import until
from tests.snippets import snippet

LIMIT = 10.0
MAKE = [socket.socket, Socket]
"""The kernel first: it is the oracle."""


class Daemon:
    """A kernel socket that answers nothing by itself."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((host, 0))
        self.sock.settimeout(LIMIT)
        self.address = self.sock.getsockname()
        self.setting = f"[{host}]:{self.address[1]}" if ":" in host else f"{host}:{self.address[1]}"

    def hear(self) -> tuple[bytes, Any]:
        return self.sock.recvfrom(65535)  # type: ignore[no-any-return]


@pytest.fixture(name="statsd")
def _statsd() -> Iterator[Daemon]:
    daemon = Daemon()
    with daemon.sock:
        yield daemon


@pytest.fixture(name="dns")
def _dns() -> Iterator[Daemon]:
    daemon = Daemon("::1")
    with daemon.sock:
        yield daemon


def make(kind: type[socket.socket], *daemons: Daemon, family: int = socket.AF_INET) -> socket.socket:
    """Return a socket that reaches `daemons`."""
    more = {"real_udp": [each.setting for each in daemons]} if kind is Socket else {}
    made: socket.socket = kind(family, socket.SOCK_DGRAM, **more)
    made.settimeout(LIMIT)
    return made


def test_a_daemon_a_dns_server_and_a_peer_talk_with_one_socket(statsd: Daemon, dns: Daemon) -> None:
    setting = f"{statsd.setting}, {dns.setting}"
    with (
        Socket(host="127.0.0.1", port=0) as peer,
        Socket(socket.AF_INET6, bootstrap=[str(peer.peer.url)], real_udp=setting) as sock,
    ):
        peer.bind(("", 7000))
        peer.settimeout(LIMIT)
        sock.settimeout(LIMIT)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.sendto(b"count:1|c", ("::ffff:127.0.0.1", statsd.address[1]))
        sock.sendto(b"query", dns.address)
        sock.sendto(b"hello", (f"::ffff:{peer.peer.address}", 7000))
        heard, source = statsd.hear()
        assert heard == b"count:1|c"
        statsd.sock.sendto(b"counted", source)
        heard, source = dns.hear()
        dns.sock.sendto(heard.upper(), source)
        heard, source = peer.recvfrom(99)
        peer.sendto(heard.upper(), source)
        came = {sock.recvfrom(99) for _ in range(3)}
        assert came == {
            (b"counted", ("::ffff:127.0.0.1", statsd.address[1], 0, 0)),
            (b"QUERY", dns.address),
            (b"HELLO", (f"::ffff:{peer.peer.address}", 7000, 0, 0)),
        }


@pytest.mark.parametrize("kind", MAKE)
def test_blocking_timed_and_polled_receives_go_as_on_the_kernel(kind: type[socket.socket], statsd: Daemon) -> None:
    with make(kind, statsd) as sock:
        sock.sendto(b"1", statsd.address)
        _, source = statsd.hear()
        statsd.sock.sendto(b"a", source)
        assert sock.recvfrom(9) == (b"a", statsd.address)
        sock.settimeout(0.05)
        with pytest.raises(TimeoutError, match="timed out"):
            sock.recvfrom(9)
        assert select.select([sock], [], [], 0) == ([], [], [])
        statsd.sock.sendto(b"b", source)
        assert select.select([sock], [], [], LIMIT)[0] == [sock]
        sock.setblocking(False)
        assert sock.recv(9) == b"b"
        with pytest.raises(BlockingIOError):
            sock.recv(9)
        sock.sendto(b"x" * 65507, statsd.address)
        assert len(statsd.hear()[0]) == 65507
        with pytest.raises(OSError, match=os.strerror(errno.EMSGSIZE)):
            sock.sendto(b"x" * 65508, statsd.address)


@pytest.mark.parametrize("kind", MAKE)
def test_a_connected_socket_hears_its_daemon_alone_and_of_its_end(kind: type[socket.socket], statsd: Daemon) -> None:
    other = Daemon()
    with other.sock, make(kind, statsd, other) as sock:
        sock.connect(statsd.address)
        assert sock.getpeername() == statsd.address
        assert sock.getsockname()[0] == "127.0.0.1"
        sock.send(b"1")
        _, source = statsd.hear()
        other.sock.sendto(b"no", source)
        statsd.sock.sendto(b"yes", source)
        assert sock.recvfrom(9) == (b"yes", statsd.address)
        statsd.sock.close()
        sock.send(b"2")
        with pytest.raises(ConnectionRefusedError):
            sock.recv(9)
        sock.connect(other.address)
        sock.send(b"3")
        assert other.hear()[0] == b"3"


@pytest.mark.parametrize("kind", MAKE)
async def test_asyncio_endpoint_reaches_a_daemon(kind: type[socket.socket], statsd: Daemon) -> None:
    loop = asyncio.get_running_loop()
    came: asyncio.Future[tuple[bytes, Any]] = loop.create_future()

    class Hears(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, address: Any) -> None:
            came.set_result((data, address))

    sock = make(kind, statsd)
    sock.setblocking(False)
    transport, _ = await loop.create_datagram_endpoint(Hears, sock=sock)
    transport.sendto(b"1", statsd.address)
    data, source = await asyncio.to_thread(statsd.hear)
    statsd.sock.sendto(data + b"!", source)
    assert await asyncio.wait_for(came, LIMIT) == (b"1!", statsd.address)
    transport.close()


def test_other_ports_and_hosts_stay_in_the_overlay(statsd: Daemon) -> None:
    other = Daemon()
    with other.sock, make(Socket, statsd) as sock:
        sock.bind(("127.0.0.1", other.address[1]))
        sock.sendto(b"1", other.address)
        assert sock.recvfrom(9) == (b"1", other.address)
    with make(Socket, statsd) as sock:
        sock.sendto(b"2", ("192.0.2.1", 9))
        assert sock.peer.counters()["dropped: no peer's address"] == 1  # type: ignore[attr-defined]


def test_what_a_stranger_sends_to_the_real_port_is_dropped_and_counted(statsd: Daemon) -> None:
    stranger = Daemon()
    with stranger.sock, make(Socket, statsd) as sock:
        sock.sendto(b"1", statsd.address)
        _, source = statsd.hear()
        stranger.sock.sendto(b"no", source)
        statsd.sock.sendto(b"yes", source)
        assert sock.recv(9) == b"yes"
        counted = sock.peer.counters()  # type: ignore[attr-defined]
        assert counted["dropped: real UDP from an address that the setting real_udp does not name"] == 1


def test_close_gives_the_kernels_sockets_back(statsd: Daemon) -> None:
    in_use = pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE))
    with make(Socket, statsd) as sock:
        sock.sendto(b"1", statsd.address)
        _, source = statsd.hear()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken, in_use:
            taken.bind(source)

    def is_free() -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
            probe.bind(source)
            return True
        return False

    until(is_free)


def test_a_forked_child_sends_by_the_same_socket(statsd: Daemon) -> None:
    with make(Socket, statsd) as sock:
        sock.sendto(b"1", statsd.address)
        _, source = statsd.hear()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                sock.sendto(b"2", statsd.address)
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0
        assert statsd.hear() == (b"2", source)
        statsd.sock.sendto(b"3", source)
        assert sock.recv(9) == b"3"


PROGRAM = """
import socket, sys
port = int(sys.argv[1])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.settimeout(10)
    sock.sendto(b"count:1|c", ("localhost", port))
    print(sock.recv(99).decode())
import _socket
_socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
"""


def test_the_guard_knows(statsd: Daemon, tmp_path: Path) -> None:
    """Under `run` the program reaches what is named, and still makes no real socket of its own."""

    def answer() -> None:
        statsd.sock.sendto(b"counted", statsd.hear()[1])

    threading.Thread(target=answer, daemon=True).start()
    program = PROGRAM.replace("sys.argv[1]", repr(str(statsd.address[1])))
    done = run(tmp_path, program, settings={"PEER_RELAY_REAL_UDP": statsd.setting})
    assert done.stdout == "counted\n", done.stderr
    assert "refused a real UDP socket" in done.stderr


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("100.64.0.0/12", "overlaps the overlay's own network 100.64.0.0/10"),
        ("100.64.1.1:53", "overlaps the overlay's own network 100.64.0.0/10"),
        ("0.0.0.0/0", "overlaps the overlay's own network 100.64.0.0/10"),
        ("fd12::/16", "overlaps the overlay's own network fd00::/8: name a port"),
        ("::/0", "overlaps the overlay's own network fd00::/8: name a port"),
        ("127.0.0.1", "localhost is this peer's own sockets"),
        ("127.0.0.0/8", "localhost is this peer's own sockets"),
        ("::1", "localhost is this peer's own sockets"),
        ("[::1]", "localhost is this peer's own sockets"),
        ("239.1.2.3:5", "groups and broadcasts are the overlay's"),
        ("255.255.255.255:5", "groups and broadcasts are the overlay's"),
        ("192.0.2.1/24", "has host bits set"),
        ("192.0.2.1:0", "0 is not a port"),
        ("192.0.2.1:65536", "65536 is not a port"),
        ("[192.0.2.1]:53", "brackets are for IPv6"),
        ("example.org:53", "does not appear to be an IPv4 or IPv6 network"),
        ("[::1:53", "is no NETWORK"),
    ],
)
def test_what_cannot_be_real_is_refused_in_one_line(setting: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        peer_config(environ={"PEER_RELAY_REAL_UDP": setting})
    assert complaint in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_two_settings_claim_is_refused() -> None:
    with pytest.raises(ConfigError):
        peer_config(environ={"PEER_RELAY_IPV4_NETWORK": "10.0.0.0/8", "PEER_RELAY_REAL_UDP": "10.1.0.0/16"})


NAMED = """
import peer_relay
from peer_relay_socket.config import peer_config
peer_relay.socket().close()
print(*peer_config().real_udp)
"""


def test_the_guides_example_runs(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(NAMED)
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = snippet("compat/README.md", "real UDP")
    shown = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    assert shown.stdout == "127.0.0.1/32:8125 192.0.2.53/32:53 [2001:db8::53/128]:53 10.20.0.0/16\n"
    assert shown.stderr == ""
