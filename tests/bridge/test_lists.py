"""Allow and deny lists at work: real peers, a node in a process of its own, lists that change while they talk."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from peer_relay_socket.surface.udp_socket import Socket
from tests.patience import LIMIT, until
from tests.processes import environment, read_line


def hears(sender: Socket, receiver: Socket, text: bytes) -> Callable[[], bool]:
    """Return a question: send `text`, does it arrive?"""

    def ask() -> bool:
        sender.sendto(text, (receiver.peer.id.hex(), receiver.getsockname()[1]))
        receiver.settimeout(0.2)
        try:
            while receiver.recvfrom(100)[0] != text:
                pass
        except TimeoutError:
            return False
        return True

    return ask


@contextmanager
def node(*options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    command = [sys.executable, "-m", "peer_relay", "node", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        try:
            yield read_line(process.stdout).split()[3], process
        finally:
            process.kill()


@contextmanager
def host(url: str, **settings: object) -> Iterator[Socket]:
    with Socket(socket.AF_INET, socket.SOCK_DGRAM, bootstrap=url, wrtc=False, **settings) as made:  # type: ignore[arg-type]
        made.bind(("", 5000))
        yield made


@pytest.mark.slow
def test_a_node_parts_from_whom_its_file_denies_and_takes_them_back(tmp_path: Path) -> None:
    denied = tmp_path / "denied"
    denied.write_text("# nobody yet\n")
    with node("--deny-links", str(denied)) as (url, _), host(url) as a, host(url) as b:
        until(hears(a, b, b"before"))
        denied.write_text(f"{a.peer.id.hex()}  # a\n")
        until(lambda: not a.peer.peers)
        assert b.peer.peers
        assert not hears(a, b, b"denied")()
        denied.write_text("")
        until(hears(a, b, b"after"))


@pytest.mark.slow
def test_a_node_links_to_those_whom_its_file_allows_only(tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    allowed.write_text("")
    with node("--allow-links", str(allowed)) as (url, _), host(url) as a, host(url) as b:
        allowed.write_text(f"{a.peer.id.hex()}\n")
        assert a.peer.wait_connected(LIMIT)
        assert not b.peer.peers
        allowed.write_text(f"{a.peer.id.hex()}\n{b.peer.id.hex()}\n")
        until(hears(a, b, b"both"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["file", "function"])
def test_a_host_ends_the_session_with_whom_it_denies(tmp_path: Path, kind: str) -> None:
    path, denied = tmp_path / "denied", set[bytes]()
    path.write_text("")
    with (
        node() as (url, _),
        host(url) as a,
        host(url) as c,
        host(url, deny_datagrams=denied.__contains__ if kind == "function" else path) as b,
    ):
        until(hears(a, b, b"before"))
        path.write_text(a.peer.id.hex())
        denied.add(a.peer.id)
        until(lambda: b.peer.counters().get("session dropped: peer not accepted any more"))
        assert not hears(a, b, b"denied")()
        until(hears(c, b, b"others may"))
        b.sendto(b"denied", (a.peer.id.hex(), 5000))
        until(lambda: b.peer.counters().get("dropped: peer not accepted"))
        path.write_text("")
        denied.clear()
        until(hears(a, b, b"after"))


@pytest.mark.parametrize(
    ("setting", "command"),
    [
        ("ALLOW_LINKS", ["-m", "peer_relay", "node"]),
        ("DENY_DATAGRAMS", ["-m", "peer_relay", "run", "-m", "this"]),
    ],
    ids=["node", "run"],
)
def test_a_bad_line_is_refused_with_one_line_and_status_2(tmp_path: Path, setting: str, command: list[str]) -> None:
    (tmp_path / "bad").write_text("oops\n")
    environ = os.environ | {"PEER_RELAY_" + setting: "bad"}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert f"{setting.lower()}: {tmp_path / 'bad'}, line 1: not a peer id (40 hex digits): oops" in done.stderr
