"""Nothing configured: peers on one machine find each other, and outlive whoever served them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from peer_relay_socket.meeting import MEETING
from tests.patience import LIMIT
from tests.processes import environment, read_line

PROGRAM = """
import sys
from peer_relay_socket.surface.peer import Peer
peer = Peer()
peer.on("message", lambda data, sender: print("heard", data, flush=True))
assert peer.wait_connected(20) if sys.argv[1] == "join" else True
print(peer.id.hex(), flush=True)
for line in sys.stdin:
    to, text = line.split()
    peer.send(to, text)
peer.destroy()
"""


class Member:
    """A process with a peer that nobody configured, in the network namespace of `beside`."""

    def __init__(self, role: str, beside: int) -> None:
        self.process = subprocess.Popen(
            ["nsenter", "-t", str(beside), "-n", "-U", "--preserve-credentials", sys.executable, "-c", PROGRAM, role],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
            text=True,
        )
        self.id = self.heard()
        assert len(self.id) == 40

    def say(self, to: Member, text: str) -> None:
        assert self.process.stdin is not None
        print(to.id, text, file=self.process.stdin, flush=True)

    def heard(self, limit: float = LIMIT) -> str:
        return read_line(self.process.stdout, limit).strip()

    def hears(self, text: str, seconds: float) -> bool:
        try:
            return self.heard(seconds) == f"heard {text}"
        except TimeoutError:
            return False

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def loopback() -> Iterator[int]:
    """A machine of its own, as far as its loopback goes: the pid of a process in a fresh network namespace."""
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        pytest.skip("needs lab: no unshare and nsenter here, and the embedded node's port is one per machine")
    script = "ip link set lo up 2>/dev/null || ifconfig lo up; echo up; exec cat"
    keeper = subprocess.Popen(
        ["unshare", "-r", "-n", "sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    assert keeper.stderr is not None
    ready = read_line(keeper.stdout) == "up\n"
    try:
        if not ready:
            pytest.skip("needs lab: network namespaces are not permitted here")
        yield keeper.pid
    finally:
        keeper.stdin.close()
        keeper.stdout.close()
        keeper.stderr.close()
        keeper.wait(LIMIT)


@pytest.fixture
def members() -> Iterator[list[Member]]:
    made: list[Member] = []
    yield made
    for member in made:
        member.close()


@pytest.mark.slow
def test_three_processes_talk_and_go_on_when_the_one_that_served_is_killed(
    loopback: int, members: list[Member]
) -> None:
    members.append(Member("first", loopback))
    members.append(Member("join", loopback))
    members.append(Member("join", loopback))
    first, second, third = members
    second.say(third, "hello")
    assert third.heard() == "heard hello"
    first.process.kill()
    first.process.wait()
    # One of the two serves within 2 s; what was on its way to the dead one is lost, as datagrams may be.
    deadline = time.monotonic() + LIMIT
    while not third.hears("again", 0.2):
        assert time.monotonic() < deadline
        second.say(third, "again")
    third.say(second, "and-back")
    while second.heard() != "heard and-back":
        pass


HOLDER = """
import socket, sys, threading
from peer_relay_socket.meeting import MEETING
servers = [socket.create_server(("127.0.0.1", port)) for port in MEETING.ports[:2]]
print("held", flush=True)
kept = []
def serve(server):
    while True:
        kept.append(server.accept()[0])
        if server is servers[1]:
            kept[-1].sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n")
for server in servers:
    threading.Thread(target=serve, args=(server,), daemon=True).start()
sys.stdin.read()
"""


@pytest.mark.slow
def test_programs_that_hold_the_ports_without_the_key_are_stepped_over(loopback: int, members: list[Member]) -> None:
    holder = subprocess.Popen(
        ["nsenter", "-t", str(loopback), "-n", "-U", "--preserve-credentials", sys.executable, "-c", HOLDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert read_line(holder.stdout) == "held\n"
        members.append(Member("first", loopback))
        members.append(Member("join", loopback))
        members[1].say(members[0], "hello")
        assert members[0].heard() == "heard hello"
    finally:
        holder.stdin.close()
        holder.wait(LIMIT)
        holder.stdout.close()


ENDING = """
import socket, struct, sys, threading
from peer_relay_socket import Peer
from peer_relay_socket.meeting import MEETING
server = socket.create_server(("127.0.0.1", MEETING.ports[0]))
def end():
    client, _ = server.accept()
    server.close()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()  # as a kernel closes what a killed process leaves
ended = threading.Thread(target=end)
ended.start()
peer = Peer()
peer.wait_connected(0.1)
ended.join()
while True:
    for port in MEETING.ports:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            continue
        print(MEETING.ports.index(port), flush=True)
        sys.stdin.read()
"""


@pytest.mark.slow
def test_the_port_of_a_program_that_ends_amid_a_dial_is_taken_and_no_other(loopback: int) -> None:
    ending = subprocess.Popen(
        ["nsenter", "-t", str(loopback), "-n", "-U", "--preserve-credentials", sys.executable, "-c", ENDING],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert ending.stdin is not None
    assert ending.stdout is not None
    try:
        assert read_line(ending.stdout) == "0\n"
    finally:
        ending.kill()
        ending.wait(LIMIT)
        ending.stdin.close()
        ending.stdout.close()


SETTINGS = [{}, {"HOME": "/nonexistent"}, {"XDG_RUNTIME_DIR": "/nonexistent", "XDG_STATE_HOME": "/nonexistent"}]
AFTERWARDS = {
    "nothing": "",
    "setuid": "import os; os.setgid(65534); os.setuid(65534)",
    "chroot": "import os; os.chroot('/tmp')",
}


@pytest.mark.slow
@pytest.mark.parametrize("afterwards", AFTERWARDS)
@pytest.mark.parametrize("settings", SETTINGS)
def test_neither_settings_nor_what_a_program_becomes_move_the_meeting_point(
    settings: dict[str, str], afterwards: str
) -> None:
    if afterwards != "nothing" and os.getuid() != 0:
        pytest.skip("needs root: to become another user, or to change the root")
    program = f"import hmac, peer_relay_socket.meeting as m\n{AFTERWARDS[afterwards]}\nprint(*m.MEETING.ports)"
    environ = {name: value for name, value in os.environ.items() if name not in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME")}
    done = subprocess.run(
        [sys.executable, "-c", program], env={**environ, **settings}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(port) for port in MEETING.ports]
