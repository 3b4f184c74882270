"""`peer-relay forward`: local ports lead to peers', and back."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable

import pytest

from peer_relay_socket.cli.main import main
from peer_relay_socket.surface.udp_socket import Socket
from tests.gateway.conftest import Process

Start = Callable[..., Process]
Peer = Callable[..., Socket]
Kernel = Callable[..., socket.socket]


def local(process: Process, pair: int = 0) -> tuple[str, int]:
    host, _, port = process.line[3 + 2 * pair].rpartition(":")
    return host, int(port)


def test_ready_line_names_both_ends_and_the_end_is_quiet(command: Start, peer: Peer) -> None:
    there = peer(9000)
    process = command("forward", "0", f"{there.peer.id.hex()}:9000")
    assert process.line[0] == "forward"
    assert len(process.id) == 40
    assert process.ipv4.startswith("100.")
    assert local(process)[0] == "127.0.0.1"
    assert process.line[4:] == [f"{there.peer.id.hex()}:9000"]
    assert process.end() == (0, "", "")


def test_each_local_source_has_a_port_of_its_own_and_gets_its_own_answers(
    command: Start, peer: Peer, kernel: Kernel
) -> None:
    there = peer(9000)
    process = command("forward", "0", f"{there.peer.address}:9000")
    one, two = kernel(), kernel()
    one.sendto(b"one", local(process))
    two.sendto(b"two", local(process))
    sources = dict(there.recvfrom(100) for _ in range(2))
    assert {source[0] for source in sources.values()} == {process.ipv4}
    assert sources[b"one"] != sources[b"two"]
    for name, source in sources.items():
        there.sendto(b"to " + name, source)
    assert one.recvfrom(100) == (b"to one", local(process))
    assert two.recvfrom(100) == (b"to two", local(process))
    one.sendto(b"again", local(process))
    assert there.recvfrom(100) == (b"again", sources[b"one"])


def test_burst_of_local_programs_waits_while_the_gateway_is_busy(command: Start, peer: Peer, kernel: Kernel) -> None:
    """The kernel's default buffer holds 277 of them, and what it drops nothing counts."""
    there, count = peer(9000), 400
    process = command("forward", "0", f"{there.peer.address}:9000")
    client = kernel()
    process.process.send_signal(signal.SIGSTOP)
    for number in range(count):
        client.sendto(number.to_bytes(2), local(process))
    process.process.send_signal(signal.SIGCONT)
    assert [int.from_bytes(there.recv(100)) for _ in range(count)] == list(range(count))


def test_datagrams_of_every_size_pass_in_order(command: Start, peer: Peer, kernel: Kernel) -> None:
    there = peer(9000)
    process = command("forward", "0", f"{there.peer.id.hex()}.peer:9000")
    client = kernel()
    for size in (0, 1, 1472, 9000, 65_507):
        data = bytes(number % 251 for number in range(size))
        client.sendto(data, local(process))
        received, source = there.recvfrom(65_535)
        assert received == data
        there.sendto(data[::-1], source)
        assert client.recv(65_535) == data[::-1]


def test_only_the_port_that_was_asked_answers(command: Start, peer: Peer, kernel: Kernel) -> None:
    there = peer(9000)
    stranger = peer(9000)
    process = command("forward", "0", f"{there.peer.address}:9000")
    client = kernel()
    client.sendto(b"hello", local(process))
    _, source = there.recvfrom(100)
    stranger.connect(source)
    stranger.send(b"forged")
    with pytest.raises(ConnectionRefusedError):
        stranger.recv(100)
    there.sendto(b"true", source)
    assert client.recv(100) == b"true"


def test_several_peers_behind_one_command_and_by_ipv6(command: Start, peer: Peer, kernel: Kernel) -> None:
    first, second = peer(9000), peer(9001, family=socket.AF_INET6)
    ipv6 = second.getsockname()[0] if second.getsockname()[0] != "::" else second.peer.address
    process = command("forward", "0", f"{first.peer.address}:9000", "0", f"{second.peer.id.hex()}:9001")
    assert ipv6
    client = kernel()
    for pair, there in enumerate((first, second)):
        client.sendto(b"%d" % pair, local(process, pair))
        data, source = there.recvfrom(100)
        assert data == b"%d" % pair
        there.sendto(b"re", source)
        assert client.recvfrom(100) == (b"re", local(process, pair))


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "[HOST:]PORT PEER:PORT"),
        (["5353"], "where does 5353 lead?"),
        (["5353", "8.8.8.8:53"], "'8.8.8.8:53' is not PEER:PORT"),
        (["5353", "100.64.0.1:0"], "no peer listens on port 0"),
        (["5353", "100.64.0.1:x"], "'x' is not a port"),
        (["70000", "100.64.0.1:53"], "'70000' is not"),
        (["{taken}", "100.64.0.1:53"], "Address already in use"),
        (["192.0.2.9:5353", "100.64.0.1:53"], "192.0.2.9:5353: Cannot assign requested address"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    words: list[str], complaint: str, kernel: Kernel, node: str, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = str(kernel().getsockname()[1])
    with pytest.raises(SystemExit) as ended:
        main(["forward", "--bootstrap", node, *(word.replace("{taken}", taken) for word in words)])
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert told.err.startswith("peer-relay forward: ")
    assert complaint in told.err
