"""eventlet's green sockets, on the kernel's UDP first and then on ours."""

from __future__ import annotations

import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.compat.test_cases import NATIVE, OURS, outcome

if find_spec("eventlet") is None:  # not imported here: it would warn at each fork of other tests
    pytest.skip("needs eventlet", allow_module_level=True)

pytestmark = pytest.mark.slow

PROGRAM = """
import signal
signal.alarm(60)
import os
os.environ["EVENTLET_NO_GREENDNS"] = "yes"  # dnspython and eventlet break where trio is installed, on the kernel, too
import warnings
warnings.simplefilter("ignore")
{before}
import eventlet
{imports}

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 0))
def serve():
    while True:
        data, address = server.recvfrom(99)
        server.sendto(b"echo " + data, address)
eventlet.spawn(serve)
ticks = []
def tick():
    while True:
        eventlet.sleep(0.01)
        ticks.append(None)
eventlet.spawn(tick)

def ask(number):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(20)
        client.connect(server.getsockname())
        client.send(b"%d" % number)
        assert client.recv(99) == b"echo %d" % number
for each in [eventlet.spawn(ask, number) for number in range(20)]:
    each.wait()

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as quiet:
    quiet.bind(("127.0.0.1", 0))
    quiet.settimeout(0.3)
    before = len(ticks)
    try:
        quiet.recvfrom(9)
        raise AssertionError
    except TimeoutError:
        pass
    assert len(ticks) > before + 2  # others ran meanwhile
    quiet.setblocking(False)
    try:
        quiet.recv(9)
        raise AssertionError
    except BlockingIOError:
        pass
listener = eventlet.listen(("127.0.0.1", 0))
eventlet.spawn(lambda: eventlet.connect(listener.getsockname()).sendall(b"tcp"))
assert listener.accept()[0].recv(9) == b"tcp"
assert socket.getaddrinfo("localhost", 5, socket.AF_INET, socket.SOCK_DGRAM)[0][4] == ("127.0.0.1", 5)
"""
KINDS = {
    "monkey-patched": ("import eventlet; eventlet.monkey_patch()", "import socket"),
    "green sockets": ("", "from eventlet.green import socket"),
}
EVENTLET = "import eventlet; eventlet.monkey_patch()"
OVERLAY = "import peer_relay; peer_relay.patch()"
PATCHED = {"after": f"{EVENTLET}\n{OVERLAY}", "before": f"{OVERLAY}\n{EVENTLET}"}


def write(folder: Path, before: str, imports: str) -> str:
    path = folder / "program.py"
    path.write_text(PROGRAM.format(before=before, imports=imports))
    return str(path)


@pytest.mark.parametrize(("before", "imports"), KINDS.values(), ids=KINDS)
def test_eventlet_program_goes_as_on_the_kernel(tmp_path: Path, before: str, imports: str) -> None:
    program = write(tmp_path, before, imports)
    assert outcome([*NATIVE, program]) == "ok"
    assert outcome([*OURS, program]) == "ok"


@pytest.mark.parametrize("before", PATCHED.values(), ids=PATCHED)
def test_patch_works_before_and_after_eventlets(tmp_path: Path, before: str) -> None:
    assert outcome([*NATIVE, write(tmp_path, before, "import socket")]) == "ok"


def test_green_socket_is_not_the_kernels(tmp_path: Path) -> None:
    text = (
        "import os; os.environ['EVENTLET_NO_GREENDNS'] = 'yes'\n"
        "import warnings; warnings.simplefilter('ignore')\n"
        "import eventlet.green.socket as s; u = s.socket(s.AF_INET, s.SOCK_DGRAM); print(u.fd.peer.address)"
    )
    (tmp_path / "program.py").write_text(text)
    done = subprocess.run([*OURS, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("100."), done.stderr
