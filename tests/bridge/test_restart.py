"""A host that is killed and comes back under its key is reached again at once, by those who did not notice."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from peer_relay_socket.surface.udp_socket import Socket
from tests.patience import LIMIT
from tests.processes import read_line

pytestmark = pytest.mark.slow
ECHO = """
import sys
import peer_relay
with peer_relay.socket(identity=sys.argv[1], bootstrap=sys.argv[2], wrtc=False) as end:
    end.bind(("", 5000))
    assert end.peer.wait_connected(30)
    print(end.peer.id.hex(), flush=True)
    while True:
        data, source = end.recvfrom(100)
        end.sendto(data, source)
"""
NODE = ("-m", "peer_relay", "node")


@contextlib.contextmanager
def process(*argv: str) -> Iterator[str]:
    """Run Python; give its first line. It ends as if the power had failed."""
    with subprocess.Popen([sys.executable, *argv], stdout=subprocess.PIPE, text=True) as started:
        try:
            yield read_line(started.stdout).strip()
        finally:
            started.kill()


def asked(end: Socket, host: str) -> float:
    """Ask until there is an answer, ten times a second; return how many seconds that took."""
    began = time.monotonic()
    end.settimeout(0.1)
    text = b"%f" % began
    while True:
        end.sendto(text, (host, 5000))
        with contextlib.suppress(TimeoutError):
            if end.recvfrom(100)[0] == text:
                return time.monotonic() - began
        assert time.monotonic() < began + LIMIT


def test_a_killed_host_that_comes_back_with_its_key_is_reached_at_once(tmp_path: Path) -> None:
    key = str(tmp_path / "key")
    with process(*NODE) as line:
        url = line.split()[3]
        with Socket(socket.AF_INET, socket.SOCK_DGRAM, bootstrap=url, wrtc=False) as end:
            with process("-c", ECHO, key, url) as host:
                asked(end, host)
            took = []
            for _ in range(3):
                with process("-c", ECHO, key, url) as again:
                    assert again == host
                    took.append(asked(end, host))
            print("seconds:", *(f"{seconds:.2f}" for seconds in took))
            # A second is what is promised; a new handshake that waited for the old session's silence would take four.
            assert sorted(took)[1] < 3.0
