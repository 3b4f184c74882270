"""`--tcp real`: TCP as the machine's, UDP by the overlay alone."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.conftest import COMMAND, Peer, Run, Start, own_addresses
from tests.gateway.test_native import ready
from tests.gateway.test_native_programs import needs
from tests.patience import LIMIT, until
from tests.processes import environment

pytestmark = [pytest.mark.slow, needs("pasta")]
REAL = ("--tcp", "real")


def two_addresses() -> list[str]:
    found = own_addresses()
    if len(found) < 2:
        pytest.skip("needs address: pasta takes its device from a default route")
    return found


@pytest.fixture
def server() -> Iterator[int]:
    """A real TCP server that greets and hangs up; its port."""
    with socket.create_server(("0.0.0.0", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    there, _ = listening.accept()
                except OSError:
                    return
                with there:
                    there.sendall(b"hello")

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


def test_tcp_is_the_machines_and_udp_the_overlays(run: Run, peer: Peer, server: int) -> None:
    there = peer(9000)
    program = """
import socket, sys
port, peer = int(sys.argv[1]), sys.argv[2]
for host in sys.argv[3:]:
    with socket.create_connection((host, port), timeout=10) as tcp:
        print(tcp.recv(10).decode())
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.settimeout(10)
    sock.sendto(b"question", (peer, 9000))
    print(sock.recv(10).decode())
"""
    answers = threading.Thread(target=lambda: there.sendto(b"answer", there.recvfrom(100)[1]))
    answers.start()
    told = run(sys.executable, "-c", program, str(server), there.peer.address, *two_addresses(), options=REAL)
    assert (told.stdout, told.stderr) == ("hello\nhello\nanswer\n", "")
    answers.join(LIMIT)


def test_no_datagram_leaves_by_the_device_of_tcp(run: Run) -> None:
    """Not even one of a program that binds itself to that device, which needs no right."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside:
        outside.bind(("0.0.0.0", 0))
        outside.settimeout(0.5)
        program = """
import socket, sys
for device in (b"real0", b"peer0", b""):
    for host in ("198.18.0.1", *sys.argv[2:]):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device)
            try:
                sock.sendto(b"leaked", (host, int(sys.argv[1])))
                print("sent")
            except OSError:
                pass
"""
        told = run(sys.executable, "-c", program, str(outside.getsockname()[1]), *two_addresses(), options=REAL)
        assert "sent" in told.stdout
        with pytest.raises(TimeoutError):
            outside.recv(100)


def test_pasta_ends_with_us(start: Start) -> None:
    two_addresses()
    process = start("sh", "-c", "echo ready; exec sleep 600", options=REAL)
    ready(process)
    pasta = [pid for pid in children(process.pid) if b"--config-net" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(pasta) == 1
    process.kill()
    process.communicate(timeout=LIMIT)
    until(lambda: not runs(pasta[0]))


def children(pid: int) -> list[int]:
    """The processes that `pid` started."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def runs(pid: int) -> bool:
    """Whether a process is there, and not only waits to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_machine_without_pasta_is_told(node: str, tmp_path: Path) -> None:
    words = [*COMMAND, "run", "--bootstrap", node, *REAL, "/bin/true"]
    told = environment() | {"PATH": str(tmp_path)}
    done = subprocess.run(words, env=told, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "peer-relay run: --tcp real needs `pasta` (Debian, Ubuntu and Fedora: the package passt)\n",
    )
