"""What a program pays for the network in time to start, in memory, and per socket, beside an interpreter without it.

Every round starts each kind of process once, one after the other, with the bytecode of all modules at hand, as an
installed package has it. The network is one `peer-relay node` on loopback and a receiver, both up before.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from ends import READY_SECONDS, clock, end, machine, read_line, start_node

BARE = "pass"
ASYNCIO = "import asyncio"
IMPORT = "import peer_relay"
RESIDENT = "\nprint(open('/proc/self/statm').read().split()[1], flush=True)"
FIRST = """
import sys
import peer_relay as socket
s = socket.socket(socket.AF_PEER, socket.SOCK_DGRAM)
s.sendto(b"first", (sys.argv[1], 9000))
s.settimeout(30)
s.recvfrom(100)
"""
RECEIVER = """
import sys
from peer_relay_socket import AF_PEER, Socket
s = Socket(AF_PEER)
s.bind(("", 9000))
s.peer.wait_connected(30)
print(s.peer.id.hex(), flush=True)
while True:
    data, source = s.recvfrom(100)
    print("came", flush=True)
    s.sendto(data, source)
"""
SOCKETS = """
import sys, time, tracemalloc
import {0} as module

def bound():
    s = module.socket(module.AF_INET, module.SOCK_DGRAM)
    s.bind(("", 0))
    return s

first = bound()
times = []
for _ in range(5):
    began = time.perf_counter()
    for _ in range(1000):
        bound().close()
    times.append((time.perf_counter() - began) / 1000)
tracemalloc.start()
before, _ = tracemalloc.get_traced_memory()
kept = [bound() for _ in range(200)]
after, _ = tracemalloc.get_traced_memory()
print(min(times) * 1e6, (after - before) / 200, flush=True)
for s in kept:
    s.close()
"""


@contextlib.contextmanager
def environment() -> Iterator[dict[str, str]]:
    """Give what processes find in their environment: a place for bytecode that may be written."""
    with tempfile.TemporaryDirectory() as cache:
        kept = {
            n: v for n, v in os.environ.items() if n != "PYTHONDONTWRITEBYTECODE" and not n.startswith("PEER_RELAY_")
        }
        yield kept | {"PYTHONPYCACHEPREFIX": cache}


def started(code: str, env: dict[str, str]) -> float:
    """Return the seconds from starting a process to its end."""
    began = clock()
    subprocess.run([sys.executable, "-c", code], env=env, check=True)
    return clock() - began


def resident(code: str, env: dict[str, str], *arguments: str) -> float:
    """Return the MiB resident when a process has done something."""
    argv = [sys.executable, "-c", code + RESIDENT, *arguments]
    pages = subprocess.run(argv, env=env, check=True, capture_output=True, text=True).stdout
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20


def first_datagram(receiver: subprocess.Popen[str], peer_id: str, env: dict[str, str]) -> float:
    """Return the seconds from starting a process to the arrival of its first datagram."""
    began = clock()
    with subprocess.Popen([sys.executable, "-c", FIRST, peer_id], env=env):
        read_line(receiver, READY_SECONDS)
        return clock() - began


def measure(rounds: int) -> dict[str, list[float]]:
    """Return what each round found, by question."""
    found: dict[str, list[float]] = {}
    with environment() as env, contextlib.ExitStack() as stack:
        _, url = start_node(stack)
        env["PEER_RELAY_BOOTSTRAP"] = url
        receiver = subprocess.Popen([sys.executable, "-c", RECEIVER], env=env, stdout=subprocess.PIPE, text=True)
        stack.callback(end, receiver)
        peer_id = read_line(receiver, READY_SECONDS).strip()
        for turn in range(rounds + 1):
            now = {code: started(code, env) * 1e3 for code in (BARE, ASYNCIO, IMPORT)}
            now["first datagram"] = first_datagram(receiver, peer_id, env) * 1e3
            now["resident, asyncio"] = resident(ASYNCIO, env)
            now["resident"] = resident(FIRST, env, peer_id)
            read_line(receiver, READY_SECONDS)
            for module in ("socket", "peer_relay"):
                argv = [sys.executable, "-c", SOCKETS.format(module)]
                told = subprocess.run(argv, env=env, check=True, capture_output=True, text=True).stdout
                now[f"{module} us"], now[f"{module} bytes"] = map(float, told.split())
            for question, figure in now.items() if turn else ():  # the first fills the caches
                found.setdefault(question, []).append(figure)
    return found


def report(found: dict[str, list[float]]) -> None:
    """Print a line per question: medians, and what the best round of each had."""
    print("| | beside | that | ours | more | best: that, ours |")
    print("|---|---|---|---|---|---|")
    for what, beside, that, ours, unit in (
        ("`import peer_relay`", "bare interpreter", BARE, IMPORT, "ms"),
        ("start to first datagram delivered", "bare interpreter", BARE, "first datagram", "ms"),
        ("start to first datagram delivered", "with asyncio", ASYNCIO, "first datagram", "ms"),
        ("resident after a relayed echo", "with asyncio", "resident, asyncio", "resident", "MiB"),
        ("a socket made, bound, closed", "the kernel's", "socket us", "peer_relay us", "µs"),
        ("a bound socket", "the kernel's", "socket bytes", "peer_relay bytes", "bytes"),
    ):
        theirs, mine = statistics.median(found[that]), statistics.median(found[ours])
        best = f"{min(found[that]):,.1f}, {min(found[ours]):,.1f}"
        print(
            f"| {what} | {beside} | {theirs:,.1f} {unit} | {mine:,.1f} {unit} | {mine - theirs:,.1f} {unit} | {best} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    chosen = parser.parse_args()
    print(f"footprint, {machine()}; {chosen.rounds} rounds, medians")
    report(measure(chosen.rounds))


if __name__ == "__main__":
    main()
