"""`peer-relay run PROGRAM` as an ordinary user, without any right."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.gateway import outer
from tests.gateway.conftest import LIMIT, Peer
from tests.patience import until
from tests.processes import killed_at_end, read_line

pytestmark = [pytest.mark.slow, outer.needs_root]


@pytest.fixture
def world(tmp_path: Path, udp_tool: str) -> str:
    """Shell commands that give an ordinary user a device, and a folder with the program `udp_tool`."""
    return f'{outer.PERMITTED} && mount -t tmpfs none /mnt && cp "{udp_tool}" /mnt/udp_tool && chmod 755 /mnt/udp_tool'


def start(world: str, folder: Path, node: str, *program: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        outer.words(world, "run", "--bootstrap", node, *program),
        env=outer.told(str(folder)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_program_keeps_its_uid_and_has_no_capability(world: str, tmp_path: Path, node: str) -> None:
    script = "id -u; id -g; cat /proc/self/status; exit 3"
    done = outer.outcome(str(tmp_path), outer.words(world, "run", "--bootstrap", node, "sh", "-c", script))
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.startswith(f"{outer.USER}\n{outer.USER}\n")
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert re.search(rf"^{name}:\t0+$", done.stdout, re.M), name


def test_program_asks_a_peer_in_every_size(world: str, tmp_path: Path, node: str, peer: Peer) -> None:
    there = peer(9000)
    words = outer.words(
        world, "run", "--bootstrap", node, "/mnt/udp_tool", "ask", there.peer.address, "9000", "1", "0", "1200", "65507"
    )
    with killed_at_end(
        subprocess.Popen(words, env=outer.told(str(tmp_path)), stdout=subprocess.PIPE, text=True)
    ) as process:
        for _ in range(3):
            data, source = there.recvfrom(65_535)
            there.sendto(data, source)
        assert process.communicate(timeout=LIMIT)[0] == "3 of 3\n"


def test_server_has_a_privileged_port_and_dies_with_us(world: str, tmp_path: Path, node: str, peer: Peer) -> None:
    there = peer()
    with start(world, tmp_path, node, "sh", "-c", "hostname -I; exec /mnt/udp_tool echo 53") as process:
        address = next(each for each in read_line(process.stdout).split() if each.startswith("100."))
        assert read_line(process.stdout) == "ready\n"
        there.sendto(b"question", (address, 53))
        assert there.recvfrom(100) == (b"question", (address, 53))
        below = children(process.pid)
        assert len(below) >= 2
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=LIMIT)
        until(lambda: not any(map(runs, below)))


def children(pid: int) -> list[int]:
    """Every process below `pid`."""
    found = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return found + [below for each in found for below in children(each)]


def runs(pid: int) -> bool:
    """Whether a process is there, and not only waits to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_signal_reaches_the_program(world: str, tmp_path: Path, node: str) -> None:
    script = "trap 'echo caught; exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    with start(world, tmp_path, node, "sh", "-c", script) as process:
        assert read_line(process.stdout) == "ready\n"
        process.terminate()
        assert process.communicate(timeout=LIMIT) == ("caught\n", "")
        assert process.returncode == 5
