"""gevent's servers and sockets, on the kernel's UDP first and then on ours."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.compat.test_cases import NATIVE, OURS, outcome

pytest.importorskip("gevent")

PROGRAM = """
import signal
signal.alarm(60)
{before}
import gevent
from gevent.server import DatagramServer
{imports}

class Echo(DatagramServer):
    def handle(self, data, address):
        self.socket.sendto(b"echo " + data, address)

server = Echo(("127.0.0.1", 0))
server.start()
ticks = []
def tick():
    while True:
        gevent.sleep(0.01)
        ticks.append(None)
gevent.spawn(tick)

def ask(number):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(20)
        client.sendto(b"%d" % number, server.address)
        assert client.recvfrom(99) == (b"echo %d" % number, server.address)
asked = [gevent.spawn(ask, number) for number in range(20)]
gevent.joinall(asked, raise_error=True)

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as quiet:
    quiet.bind(("127.0.0.1", 0))
    quiet.settimeout(0.5)
    before = len(ticks)
    try:
        quiet.recvfrom(9)
        raise AssertionError
    except OSError as error:
        assert "timed out" in str(error)
    assert len(ticks) > before + 2  # others ran meanwhile
with socket.socket() as listener:
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    gevent.spawn(lambda: socket.create_connection(listener.getsockname()))
    listener.accept()[0].close()
server.stop()
"""
KINDS = {
    "monkey-patched": ("from gevent import monkey; monkey.patch_all()", "import socket"),
    "gevent.socket": ("", "from gevent import socket"),
}
GEVENT = "from gevent import monkey; monkey.patch_all()"
OVERLAY = "import peer_relay; peer_relay.patch()"
PATCHED = {"after": f"{GEVENT}\n{OVERLAY}", "before": f"{OVERLAY}\n{GEVENT}"}
IMPORTED = """
import signal
signal.alarm(60)
from gevent import monkey
monkey.patch_all()
import gevent
import peer_relay as socket

server, client = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
server.bind(("127.0.0.1", 0))
waiting = gevent.spawn(server.recvfrom, 9)
gevent.sleep(0.1)
client.sendto(b"x", server.getsockname())
assert waiting.get(timeout=20)[0] == b"x"
"""


FIRST = """
import signal
signal.alarm(60)
import sys
{imports}
from gevent import monkey
monkey.patch_all()
import gevent
turns = []

def count():
    while True:
        turns.append(1)
        gevent.sleep(0.01)

gevent.spawn(count)
server, client = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
server.bind(("127.0.0.1", 0))
waiting = gevent.spawn(server.recvfrom, 9)
gevent.sleep(0.1)
client.sendto(b"x", server.getsockname())
assert waiting.get(timeout=20)[0] == b"x"
lonely = peer_relay.socket(bootstrap=[], wrtc=False)
del turns[:]
assert not lonely.peer.wait_connected(0.5)
assert len(turns) > 2, turns
"""
IMPORTS = ("import peer_relay; import peer_relay as socket", "import peer_relay, socket; peer_relay.patch()")


def write(folder: Path, before: str, imports: str) -> str:
    path = folder / "program.py"
    path.write_text(PROGRAM.format(before=before, imports=imports))
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize(("before", "imports"), KINDS.values(), ids=KINDS)
def test_gevent_program_goes_as_on_the_kernel(tmp_path: Path, before: str, imports: str) -> None:
    program = write(tmp_path, before, imports)
    assert outcome([*NATIVE, program]) == "ok"
    assert outcome([*OURS, program]) == "ok"


@pytest.mark.parametrize("before", PATCHED.values(), ids=PATCHED)
def test_patch_works_before_and_after_gevents(tmp_path: Path, before: str) -> None:
    assert outcome([*NATIVE, write(tmp_path, before, "import socket")]) == "ok"


def test_import_works_where_gevent_has_patched(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(IMPORTED)
    assert outcome([*NATIVE, str(tmp_path / "program.py")]) == "ok"


@pytest.mark.parametrize("imports", IMPORTS, ids=("import", "patch"))
def test_waits_are_cooperative_where_gevent_patches_after_us(tmp_path: Path, imports: str) -> None:
    (tmp_path / "program.py").write_text(FIRST.format(imports=imports))
    assert outcome([*NATIVE, str(tmp_path / "program.py")]) == "ok"


def test_gevent_socket_is_not_the_kernels(tmp_path: Path) -> None:
    text = "import gevent.socket as s; print(s.socket(s.AF_INET, s.SOCK_DGRAM).peer.address)"
    (tmp_path / "program.py").write_text(text)
    done = subprocess.run([*OURS, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("100."), done.stderr
