"""Other people's programs, unmodified, each process a host of its own.

Lives here: where a program's datagrams travel (`KernelNetwork`, the oracle, or `RelayNetwork`), how it is started,
watched and ended. May not live here: anything about one program.

Law: no wait is without a bound, and whatever fails shows what every program printed.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.processes import environment

SCRIPTS = Path(__file__).parent / "scripts"
READY = "^READY"
READY_SECONDS = 30.0
EXIT_SECONDS = 90.0
STOP_SECONDS = 5.0
SHOWN_LINES = 40


class Program:
    """A started process whose output (stdout and stderr together) is collected line by line."""

    def __init__(self, name: str, argv: list[str], environment: dict[str, str], directory: Path) -> None:
        self.name = name
        self.lines: list[str] = []
        self._ended = False
        self._changed = threading.Condition()
        self._process = subprocess.Popen(
            argv,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name=f"output of {name}", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                with self._changed:
                    self.lines.append(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_for(self, pattern: str, seconds: float) -> str | None:
        """Return the first line that `pattern` finds, or None once the output ended or `seconds` passed without one."""
        found: str | None = None

        def look() -> bool:
            nonlocal found
            found = next((line for line in self.lines if re.search(pattern, line)), None)
            return found is not None or self._ended

        with self._changed:
            self._changed.wait_for(look, seconds)
        return found

    def wait(self, seconds: float) -> int | None:
        """Return the exit status, or None if the process still runs after `seconds`."""
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        self._reader.join(STOP_SECONDS)
        return status

    def stop(self) -> bool:
        """End the process and whatever it started; return whether it went on SIGTERM."""
        for signal_number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, signal_number)
            except ProcessLookupError:
                return True
            if self.wait(STOP_SECONDS) is not None:
                return signal_number == signal.SIGTERM
        return False

    def shown(self) -> str:
        """Return the end of the output for a failure message."""
        status = self._process.poll()
        state = "running" if status is None else f"exit status {status}"
        return "\n".join([f"--- {self.name} ({state})", *self.lines[-SHOWN_LINES:]])


class Network(ABC):
    """Programs that can reach each other: starts them, knows how their addresses are written, ends them all.

    form: "ip", "name" or "ip6": how one program is told where another is.
    """

    name = ""

    def __init__(self, form: str, directory: Path) -> None:
        self.form = form
        self.directory = directory
        self.programs: list[Program] = []
        self.real_udp = ""
        """What programs of a relay network reach by real UDP."""
        self.seconds: float | None = None
        self._began: float | None = None

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *_: object) -> None:
        for program in reversed(self.programs):
            program.stop()

    @property
    def anywhere(self) -> str:
        """The wildcard address a server binds."""
        return "::" if self.form == "ip6" else "0.0.0.0"

    @abstractmethod
    def address(self, host: str) -> str:
        """Return how another program writes `host`."""

    @abstractmethod
    def port(self, wanted: int) -> int:
        """Return the port for a service whose own is `wanted`."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return what precedes a Python program's own arguments."""

    def environment(self, host: str) -> dict[str, str]:
        """Return the environment of the program on `host`."""
        return environment(PYTHONUNBUFFERED="1")

    def start(self, host: str, *arguments: object, ready: str | None = None) -> Program:
        """Start `SCRIPT ARG...` or `-m MODULE ARG...` on `host`, and wait for its `ready` line if it has one."""
        argv = [*self.command(), *map(str, arguments)]
        environment = self.environment(host)
        if self._began is None:
            self._began = time.monotonic()
        program = Program(host, argv, environment, self.directory)
        self.programs.append(program)
        if ready is not None and program.wait_for(ready, READY_SECONDS) is None:
            self.fail(f"{host} printed no line like {ready!r} within {READY_SECONDS:.0f} s")
        return program

    def finish(self, program: Program, expected: str, seconds: float = EXIT_SECONDS) -> str:
        """Wait until `program` exits with status 0, having printed a line like `expected`; return that line."""
        status = program.wait(seconds)
        if self._began is not None:
            self.seconds = time.monotonic() - self._began
        if status is None:
            self.fail(f"{program.name} did not exit within {seconds:.0f} s")
        line = program.wait_for(expected, 0)
        if status != 0 or line is None:
            self.fail(f"{program.name}: exit status {status}, line like {expected!r}: {line!r}")
        assert line is not None
        return line

    def fail(self, why: str) -> None:
        """Raise AssertionError with `why` and what every program printed."""
        raise AssertionError("\n".join([f"{why} [{self.name}, {self.form}]", *(p.shown() for p in self.programs)]))


class KernelNetwork(Network):
    """The oracle: the kernel's UDP on loopback. A driver that fails here is at fault itself."""

    name = "kernel"

    def address(self, host: str) -> str:
        return {"ip": "127.0.0.1", "name": "localhost", "ip6": "::1"}[self.form]

    def port(self, wanted: int) -> int:
        """Return a port that is free now: on one loopback a well-known one may be taken, or not for us."""
        family = socket.AF_INET6 if self.form == "ip6" else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((self.anywhere, 0))
            return int(probe.getsockname()[1])

    def command(self) -> list[str]:
        return [sys.executable]


class RelayNetwork(Network):
    """Ours: every program runs under `peer-relay run`, with an identity of its own, and knows nothing but one relay."""

    name = "relay"

    def __init__(self, form: str, directory: Path, hosts: Callable[[str], HostKey]) -> None:
        super().__init__(form, directory)
        self._hosts = hosts
        self._node: Program | None = None
        self._url = ""

    def __enter__(self) -> Network:
        argv = [peer_relay_command(), "node", "--host", "127.0.0.1", "--port", "0"]
        self._node = Program("relay node", argv, super().environment(""), self.directory)
        self.programs.append(self._node)
        line = self._node.wait_for(r"^node [0-9a-f]{40} \S+ ws://\S+$", READY_SECONDS)
        if line is None:
            self._node.stop()
            self.fail("peer-relay node did not become ready")
        assert line is not None
        self._url = line.split()[-1]
        return self

    def __exit__(self, *exception: object) -> None:
        super().__exit__()
        if self._node is not None and self._node.wait(0) != 0 and exception[0] is None:
            self.fail("peer-relay node did not end with status 0 on SIGTERM")

    def address(self, host: str) -> str:
        key = self._hosts(host)
        return {"ip": key.ipv4, "name": key.name, "ip6": key.ipv6}[self.form]

    def port(self, wanted: int) -> int:
        """Return `wanted` itself: every host has all its ports, and none is privileged."""
        return wanted

    def command(self) -> list[str]:
        return [sys.executable, "-m", "peer_relay", "run"]

    def environment(self, host: str) -> dict[str, str]:
        own = {"PEER_RELAY_BOOTSTRAP": self._url, "PEER_RELAY_IDENTITY": str(self._hosts(host).file)}
        if self.real_udp:
            own["PEER_RELAY_REAL_UDP"] = self.real_udp
        return super().environment(host) | own


class HostKey:
    """A key file, and the addresses that follow from it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        argv = [peer_relay_command(), "id", str(file), "--json"]
        shown = subprocess.run(argv, capture_output=True, text=True, timeout=READY_SECONDS, check=False)
        assert shown.returncode == 0, f"peer-relay id: {shown.stderr}"
        words: dict[str, str] = json.loads(shown.stdout)
        self.ipv4, self.ipv6, self.name = words["ipv4"], words["ipv6"], words["id"] + ".peer"


def peer_relay_command() -> str:
    """Return the path of the installed `peer-relay` command."""
    return str(Path(sysconfig.get_path("scripts")) / "peer-relay")


def table(rows: Iterable[tuple[str, str, str]]) -> list[str]:
    """Return the lines of a table of (program, column, seconds): a line per program."""
    cells: dict[str, dict[str, str]] = {}
    columns: list[str] = []
    for program, column, seconds in rows:
        cells.setdefault(program, {})[column] = seconds
        if column not in columns:
            columns.append(column)
    width = max(len(program) for program in cells)
    lines = [" ".join([" " * width, *(f"{column:>12}" for column in columns)])]
    for program, row in cells.items():
        lines.append(" ".join([program.ljust(width), *(f"{row.get(column, '-'):>12}" for column in columns)]))
    return lines
