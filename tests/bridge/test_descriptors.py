"""How many descriptors sockets cost a program: as many as the kernel's, where the limit may be lifted for a moment."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a limit that is lifted for a moment is Linux's")

PROGRAM = """
import errno, resource, select, sys
from peer_relay_socket import Socket

soft, hard = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
held = []
try:
    while True:
        held.append(Socket())
except OSError as error:
    assert error.errno == errno.EMFILE, error
assert max(sock.fileno() for sock in held) < soft
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft, hard)
held[0].bind(("127.0.0.1", 0))
held[-1].sendto(b"x", held[0].getsockname())
assert select.select(held, [], [], 10)[0] == [held[0]]
print(len(held))
"""


@pytest.mark.parametrize(("soft", "hard", "least", "most"), [(128, 1024, 100, 127), (128, 128, 40, 64)])
def test_sockets_are_as_many_as_the_limit_says(soft: int, hard: int, least: int, most: int) -> None:
    command = [sys.executable, "-c", PROGRAM, str(soft), str(hard)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert least <= int(done.stdout) <= most


FEW = """
import os, resource
from peer_relay_socket import Socket

def highest():
    return max(map(int, os.listdir("/proc/self/fd")))

resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 4096))
held = [Socket() for _ in range(10)]
assert highest() < 64
held += [Socket() for _ in range(60)]
assert highest() >= 1024
assert max(sock.fileno() for sock in held) < 128
"""


def test_the_limit_is_lifted_for_no_program_with_few_sockets() -> None:
    done = subprocess.run([sys.executable, "-c", FEW], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
