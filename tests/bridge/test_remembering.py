"""A peer whose bootstrap nodes are all dead comes back by the relays that worked before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.patience import LIMIT, until
from tests.processes import read_line

pytestmark = pytest.mark.slow
JOIN = """
import sys, time
from peer_relay_socket import Peer
began = time.monotonic()
peer = Peer(bootstrap=sys.argv[1].split(","), wrtc=False)
assert peer.wait_connected(20), "nothing answers"
print(f"{time.monotonic() - began:.2f}", flush=True)
end = time.monotonic() + 20
while len(peer.peers) < int(sys.argv[2]) and time.monotonic() < end:
    time.sleep(0.02)
assert len(peer.peers) >= int(sys.argv[2]), peer.peers
if len(sys.argv) > 3:
    sys.stdin.read()
peer.destroy()
"""


class Node:
    """A relay in a process of its own."""

    def __init__(self, *options: str) -> None:
        argv = [sys.executable, "-m", "peer_relay", "node", *options]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        _, self.id, _, self.url = read_line(self.process.stdout).split()

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Node]]:
    """A bootstrap node and two relays that joined through it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    nodes = [Node()]
    with ExitStack() as stack:
        stack.callback(lambda: [node.kill() for node in nodes])
        nodes += [Node("--bootstrap", nodes[0].url) for _ in range(2)]
        yield nodes


def join(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", JOIN, *arguments]
    return subprocess.run(
        argv, capture_output=True, text=True, timeout=LIMIT, check=False, env={**os.environ, **environ}
    )


def test_a_restarted_peer_is_back_within_five_seconds_though_every_bootstrap_node_is_dead(
    network: list[Node], tmp_path: Path
) -> None:
    first = join(network[0].url, "3")
    assert (first.returncode, first.stderr) == (0, "")
    (file,) = (tmp_path / "state" / "peer-relay").glob("*.relays")
    relays = json.loads(file.read_text())["relays"]
    assert {entry["id"] for entry in relays} == {node.id for node in network[1:]}
    network[0].kill()
    again = join(network[0].url, "2")
    assert again.returncode == 0, again.stderr
    print("seconds until the first link:", again.stdout)
    assert float(again.stdout) < 5.0


def test_a_poisoned_entry_costs_one_dial_and_is_forgotten(network: list[Node], tmp_path: Path) -> None:
    assert join(network[0].url, "3").returncode == 0
    (file,) = (tmp_path / "state" / "peer-relay").glob("*.relays")
    file.write_text(file.read_text().replace(network[1].id, "ab" * 20))
    network[0].kill()
    again = join(network[0].url, "2")  # the second by what the first relay says of it
    assert again.returncode == 0, again.stderr
    assert float(again.stdout) < 5.0
    assert {entry["id"] for entry in json.loads(file.read_text())["relays"]} == {node.id for node in network[1:]}


@pytest.mark.parametrize(
    "environ",
    [{"PEER_RELAY_REMEMBER": "0"}, {"XDG_STATE_HOME": "", "HOME": "/proc"}, {"XDG_STATE_HOME": "", "HOME": ""}],
    ids=["off", "a home where nothing can be written", "no home"],
)
def test_nothing_is_kept_and_nothing_is_said_where_there_is_to_be_no_file(
    network: list[Node], tmp_path: Path, environ: dict[str, str]
) -> None:
    done = join(network[0].url, "3", **environ)
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "state").exists()


def test_a_killed_peer_remembers_what_it_wrote_while_it_ran(network: list[Node], tmp_path: Path) -> None:
    argv = [sys.executable, "-c", JOIN, network[0].url, "3", "stay"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as peer:
        until(lambda: list((tmp_path / "state").glob("peer-relay/*.relays")), LIMIT)
        peer.kill()
    network[0].kill()
    again = join(network[0].url, "2")
    assert again.returncode == 0, again.stderr
    assert float(again.stdout) < 5.0
