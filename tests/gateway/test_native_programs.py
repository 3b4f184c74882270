"""Programs of a distribution, as they come: under `peer-relay run`, behind `expose`, in front of `forward`."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.gateway.conftest import LIMIT, Process, Run, Start
from tests.patience import until
from tests.processes import environment, line_with, read_line

pytestmark = pytest.mark.slow

ANSWER = "10.1.2.3\n"


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [program for program in programs if find(program) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def find(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")


def dnsmasq(port: int) -> list[str]:
    """A name server that knows one name, in the foreground, as the user that starts it."""
    words = f"--no-daemon --no-resolv --no-hosts --conf-file=/dev/null --port={port} --address=/x.test/10.1.2.3"
    return [str(find("dnsmasq")), *words.split(), "--log-facility=-"]


def answers(start_words: list[str], server: str, port: int) -> str:
    """What dig prints but for its remarks on tries that failed, asked until a server answers."""
    words = ["dig", f"@{server}", "-p", str(port), "x.test", "A", "+short", "+notcp", "+tries=3", "+time=3"]
    found = ""

    def asked() -> bool:
        nonlocal found
        done = subprocess.run(
            [*start_words, *words], env=environment(), capture_output=True, text=True, timeout=LIMIT, check=False
        )
        found = "".join(line for line in done.stdout.splitlines(keepends=True) if not line.startswith(";"))
        return done.returncode == 0

    until(asked, 2 * LIMIT)
    return found


@needs("dnsmasq", "dig")
def test_dig_asks_dnsmasq_by_name_both_unmodified(
    start: Start, run_command: list[str], key: tuple[str, str, str, str]
) -> None:
    start(*dnsmasq(53), options=("--identity", key[0]))
    for server in (key[1] + ".peer", key[2], key[3]):
        assert answers(run_command, server, 53) == ANSWER


@needs("dnsmasq", "dig")
def test_dig_asks_an_exposed_dnsmasq_through_a_forwarded_port(
    command: Callable[..., Process], kernel: Callable[..., socket.socket]
) -> None:
    """Neither needs a namespace: both are ordinary processes of this machine. dnsmasq serves TCP, too, so it has
    an address to itself: any TCP connection of another test could have that port of 127.0.0.1."""
    host = "127.9.8.7"
    with kernel(host=host) as probe:
        port = probe.getsockname()[1]
    words = [*dnsmasq(port), f"--listen-address={host}", "--bind-interfaces"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as server:
        try:
            line_with("started", server.stderr)
            exposed = command("expose", f"{host}:{port}", "--as", "53", "--anyone")
            forwarded = command("forward", "0", f"{exposed.id}:53")
            host, _, local = forwarded.line[3].rpartition(":")
            assert answers([], host, int(local)) == ANSWER
        finally:
            server.terminate()


@needs("node")
def test_node_dgram_echoes_and_asks(start: Start, run: Run, key: tuple[str, str, str, str], tmp_path: Path) -> None:
    script = tmp_path / "echo.js"
    script.write_text(
        """
const s = require('dgram').createSocket('udp4'), [, , what, host, port] = process.argv
if (what === 'echo') {
  s.on('message', (m, r) => s.send(m, r.port, r.address))
  s.bind(7000, () => console.log('ready'))
} else {
  let n = 0
  s.on('message', (m, r) => { if (++n === 50) { console.log(n, r.address); s.close() } else s.send(m, port, host) })
  s.send(Buffer.alloc(1200), port, host)
}
"""
    )
    server = start("node", str(script), "echo", options=("--identity", key[0]))
    assert read_line(server.stdout) == "ready\n"
    assert run("node", str(script), "ask", key[1] + ".peer", "7000").stdout == f"50 {key[2]}\n"


@needs("iperf")
def test_iperf_loses_less_than_three_percent_and_has_its_report(
    start: Start, run: Run, key: tuple[str, str, str, str]
) -> None:
    server = start("stdbuf", "-oL", "iperf", "-s", "-u", "-p", "5001", options=("--identity", key[0]))
    line_with("Server listening", server.stdout)
    told = run("iperf", "-c", key[2], "-p", "5001", "-u", "-b", "4M", "-l", "1200", "-t", "2").stdout
    lost = re.findall(r"\(([\d.]+)%\)", told)
    assert lost, told
    assert float(lost[-1]) < 3


def test_python_server_of_two_processes_shares_its_port(
    start: Start, run: Run, key: tuple[str, str, str, str], tmp_path: Path
) -> None:
    """What no shim within a process can do: two processes bind one port (SO_REUSEPORT)."""
    script = tmp_path / "server.py"
    script.write_text(
        """
import os, socket
os.fork()
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
sock.bind(("", 7000))
os.write(1, b"ready\\n")
while True:
    data, source = sock.recvfrom(100)
    sock.sendto(b"%d" % os.getpid(), source)
"""
    )
    server = start(str(script), options=("--native", "--identity", key[0]))
    assert [read_line(server.stdout), read_line(server.stdout)] == ["ready\n"] * 2
    program = """
import socket, sys
heard = set()
for _ in range(64):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        sock.sendto(b"x", (sys.argv[1], 7000))
        heard.add(sock.recv(100))
print(len(heard))
"""
    assert run("python3", "-c", program, key[2]).stdout == "2\n"
