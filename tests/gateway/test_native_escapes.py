"""A program that wants out of its namespace: no UDP of its own leaves but by the overlay, whatever it makes itself."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gateway import outer
from tests.gateway.conftest import LIMIT, Peer, Run, own_addresses
from tests.patience import until
from tests.processes import killed_at_end, read_line

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's"),
    pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare(1)"),
]

ESCAPES = r"""
import ctypes, errno, fcntl, os, socket, struct, sys

libc = ctypes.CDLL(None, use_errno=True)

def call(name, *words):
    if getattr(libc, name)(*words) < 0:
        raise OSError(ctypes.get_errno(), name)

def netlink(kind, body):
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as routing:
        routing.send(struct.pack("=IHHII", 16 + len(body), kind, 0x605, 1, 0) + body)
        code = struct.unpack_from("=i", routing.recv(65_536), 16)[0]
        if code:
            raise OSError(-code, "netlink")

def join(pid):
    fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    call("setns", fd, 0)

def tun(name):
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", name, 0x1001))

def parent(pid):
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])

supervisor = int(sys.argv[1])
peer0 = socket.if_nametoindex("peer0")
route = struct.pack("=BBBBBBBBI", socket.AF_INET, 24, 0, 0, 254, 4, 253, 1, 0)
route += struct.pack("=HH4s", 8, 1, bytes((198, 51, 100, 0))) + struct.pack("=HHI", 8, 4, peer0)
interface = struct.pack("=BxHiII", 0, 0, 0, 0, 0)
interface += struct.pack("=HH", 12, 18) + struct.pack("=HH4s", 8, 1, b"ifb")
for name, attempt in {
    "a route of its own": lambda: netlink(24, route),
    "its device down": lambda: netlink(19, struct.pack("=BxHiII", 0, 0, peer0, 0, 1)),
    "an interface of its own": lambda: netlink(16, interface),
    "a TUN device": lambda: tun(b"escape0"),
    "the device itself": lambda: tun(b"peer0"),
    "a raw socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP),
    "a packet socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0),
    "the network of its supervisor's parent": lambda: join(parent(supervisor)),
    "the network of init": lambda: join(1),
    "its supervisor's memory": lambda: call("ptrace", 16, supervisor, None, None),
    "the file below resolv.conf": lambda: call("umount2", os.path.realpath("/etc/resolv.conf").encode(), 2),
    "another uid": lambda: os.setresuid(12_345, 12_345, 12_345),
}.items():
    try:
        attempt()
        print(name, "was had")
    except OSError as error:
        assert error.errno in (errno.EPERM, errno.EACCES, errno.EINVAL, errno.EBUSY, errno.ENOENT), (name, error)
print("tried all", flush=True)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    for port in (int(sys.argv[3]), 9000):
        for host in sys.argv[2].split(","):
            try:
                sock.sendto(b"out", (host, port))
            except OSError as error:
                print(errno.errorcode[error.errno])
"""
NESTED = {"by itself": [], "in a user namespace": ["unshare", "-Um"]}


@pytest.mark.parametrize("nested", NESTED.values(), ids=NESTED)
def test_no_escape_is_had_and_udp_leaves_by_the_overlay(run: Run, peer: Peer, nested: list[str]) -> None:
    """A user namespace of its own gives a program every capability, over nothing that was there before."""
    there = peer(9000)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as outside:
        outside.bind(("0.0.0.0", 0))
        places = ",".join([*own_addresses(), there.peer.address])
        port = str(outside.getsockname()[1])
        words = ["sh", "-c", 'supervisor=$PPID; exec "$@" $supervisor ' + f"{places} {port}", "sh"]
        done = run(*words, *nested, sys.executable, "-c", ESCAPES)
        assert (done.returncode, done.stdout.split("\n")[0]) == (0, "tried all"), done.stderr
        assert all("outside the overlay are dropped" in line for line in done.stderr.splitlines()), done.stderr
        assert there.recv(100) == b"out"
        outside.settimeout(0)
        with pytest.raises(BlockingIOError):
            outside.recv(100)


def test_network_namespace_of_a_programs_own_leads_nowhere(run: Run, peer: Peer) -> None:
    program = "import socket,sys; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', (sys.argv[1], 9000))"
    done = run("unshare", "-Un", sys.executable, "-c", program, peer(9000).peer.address)
    assert done.returncode == 1
    assert "Network is unreachable" in done.stderr


def test_program_that_changes_its_user_is_refused(run: Run) -> None:
    done = run("setpriv", "--reuid=12345", "true")
    assert done.returncode != 0
    assert "Invalid argument" in done.stderr or "not permitted" in done.stderr


@outer.needs_root
def test_setuid_program_gains_nothing(tmp_path: Path, node: str) -> None:
    """Root's own program, run by an ordinary user, is run as that user."""
    world = f"{outer.PERMITTED} && mount -t tmpfs none /mnt && cp /bin/cat /mnt/cat && chmod 4755 /mnt/cat"
    done = outer.outcome(str(tmp_path), outer.words(world, "run", "--bootstrap", node, "/mnt/cat", "/proc/self/status"))
    assert done.returncode == 0, done.stderr
    fields = dict(line.split(":\t", 1) for line in done.stdout.splitlines() if ":\t" in line)
    assert fields["Uid"].split() == [str(outer.USER)] * 4
    assert {int(fields[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == {0}


def test_names_are_found_after_the_machine_replaced_its_resolv_conf(tmp_path: Path, run_command: list[str]) -> None:
    """As DHCP clients and network managers do, by a new file of that name: the kernel then forgets what was mounted."""
    etc = tmp_path / "etc"
    world = 'cp -a /etc "$0" && mount --bind "$0" /etc && exec "$@"'
    spaces = "-m" if os.geteuid() == 0 else "-Urm"
    program = "while read line; do head -n 1 /etc/resolv.conf; done"
    with killed_at_end(
        subprocess.Popen(
            ["unshare", spaces, "sh", "-c", world, str(etc), *run_command, "sh", "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=outer.told(str(tmp_path)),
        )
    ) as process:
        assert process.stdin is not None

        def server() -> str:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
            return read_line(process.stdout)

        ours = "nameserver 192.0.2.53\n"
        assert server() == ours
        config = etc / "resolv.conf"
        for _ in range(2):
            new = etc / "resolv.conf.new"
            new.write_text("nameserver 198.51.100.1\n")
            new.replace(config)
            until(lambda: server() == ours, LIMIT)
        config.unlink()
        config.write_text("nameserver 198.51.100.1\n")
        until(lambda: server() == ours, LIMIT)
        process.stdin.close()
        assert process.wait(LIMIT) == 0
