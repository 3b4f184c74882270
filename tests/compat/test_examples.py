"""compat/examples: each does what its first lines say, in processes that share a relay."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.loopback import free_port
from tests.patience import LIMIT, until
from tests.processes import environment, line_with

FOLDER = Path(__file__).parents[2] / "compat" / "examples"
pytestmark = pytest.mark.slow

Start: TypeAlias = "Callable[..., Program]"


class Program:
    """A running example, of which the newest lines are read."""

    def __init__(self, command: list[str], environ: dict[str, str]) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environ, text=True, bufsize=1)

    def line(self, holds: str = "", limit: float = LIMIT) -> str:
        """Return the first line that has `holds` in it; "" where none comes in time."""
        try:
            return line_with(holds, self._process.stdout, limit)
        except (TimeoutError, EOFError):
            return ""

    def say(self, line: str) -> None:
        """Give it a line on stdin."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")

    def end(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts examples in a network of their own."""
    environ = environment(PYTHONUNBUFFERED="1")
    with ExitStack() as programs:

        def run(*words: str) -> Program:
            program = Program([sys.executable, *words], environ)
            programs.callback(program.end)
            return program

        node = run("-m", "peer_relay", "node", "--host", "127.0.0.1")
        environ["PEER_RELAY_BOOTSTRAP"] = node.line().split()[3]
        yield lambda name, *words: run(str(FOLDER / name), *words)


def again(say: Callable[[], object], hear: Callable[[], str]) -> str:
    """Say something until it is heard: a datagram may be lost while links are made."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        say()
        if heard := hear():
            return heard
    raise AssertionError("never heard")


def test_examples_are_short() -> None:
    assert all(len(path.read_text().splitlines()) <= 60 for path in FOLDER.iterdir() if path.is_file())


def test_chat_is_heard_by_others(start: Start) -> None:
    ann, bob = start("chat.py", "ann"), start("chat.py", "bob")
    address = ann.line("reach me at").split()[-1]
    bob.line("reach me at")
    assert again(lambda: ann.say("hello"), lambda: bob.line("ann", 1.0)) == f"[{address}] ann: hello\n"


def test_players_see_each_other(start: Start) -> None:
    address = start("game.py", "serve").line("game at").split()[-1]
    ann, bob = start("game.py", "play", address, "ann"), start("game.py", "play", address, "bob")
    again(lambda: ann.say("+"), lambda: ann.line("ann", 1.0))
    world = json.loads(again(lambda: bob.say("-"), lambda: bob.line("ann", 1.0)))
    assert world["ann"] > 0 > world.get("bob", -1)


def test_readings_arrive(start: Start) -> None:
    collector = start("sensor.py", "collect")
    address = collector.line("report to").split()[-1]
    start("sensor.py", "report", address, "attic")
    assert re.match(r"attic \(100\.[\d.]+\) reading \d+: load [\d.]+, \d+ lost before\n", collector.line("attic"))


def test_five_nodes_of_a_dht_keep_a_value(start: Start) -> None:
    pytest.importorskip("kademlia", reason="needs kademlia")
    address = start("dht.py").line("node at").split()[-1]
    for node in [start("dht.py", address) for _ in range(4)]:
        assert node.line("node at")
    assert start("dht.py", address, "colour", "green").line("stored") == "stored True\n"
    assert start("dht.py", address, "colour").line() == "green\n"


def test_reports_are_read_over_http(start: Start) -> None:
    pytest.importorskip("fastapi", reason="needs fastapi")
    pytest.importorskip("uvicorn", reason="needs uvicorn")
    port = free_port()
    address = start("web.py", str(port)).line("report to").split()[-1]

    def read() -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readings", timeout=LIMIT) as answer:
                return str(json.load(answer).get("kitchen", ""))
        except urllib.error.URLError:  # uvicorn listens when the application is ready, which is when it prints
            return ""

    start("web.py", address, "kitchen").say("21.5")
    until(lambda: read().startswith("21.5 from 100."))
