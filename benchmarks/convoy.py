"""What a busy thread of pure Python in the receiver adds to a datagram's way: on kernel UDP and on a direct link.

A program's thread that never lets go of the interpreter keeps it for a switch interval (5 ms) at a time, from everybody
who wants it: a kernel socket's reader once per datagram, ours once for the relay thread and once for the reader.
Datagrams of 512 bytes leave at a steady rate and carry the time; every round measures each case once.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import socket
import statistics
import struct
import threading
import time
from multiprocessing.connection import Connection
from typing import Any

from ends import DIRECT, KERNEL, between, free_tcp_port, machine, open_socket

STAMP = struct.Struct("d")
SIZE = 512
PORT = 9000
TICK = 0.001


def receive(pipe: Connection, path: str, options: dict[str, Any], busy: bool) -> None:
    """Receive for ever; say how long each datagram took when asked."""
    end = open_socket(path, options)
    end.bind(("127.0.0.1", 0) if path == KERNEL else ("", PORT))
    pipe.send(end.getsockname() if path == KERNEL else (end.peer.id.hex(), PORT))
    delays: list[float] = []
    if busy:
        threading.Thread(target=spin, daemon=True).start()

    def answer() -> None:
        with contextlib.suppress(EOFError):
            while True:
                pipe.recv()
                pipe.send(delays[:])
                delays.clear()

    threading.Thread(target=answer, daemon=True).start()
    while True:
        data, _ = end.recvfrom(SIZE)
        delays.append(time.monotonic() - STAMP.unpack_from(data)[0])


def spin() -> None:
    """Compute for ever."""
    number = 0
    while True:
        number += 1


def send(end: socket.socket, where: tuple[str, int], rate: float, seconds: float) -> int:
    """Send at `rate`; return how many."""
    padding, sent, began = bytes(SIZE - STAMP.size), 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds:
        while sent < elapsed * rate:
            end.sendto(STAMP.pack(time.monotonic()) + padding, where)
            sent += 1
        time.sleep(TICK)
    return sent


def once(path: str, busy: bool, rate: float, seconds: float) -> tuple[float, float]:
    """Return the p50 and p99 of the way, in milliseconds."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    port = free_tcp_port()
    options = {} if path == KERNEL else {"port": port}
    process = spawn.Process(target=receive, args=(theirs, path, options, busy), daemon=True)
    process.start()
    try:
        where = ours.recv()
        with open_socket(path, {} if path == KERNEL else {"bootstrap": [f"ws://127.0.0.1:{port}"]}) as end:
            send(end, where, 50, 1.0)  # links, sessions
            ours.send(None)
            ours.recv()
            send(end, where, rate, seconds)
            time.sleep(0.5)
            ours.send(None)
            cuts = statistics.quantiles(ours.recv(), n=100, method="inclusive")
            return cuts[49] * 1e3, cuts[98] * 1e3
    finally:
        process.kill()
        process.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rate", type=float, default=200.0, help="datagrams per second")
    parser.add_argument("--seconds", type=float, default=2.0)
    chosen = parser.parse_args()
    print(f"a busy thread in the receiver, {machine()}; {chosen.rounds} rounds, medians (lowest-highest)\n")
    cases = [(path, busy) for path in (KERNEL, DIRECT) for busy in (False, True)]
    found = {case: [] for case in cases}
    for _ in range(chosen.rounds):
        for case in cases:
            found[case].append(once(*case, chosen.rate, chosen.seconds))
    print("| path | calm p50 ms | busy p50 ms | busy p99 ms | added to p50 | added / kernel UDP |")
    print("|---|---|---|---|---|---|")
    added = {
        path: [b[0] - a[0] for a, b in zip(found[path, False], found[path, True], strict=True)] for path, _ in cases
    }
    for path in (KERNEL, DIRECT):
        calm, busy = (statistics.median(one[0] for one in found[path, way]) for way in (False, True))
        late = statistics.median(one[1] for one in found[path, True])
        ratio = "-"
        if path != KERNEL:
            ratio = between([one / other for one, other in zip(added[path], added[KERNEL], strict=True)])
        print(f"| {path} | {calm:.2f} | {busy:.2f} | {late:.2f} | {statistics.median(added[path]):.2f} | {ratio} |")


if __name__ == "__main__":
    main()
