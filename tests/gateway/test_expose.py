"""`peer-relay expose`: peers reach a local server, each as a loopback address of its own."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from peer_relay_socket.address import AF_PEER, Spelling
from peer_relay_socket.cli.main import main
from peer_relay_socket.config import peer_config
from peer_relay_socket.gateway.expose import Expose
from peer_relay_socket.gateway.overlay_ports import OverlayPorts
from peer_relay_socket.identity import Identity
from peer_relay_socket.surface.udp_socket import Socket
from tests.gateway.conftest import LIMIT, Process, command_node

Start = Callable[..., Process]
Peer = Callable[..., Socket]
Kernel = Callable[..., socket.socket]
OWN = 7007
"""A peer's port: none that the kernel gives to a socket that takes any, which would have it on loopback, too."""


def on_loopback(sock: Socket) -> str:
    return "127." + sock.peer.address.partition(".")[2]


def test_every_peer_is_a_loopback_address_with_the_port_it_sends_from(
    command: Start, peer: Peer, kernel: Kernel
) -> None:
    server = kernel()
    port = server.getsockname()[1]
    process = command("expose", str(port), "--as", "53", "--anyone")
    assert process.line[:1] + process.line[3:] == ["expose", f"127.0.0.1:{port}", "53"]
    one, two = peer(OWN), peer(OWN)
    for name, there in ((b"one", one), (b"two", two)):
        there.sendto(name, (process.ipv4, 53))
        assert server.recvfrom(100) == (name, (on_loopback(there), there.getsockname()[1]))
    for name, there in ((b"to one", one), (b"to two", two)):
        server.sendto(name, (on_loopback(there), there.getsockname()[1]))
        assert there.recvfrom(100) == (name, (process.ipv4, 53))
    status, rest, errors = process.end()
    assert (status, rest) == (0, "")
    assert errors.startswith("expose: peers appear as addresses of 127.0.0.0/8, which many servers trust")
    assert errors.count("\n") == 1


def test_peer_keeps_its_address_when_the_gateway_restarts(command: Start, peer: Peer, kernel: Kernel) -> None:
    server = kernel()
    port = str(server.getsockname()[1])
    there = peer(OWN)
    seen = []
    for _ in range(2):
        process = command("expose", port, "--anyone")
        there.sendto(b"x", (process.ipv4, int(port)))
        seen.append(server.recvfrom(100)[1])
        process.end()
    assert seen[0] == seen[1]


def test_sizes_and_order_are_kept(command: Start, peer: Peer, kernel: Kernel) -> None:
    server = kernel()
    process = command("expose", str(server.getsockname()[1]), "--anyone")
    there = peer()
    for size in (0, 1, 9000, 65_507):
        there.sendto(bytes(size), (process.ipv4, server.getsockname()[1]))
        data, source = server.recvfrom(65_535)
        assert len(data) == size
        server.sendto(data, source)
        assert len(there.recv(65_535)) == size
    for number in range(100):
        there.sendto(b"%d" % number, (process.ipv4, server.getsockname()[1]))
    assert [server.recv(100) for _ in range(100)] == [b"%d" % number for number in range(100)]


@pytest.mark.slow
def test_no_peer_is_served_unless_named(command: Start, peer: Peer, kernel: Kernel, tmp_path: Path) -> None:
    server = kernel()
    port = server.getsockname()[1]
    friend, stranger = peer(OWN), peer(OWN)
    process = command("expose", str(port))
    stranger.connect((process.ipv4, port))
    stranger.send(b"x")
    with pytest.raises(ConnectionRefusedError):
        stranger.recv(100)
    assert "no peer is served" in process.end()[2]
    (tmp_path / "friends").write_text(friend.peer.id.hex() + "\n")
    process = command("expose", str(port), "--allow", str(tmp_path / "friends"))
    stranger.sendto(b"stranger", (process.ipv4, port))
    friend.sendto(b"friend", (process.ipv4, port))
    assert server.recvfrom(100) == (b"friend", (on_loopback(friend), friend.getsockname()[1]))
    assert "no peer is served" not in process.end()[2]


def test_server_that_is_not_there_refuses_the_peer(command: Start, peer: Peer, kernel: Kernel) -> None:
    server = kernel()
    port = server.getsockname()[1]
    server.close()
    process = command("expose", str(port), "--anyone")
    there = peer()
    there.connect((process.ipv4, port))
    there.send(b"x")
    with pytest.raises(ConnectionRefusedError):
        there.recv(100)


def test_source_port_that_is_taken_is_replaced(command: Start, peer: Peer, kernel: Kernel) -> None:
    server = kernel()
    process = command("expose", str(server.getsockname()[1]), "--anyone")
    there = peer()
    kernel(there.getsockname()[1], on_loopback(there))
    there.sendto(b"x", (process.ipv4, server.getsockname()[1]))
    _, source = server.recvfrom(100)
    assert source[0] == on_loopback(there)
    assert source[1] != there.getsockname()[1]
    server.sendto(b"re", source)
    assert there.recv(100) == b"re"


def test_second_peer_of_one_ipv4_address_is_refused(command: Start, kernel: Kernel, node: str, tmp_path: Path) -> None:
    network = "100.64.0.0/24"
    spelling = Spelling(ipaddress.IPv4Network(network))
    keys: dict[str, list[str]] = {}
    while not any(len(paths) == 2 for paths in keys.values()):
        path = str(tmp_path / f"key{sum(map(len, keys.values()))}")
        keys.setdefault(spelling.ipv4(Identity.load_or_create(path).peer_id), []).append(path)
    pair = next(paths for paths in keys.values() if len(paths) == 2)
    server = kernel()
    port = server.getsockname()[1]
    with command_node(network) as url:
        process = command("expose", str(port), "--anyone", "--bootstrap", url, PEER_RELAY_IPV4_NETWORK=network)
        with contextlib.ExitStack() as stack:
            first, second = (
                stack.enter_context(
                    Socket(AF_PEER, socket.SOCK_DGRAM, bootstrap=[url], identity=path, ipv4_network=network, wrtc=False)
                )
                for path in pair
            )
            for there in (first, second):
                there.settimeout(LIMIT)
                there.connect((process.id, port))
            first.send(b"first")
            data, source = server.recvfrom(100)
            assert data == b"first"
            second.send(b"second")
            with pytest.raises(ConnectionRefusedError):
                second.recv(100)
            server.sendto(b"to the first", source)
            assert first.recv(100) == b"to the first"


def test_each_datagram_of_a_refused_peer_is_counted(node: str, kernel: Kernel) -> None:
    ports = OverlayPorts(peer_config(bootstrap=node, wrtc=False))
    interface = ports.interface
    interface.start(LIMIT)
    try:
        expose = interface.run(lambda: Expose(ports, interface.loop, kernel().getsockname(), 53, anyone=True))
        one, other = (bytes.fromhex("9" * 39 + last) for last in "01")  # of one IPv4 address
        interface.run(expose.heard, one, OWN, 4, [b"x"])
        interface.run(expose.heard, other, OWN, 4, [b"x", b"y", b"z"])
        assert interface.counters()["refused: from a peer whose loopback address another has"] == 3
        interface.run(expose.close)
    finally:
        interface.close()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "[HOST:]PORT"),
        (["0"], "port 0 is no server's"),
        (["53", "--as", "0"], "port 0 is no server's"),
        (["[::1]:53"], "IPv6 has one loopback address"),
        (["192.0.2.1:53"], "from 127.64.0.1 to 192.0.2.1:53: "),
        (["53", "--anyone", "--allow", "x"], "not allowed with argument"),
        (["53", "--allow", "absent"], "absent"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    words: list[str], complaint: str, node: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["expose", "--bootstrap", node, *words])
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert told.err.startswith("peer-relay expose: ")
    assert complaint in told.err
