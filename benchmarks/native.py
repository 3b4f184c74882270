"""Native programs under `peer-relay run` beside kernel loopback: round trip, one way, lost, and the time to start.

Both ends are one C program with blocking kernel sockets (programs/udp_bench.c); it runs on loopback, and in two
namespaces whose device our processes serve, over a direct link and over one relay. Every round measures every path.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ends import DIRECT, KERNEL, PATHS, RELAY, between, machine

COMMAND = [sys.executable, "-m", "peer_relay"]
HERE = Path(__file__).parent
PORT = 9000
LIMIT = 60.0


def environment(**settings: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PEER_RELAY_")}
    return clean | {"PEER_RELAY_WRTC": "0"} | settings


def compiled(folder: str) -> str:
    """Return the path of the program that both ends run."""
    program = str(Path(folder) / "udp_bench")
    source = HERE / "programs" / "udp_bench.c"
    subprocess.run(["cc", "-O2", "-static", "-o", program, source], check=True)
    return program


def free_tcp_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Course:
    """How the two ends reach each other."""

    def __init__(self, name: str, program: str, folder: str, node: str) -> None:
        self.name = name
        self._program = program
        self._key = str(Path(folder) / name.replace(" ", "-"))
        self._serve: dict[str, str] = {}
        self._bootstrap = node
        self.host = "127.0.0.1"
        if name != KERNEL:
            told = subprocess.run([*COMMAND, "id", self._key], capture_output=True, text=True, check=True).stdout
            self.host = told.split()[1]

    @contextlib.contextmanager
    def serving(self, kind: str) -> Iterator[subprocess.Popen[str]]:
        """The far end, ready."""
        words = [self._program, kind, str(PORT)]
        settings = {}
        if self.name == DIRECT:
            port = free_tcp_port()
            self._bootstrap = f"ws://127.0.0.1:{port}"
            settings = {"PEER_RELAY_PORT": str(port)}
            words = [*COMMAND, "run", "--identity", self._key, *words]
        elif self.name == RELAY:
            words = [*COMMAND, "run", "--bootstrap", self._bootstrap, "--identity", self._key, *words]
        with subprocess.Popen(words, env=environment(**settings), stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            try:
                yield process
            finally:
                process.terminate()

    def asking(self, *words: str) -> str:
        """Run the near end; return what it prints."""
        command = [self._program, words[0], self.host, str(PORT), *words[1:]]
        if self.name != KERNEL:
            command = [*COMMAND, "run", "--bootstrap", self._bootstrap, *command]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=LIMIT, check=True)
        return done.stdout

    def round_trip(self, size: int, count: int) -> float:
        """Return the median microseconds of one run."""
        with self.serving("echo"):
            return float(self.asking("ping", str(size), str(count)).split()[0])

    def one_way(self, size: int, seconds: float) -> tuple[float, float]:
        """Return datagrams received per second, and the share that was lost."""
        with self.serving("sink") as sink:
            sent = int(self.asking("flood", str(size), str(seconds)))
            assert sink.stdout is not None
            received, took = sink.stdout.readline().split()
        return int(received) / float(took), 1 - int(received) / sent


def start_times(node: str, rounds: int) -> tuple[float, float]:
    """Return the seconds that `true` takes by itself, and under `peer-relay run`."""
    alone, ours = [], []
    for _ in range(rounds):
        for times, words in ((alone, ["true"]), (ours, [*COMMAND, "run", "--bootstrap", node, "true"])):
            began = time.perf_counter()
            subprocess.run(words, env=environment(), check=True)
            times.append(time.perf_counter() - began)
    return statistics.median(alone), statistics.median(ours)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=2000, help="questions per round and path")
    parser.add_argument("--seconds", type=float, default=2.0, help="of flooding per round and path")
    parser.add_argument("--size", type=int, default=1200)
    parser.add_argument("--paths", nargs="+", choices=PATHS, default=list(PATHS))
    chosen = parser.parse_args()
    print(f"native programs, {chosen.size} bytes, {machine()}; {chosen.rounds} rounds, medians (lowest-highest)")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        node = stack.enter_context(
            subprocess.Popen([*COMMAND, "node"], env=environment(), stdout=subprocess.PIPE, text=True)
        )
        stack.callback(node.terminate)
        assert node.stdout is not None
        url = node.stdout.readline().split()[3]
        program = compiled(folder)
        paths = [Course(name, program, folder, url) for name in chosen.paths]
        trips: dict[str, list[float]] = {path.name: [] for path in paths}
        rates: dict[str, list[tuple[float, float]]] = {path.name: [] for path in paths}
        for _ in range(chosen.rounds):
            for path in paths:
                trips[path.name].append(path.round_trip(chosen.size, chosen.count))
                rates[path.name].append(path.one_way(chosen.size, chosen.seconds))
        print("| path | round trip µs | / kernel | one way /s | / kernel | lost % |")
        print("|---|---|---|---|---|---|")
        for path in paths:
            slower = faster = "-"
            if path.name != KERNEL and KERNEL in trips:
                slower = between([a / b for a, b in zip(trips[path.name], trips[KERNEL], strict=True)])
                faster = between([a[0] / b[0] for a, b in zip(rates[path.name], rates[KERNEL], strict=True)])
            rate = statistics.median(each[0] for each in rates[path.name])
            lost = statistics.median(each[1] for each in rates[path.name])
            trip = statistics.median(trips[path.name])
            print(f"| {path.name} | {trip:,.1f} | {slower} | {rate:,.0f} | {faster} | {lost * 100:.2f} |")
        alone, ours = start_times(url, chosen.rounds)
        print(f"start: {alone:.3f} s alone, {ours:.3f} s under peer-relay run, {ours - alone:.3f} s more")


if __name__ == "__main__":
    main()
