"""Servers and clients that no shim within a Python process can serve: static Go, several processes on one port, another
event loop without our patches, a time server in C."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.conftest import Run, Start
from tests.gateway.test_native import ready
from tests.gateway.test_native_programs import find, needs
from tests.processes import line_with

pytestmark = pytest.mark.slow
PROGRAMS = Path(__file__).parent / "programs"
Key = tuple[str, str, str, str]


@needs("go")
def test_static_go_program_echoes_and_asks_by_name_and_in_both_ip_versions(
    start: Start, run: Run, key: Key, tmp_path: Path
) -> None:
    program = str(tmp_path / "udp")
    told = os.environ | {"CGO_ENABLED": "0", "GOCACHE": str(tmp_path / "cache"), "GO111MODULE": "off"}
    subprocess.run(["go", "build", "-o", program, PROGRAMS / "udp.go"], env=told, check=True, timeout=300)
    ready(start(program, "echo", "7000", options=("--identity", key[0])))
    for host in (key[1] + ".peer", key[2], key[3]):
        assert run(program, "ask", host, "7000", "50").stdout == "50 of 50\n"


def test_hypercorn_serves_quic_from_two_processes(start: Start, run: Run, key: Key, tmp_path: Path) -> None:
    pytest.importorskip("hypercorn", reason="needs hypercorn: the Python package")
    pytest.importorskip("aioquic", reason="needs aioquic: the Python package")
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=quic.test"
    subprocess.run(
        ["openssl", *words.split(), "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    shutil.copy(PROGRAMS / "quic_app.py", tmp_path)
    files = ["--certfile", str(tmp_path / "cert.pem"), "--keyfile", str(tmp_path / "key.pem")]
    bound = ["--bind", "127.0.0.1:4433", "--quic-bind", "0.0.0.0:4433", "--workers", "2"]
    server = start(
        *("-m", "hypercorn", *files, *bound, "--error-logfile", "-", f"{tmp_path}/quic_app:app"),
        options=("--native", "--identity", key[0]),
    )
    assert server.stderr is not None
    for _ in range(2):
        line_with("(QUIC)", server.stderr)
    told = run(str(PROGRAMS / "quic_ask.py"), key[2], "4433", "24", options=("--native",))
    assert told.stderr == ""
    assert len(set(told.stdout.split())) == 2


def test_gevent_serves_without_our_patches(start: Start, run: Run, key: Key) -> None:
    pytest.importorskip("gevent", reason="needs gevent: the Python package")
    server = """
from gevent.server import DatagramServer
class Echo(DatagramServer):
    def handle(self, data, address):
        self.socket.sendto(data, address)
echo = Echo(":7000")
echo.start()
print("ready", flush=True)
echo.serve_forever()
"""
    ready(start("-c", server, options=("--native", "--identity", key[0])))
    client = """
import sys
from gevent import monkey; monkey.patch_all()
import gevent, socket
def ask(number):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        sock.sendto(b"%d" % number, (sys.argv[1], 7000))
        return sock.recv(100) == b"%d" % number
asked = [gevent.spawn(ask, number) for number in range(50)]
print(sum(job.get() for job in asked))
"""
    told = run("-c", client, key[1] + ".peer", options=("--native",))
    assert (told.stdout, told.stderr) == ("50\n", "")


@pytest.fixture
def time_server(start: Start, key: Key, tmp_path: Path) -> Iterator[str]:
    """A chronyd that tells its own clock; its address."""
    settings = ("local stratum 8", "allow all", "port 123", "cmdport 0", "bindcmdaddress /", f"pidfile {tmp_path}/pid")
    server = start(str(find("chronyd")), "-x", "-U", "-d", "-u", "root", *settings, options=("--identity", key[0]))
    line_with("chronyd version", server.stderr)
    return key[2]


@needs("chronyd")
@pytest.mark.parametrize("options", [(), ("--native",)], ids=["in process", "native"])
def test_ntplib_asks_chronyd_for_the_time(time_server: str, run: Run, options: tuple[str, ...]) -> None:
    pytest.importorskip("ntplib", reason="needs ntplib: the Python package")
    program = """
import ntplib, sys
told = ntplib.NTPClient().request(sys.argv[1], version=4, timeout=20)
print(told.stratum, abs(told.offset) < 1)
"""
    told = run("-c", program, time_server, options=options)
    assert (told.stdout, told.stderr) == ("8 True\n", "")
