"""`peer-relay status`, `ping` and `trace` as processes: what they print, their JSON, their exit status."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from peer_relay_socket import Peer
from tests.loopback import free_port
from tests.observe.conftest import relay, runtime_folder, start
from tests.observe.programs import ECHO, Program, peer_relay
from tests.patience import until
from tests.processes import environment, killed_at_end, line_with

__all__ = ["relay", "runtime_folder", "start"]

Start = Callable[..., Program]
Called = Callable[..., tuple[int, str, str]]
NOBODY = "100.64.1.1"


def shown(pid: int) -> bool:
    return peer_relay("status", str(pid)).returncode == 0


@pytest.mark.slow
def test_status_shows_every_process_as_text_and_json(runtime_folder: Path, start: Start, relay: Peer) -> None:
    a, b = start(ECHO, relay.url or ""), start(ECHO, relay.url or "")
    until(lambda: shown(a.pid) and shown(b.pid))
    everything = peer_relay("status", "--json")
    assert (everything.returncode, everything.stderr) == (0, "")
    peers = {peer["pid"]: peer for peer in json.loads(everything.stdout)["peers"]}
    assert {a.pid, b.pid} <= set(peers)
    assert [peers[a.pid]["id"], peers[a.pid]["ipv4"]] == a.words
    one = peer_relay("status", str(b.pid), "--json")
    assert [peer["pid"] for peer in json.loads(one.stdout)["peers"]] == [b.pid]
    text = peer_relay("status", str(a.pid)).stdout
    for part in (f"pid {a.pid}", *a.words, f"{relay.url}  linked", relay.id.hex()[:8], "0.0.0.0 port 5000"):
        assert part in text


def test_status_of_no_process_says_so(runtime_folder: Path, called: Called) -> None:
    assert called("status") == (1, "", "peer-relay status: no process of this user holds a peer\n")
    status, out, error = called("status", "--json")
    assert (status, json.loads(out), error) == (1, {"peers": []}, "")
    assert called("status", "4194305") == (1, "", "peer-relay status: process 4194305 holds no peer\n")


@pytest.mark.slow
def test_status_watch_shows_rates_until_it_is_interrupted(runtime_folder: Path, start: Start, relay: Peer) -> None:
    program = start(ECHO, relay.url or "")
    until(lambda: shown(program.pid))
    argv = [sys.executable, "-m", "peer_relay", "status", "--watch", str(program.pid)]
    with killed_at_end(
        subprocess.Popen(argv, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    ) as watching:
        assert watching.stdout is not None
        for _ in range(3):
            line = line_with("B/s", watching.stdout)
        watching.send_signal(signal.SIGINT)
        _, errors = watching.communicate(timeout=20)
        assert (watching.returncode, errors) == (0, "")
    assert re.search("[▁▂▃▄▅▆▇█]{2}$", line.rstrip())


@pytest.mark.slow
def test_ping_prints_a_line_an_answer_and_a_summary(runtime_folder: Path, start: Start, relay: Peer) -> None:
    program = start(ECHO, relay.url or "")
    peer_id, ipv4 = program.words
    told = {"PEER_RELAY_BOOTSTRAP": relay.url or ""}
    text = peer_relay("ping", ipv4, "5000", "-c", "2", **told)
    assert (text.returncode, text.stderr) == (0, "")
    first, *lines = text.stdout.splitlines()
    assert first.startswith(f"ping {ipv4} port 5000 as ")
    assert "a fresh identity" in first
    for seq, line in enumerate(lines[:2], 1):
        assert line.startswith(f"{ipv4} answers: seq {seq}, relayed via {relay.id.hex()[:8]}, ")
    assert lines[2] == f"{ipv4} is {peer_id}, found by {relay.id.hex()[:8]}"
    assert lines[3].startswith("2 sent, 2 answered, 0 % lost, min/avg/max ")
    assert lines[4].startswith("not direct: ")
    as_json = peer_relay("ping", peer_id, "--json", "-c", "2", "--bootstrap", relay.url or "")
    objects = [json.loads(line) for line in as_json.stdout.splitlines()]
    assert [set(each) for each in objects[:2]] == [{"seq", "rtt_s", "path", "via", "lane"}] * 2
    assert objects[2].items() >= {"sent": 2, "received": 2, "state": "answered", "id": peer_id}.items()
    assert objects[2]["min_s"] <= objects[2]["avg_s"] <= objects[2]["max_s"]


@pytest.mark.slow
def test_ping_speaks_through_the_process_that_is_named(runtime_folder: Path, start: Start, relay: Peer) -> None:
    a, b = start(ECHO, relay.url or ""), start(ECHO, relay.url or "")
    until(lambda: shown(a.pid))
    for words in (["ping", b.words[0], "-c", "1"], ["trace", b.words[0]]):
        done = peer_relay(*words, "--from", str(a.pid))
        assert (done.returncode, done.stderr) == (0, "")
        first = done.stdout.splitlines()[0]
        assert first == f"{words[0]} {b.words[0]} as {a.words[0][:8]} ({a.words[1]}, process {a.pid})"
    gone = peer_relay("ping", b.words[0], "--from", "4194305")
    assert (gone.returncode, gone.stderr) == (2, "peer-relay ping: --from 4194305: process 4194305 holds no peer\n")


@pytest.mark.slow
def test_trace_prints_each_hop(runtime_folder: Path, start: Start, relay: Peer) -> None:
    program = start(ECHO, relay.url or "")
    peer_id, ipv4 = program.words
    told = {"PEER_RELAY_BOOTSTRAP": relay.url or ""}
    lines = peer_relay("trace", ipv4, **told).stdout.splitlines()
    assert lines[1].split()[:2] == ["1", relay.id.hex()]
    assert lines[1].endswith(relay.url or "?")
    assert lines[2].split()[:2] == ["2", peer_id]
    assert lines[3].startswith("not direct: ")
    as_json = json.loads(peer_relay("trace", ipv4, "--json", **told).stdout)
    assert [hop["id"] for hop in as_json["hops"]] == [relay.id.hex(), peer_id]
    assert [set(hop) for hop in as_json["hops"]] == [{"id", "url", "rtt_s", "lane"}] * 2


@pytest.mark.slow
@pytest.mark.parametrize("command", ["ping", "trace"])
def test_what_is_not_answered_has_one_reason_within_five_seconds(
    runtime_folder: Path, relay: Peer, command: str
) -> None:
    nowhere = f"ws://127.0.0.1:{free_port()}"
    for url, state, detail in (
        (relay.url or "", "nobody has this address: ", "linked to 1 relay, "),
        (nowhere, "no relay linked: ", f"{nowhere}: Connection refused"),
    ):
        began = time.monotonic()
        done = peer_relay(command, NOBODY, "--bootstrap", url)
        assert time.monotonic() - began < 10  # five, on a machine that does nothing else
        assert (done.returncode, done.stderr) == (1, "")
        last = done.stdout.splitlines()[-1]
        assert last.startswith(state)
        assert detail in last
    end = json.loads(peer_relay(command, NOBODY, "--bootstrap", nowhere, "--json").stdout.splitlines()[-1])
    assert end["state"] == "no relay linked"


def test_a_port_that_is_not_bound_is_named(runtime_folder: Path, start: Start, relay: Peer) -> None:
    program = start(ECHO, relay.url or "")
    done = peer_relay("ping", program.words[0], "5001", "--bootstrap", relay.url or "")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith("port refused: ")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["ping"], "PEER"),
        (["ping", "example.org"], "argument PEER: 'example.org' is no id"),
        (["ping", "10.0.0.1"], "argument PEER: '10.0.0.1' is no id"),
        (["ping", NOBODY, "65536"], "argument PORT: 65536 is no port"),
        (["ping", NOBODY, "x"], "argument PORT"),
        (["ping", NOBODY, "-c", "0"], "argument -c: 0"),
        (["ping", NOBODY, "--bootstrap", "http://x"], "'http://x' is not a ws:// or wss:// URL"),
        (["trace", ""], "argument PEER: '' is no id"),
        (["status", "x"], "argument PID"),
        (["status", "0"], "argument PID: 0 is no process"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_gets_one_line_and_status_2(
    runtime_folder: Path, called: Called, arguments: list[str], complaint: str
) -> None:
    status, out, error = called(*arguments)
    assert (status, out, error.count("\n")) == (2, "", 1)
    assert error.startswith(f"peer-relay {arguments[0]}: ")
    assert complaint in error


def test_a_ping_takes_no_part_in_the_network_beyond_its_question(runtime_folder: Path, relay: Peer) -> None:
    key = runtime_folder / "a.key"
    asked = peer_relay(
        "ping",
        relay.id.hex(),
        "-c",
        "1",
        PEER_RELAY_BOOTSTRAP=relay.url or "",
        PEER_RELAY_PORT="0",
        PEER_RELAY_IDENTITY=str(key),
    )
    assert asked.returncode == 0
    assert not key.exists()


@pytest.mark.slow
def test_status_watch_fits_a_terminal_and_leaves_it_when_interrupted(
    runtime_folder: Path, start: Start, relay: Peer
) -> None:
    program = start(ECHO, relay.url or "")
    until(lambda: shown(program.pid))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 8, 60, 0, 0))
    argv = [sys.executable, "-m", "peer_relay", "status", "--watch"]
    environ = {name: value for name, value in environment().items() if name not in ("COLUMNS", "LINES")}
    with subprocess.Popen(argv, env=environ, stdout=theirs, stderr=subprocess.PIPE) as watching:
        os.close(theirs)
        said = ""
        while said.count("\x1b[2J") < 3:
            said += os.read(ours, 4096).decode("utf-8", "ignore")
        watching.send_signal(signal.SIGINT)
        _, errors = watching.communicate(timeout=20)
        assert (watching.returncode, errors) == (0, b"")
    os.close(ours)
    for frame in said.split("\x1b[H\x1b[2J")[1:-1]:
        lines = frame.replace("\r\n", "\n").removesuffix("\n").split("\n")
        assert len(lines) == 7
        assert max(map(len, lines)) <= 60
        assert re.fullmatch("… [0-9]+ more lines; without --watch all are shown", lines[-1])
