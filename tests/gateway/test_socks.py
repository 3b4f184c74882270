"""`peer-relay socks`: SOCKS5 UDP ASSOCIATE by hand (RFC 1928), with PySocks, npm's `socks` and libtorrent."""

from __future__ import annotations

import filecmp
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from peer_relay_socket.cli.main import main
from peer_relay_socket.surface.udp_socket import Socket
from tests.gateway.conftest import COMMAND, LIMIT, Process
from tests.npm.conftest import npm_folder
from tests.patience import until
from tests.processes import environment, killed_at_end, read_line

__all__ = ["npm_folder"]  # a fixture

Start = Callable[..., Process]
Peer = Callable[..., Socket]

IPV4_ANY = b"\x01" + bytes(6)


def where(process: Process) -> tuple[str, int]:
    host, _, port = process.line[3].rpartition(":")
    return host, int(port)


@contextmanager
def greeted(process: Process, methods: bytes = b"\x00") -> Iterator[socket.socket]:
    with socket.create_connection(where(process), timeout=LIMIT) as tcp:
        tcp.sendall(bytes((5, len(methods))) + methods)
        yield tcp


def exactly(tcp: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = tcp.recv(size - len(data))
        assert more, data
        data += more
    return data


@contextmanager
def association(process: Process) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A TCP connection and the client's UDP socket, connected to the relay."""
    with greeted(process) as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        assert exactly(tcp, 2) == b"\x05\x00"
        tcp.sendall(b"\x05\x03\x00" + IPV4_ANY)
        answer = exactly(tcp, 10)
        assert answer[:4] == b"\x05\x00\x00\x01"
        udp.settimeout(LIMIT)
        udp.connect((socket.inet_ntoa(answer[4:8]), int.from_bytes(answer[8:])))
        yield tcp, udp


def spelled(host: str, port: int) -> bytes:
    return b"\x01" + socket.inet_aton(host) + port.to_bytes(2)


def test_datagrams_go_to_peers_and_back_by_address_and_by_name(command: Start, peer: Peer) -> None:
    there = peer(9000)
    process = command("socks", "--listen", "127.0.0.1:0")
    name = there.peer.id.hex().encode() + b".peer"
    ipv6 = socket.inet_pton(socket.AF_INET6, "fd" + there.peer.id.hex()[:2] + "::")  # not the peer's: dropped
    with association(process) as (_, udp):
        for head in (spelled(there.peer.address, 9000), bytes((3, len(name))) + name + (9000).to_bytes(2)):
            udp.send(b"\0\0\0\x04" + ipv6 + b"\0\x09lost")
            udp.send(bytes(3) + head + b"hello")
            data, source = there.recvfrom(100)
            assert (data, source) == (b"hello", (process.ipv4, udp.getsockname()[1]))  # the client's own port
            there.sendto(b"back", source)
            assert udp.recv(100) == bytes(3) + spelled(there.peer.address, 9000) + b"back"


def test_others_may_write_to_the_association_and_it_ends_with_its_connection(command: Start, peer: Peer) -> None:
    there, other = peer(9000), peer(9001)
    process = command("socks", "--listen", "127.0.0.1:0")
    with association(process) as (tcp, udp):
        udp.send(bytes(3) + spelled(there.peer.address, 9000) + b"x")
        _, source = there.recvfrom(100)
        other.sendto(b"unasked", source)
        assert udp.recv(100) == bytes(3) + spelled(other.peer.address, 9001) + b"unasked"
        tcp.shutdown(socket.SHUT_WR)
        assert tcp.recv(1) == b""
        other.connect(source)
        other.send(b"x")
        with pytest.raises(ConnectionRefusedError):
            other.recv(100)


def test_fragments_garbage_and_other_clients_are_not_passed_on(command: Start, peer: Peer) -> None:
    there = peer(9000)
    process = command("socks", "--listen", "127.0.0.1:0")
    head = spelled(there.peer.address, 9000)
    with association(process) as (_, udp), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as intruder:
        udp.send(bytes(3) + head + b"first")
        intruder.sendto(bytes(3) + head + b"intruder", udp.getpeername())
        for bad in (
            b"",
            b"\0",
            bytes(4),
            b"\0\0\x01" + head + b"fragment",
            b"\0\0\0\x03\xff",
            b"\0\0\0\x07" + bytes(30),
        ):
            udp.send(bad)
        udp.send(bytes(3) + spelled("8.8.8.8", 53) + b"foreign")
        udp.send(bytes(3) + spelled(there.peer.address, 0) + b"port 0")
        udp.send(bytes(3) + head + b"last")
        assert [there.recv(100), there.recv(100)] == [b"first", b"last"]


@pytest.mark.parametrize(
    ("request_", "code"),
    [(b"\x05\x01\x00" + IPV4_ANY, 2), (b"\x05\x02\x00" + IPV4_ANY, 2), (b"\x05\x09\x00" + IPV4_ANY, 7),
     (b"\x05\x03\x00\x09", 8), (b"\x05\x01\x00\x03\x04host\x00\x50", 2)],
)  # fmt: skip
def test_what_is_no_association_is_answered_by_its_code(command: Start, request_: bytes, code: int) -> None:
    process = command("socks", "--listen", "127.0.0.1:0")
    with greeted(process) as tcp:
        assert exactly(tcp, 2) == b"\x05\x00"
        tcp.sendall(request_)
        assert exactly(tcp, 10) == bytes((5, code, 0)) + IPV4_ANY
        assert tcp.recv(1) == b""


def test_user_and_password_are_asked_for(command: Start, tmp_path: Path) -> None:
    (tmp_path / "login").write_text("user:secret\n")
    process = command("socks", "--listen", "127.0.0.1:0", "--login", str(tmp_path / "login"))
    with greeted(process) as tcp:
        assert exactly(tcp, 2) == b"\x05\xff"
    for password, answer in ((b"secret", b"\x01\x00"), (b"wrong", b"\x01\x01")):
        with greeted(process, b"\x00\x02") as tcp:
            assert exactly(tcp, 2) == b"\x05\x02"
            tcp.sendall(b"\x01\x04user" + bytes((len(password),)) + password)
            assert exactly(tcp, 2) == answer
            if password == b"wrong":
                assert tcp.recv(1) == b""


PYSOCKS = """
import socket, socks, sys
with socks.socksocket(socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.set_proxy(socks.SOCKS5, sys.argv[1], int(sys.argv[2]), rdns=True)
    client.settimeout(30)
    for host in sys.argv[3:]:
        client.sendto(b"hello", (host, 9000))
        print(client.recvfrom(100))
"""


def test_pysocks_asks_a_peer(command: Start, peer: Peer) -> None:
    """In a process of its own: of a class derived from socket.socket, `peer_relay.patch()` warns in later tests."""
    there = peer(9000)
    host, port = where(command("socks", "--listen", "127.0.0.1:0"))
    words = [host, str(port), there.peer.address, there.peer.id.hex() + ".peer"]
    asking = subprocess.Popen([sys.executable, "-c", PYSOCKS, *words], stdout=subprocess.PIPE, text=True)
    with killed_at_end(asking):
        for _ in range(2):
            data, source = there.recvfrom(100)
            there.sendto(data + b" back", source)
        assert asking.communicate(timeout=LIMIT)[0] == f"(b'hello back', ('{there.peer.address}', 9000))\n" * 2


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--listen", "0.0.0.0:1080"], "listen on loopback"),
        (["--listen", "x"], "'x' is not"),
        (["--login", "absent"], "absent: No such file"),
        (["--login", "/dev/null"], "is not USER:PASSWORD"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    words: list[str], complaint: str, node: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["socks", "--bootstrap", node, *words])
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert told.err.startswith("peer-relay socks: ")
    assert complaint in told.err


ASKS = """
const { SocksClient } = require('socks'), dgram = require('dgram'), [, proxyPort, host] = process.argv
const client = new SocksClient({
  proxy: { host: '127.0.0.1', port: +proxyPort, type: 5 }, command: 'associate',
  destination: { host: '0.0.0.0', port: 0 }
})
client.on('established', ({ socket, remoteHost }) => {
  const udp = dgram.createSocket('udp4')
  udp.on('message', (frame) => {
    const { data, remoteHost } = SocksClient.parseUDPFrame(frame)
    console.log(data.toString(), remoteHost.host, remoteHost.port)
    udp.close()
    socket.destroy()
  })
  const frame = SocksClient.createUDPFrame({ remoteHost: { host, port: 9000 }, data: Buffer.from('hello') })
  udp.send(frame, remoteHost.port, remoteHost.host)
})
client.connect()
"""


@pytest.mark.slow
def test_npm_socks_asks_a_peer(command: Start, peer: Peer, npm_folder: Path) -> None:
    there = peer(9000)
    process = command("socks", "--listen", "127.0.0.1:0")
    for host in (there.peer.address, there.peer.id.hex() + ".peer"):
        words = ["node", "-e", ASKS, str(where(process)[1]), host]
        with killed_at_end(
            subprocess.Popen(words, env=os.environ | {"NODE_PATH": str(npm_folder / "node_modules")}, stdout=-1)
        ) as node:
            data, source = there.recvfrom(100)
            there.sendto(data + b" back", source)
            assert node.communicate(timeout=LIMIT)[0].decode() == f"hello back {there.peer.address} 9000\n"


@pytest.mark.slow
def test_libtorrent_fetches_from_a_peer_through_a_proxy(
    command: Start, node: str, key: tuple[str, str, str, str], tmp_path: Path
) -> None:
    """The seed runs in a namespace; the client is an ordinary process of this machine, without TCP."""
    lt = pytest.importorskip("libtorrent", reason="needs libtorrent: the Python package")
    for name in ("seed", "leech"):
        (tmp_path / name).mkdir()
    script = str(Path(__file__).parent / "programs" / "torrent_node.py")
    words = ["run", "--native", "--bootstrap", node, "--identity", key[0], script, str(tmp_path / "seed"), "seed"]
    with subprocess.Popen([*COMMAND, *words], env=environment(), stdout=subprocess.PIPE, text=True) as seed:
        try:
            if read_line(seed.stdout) != "ready\n":
                pytest.skip("needs lab: namespaces")
            host, port = where(command("socks", "--listen", "127.0.0.1:0"))
            client = lt.session(
                {
                    "proxy_type": 2,
                    "proxy_hostname": host,
                    "proxy_port": port,
                    "proxy_peer_connections": True,
                    "enable_outgoing_tcp": False,
                    "enable_incoming_tcp": False,
                    "enable_dht": False,
                    "enable_lsd": False,
                    "enable_upnp": False,
                    "enable_natpmp": False,
                    "listen_interfaces": "127.0.0.1:0",
                }
            )
            wanted = lt.parse_magnet_uri((tmp_path / "seed" / "magnet").read_text())
            wanted.save_path = str(tmp_path / "leech")
            handle = client.add_torrent(wanted)

            def fetched() -> bool:
                if not handle.get_peer_info():
                    handle.connect_peer((key[2], 6881))
                return bool(handle.status().is_seeding)

            until(fetched, 2 * LIMIT)
        finally:
            seed.terminate()
    assert filecmp.cmp(tmp_path / "seed" / "file.bin", tmp_path / "leech" / "file.bin", shallow=False)
