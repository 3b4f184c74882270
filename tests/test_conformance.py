"""What the conformance product prints of sockets that are as the kernel's, and of some that are not."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from peer_relay_socket.conformance import __main__ as conformance
from peer_relay_socket.conformance.cases import CASES
from peer_relay_socket.conformance.cases6 import SIX
from peer_relay_socket.surface.udp_socket import Socket
from tests.snippets import ROOT

FOUR = dict.fromkeys(("a", "b", "c", "gone"), int(socket.AF_INET))


class Chatty:
    """Says of a datagram that one byte less was sent, and waits where the kernel does not."""

    def __init__(self, *args: Any) -> None:
        self._sock = socket.socket(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def sendto(self, *args: Any) -> int:
        return self._sock.sendto(*args) - 1

    def shutdown(self, how: int) -> None:
        self._sock.setblocking(True)


def test_a_difference_is_told_with_the_call_and_both_outcomes() -> None:
    (told,) = conformance.differences(Chatty, CASES["boundaries"], FOUR)
    assert told == "a.sendto(b'\\x00\\x00\\x00', @b)\n    kernel returns 3\n    here   returns 2"


def test_a_call_that_does_not_return_is_a_difference() -> None:
    (told,) = conformance._within(0.2, Chatty, CASES["shutdown reading"], FOUR)
    assert told.startswith("a call that returns on the kernel's socket")


@pytest.mark.parametrize("kind", [socket.socket, Socket])
def test_sockets_that_do_the_same_differ_in_nothing(kind: type) -> None:
    assert conformance.differences(kind, CASES["refused on recvmsg"], FOUR) == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "the following arguments are required: MODULE:FACTORY"),
        (["socket"], "'socket' is no MODULE:FACTORY"),
        ([":socket"], "':socket' is no MODULE:FACTORY"),
        (["socket:"], "'socket:' is no MODULE:FACTORY"),
        (["no.such:socket"], "no.such cannot be imported: ModuleNotFoundError: No module named 'no'"),
        (["broken:socket"], "broken cannot be imported: ZeroDivisionError: division by zero"),
        (["socket:no_such_thing"], "module 'socket' has no attribute 'no_such_thing'"),
        (["os:getpid"], "os:getpid makes no sockets: TypeError: "),
        (["socket:socket", "more"], "unrecognized arguments: more"),
        (["socket:socket", "--case", "lunch"], "no case 'lunch'; there are names of a new socket, "),
    ],
)
def test_bad_input_is_one_line(
    words: list[str],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SystemExit) as ended:
        conformance.main(words)
    told = capsys.readouterr()
    assert (ended.value.code, told.out) == (2, "")
    assert told.err.startswith(f"python -m peer_relay_socket.conformance: {complaint}")
    assert told.err.count("\n") == 1


def test_a_case_is_shown_call_by_call(capsys: pytest.CaptureFixture[str]) -> None:
    assert conformance.main(["socket:socket", "--case", "boundaries"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "b.bind(('127.0.0.1', 0)) returns None",
        "a.bind(('127.0.0.1', 0)) returns None",
        "a.sendto(b'\\x00\\x00\\x00', @b) returns 3",
    ]
    assert "b.recv(9) raises BlockingIOError: [Errno 11] Resource temporarily unavailable" in lines
    assert lines[-1] == "socket:socket: 1 of 1 cases as the kernel, 0 otherwise"


def test_what_fails_between_calls_is_told_as_what_it_is() -> None:
    def only_ipv4(family: int, kind: int) -> socket.socket:
        if family != socket.AF_INET:
            raise OSError("no such family")
        return socket.socket(family, kind)

    (told,) = conformance._within(5.0, only_ipv4, SIX["names"], {"a": int(socket.AF_INET6)})
    assert told == "between calls: OSError: no such family"


ROWS = re.findall(r"^\| `(\w[\w.]*:\w+)`[^|]* \| (\d+) \|", (ROOT / "tests" / "README.md").read_text(), re.M)


def test_the_guides_table_has_four_rows_and_every_case() -> None:
    assert [name.partition(":")[0] for name, _ in ROWS] == [
        "socket",
        "peer_relay",
        "gevent.socket",
        "eventlet.green.socket",
    ]
    assert {ROWS[0][1], ROWS[1][1]} == {str(len(conformance.all_cases()))}


@pytest.mark.slow
@pytest.mark.parametrize(("factory", "alike"), ROWS)
def test_the_guides_table_is_true(factory: str, alike: str) -> None:
    library = factory.partition(".")[0]
    if "." in factory:
        pytest.importorskip(library, reason=f"needs {library}")
    command = [sys.executable, "-W", "ignore", "-m", "peer_relay_socket.conformance", factory]
    environ = os.environ | {"EVENTLET_NO_GREENDNS": "yes"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
    count = len(conformance.all_cases())
    found = done.stdout.splitlines()[-1].removeprefix(f"{factory}: ")
    some = int(found.split()[0])
    assert found == f"{some} of {count} cases as the kernel, {count - some} otherwise"
    assert abs(some - int(alike)) <= 4 * ("." in factory)  # a busy machine makes waits of these libraries late
    assert done.returncode == (some < count)
