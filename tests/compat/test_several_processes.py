"""Servers whose processes share one socket: as on the kernel under `run --native`, else refused in one clear line."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.compat.test_cases import NATIVE, OURS
from tests.processes import environment

HANDS_OVER = """
import multiprocessing, socket

def serve(sock):
    sock.settimeout(20)
    sock.sendto(*sock.recvfrom(9))

if __name__ == "__main__":
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, socket.socket(type=socket.SOCK_DGRAM) as client:
        sock.bind(("127.0.0.1", 0))
        worker = multiprocessing.get_context("spawn").Process(target=serve, args=(sock,))
        worker.start()
        client.settimeout(20)
        client.sendto(b"x", sock.getsockname())
        worker.join(20)
        assert worker.exitcode == 0
        print(client.recv(9))
"""
FORKS = """
import os, socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, socket.socket(type=socket.SOCK_DGRAM) as client:
    sock.bind(("127.0.0.1", 0))
    pid = os.fork()
    if pid == 0:
        sock.settimeout(20)
        sock.sendto(*sock.recvfrom(9))
    else:
        client.settimeout(20)
        client.sendto(b"x", sock.getsockname())
        assert os.waitpid(pid, 0)[1] == 0
        print(client.recv(9))
"""


@pytest.mark.slow
@pytest.mark.parametrize("program", [HANDS_OVER, FORKS], ids=["spawn", "fork"])
def test_a_server_of_several_processes_is_refused_in_one_line(tmp_path: Path, program: str) -> None:
    def run(command: list[str]) -> subprocess.CompletedProcess[str]:
        where = [*command, "program.py"]
        return subprocess.run(
            where, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60, check=False
        )

    (tmp_path / "program.py").write_text(program)
    assert run(NATIVE).stdout == "b'x'\n"
    refused = run(OURS)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "a server of several processes needs `peer-relay run --native`" in refused.stderr
