"""The two ends of a benchmark, each a process of its own with one blocking socket, and the paths between them.

Lives here: what both ends do, and how a parent starts and commands them. May not live here: what is reported.

Law: every path runs the same code on the same calls (`sendto`, `recvfrom`); only the socket and the address differ.

The parent writes one JSON object per line to the asking end and reads one back. The ends agree among themselves, in
band: datagrams whose first byte is 0 are control, others carry the number of the run that they belong to.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import socket
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KERNEL, DIRECT, RELAY = "kernel UDP", "direct link", "one relay"
PATHS = (KERNEL, DIRECT, RELAY)

PORT = 9000
LARGEST = 65507
CONTROL_SECONDS = 20.0
RETRY_SECONDS = 0.2
READY_SECONDS = 30.0
BURST = 32
"""Datagrams between two looks at the clock."""

clock = time.perf_counter


# The ends: what runs in the two processes.


def open_socket(path: str, options: dict[str, Any]) -> socket.socket:
    """Return the socket of one end: the kernel's, or ours with a peer of its own."""
    if path == KERNEL:
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    from peer_relay_socket import Socket

    if options.pop("unsealed", False):
        unseal()
    return Socket(socket.AF_INET, socket.SOCK_DGRAM, wrtc=False, **options)


def unseal() -> None:
    """Let sessions of this process neither encrypt, authenticate nor look for replays: what is left is the rest. The
    package has no switch for that; here the two keys of a session are replaced by the copies that cannot be saved."""
    from peer_relay_socket.engine import handshakes, seal

    class Copying(seal.SealingKey):
        def seal(self, plaintext: bytes, associated: bytes | None = None) -> bytes:
            counter = self.counter.to_bytes(8)
            self.counter += 1
            return counter + plaintext + bytes(16)

    class CopyingBack(seal.OpeningKey):
        def open(self, sealed: bytes, associated: bytes | None = None) -> bytes:
            return bytes(sealed[8:-16])

    handshakes.SealingKey, handshakes.OpeningKey = Copying, CopyingBack  # type: ignore[misc,attr-defined]


def answer(path: str, options: dict[str, Any], host: str = "127.0.0.1") -> None:
    """Receive for ever: count what belongs to the run, echo what asks for it, answer control."""
    with open_socket(path, options) as end:
        end.bind((host, 0) if path == KERNEL else ("", PORT))
        where = end.getsockname() if path == KERNEL else (end.peer.id.hex(), PORT)
        print(json.dumps(where), flush=True)
        recvfrom, sendto = end.recvfrom, end.sendto
        run, echo, received, first, last = -1, False, 0, 0.0, 0.0
        while True:
            data, source = recvfrom(LARGEST)
            if data[0] == run:
                last = clock()
                if echo:
                    sendto(data, source)
                elif not received:
                    first = last
                received += 1
            elif data[0] == 0:
                asked = json.loads(data[1:])
                if asked["run"] != run:
                    run, echo, received, first, last = asked["run"], asked["echo"], 0, 0.0, 0.0
                sendto(b"\0" + json.dumps([run, received, last - first, asked["question"]]).encode(), source)


def ask(path: str, options: dict[str, Any], where: tuple[str, int]) -> None:
    """Do what the parent says, line by line: "flood" or "ping"."""
    with open_socket(path, options) as end:
        print(json.dumps("ready"), flush=True)
        for line in sys.stdin:
            command = json.loads(line)
            print(json.dumps({"flood": flood, "ping": ping}[command.pop("do")](end, where, **command)), flush=True)


def control(end: socket.socket, where: tuple[str, int], run: int, echo: bool) -> tuple[int, float]:
    """Tell the answering end which run it is until it has answered; return what it received and in how many seconds."""
    end.settimeout(RETRY_SECONDS)
    deadline = clock() + CONTROL_SECONDS
    question = clock()  # an answer to an earlier one may still be on its way
    while clock() < deadline:
        end.sendto(b"\0" + json.dumps({"run": run, "echo": echo, "question": question}).encode(), where)
        with contextlib.suppress(TimeoutError):
            while True:
                data, _ = end.recvfrom(LARGEST)
                if data[0] == 0 and (reply := json.loads(data[1:]))[3] == question:
                    end.settimeout(None)
                    return reply[1], reply[2]
    raise TimeoutError(f"no answer from {where} within {CONTROL_SECONDS:.0f} s")


def flood(end: socket.socket, where: tuple[str, int], run: int, size: int, seconds: float) -> dict[str, float]:
    """Send as fast as the socket takes it; what was received is asked for once all has had time to arrive."""
    control(end, where, run, False)
    payload = bytes([run]) + os.urandom(size - 1)
    sendto, sent, began = end.sendto, 0, clock()
    while clock() - began < seconds:
        for _ in range(BURST):
            sendto(payload, where)
        sent += BURST
    sending = clock() - began
    received, receiving = control(end, where, run, False)
    while True:  # a control datagram may overtake what waits: settled when a second look finds no more
        time.sleep(RETRY_SECONDS)
        again, receiving = control(end, where, run, False)
        if again == received:
            break
        received = again
    return {"sent": sent, "sending": sending, "received": received, "receiving": receiving}


def ping(end: socket.socket, where: tuple[str, int], run: int, size: int, count: int) -> dict[str, Any]:
    """Ask `count` times, one at a time; return the seconds that each answer took and how many never came."""
    control(end, where, run, True)
    end.settimeout(1.0)
    payload = bytearray(bytes([run]) + os.urandom(size - 1))
    took, lost = [], 0
    for number in range(count):
        payload[1:5] = number.to_bytes(4, "big")
        began = clock()
        end.sendto(payload, where)
        try:
            while end.recvfrom(LARGEST)[0] != payload:
                pass
        except TimeoutError:
            lost += 1
            continue
        took.append(clock() - began)
    return {"seconds": took, "lost": lost}


# The parent's side.


class End:
    """A child process that answers one JSON line to each."""

    def __init__(self, *argv: object, script: str = __file__, prefix: Sequence[str] = (), **environ: str) -> None:
        """Run `script` with each of `argv` as JSON; `prefix` is a command that runs commands."""
        words = [*prefix, sys.executable, script, *[json.dumps(argument) for argument in argv]]
        if script.endswith(".js"):
            words = [*prefix, "node", "--no-deprecation", script, *map(str, argv)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, env={**os.environ, **environ})
        try:
            self.first = self.read(READY_SECONDS)
        except BaseException:
            end(self.process)
            raise

    def read(self, seconds: float) -> Any:
        """Return the next line's object. Raises: TimeoutError, EOFError."""
        return json.loads(read_line(self.process, seconds))

    def do(self, what: str, within: float, **details: object) -> Any:
        """Have the child do `what`; return its answer, which must come `within` so many seconds."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": what, **details}) + "\n")
        self.process.stdin.flush()
        return self.read(within)


@dataclass
class Course:
    """Both ends of a path and what lies between them."""

    asking: End
    answering: End
    between: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def processes(self) -> list[subprocess.Popen[str]]:
        return [self.asking.process, self.answering.process, *self.between]

    def flood(self, run: int, size: int, seconds: float) -> dict[str, float]:
        """Send flat out. Returns: what `flood` does, and the `rate` and the CPU seconds per 100,000 that arrived."""
        before = self.cpu()
        one: dict[str, float] = self.asking.do("flood", seconds + 60, run=run, size=size, seconds=seconds)
        one["rate"] = one["received"] / one["receiving"] if one["receiving"] else 0.0
        one["cpu"] = (self.cpu() - before) / max(1, one["received"]) * 100_000
        return one

    def ping(self, run: int, size: int, count: int) -> dict[str, float]:
        """Ask `count` times. Returns: p50 and p99 in µs, and how many answers were lost."""
        one = self.asking.do("ping", count * 0.01 + 60, run=run, size=size, count=count)
        cuts = statistics.quantiles(one["seconds"], n=100, method="inclusive")
        return {"p50": cuts[49] * 1e6, "p99": cuts[98] * 1e6, "lost": one["lost"]}

    def cpu(self) -> float:
        """Return the CPU seconds that all processes have used, to a hundredth."""
        return sum(cpu_seconds(process.pid) for process in self.processes)

    def pin(self, cores: str) -> None:
        """Let everything run on "one" core, the ends on "two", or all "free"."""
        everywhere = set(range(os.cpu_count() or 1))
        first, last = {min(everywhere)}, {max(everywhere)}
        for process in self.processes:
            pin(process.pid, last if cores == "one" else everywhere)
        if cores == "two":
            pin(self.asking.process.pid, first)
            pin(self.answering.process.pid, last)


def pin(pid: int, cores: set[int]) -> None:
    """Let every thread of a process run on `cores` only."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError):
            os.sched_setaffinity(int(thread), cores)


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of one process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> int:
    """Return the resident bytes of one process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def read_line(process: subprocess.Popen[str], seconds: float) -> str:
    """Return a child's next line. Raises: TimeoutError, EOFError."""
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], seconds)[0]:
        raise TimeoutError(f"{process.args}: no line within {seconds:.0f} s")
    line = process.stdout.readline()
    if not line:
        raise EOFError(f"{process.args}: ended")
    return line


def end(process: subprocess.Popen[str]) -> None:
    """Have a child end, and wait for it."""
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


@contextlib.contextmanager
def courses(paths: tuple[str, ...]) -> Iterator[dict[str, Course]]:
    """Start both ends of each path, and a relay if one is asked for; give path -> its course."""
    with contextlib.ExitStack() as stack:
        yield {path: course(stack, path) for path in paths}


def course(stack: contextlib.ExitStack, path: str) -> Course:
    """Start both ends of a path, and the relay between them if there is one."""
    answering: dict[str, Any] = {}
    asking: dict[str, Any] = {}
    between = []
    if path == DIRECT:
        port = free_tcp_port()
        answering, asking = {"port": port}, {"bootstrap": [f"ws://127.0.0.1:{port}"]}
    elif path == RELAY:
        node, url = start_node(stack)
        between.append(node)
        answering = asking = {"bootstrap": [url]}
    receiver = started(stack, End("answer", path, answering))
    return Course(started(stack, End("ask", path, asking, receiver.first)), receiver, between)


def started(stack: contextlib.ExitStack, child: End) -> End:
    """Have `child` end with the stack."""
    stack.callback(end, child.process)
    return child


def start_node(stack: contextlib.ExitStack, host: str = "127.0.0.1") -> tuple[subprocess.Popen[str], str]:
    """Start `peer-relay node`; return it and its URL."""
    command = Path(sysconfig.get_path("scripts")) / "peer-relay"
    argv = [str(command), "node", "--host", host, "--port", "0"]
    node = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    stack.callback(end, node)
    found = re.search(r"ws://\S+", read_line(node, READY_SECONDS))
    assert found is not None
    return node, found.group()


def free_tcp_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def between(values: list[float], digits: int = 2) -> str:
    """Return the median of `values` with the least and the greatest."""
    middle = statistics.median(values)
    return f"{middle:.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def machine() -> str:
    """Return one line on what this ran on."""
    load = os.getloadavg()[0]
    return f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, load {load:.1f} before the run"


if __name__ == "__main__":
    role, *arguments = [json.loads(text) for text in sys.argv[1:]]
    if role == "ask":
        arguments[2] = tuple(arguments[2])
    with contextlib.suppress(KeyboardInterrupt):
        {"answer": answer, "ask": ask}[role](*arguments)
