"""Fail-closed: ways around the patch, each tried under `peer-relay run`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import environment

WAYS_OUT = {
    "the C module": "import _socket\ns = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)",
    "the C module, IPv6": "import _socket as c\ns = c.socket(c.AF_INET6, c.SOCK_DGRAM | c.SOCK_CLOEXEC)",
    "the class that was patched over": "import socket\n"
    "s = socket.socket.__mro__[-3](socket.AF_INET, socket.SOCK_DGRAM)",
    "a reloaded module": "import importlib, socket\nimportlib.reload(socket)\n"
    "s = socket.socket(type=socket.SOCK_DGRAM)",
    "a second copy of the module": "import importlib.util as u\nspec = u.find_spec('socket')\n"
    "copy = u.module_from_spec(spec)\nspec.loader.exec_module(copy)\ns = copy.socket(copy.AF_INET, copy.SOCK_DGRAM)",
    "a class of its own": "import _socket\nclass S(_socket.socket): pass\ns = S(_socket.AF_INET, _socket.SOCK_DGRAM)",
    "a descriptor made elsewhere": "import ctypes, _socket\nfd = ctypes.CDLL(None).socket(2, 2, 0)\n"
    "s = _socket.socket(fileno=fd)",
    "a descriptor in our class": "import ctypes, socket\nfd = ctypes.CDLL(None).socket(2, 2, 0)\n"
    "s = socket.socket(fileno=fd)",
    "a raw socket": "import _socket\ns = _socket.socket(_socket.AF_INET, _socket.SOCK_RAW, _socket.IPPROTO_UDP)",
}
USE = "\ns.bind(('', 0))\nprint('escaped')\n"


def run(
    folder: Path, source: str, *options: str, settings: dict[str, str] | None = None, passed: int = 2
) -> subprocess.CompletedProcess[str]:
    (folder / "program.py").write_text(source)
    clean = environment(**settings or {})
    command = [sys.executable, "-m", "peer_relay", "run", *options, "program.py"]
    return subprocess.run(
        command, cwd=folder, env=clean, capture_output=True, text=True, timeout=30, check=False, pass_fds=[passed]
    )


@pytest.mark.parametrize("way", WAYS_OUT.values(), ids=WAYS_OUT)
def test_a_real_udp_socket_is_refused_unless_allowed(tmp_path: Path, way: str) -> None:
    refused = run(tmp_path, way + USE)
    assert (refused.returncode, refused.stdout) == (1, "")
    last = refused.stderr.splitlines()[-1]
    assert last.startswith("PermissionError: [Errno 1] peer-relay run: refused a real UDP socket")
    made_in = 1 + way[: way.index("s = ")].count("\n")
    used = "_socket.socket(fileno" in way  # of such a one nothing is known before it is used, a line further down
    assert f"in __main__, line {made_in + used})" in last
    assert "--allow-direct" in last


def test_a_packet_socket_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    refused = run(tmp_path, "import _socket\n_socket.socket(_socket.AF_PACKET, _socket.SOCK_RAW, 0)")
    assert "refused a real UDP socket" in refused.stderr


SUBINTERPRETER = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
interpreters.run_string(interpreters.create(), "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)")
print("escaped")
"""


@pytest.mark.slow
def test_subinterpreters_which_no_hook_reaches_are_refused(tmp_path: Path) -> None:
    refused = run(tmp_path, SUBINTERPRETER)
    assert (refused.returncode, refused.stdout) == (1, "")
    last = refused.stderr.splitlines()[-1]
    assert last.startswith("PermissionError: [Errno 1] peer-relay run: refused subinterpreters")
    assert run(tmp_path, SUBINTERPRETER, "--allow-direct").stdout == "escaped\n"


@pytest.mark.slow
def test_an_inherited_udp_socket_is_refused_at_the_start(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as real:
        number = real.fileno()
        refused = run(tmp_path, "print('escaped')", passed=number)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr.splitlines()[-1].startswith(f"peer-relay run: descriptor {number} is a real UDP")
        assert run(tmp_path, "print('escaped')", "--allow-direct", passed=number).stdout == "escaped\n"
    one, other = socket.socketpair()
    with one as harmless, other:
        assert run(tmp_path, "print('there')", passed=harmless.fileno()).stdout == "there\n"


def test_allow_direct_lets_them_be(tmp_path: Path) -> None:
    ways = [way for way in WAYS_OUT.values() if "SOCK_RAW" not in way]
    allowed = run(tmp_path, "".join(way + USE for way in ways), "--allow-direct")
    assert (allowed.returncode, allowed.stdout, allowed.stderr) == (0, "escaped\n" * len(ways), "")


@pytest.mark.parametrize(
    "harmless",
    [
        "import _socket as c; s = c.socket(c.AF_INET, c.SOCK_STREAM); s.bind(('127.0.0.1', 0)); s.listen()",
        "import _socket; s = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM); s.bind('')",
        "import socket; a, b = socket.socketpair(type=socket.SOCK_DGRAM); a.send(b'x'); assert b.recv(9) == b'x'",
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('127.0.0.1', 0))",
    ],
)
def test_other_sockets_are_left_alone(tmp_path: Path, harmless: str) -> None:
    done = run(tmp_path, harmless)
    assert (done.returncode, done.stderr.replace("ResourceWarning", "")) == (0, "")
