"""`peer-relay run` with programs that are no Python: the kernel's own sockets in a namespace, over the overlay.

The oracle is the program itself, run without us: same output, same end.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from peer_relay_socket.address import Spelling
from tests.gateway.conftest import LIMIT, Peer, Run, Start, own_addresses
from tests.patience import until
from tests.processes import environment, read_line

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")

SLOW = pytest.mark.slow
SIZES = ("0", "1", "1200", "9000", "65507")


def pids_named(mark: str) -> list[int]:
    """The processes that carry `mark` in their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes()
        except OSError:
            continue
        if mark.encode() in words and b"peer_relay" not in words:
            found.append(int(entry.parent.name))
    return found


def ready(process: subprocess.Popen[str], line: str = "ready\n") -> None:
    assert read_line(process.stdout) == line


# --- datagrams -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_static_program_asks_a_peer_in_every_size_and_both_ip_versions(run: Run, peer: Peer, udp_tool: str) -> None:
    there = peer(9000, family=socket.AF_INET6)
    hosts = [there.peer.address, Spelling().ipv6(there.peer.id)]

    def echo() -> None:
        for _ in range(5 * 3 * len(hosts)):
            data, source = there.recvfrom(65_535)
            there.sendto(data, source)

    thread = threading.Thread(target=echo, daemon=True)
    thread.start()
    for host in hosts:
        assert run(udp_tool, "ask", host, "9000", "3", *SIZES).stdout == "15 of 15\n"


def test_peers_reach_a_native_server_on_a_privileged_port(
    start: Start, peer: Peer, udp_tool: str, key: tuple[str, str, str, str]
) -> None:
    path, peer_id, ipv4, ipv6 = key
    ready(start(udp_tool, "echo", "53", options=("--identity", path)))
    there = peer()
    for size in (0, 1, 1200, 65_507):
        data = os.urandom(size)
        there.sendto(data, (ipv4, 53))
        assert there.recvfrom(65_535) == (data, (ipv4, 53))
    there.sendto(b"by name", (peer_id + ".peer", 53))
    assert there.recv(100) == b"by name"
    six = peer(family=socket.AF_INET6)
    for size in (0, 1, 65_507):
        six.sendto(bytes(size), (ipv6, 53))
        data, source = six.recvfrom(65_535)
        assert (len(data), source[:2]) == (size, (ipv6, 53))


@pytest.mark.slow
def test_two_native_programs_talk(start: Start, run: Run, udp_tool: str, key: tuple[str, str, str, str]) -> None:
    ready(start(udp_tool, "echo", "7000", options=("--identity", key[0])))
    for host in key[2:]:
        assert run(udp_tool, "ask", host, "7000", "3", *SIZES).stdout == "15 of 15\n"


def test_refusals_go_both_ways(
    start: Start, run: Run, peer: Peer, udp_tool: str, key: tuple[str, str, str, str]
) -> None:
    there = peer()
    assert run(udp_tool, "ask", there.peer.address, "9", "1", "5").stdout == "recv: Connection refused\n"
    ready(start(udp_tool, "echo", "7000", options=("--identity", key[0])))
    there.connect((key[2], 7001))
    there.send(b"x")
    with pytest.raises(ConnectionRefusedError):
        there.recv(100)


@pytest.mark.slow
def test_peer_that_does_not_exist_is_unreachable(run: Run, udp_tool: str) -> None:
    assert run(udp_tool, "ask", "100.64.7.7", "9", "1", "5").stdout == "recv: No route to host\n"


@pytest.mark.parametrize("options", [(), ("--rate", "8")], ids=["adapted", "8 Mbit/s"])
def test_burst_arrives_whole_and_what_was_sent_last_leaves(run: Run, peer: Peer, options: tuple[str, ...]) -> None:
    """At 8 Mbit/s a third of a second's worth still waits in the device when the program ends."""
    there = peer(9000)
    there.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2 * 1024 * 1024)
    program = (
        "import socket,sys; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "for n in range(500): s.sendto(b'%4d' % n + bytes(1196), (sys.argv[1], 9000))"
    )
    done = run(sys.executable, "-c", program, there.peer.address, options=options)
    assert (done.returncode, done.stderr) == (0, "")
    assert [int(there.recv(2000)[:4]) for _ in range(500)] == list(range(500))


@pytest.mark.slow
def test_flooding_sender_waits_and_loses_nothing(start: Start, peer: Peer) -> None:
    """Small datagrams, of which the most fit in the device, and large ones. The reader's buffer holds them all: what a
    reader that a busy machine does not run loses is not the sender's."""
    there = peer(9000)
    there.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024 * 1024)
    program = (
        "import socket,sys; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect((sys.argv[1], 9000))\n"
        "for size, count in ((4, 20000), (1200, 20000), (20000, 500)):\n"
        "    for n in range(count): s.send(n.to_bytes(4) + bytes(size - 4))"
    )
    process = start(sys.executable, "-c", program, there.peer.address)
    for size, count in ((4, 20_000), (1200, 20_000), (20_000, 500)):
        assert [there.recv(65_535) for _ in range(count)] == [n.to_bytes(4) + bytes(size - 4) for n in range(count)]
    assert process.communicate(timeout=LIMIT) == ("", "")


@pytest.mark.slow
def test_sender_loses_nothing_while_we_stand_still(start: Start, peer: Peer) -> None:
    """A machine may be suspended, or busy: what programs send meanwhile must not fill the device."""
    there = peer(9000)
    there.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024 * 1024)
    count = 60_000
    program = (
        "import socket,sys; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect((sys.argv[1], 9000))\n"
        f"for n in range({count}): s.send(n.to_bytes(4))"
    )
    process = start(sys.executable, "-c", program, there.peer.address)
    came = [there.recv(100)]
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(5)
    process.send_signal(signal.SIGCONT)
    came += [there.recv(100) for _ in range(count - 1)]
    assert came == [n.to_bytes(4) for n in range(count)]
    assert process.communicate(timeout=LIMIT) == ("", "")


@pytest.mark.slow
def test_broadcast_and_multicast_reach_and_are_heard(start: Start, peer: Peer) -> None:
    there = peer(9999)
    there.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    group = socket.inet_aton("239.9.8.7") + socket.inet_aton("0.0.0.0")
    there.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    there.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 4)
    program = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
s.bind(("", 9999))
s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton("239.9.8.7") + socket.inet_aton("0.0.0.0"))
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 4)
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
print("ready", flush=True)
for _ in range(2):
    data, source = s.recvfrom(100)
    print(data.decode(), source[0], flush=True)
s.sendto(b"native broadcast", ("255.255.255.255", 9999))
s.sendto(b"native multicast", ("239.9.8.7", 9999))
"""
    process = start(sys.executable, "-c", program)
    ready(process)
    assert process.stdout is not None
    for text, host in (("broadcast", "255.255.255.255"), ("multicast", "239.9.8.7")):
        there.sendto(text.encode(), (host, 9999))
        assert read_line(process.stdout) == f"{text} {there.peer.address}\n"
    heard = set()
    while len(heard) < 2:
        data = there.recv(100)
        if data.startswith(b"native"):
            heard.add(data)
    assert heard == {b"native broadcast", b"native multicast"}


# --- names -----------------------------------------------------------------------------------------------------


def test_peer_names_are_found_and_others_are_refused(run: Run, key: tuple[str, str, str, str]) -> None:
    script = """
getent ahosts "$0"; getent ahosts example.org; echo $?; getent ahosts nobody.peer; echo $?; cat /etc/resolv.conf
"""
    lines = run("sh", "-c", script, key[1] + ".peer").stdout.splitlines()
    assert [line.split()[0] for line in lines if "DGRAM" in line] == [key[2], key[3]]
    assert lines[-4:] == ["2", "2", "nameserver 192.0.2.53", "options timeout:2 attempts:2"]


@pytest.mark.slow
def test_other_names_are_asked_of_the_machines_servers_where_told_so(run: Run) -> None:
    with open("/etc/resolv.conf", encoding="utf-8") as file:
        if "nameserver" not in file.read():
            pytest.skip("this machine has no name servers")
    alone = subprocess.run(
        ["getent", "hosts", "example.org"], capture_output=True, text=True, timeout=LIMIT, check=False
    )
    if alone.returncode:
        pytest.skip("this machine's name servers do not answer")
    assert run("getent", "hosts", "example.org", options=("--dns", "host")).returncode == 0


# --- the program's world ---------------------------------------------------------------------------------------


def test_program_has_its_own_uid_no_capability_and_only_the_overlay(run: Run) -> None:
    told = run("sh", "-c", "id -u; cat /proc/self/status /proc/self/uid_map /proc/net/dev").stdout
    assert told.startswith(f"{os.geteuid()}\n")
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert re.search(rf"^{name}:\t0+$", told, re.M), name
    assert re.search(rf"^ +{os.geteuid()} +{os.geteuid()} +1$", told, re.M)
    assert re.findall(r"^ *(\w+):(?: +\d+){16}$", told, re.M) in (["lo", "peer0"], ["peer0", "lo"])


def test_tcp_is_refused_at_once(run: Run, peer: Peer) -> None:
    program = """
import socket, sys, time
for host in sys.argv[1:]:
    began = time.monotonic()
    try:
        socket.create_connection((host, 80), timeout=10)
    except OSError as error:
        print(type(error).__name__, time.monotonic() - began < 1)
"""
    hosts = (peer().peer.address, "93.184.216.34", "2001:db8::1")
    assert run(sys.executable, "-c", program, *hosts).stdout == "ConnectionRefusedError True\n" * 3


def test_foreign_udp_is_dropped_and_does_not_leak(run: Run) -> None:
    """A real socket on another address of this machine hears nothing, though the program may send there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside:
        outside.bind(("0.0.0.0", 0))
        outside.settimeout(0.0)
        port = str(outside.getsockname()[1])
        program = (
            "import socket,sys; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            "for host in sys.argv[2:]: s.sendto(b'leak', (host, int(sys.argv[1])))"
        )
        assert run(sys.executable, "-c", program, port, *own_addresses(), "8.8.8.8").returncode == 0
        with pytest.raises(BlockingIOError):
            outside.recv(100)


def test_inherited_sockets_of_the_outer_network_are_closed(run_command: list[str]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside, open("/dev/null", "rb") as kept:
        command = [
            *run_command,
            "sh",
            "-c",
            f"test ! -e /proc/self/fd/{outside.fileno()} && ls -d /proc/self/fd/{kept.fileno()}",
        ]
        done = subprocess.run(
            command, env=environment(), pass_fds=(outside.fileno(), kept.fileno()), capture_output=True, text=True,
            timeout=LIMIT, check=False,
        )  # fmt: skip
    assert done.returncode == 0


def test_program_runs_where_more_descriptors_were_inherited_than_select_takes(run_command: list[str]) -> None:
    launcher = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
for fd in range(3, 1100):
    os.dup2(0, fd)
os.execv(sys.argv[1], sys.argv[1:])
"""
    done = subprocess.run(
        [sys.executable, "-c", launcher, *run_command, "sh", "-c", "exit 3"],
        env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (3, "")


# --- life and end ----------------------------------------------------------------------------------------------


def test_stdio_argv_directory_environment_and_status_are_as_without_us(run: Run, tmp_path: Path) -> None:
    script = 'cat; echo "$0" "$@"; pwd; echo "$MINE"; echo err >&2; exit 7'
    words = ["sh", "-c", script, "name", "a b", "*", "--bootstrap"]
    alone = subprocess.run(
        words, env=environment(MINE="x"), input="in\n", capture_output=True, text=True, timeout=LIMIT, check=False
    )
    done = run(*words, input="in\n", MINE="x")
    assert (done.returncode, done.stdout, done.stderr) == (alone.returncode, alone.stdout, alone.stderr)


@pytest.mark.parametrize(
    "number", [signal.SIGSEGV, *(pytest.param(number, marks=SLOW) for number in (signal.SIGINT, signal.SIGKILL))]
)
def test_death_by_a_signal_is_our_own(run: Run, number: signal.Signals) -> None:
    assert run("sh", "-c", f"kill -{number} $$").returncode == -number


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, *(pytest.param(number, marks=SLOW) for number in (signal.SIGINT, signal.SIGUSR1))]
)
def test_signals_reach_the_program(start: Start, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    process = start("sh", "-c", f"trap 'echo caught; exit 5' {name}; echo ready; while :; do sleep 0.05; done")
    ready(process)
    process.send_signal(number)
    out, errors = process.communicate(timeout=LIMIT)
    assert (process.returncode, out, errors) == (5, "caught\n", "")


def test_ctrl_c_ends_the_program_and_us_by_the_same_signal(run_command: list[str]) -> None:
    terminal, ours = os.openpty()
    words = ["setsid", "--ctty", *run_command, "sh", "-c", "echo ready; exec sleep 600"]
    with subprocess.Popen(words, env=environment(), stdin=ours, stdout=ours, stderr=ours) as process:
        os.close(ours)
        told = b""
        while b"ready" not in told:
            told += os.read(terminal, 1000)
        os.write(terminal, b"\x03")
        assert process.wait(LIMIT) == -signal.SIGINT
    os.close(terminal)


def test_every_descendant_is_killed_when_we_are(start: Start, tmp_path: Path) -> None:
    mark = f"{tmp_path.name}-{os.getpid()}"
    sleep = f"exec -a {mark} sleep 600"
    script = f"bash -c '{sleep}' & (setsid bash -c '{sleep}' &); echo ready; {sleep}"
    process = start("bash", "-c", script)
    ready(process)
    until(lambda: len(pids_named(mark)) >= 3, LIMIT)
    process.kill()
    until(lambda: not pids_named(mark))


def test_what_a_program_leaves_running_is_named(run: Run, tmp_path: Path) -> None:
    done = run("sh", "-c", "setsid sleep 600 >/dev/null 2>&1 </dev/null & echo $!")
    pid = int(done.stdout)
    try:
        assert done.returncode == 0
        told = re.fullmatch(r"peer-relay run: still running, and without a network .*: (.*)\n", done.stderr)
        assert told is not None
        assert told[1] in (f"sleep({pid})", f"setsid({pid})", f"sh({pid})")  # it may not have become sleep yet
    finally:
        os.kill(pid, signal.SIGKILL)


RENUMBERED = """
import sys
from peer_relay_socket.config import peer_config
from peer_relay_socket.gateway.native import Child, Device, link
from peer_relay_socket.gateway.namespace import Plan
import time
child = Child(Plan([sys.executable, "-c", sys.argv[2]]))
from peer_relay_socket.gateway.netlink import Netlink
from peer_relay_socket.gateway.tun import Tun
import socket
from peer_relay_socket.gateway.receive_queues import ReceiveQueues
index, segments, address, fds, (routing, diag, udp, *tables) = child.device()
tun = Tun(peer_config(bootstrap=sys.argv[1], wrtc=False))
interface = tun.interface
prompter = socket.socket(fileno=udp)
queues = ReceiveQueues(socket.socket(fileno=diag), tables, index, prompter)
device = Device(Netlink(socket.socket(fileno=routing)), index, prompter, queues, tun)
interface.start(20)
device.serve(link(fds, address), segments, None)
print(interface.spelling.ipv4(interface.peer_id), interface.spelling.ipv6(interface.peer_id), flush=True)
child.go()
for _ in range(3):
    sys.stdin.readline()
    interface.run(interface.host.change_identity)
    print(interface.spelling.ipv4(interface.peer_id), interface.spelling.ipv6(interface.peer_id), flush=True)
sys.stdin.readline()
child.end()
"""
OWN_ADDRESSES = """
import socket, time
said = before = None
while True:
    own = []
    for family, far in ((socket.AF_INET, "100.64.0.1"), (socket.AF_INET6, "fd00::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            try:
                sock.connect((far, 9))
                own.append(sock.getsockname()[0])
            except OSError:
                own.append("")
    if own == before and own != said and all(own):  # seen twice, or it may be half of each
        print("program", *own, flush=True)
        said = own
    before = own
    time.sleep(0.01)
"""


def test_new_identity_gives_the_device_new_addresses(node: str, run_command: list[str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RENUMBERED, node, OWN_ADDRESSES],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            for _ in range(4):
                lines = {read_line(process.stdout), read_line(process.stdout)}
                ours = next(line for line in lines if not line.startswith("program "))
                assert lines == {ours, f"program {ours}"}
                process.stdin.write("\n")
                process.stdin.flush()
        finally:
            process.kill()
