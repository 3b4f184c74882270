"""What the conformance product prints of sockets that are as the kernel's, and of some that are not."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from peer_relay_socket.conformance.__main__ import main
from peer_relay_socket.conformance.comparison import all_cases, differences, outcomes
from peer_relay_socket.surface.udp_socket import Socket
from tests.odd_sockets import Chatty
from tests.snippets import ROOT

CASES = all_cases()


def test_a_difference_is_told_with_the_call_and_both_outcomes() -> None:
    (difference,) = differences(Chatty, CASES["boundaries"])
    assert difference == "a.sendto(b'\\x00\\x00\\x00', @b)\n    kernel returns 3\n    here   returns 2"


@pytest.mark.slow
def test_a_call_that_does_not_return_is_a_difference_and_the_next_case_runs() -> None:
    waits, then = "shutdown reading", "boundaries"
    (late, (difference,)), following = outcomes("tests.odd_sockets:Chatty", [waits, then], patience=2.0)
    assert (late, difference) == (waits, "a call that returns on the kernel's socket takes more than 2 s")
    assert following == (then, differences(Chatty, CASES[then]))


def test_the_end_of_the_process_is_a_difference() -> None:
    found = dict(outcomes("tests.odd_sockets:Fatal", ["boundaries", "names of a new socket"]))
    assert found == {"boundaries": ["the process ended with 3"], "names of a new socket": []}


@pytest.mark.parametrize("kind", [socket.socket, Socket])
def test_sockets_that_do_the_same_differ_in_nothing(kind: type) -> None:
    assert differences(kind, CASES["refused on recvmsg"]) == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "the following arguments are required: MODULE:FACTORY"),
        (["socket"], "'socket' is no MODULE:FACTORY"),
        ([":socket"], "':socket' is no MODULE:FACTORY"),
        (["socket:"], "'socket:' is no MODULE:FACTORY"),
        (["no.such:socket"], "no.such cannot be imported: ModuleNotFoundError: No module named 'no'"),
        (["broken:socket"], "broken cannot be imported: ZeroDivisionError: division by zero"),
        (["fatal:socket"], "fatal:socket: the process ended with 3"),
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
    (tmp_path / "fatal.py").write_text("import os\nos._exit(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(words)
    printed = capsys.readouterr()
    assert (ended.value.code, printed.out) == (2, "")
    assert printed.err.startswith(f"python -m peer_relay_socket.conformance: {complaint}")
    assert printed.err.count("\n") == 1


def test_a_case_is_shown_call_by_call(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["socket:socket", "--case", "boundaries"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[:3] == [
        "b.bind(('127.0.0.1', 0)) returns None",
        "a.bind(('127.0.0.1', 0)) returns None",
        "a.sendto(b'\\x00\\x00\\x00', @b) returns 3",
    ]
    assert "b.recv(9) raises BlockingIOError: [Errno 11] Resource temporarily unavailable" in lines
    assert lines[-1] == "socket:socket: 1 of 1 cases as the kernel, 0 otherwise"


def test_what_fails_between_calls_is_told_as_what_it_is() -> None:
    name = "IPv6: names"
    assert list(outcomes("tests.odd_sockets:OnlyIPv4", [name])) == [(name, ["between calls: OSError: no such family"])]


ROWS = re.findall(r"^\| `(\w[\w.]*:\w+)`[^|]* \| (\d+) \|", (ROOT / "tests" / "README.md").read_text(), re.M)


def test_the_guides_table_has_four_rows_and_every_case() -> None:
    assert [name.partition(":")[0] for name, _ in ROWS] == [
        "socket",
        "peer_relay",
        "gevent.socket",
        "eventlet.green.socket",
    ]
    assert {ROWS[0][1], ROWS[1][1]} == {str(len(CASES))}


@pytest.mark.slow
@pytest.mark.parametrize(("factory", "alike"), ROWS)
def test_the_guides_table_is_true(factory: str, alike: str) -> None:
    library = factory.partition(".")[0]
    if "." in factory:
        pytest.importorskip(library, reason=f"needs {library}")
    command = [sys.executable, "-W", "ignore", "-m", "peer_relay_socket.conformance", factory]
    environ = os.environ | {"EVENTLET_NO_GREENDNS": "yes"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
    count = len(CASES)
    line = f"{factory}: {alike} of {count} cases as the kernel, {count - int(alike)} otherwise"
    assert done.stdout.splitlines()[-1:] == [line], done.stdout + done.stderr
    assert done.returncode == (int(alike) < count)
