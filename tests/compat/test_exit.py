"""What sendto accepted is on its way before the process ends, whichever way it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from peer_relay_socket import Peer, Socket

COUNT = 20
SEND = (
    "import os, socket, sys\n"
    "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
    f"for i in range({COUNT}):\n"
    "    s.sendto(b'%d' % i, (sys.argv[1], int(sys.argv[2])))\n"
)
ENDS = {
    "return": ("", 0),
    "sys.exit": ("sys.exit(3)", 3),
    "unhandled exception": ("raise ValueError", 1),
    "os._exit": ("os._exit(4)", 4),
    "os._exit in a thread": ("import threading\nthreading.Thread(target=os._exit, args=(5,)).start()", 5),
    "socket closed before": ("s.close()", 0),
    "sent by atexit": ("import atexit\natexit.register(lambda: s.sendto(b'last', (sys.argv[1], int(sys.argv[2]))))", 0),
}


@pytest.fixture(name="relay", scope="module")
def _relay() -> Iterator[str]:
    with Peer(host="127.0.0.1", port=0) as peer:
        assert peer.url is not None
        yield peer.url


@pytest.fixture(name="receiver", scope="module")
def _receiver(relay: str) -> Iterator[Socket]:
    with Socket(bootstrap=[relay]) as receiver:
        receiver.bind(("", 0))
        assert receiver.peer.wait_connected(10)
        receiver.settimeout(10)
        yield receiver


@pytest.mark.parametrize(("end", "status"), ENDS.values(), ids=ENDS)
def test_what_was_sent_arrives_however_the_program_ends(
    tmp_path: Path, relay: str, receiver: Socket, end: str, status: int
) -> None:
    (tmp_path / "program.py").write_text(SEND + end)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PEER_RELAY_")}
    host, port = receiver.peer.address, str(receiver.getsockname()[1])
    command = [sys.executable, "-m", "peer_relay", "run", "--bootstrap", relay, "program.py", host, port]
    done = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == status
    assert ("Traceback" in done.stderr) == ("raise" in end)
    expected = {b"%d" % i for i in range(COUNT)} | ({b"last"} if "last" in end else set())
    assert {receiver.recv(100) for _ in expected} == expected
