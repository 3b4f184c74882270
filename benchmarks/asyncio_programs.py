"""asyncio programs of others, on the kernel's UDP and unchanged under `peer-relay run`, in turn: aioquic fetches 6 MB,
six nodes of a kademlia DHT join, store and read.

Every process of a program is a host of its own and knows one `peer-relay node`. `work` is what the programs themselves
take for it once they run; `whole` counts from the first process's start to the last's end, interpreters and all, but
with the bytecode of all modules at hand, as an installed package has it.
Needs the package's `programs` extra.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import socket
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ends import between, end, machine, read_line, start_node

PARTS = Path(__file__).parent / "programs"
SECONDS = 60.0
NODES = 6


class Hosts:
    """Where the processes of a program run."""

    def __init__(self, stack: contextlib.ExitStack, url: str | None, folder: Path) -> None:
        self._stack = stack
        self._url = url
        self._folder = folder
        self._addresses: dict[str, str] = {}

    def address(self, host: str) -> str:
        """Return how other programs write the address of `host`; asked for once."""
        if self._url is None:
            return "127.0.0.1"
        if host not in self._addresses:
            command = Path(sysconfig.get_path("scripts")) / "peer-relay"
            argv = [str(command), "id", "--json", str(self._folder / host)]
            told = json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)
            self._addresses[host] = told["ipv4"]
        return self._addresses[host]

    def port(self) -> int:
        """Return a free UDP port."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    def start(self, host: str, part: str, *words: object) -> subprocess.Popen[str]:
        """Start `part` on `host`."""
        runner = [] if self._url is None else ["-m", "peer_relay", "run"]
        own = ("PEER_RELAY_", "PYTHONDONTWRITEBYTECODE")
        environ = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        environ["PYTHONPYCACHEPREFIX"] = str(self._folder / "bytecode")
        if self._url is not None:
            environ |= {"PEER_RELAY_BOOTSTRAP": self._url, "PEER_RELAY_IDENTITY": str(self._folder / host)}
        argv = [sys.executable, *runner, str(PARTS / part), *map(str, words)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, env=environ, text=True)
        self._stack.callback(end, process)
        return process


def do(process: subprocess.Popen[str], line: str) -> float:
    """Have a DHT node do `line`; return the seconds it took."""
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()
    return float(read_line(process, SECONDS))


def aioquic(hosts: Hosts) -> float:
    """Fetch 6 MB; return the seconds of that."""
    port = hosts.port()
    server = hosts.start("server", "quic.py", "serve", "0.0.0.0", port)  # of a loopback network
    read_line(server, SECONDS)
    return float(
        read_line(hosts.start("client", "quic.py", "fetch", hosts.address("server"), port, 6_000_000), SECONDS)
    )


def kademlia(hosts: Hosts) -> float:
    """Join, store and read on six nodes; return the seconds of that."""
    ports = [hosts.port() for _ in range(NODES)]
    nodes = [hosts.start(f"dht{number}", "dht.py", "0.0.0.0", port) for number, port in enumerate(ports)]
    for node in nodes:
        read_line(node, SECONDS)
    first = hosts.address("dht0")
    seconds = sum(do(node, f"join {first} {ports[0]}") for node in nodes[1:])
    seconds += sum(do(node, f"store {number}") for number, node in enumerate(nodes[1:4]))
    return seconds + sum(do(nodes[5], f"read {tag}") for tag in range(3))


PROGRAMS: dict[str, Callable[[Hosts], float]] = {"aioquic": aioquic, "kademlia": kademlia}


def once(program: str, url: str | None, keys: Path) -> tuple[float, float]:
    """Run a program; return its (work, whole) seconds."""
    with contextlib.ExitStack() as stack:
        hosts = Hosts(stack, url, keys)
        for host in ("server", *(f"dht{number}" for number in range(NODES))):
            hosts.address(host)  # makes the keys, and is known from now on, as 127.0.0.1 is
        began = time.perf_counter()
        work = PROGRAMS[program](hosts)
        whole = time.perf_counter() - began
    return work, whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=list(PROGRAMS))
    chosen = parser.parse_args()
    print(f"asyncio programs, {machine()}; {chosen.rounds} rounds, medians (lowest-highest)\n")
    print(
        "| program | kernel UDP: work, whole (s) | peer-relay run: work, whole (s) | work / kernel | whole / kernel |"
    )
    print("|---|---|---|---|---|")
    with contextlib.ExitStack() as stack:
        keys = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        _, url = start_node(stack)
        for program in chosen.programs:
            if importlib.util.find_spec(program) is None:
                print(f"| {program} | not installed | | | |")
                continue
            once(program, None, keys), once(program, url, keys)  # leaves bytecode
            found = [(once(program, None, keys), once(program, url, keys)) for _ in range(chosen.rounds)]
            cells = [
                ", ".join(f"{statistics.median(pair[side][which] for pair in found):.2f}" for which in (0, 1))
                for side in (0, 1)
            ]
            cells += [between([relay[which] / kernel[which] for kernel, relay in found]) for which in (0, 1)]
            print(f"| {program} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
