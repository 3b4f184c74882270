"""Programs of gevent and eventlet whose peer is elsewhere: they wait for it and let their other threads run."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from peer_relay_socket import Peer, Socket
from tests.compat.test_cases import NATIVE, OURS
from tests.processes import environment

MONKEY = {
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import eventlet; eventlet.monkey_patch()",
}
OVERLAY = "import peer_relay; peer_relay.patch()"
IMPORT = "import peer_relay as socket"
KINDS = {
    "run": (OURS, "{monkey}\nimport socket"),
    "patched after": (NATIVE, f"{{monkey}}\n{OVERLAY}\nimport socket"),
    "patched before": (NATIVE, f"{OVERLAY}\n{{monkey}}\nimport socket"),
    "imported": (NATIVE, f"{{monkey}}\n{IMPORT}"),
}
PROGRAM = """
import signal
signal.alarm(60)
{imports}
import sys, threading, time

ticks = []
def tick():
    while True:
        time.sleep(0.01)
        ticks.append(None)
threading.Thread(target=tick, daemon=True).start()
where = sys.argv[1], 7000
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.settimeout(30)
    for number in range(5):
        sock.sendto(b"%d" % number, where)
        assert sock.recvfrom(99) == (b"echo %d" % number, where)
    sock.settimeout(1.0)
    before = len(ticks)
    try:
        sock.recvfrom(9)
    except TimeoutError:
        assert len(ticks) > before + 2, "others did not run"
        print("ok")
"""


@pytest.fixture(name="echo", scope="module")
def _echo() -> Iterator[Peer]:
    def serve() -> None:
        while True:
            try:
                data, source = server.recvfrom(99)
            except OSError:
                return
            server.sendto(b"echo " + data, source)

    with Socket(host="127.0.0.1", port=0) as server:
        server.bind(("", 7000))
        thread = threading.Thread(target=serve)
        thread.start()
        yield server.peer
    thread.join(10)


@pytest.mark.slow
@pytest.mark.parametrize(("command", "imports"), KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("library", MONKEY)
def test_a_peer_elsewhere_is_heard_while_others_run(
    tmp_path: Path, echo: Peer, library: str, command: list[str], imports: str
) -> None:
    if find_spec(library) is None:
        pytest.skip(f"needs {library}")
    (tmp_path / "program.py").write_text(PROGRAM.format(imports=imports.format(monkey=MONKEY[library])))
    # eventlet's import of dnspython breaks where trio is installed, on the kernel, too.
    clean = environment(PEER_RELAY_BOOTSTRAP=str(echo.url), EVENTLET_NO_GREENDNS="yes", PYTHONWARNINGS="ignore")
    done = subprocess.run(
        [*command, str(tmp_path / "program.py"), echo.address],
        env=clean,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr
