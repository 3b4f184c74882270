"""What sendto accepted is on its way before the process ends, whichever way it ends."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from peer_relay_socket import Peer, Socket
from peer_relay_socket.limits import EXIT_TIME
from tests.processes import environment

COUNT = 20
SEND = (
    "import os, socket, sys\n"
    "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
    f"for i in range({COUNT}):\n"
    "    s.sendto(b'%d' % i, (sys.argv[1], int(sys.argv[2])))\n"
)
ENDS = {
    "return": ("", 0),
    "sys.exit": ("sys.exit(3)", 3),
    "unhandled exception": ("raise ValueError", 1),
    "os._exit": ("os._exit(4)", 4),
    "os._exit in a thread": ("import threading\nthreading.Thread(target=os._exit, args=(5,)).start()", 5),
    "SIGTERM": ("import signal, time\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(20)", -15),
    "SIGTERM, waiting": (
        "import signal, threading\nthreading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()\ns.recv(1)",
        -15,
    ),
    "socket closed before": ("s.close()", 0),
    "broadcast": (
        "s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)\ns.sendto(b'last', ('<broadcast>', int(sys.argv[2])))",
        0,
    ),
    "sent by atexit": ("import atexit\natexit.register(lambda: s.sendto(b'last', (sys.argv[1], int(sys.argv[2]))))", 0),
}


FORK = """
import signal, sys, traceback, multiprocessing
def child(how):
    for i in range(20, 40):
        s.sendto(b'%d' % i, (sys.argv[1], int(sys.argv[2])))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        for i in range(40, 60):
            own.sendto(b'%d' % i, (sys.argv[1], int(sys.argv[2])))
    how()
def fail():
    raise ValueError
sys.stdout.flush()
"""
OS_FORK = (
    FORK
    + """
pid = os.fork()
if pid == 0:
    child(lambda: {how})
else:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 127)
"""
)
WORKER = (
    FORK
    + """
worker = multiprocessing.get_context("fork").Process(target=child, args=(lambda: {how},))
worker.start()
worker.join(20)
sys.exit(worker.exitcode & 127)
"""
)
CHILD_ENDS = {
    "fork, return": (OS_FORK.format(how="None"), 0),
    "fork, sys.exit": (OS_FORK.format(how="sys.exit(3)"), 3),
    "fork, unhandled exception": (OS_FORK.format(how="fail()"), 1),
    "fork, os._exit": (OS_FORK.format(how="os._exit(4)"), 4),
    "fork, SIGTERM": (OS_FORK.format(how="os.kill(os.getpid(), 15)"), -15 & 127),
    "multiprocessing, return": (WORKER.format(how="None"), 0),
    "multiprocessing, sys.exit": (WORKER.format(how="sys.exit(3)"), 3),
    "multiprocessing, terminated": (WORKER.format(how="os.kill(os.getpid(), 15)"), -15 & 127),
}


@pytest.fixture(name="relay", scope="module")
def _relay() -> Iterator[str]:
    with Peer(host="127.0.0.1", port=0) as peer:
        assert peer.url is not None
        yield peer.url


@pytest.fixture(name="receiver", scope="module")
def _receiver(relay: str) -> Iterator[Socket]:
    with Socket(bootstrap=[relay]) as receiver:
        receiver.bind(("", 0))
        assert receiver.peer.wait_connected(10)
        receiver.settimeout(20)
        yield receiver


@pytest.mark.parametrize(("end", "status"), ENDS.values(), ids=ENDS)
def test_what_was_sent_arrives_however_the_program_ends(
    tmp_path: Path, relay: str, receiver: Socket, end: str, status: int
) -> None:
    done = run(tmp_path, SEND + end, relay, receiver)
    assert done.returncode == status
    assert ("Traceback" in done.stderr) == ("raise" in end)
    expected = {b"%d" % i for i in range(COUNT)} | ({b"last"} if "last" in end else set())
    assert expected - received(receiver, len(expected)) == set(), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("program", "status"), CHILD_ENDS.values(), ids=CHILD_ENDS)
def test_what_a_forked_child_sent_arrives_however_it_ends(
    tmp_path: Path, relay: str, receiver: Socket, program: str, status: int
) -> None:
    done = run(tmp_path, SEND + program, relay, receiver)
    assert done.returncode == status, done.stderr
    assert ("Traceback" in done.stderr) == ("lambda: fail()" in program), done.stderr
    expected = {b"%d" % i for i in range(3 * COUNT)}
    assert expected - received(receiver, len(expected)) == set(), done.stderr


LATE = """
import atexit, logging.handlers, multiprocessing.util, sys

def late(text, to=(sys.argv[1], int(sys.argv[2]))):
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(text, to)

atexit.register(late, b"0")
{importing}
class Sends:
    def __init__(self, text):
        self.text, self.sock = text, socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.to = sys.argv[1], int(sys.argv[2])
    def __del__(self):
        self.sock.sendto(self.text, self.to)

kept = Sends(b"1")
cycle = [Sends(b"2")]
cycle.append(cycle)
multiprocessing.util.Finalize(None, late, (b"3",), exitpriority=-1000)
log = logging.getLogger("x")
log.setLevel(logging.INFO)
log.addHandler(logging.handlers.MemoryHandler(
    1000, target=logging.handlers.DatagramHandler(sys.argv[1], int(sys.argv[2]))))
log.info("4")
if {use}:
    kept.sock.sendto(b"5", (sys.argv[1], int(sys.argv[2])))
"""


@pytest.mark.parametrize("use", [True, False], ids=["in use", "first used at exit"])
@pytest.mark.parametrize("how", ["run", "import"])
def test_what_is_sent_after_the_programs_end_arrives(
    tmp_path: Path, relay: str, receiver: Socket, how: str, use: bool
) -> None:
    importing = "import socket" if how == "run" else "import peer_relay; peer_relay.patch(); import socket"
    native = [] if how == "run" else [sys.executable, "program.py"]
    done = run(tmp_path, LATE.format(importing=importing, use=use), relay, receiver, native)
    came = received(receiver, 6 if use else 5)
    logged = {text for text in came if len(text) > 1}
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    assert (came - logged, len(logged)) == ({b"0", b"1", b"2", b"3"} | ({b"5"} if use else set()), 1), done.stderr


def received(receiver: Socket, count: int) -> set[bytes]:
    """Return the next `count` datagrams, or those that have come when none comes any more."""
    found: set[bytes] = set()
    with contextlib.suppress(TimeoutError):
        for _ in range(count):
            found.add(receiver.recv(100))
    return found


def run(
    place: Path, program: str, relay: str, receiver: Socket, native: list[str] | None = None
) -> subprocess.CompletedProcess[str]:
    (place / "program.py").write_text(program)
    clean = environment(PEER_RELAY_BOOTSTRAP=relay, PEER_RELAY_LOG="debug")  # the log is what a failure shows
    host, port = receiver.peer.address, str(receiver.getsockname()[1])
    command = [*(native or [sys.executable, "-m", "peer_relay", "run", "program.py"]), host, port]
    return subprocess.run(command, cwd=place, env=clean, capture_output=True, text=True, timeout=90, check=False)


STUCK = """
import asyncio, gc
from peer_relay_socket.bridge.runtime import Runtime

async def stuck():
    await asyncio.sleep(1000)

runtime = Runtime.current()
runtime.submit(stuck())
asyncio.run_coroutine_threadsafe(asyncio.sleep(0), runtime.loop).result(10)  # it has begun
runtime.stop(5)
gc.collect()
"""


def test_a_task_that_still_runs_at_the_end_leaves_no_word() -> None:
    done = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


INTERRUPTED = """
import atexit, signal, socket, sys
signal.signal(signal.SIGALRM, signal.default_int_handler)
atexit.register(signal.setitimer, signal.ITIMER_REAL, 0.3)
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("1" * 40, 1))
sys.exit("failed")
"""


@pytest.mark.slow
def test_ctrl_c_at_the_end_of_a_program_ends_it_at_once_without_a_traceback(tmp_path: Path, receiver: Socket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        done = run(tmp_path, INTERRUPTED, f"ws://127.0.0.1:{silent.getsockname()[1]}", receiver)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    assert "failed" in done.stderr
    assert time.monotonic() - began < 4.5  # what was sent would be waited for longer than that


MANY = """
import atexit, socket, time
from peer_relay_socket import Socket

with socket.create_server(("127.0.0.1", 0)) as silent:
    url = "ws://127.0.0.1:%d" % silent.getsockname()[1]
    sockets = [Socket(bootstrap=[url]) for _ in range(40)]
    for each in sockets:
        each.sendto(b"x", ("1" * 40, 1))
    began = time.monotonic()
atexit.register(lambda: print(began))
"""


@pytest.mark.slow
def test_many_peers_that_wait_in_vain_hold_up_the_end_of_a_process_no_longer_than_one() -> None:
    command = [sys.executable, "-W", "ignore", "-c", MANY]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    assert time.monotonic() - float(done.stdout) < EXIT_TIME + 4.0  # for all that is not waiting


AMID = """
import asyncio, sys, time, types
from peer_relay_socket.bridge.runtime import Runtime

async def busy():  # whose frame keeps this module: what sends late is in another
    while True:
        time.sleep(0.2)  # the interpreter's end comes amid this, as a rule
        await asyncio.sleep(0)

sys.modules["late"] = types.ModuleType("late")
sys.modules["late"].run = Runtime.current().wait_for
exec("import asyncio\\n"
     "class Late:\\n"
     "    def __del__(self, run=run, sleep=asyncio.sleep):\\n"
     "        print(run(sleep(0, 'ran'), 3))\\n"
     "late = Late()", vars(sys.modules["late"]))
Runtime.current().submit(busy())
asyncio.run_coroutine_threadsafe(asyncio.sleep(0), Runtime.current().loop).result(10)  # it has begun
"""


def test_a_relay_thread_that_ends_amid_a_tasks_step_leaves_a_loop_that_runs() -> None:
    done = subprocess.run([sys.executable, "-c", AMID], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ran\n", "")
