"""The control socket of real processes: what it answers, whom, and that nothing goes wrong where it cannot be."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from peer_relay_socket import Peer
from peer_relay_socket.limits import CONTROL_CLIENTS, CONTROL_LINE
from peer_relay_socket.observe.processes import NoProcessError, Process, ask_all, found
from tests.observe.programs import ECHO, Program
from tests.patience import until

Start = Callable[..., Program]

FORKS = """
import os, sys
from peer_relay_socket import Socket
sock = Socket(bootstrap=sys.argv[1], wrtc=False)
assert sock.peer.wait_connected(20)
child = os.fork()
if not child:
    own = Socket(bootstrap=sys.argv[1], wrtc=False)
    assert own.peer.wait_connected(20)
    print(os.getpid(), own.peer.id.hex(), flush=True)
    sys.stdin.read()
    os._exit(0)
os.waitpid(child, 0)
"""
CHANGES_USER = """
import os, sys
from peer_relay_socket import Socket
from tests.patience import until
sock = Socket(bootstrap=sys.argv[1], wrtc=False)
assert sock.peer.wait_connected(20)
until(lambda: os.path.exists(f"{os.environ['XDG_RUNTIME_DIR']}/peer-relay/{os.getpid()}.sock"))
os.setuid(65534)
print("ready", flush=True)
sys.stdin.read()
"""
ENDS = """
import sys
from peer_relay_socket import Socket
sock = Socket(bootstrap=sys.argv[1], wrtc=False)
print(sock.peer.wait_connected(20), flush=True)
"""

GARBAGE = [
    b"\n",
    b"status\n",
    b"[]\n",
    b"{}\n",
    b'{"ask": "stop"}\n',
    b'{"ask": ["status"]}\n',
    b'{"ask": "ping"}\n',
    b'{"ask": "ping", "peer": 7}\n',
    b'{"ask": "ping", "peer": "example.org"}\n',
    b'{"ask": "ping", "peer": "100.64.1.1", "port": 70000}\n',
    b'{"ask": "ping", "peer": "100.64.1.1", "count": true}\n',
    b'{"ask": "ping", "peer": "100.64.1.1", "count": 1e9}\n',
    b'{"ask": "trace", "peer": "100.64.1.1", "id": "no such peer"}\n',
    b"\xff\xfe\n",
    b"[" * (CONTROL_LINE - 1) + b"\n",
    b"x" * (10 * CONTROL_LINE) + b"\n",
]


def path_of(folder: Path, pid: int) -> Path:
    return folder / "peer-relay" / f"{pid}.sock"


def dial(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(20)
    sock.connect(str(path))
    return sock


def say(path: Path, data: bytes) -> bytes:
    """Return all that is answered to `data` and nothing more."""
    with dial(path) as sock:
        try:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            return b""
        answer = b""
        while True:
            try:
                part = sock.recv(65536)
            except ConnectionError:
                return answer
            if not part:
                return answer
            answer += part


def answers(pid: int) -> bool:
    return [peer["pid"] for peer in ask_all([pid])[0]] == [pid]


def test_a_process_answers_its_user_with_its_records(runtime_folder: Path, start: Start, relay: Peer) -> None:
    program = start_echo(start, relay)
    until(lambda: answers(program.pid))
    folder = runtime_folder / "peer-relay"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(path_of(runtime_folder, program.pid).stat().st_mode) == 0o600
    assert program.pid in found()
    ((peer,), complaints) = ask_all([program.pid])
    assert complaints == []
    assert [peer["id"], peer["ipv4"]] == program.words
    assert [link["id"] for link in peer["links"]] == [relay.id.hex()]
    assert [(each["port"], each["lost"]) for each in peer["sockets"]] == [(5000, 0)]
    with Process(program.pid) as process:  # several questions over one connection
        for _ in range(3):
            process.send(ask="status")
            assert [answer["end"] for answer in process.answers()] == ["status"]


def start_echo(start: Start, relay: Peer) -> Program:
    return start(ECHO, relay.url or "")


def test_a_socket_goes_with_its_process_and_a_stale_one_when_it_is_asked(
    runtime_folder: Path, start: Start, relay: Peer
) -> None:
    ended, killed = start(ENDS, relay.url or ""), start_echo(start, relay)
    assert ended.process.wait(20) == 0
    assert not path_of(runtime_folder, ended.pid).exists()
    until(lambda: answers(killed.pid))
    killed.process.kill()
    killed.process.wait(20)
    assert path_of(runtime_folder, killed.pid).exists()
    assert ask_all([killed.pid]) == ([], [f"process {killed.pid} holds no peer"])
    assert not path_of(runtime_folder, killed.pid).exists()


def test_a_stale_socket_of_its_own_number_is_replaced_by_a_process(
    runtime_folder: Path, start: Start, relay: Peer
) -> None:
    code = """
import os, socket, sys
folder = os.environ["XDG_RUNTIME_DIR"] + "/peer-relay"
os.mkdir(folder, 0o700)
stale = socket.socket(socket.AF_UNIX)
stale.bind(f"{folder}/{os.getpid()}.sock")
stale.close()
from peer_relay_socket import Socket
sock = Socket(bootstrap=sys.argv[1], wrtc=False)
print(sock.peer.wait_connected(20), flush=True)
sys.stdin.read()
"""
    program = start(code, relay.url or "")
    until(lambda: answers(program.pid))


def test_a_forked_child_has_a_socket_of_its_own(runtime_folder: Path, start: Start, relay: Peer) -> None:
    program = start(FORKS, relay.url or "")
    child, peer_id = int(program.words[0]), program.words[1]
    until(lambda: answers(child))
    ((peer,), _) = ask_all([child])
    assert (peer["pid"], peer["id"]) == (child, peer_id)
    assert answers(program.pid)
    os.kill(child, signal.SIGTERM)
    assert program.process.wait(20) == 0
    assert not path_of(runtime_folder, program.pid).exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_is_refused(runtime_folder: Path, start: Start, relay: Peer) -> None:
    program = start_echo(start, relay)
    path = path_of(runtime_folder, program.pid)
    until(lambda: answers(program.pid))
    for part in (runtime_folder, path.parent):  # as if the folder kept nobody out
        part.chmod(0o755)
    path.chmod(0o666)
    code = "import os, socket, sys; os.setuid(65534); s = socket.socket(socket.AF_UNIX); s.settimeout(20); "
    code += 's.connect(sys.argv[1]); s.sendall(b\'{"ask": "status"}\\n\'); print(s.recv(100))'
    argv = [sys.executable, "-c", code, str(path)]
    asked = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert asked.stdout.strip() == "b''" or "ConnectionReset" in asked.stderr or "BrokenPipe" in asked.stderr
    path.parent.chmod(0o700)
    assert answers(program.pid)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_process_that_became_another_user_answers_nobody(runtime_folder: Path, start: Start, relay: Peer) -> None:
    runtime_folder.chmod(0o755)
    program = start(CHANGES_USER, relay.url or "", PYTHONPATH=os.getcwd())
    until(lambda: ask_all([program.pid])[0] == [] and not path_of(runtime_folder, program.pid).exists())
    assert program.process.poll() is None


def test_garbage_is_answered_in_one_line_and_does_no_harm(runtime_folder: Path, start: Start, relay: Peer) -> None:
    program = start_echo(start, relay)
    until(lambda: answers(program.pid))
    path = path_of(runtime_folder, program.pid)
    for garbage in GARBAGE:
        answer = say(path, garbage)
        assert json.loads(answer)["end"] == "error", garbage
        assert say(path, garbage.rstrip(b"\n")[: CONTROL_LINE // 2]) == b""
    assert answers(program.pid)
    assert program.process.poll() is None


def test_clients_are_bounded_in_number_and_one_that_does_not_read_delays_nobody(
    runtime_folder: Path, start: Start, relay: Peer
) -> None:
    program = start_echo(start, relay)
    until(lambda: answers(program.pid))
    path = path_of(runtime_folder, program.pid)
    with dial(path) as lazy:
        lazy.setblocking(False)
        end = time.monotonic() + 2
        try:
            while time.monotonic() < end:
                lazy.send(b'{"ask": "status"}\n' * 100)
        except OSError:  # the kernel takes no more, or it was let go
            pass
        assert answers(program.pid)
        idle = [dial(path) for _ in range(3 * CONTROL_CLIENTS)]
        try:
            until(lambda: ask_all([program.pid])[0] == [])
        finally:
            for sock in idle:
                sock.close()
    until(lambda: answers(program.pid))


@pytest.mark.parametrize("where", ["/dev/null", "/nonexistent/folder", "/proc"])
def test_a_control_socket_that_cannot_be_made_is_no_concern_of_the_program(
    relay: Peer, start: Start, where: str
) -> None:
    program = start(ENDS, relay.url or "", XDG_RUNTIME_DIR=where)
    assert program.words == ["True"]
    assert program.process.wait(20) == 0
    assert program.process.stderr is not None
    assert program.process.stderr.read() == ""


@pytest.mark.parametrize("kind", ["link", "file", "writable"])
def test_a_folder_that_is_not_the_users_alone_is_not_used(
    runtime_folder: Path, relay: Peer, start: Start, kind: str
) -> None:
    temporary = runtime_folder / "tmp"
    temporary.mkdir()
    folder = temporary / f"peer-relay-{os.getuid()}"
    elsewhere = runtime_folder / "elsewhere"
    elsewhere.mkdir()
    if kind == "link":
        folder.symlink_to(elsewhere)
    elif kind == "file":
        folder.write_text("")
    else:
        folder.mkdir()
        folder.chmod(0o777)
    program = start(ENDS, relay.url or "", XDG_RUNTIME_DIR="", TMPDIR=str(temporary))
    assert program.words == ["True"]
    assert program.process.wait(20) == 0
    assert list(elsewhere.iterdir()) == []
    assert kind == "file" or list(folder.iterdir()) == []


def test_without_a_runtime_folder_one_in_the_temporary_folder_is_used(
    runtime_folder: Path, relay: Peer, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setenv("TMPDIR", str(runtime_folder))
    program = start_echo(start, relay)
    until(lambda: answers(program.pid))
    folder = runtime_folder / f"peer-relay-{os.getuid()}"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [path.name for path in folder.iterdir()] == [f"{program.pid}.sock"]


@pytest.mark.slow
def test_a_process_that_is_stopped_is_not_waited_for_long(runtime_folder: Path, relay: Peer, start: Start) -> None:
    program, other = start_echo(start, relay), start_echo(start, relay)
    until(lambda: answers(program.pid) and answers(other.pid))
    program.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, program.process.pid, os.WSTOPPED | os.WNOWAIT)  # no limit: nothing can keep it from stopping
    began = time.monotonic()
    peers, complaints = ask_all([program.pid, other.pid])
    assert time.monotonic() - began < 8
    assert [peer["pid"] for peer in peers] == [other.pid]
    assert complaints == [f"process {program.pid} does not answer; it may be stopped"]
    with pytest.raises(NoProcessError):
        Process(2**22 + 1)
