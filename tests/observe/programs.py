"""Programs for these tests, each a process of its own."""

from __future__ import annotations

import subprocess
import sys

from tests.processes import environment, read_line

ECHO = """
import sys
from peer_relay_socket import Socket
sock = Socket(bootstrap=sys.argv[1], wrtc=False)
sock.bind(("", 5000))
assert sock.peer.wait_connected(20)
print(sock.peer.id.hex(), sock.peer.address, flush=True)
while True:
    data, source = sock.recvfrom(65535)
    sock.sendto(data, source)
"""


class Program:
    """A Python program that says one line when it is ready."""

    def __init__(self, code: str, *arguments: str, **environ: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env=environment(**environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.words = read_line(self.process.stdout).split()
        assert self.words, self.process.communicate()[1]
        self.pid = self.process.pid


def peer_relay(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "peer_relay", *arguments],
        env=environment(**environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
