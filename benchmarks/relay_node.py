"""What one `peer-relay node` on one core carries: datagrams in bulk, many idle links, many with datagram lanes, many
pairs at rising rates, and a neighbour that does not read.

The node runs on the last core alone; everybody else shares the others. Its neighbours are bare (neighbour.py) and their
packets are not really sealed: the node does not look inside. In bulk 48 datagrams of 1200 bytes share a packet, as when
a sender is in a hurry; the pairs send one datagram per packet and message, the worst case.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import resource
import selectors
import shutil
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from ends import between, cpu_seconds, machine, pin, resident, start_node
from neighbour import Neighbour

SIZE, PACKED = 1200, 48
STAMP = struct.Struct("d")
TICK = 0.001
SERVER, CLIENTS = "10.77.0.1", [f"10.{number}.77.1" for number in range(16)]
ASK, TALK = 12, 2
"""Datagrams a second of an active link: until it has a lane, and from then on. With the lanes' probes, 3,300 a second
for 500, more is too much for the process at their other ends."""
BEGIN = 0.04
"""Seconds from one active link to the next that begins to ask."""
RATES = (1_000.0, 4_000.0, 8_000.0, 12_000.0, 14_000.0, 16_000.0)
"""Beyond, the two Python processes that send and receive, on the other core, are what is measured."""


def raise_limit() -> None:
    """Let this process and its children have many files open."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


# What runs in the neighbours' processes.


def sink(pipe: Connection, url: str, count: int, manner: str) -> None:
    """Receive on `count` links for ever, and say what came when asked: the bytes, and with "stamps" also how long each
    packet took. With "deaf" read nothing."""
    neighbours = [Neighbour(url) for _ in range(count)]
    pipe.send([neighbour.peer_id for neighbour in neighbours])
    if manner == "deaf":
        threading.Event().wait()
    selector = selectors.DefaultSelector()
    for neighbour in neighbours:
        selector.register(neighbour.sock, selectors.EVENT_READ, neighbour)
    received = 0
    delays: list[float] = []
    view = memoryview(bytearray(1 << 20))

    def answer() -> None:
        with contextlib.suppress(EOFError):
            while True:
                pipe.recv()
                taken = delays[:]
                del delays[: len(taken)]
                pipe.send((received, time.perf_counter(), taken))

    threading.Thread(target=answer, daemon=True).start()
    while True:
        for key, _ in selector.select():
            size = key.data.sock.recv_into(view)
            received += size
            if manner == "stamps":
                now = time.monotonic()
                delays += [now - STAMP.unpack_from(body)[0] for body in key.data.bodies(view[:size])]


def source(pipe: Connection, url: str, count: int) -> None:
    """Send over `count` links as told: ("bulk", ids, seconds) or ("pairs", ids, rate, seconds)."""
    neighbours = [Neighbour(url) for _ in range(count)]
    pipe.send(None)
    while True:
        what, ids, *numbers = pipe.recv()
        pipe.send({"bulk": bulk, "pairs": pairs}[what](neighbours, ids, *numbers))


def bulk(neighbours: list[Neighbour], ids: list[bytes], seconds: float) -> int:
    """Send packed datagrams flat out over the first link; return how many."""
    body, sent, end = os.urandom(SIZE * PACKED), 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        neighbours[0].sock.sendall(neighbours[0].frame(ids[0], body))
        sent += PACKED
    return sent


def pairs(neighbours: list[Neighbour], ids: list[bytes], rate: float, seconds: float) -> int:
    """Send lone datagrams that say when, `rate` per second (0: flat out), each link in its turn; return how many."""
    padding = os.urandom(SIZE - STAMP.size)
    began, sent = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - began) < seconds:
        due = int(elapsed * rate) if rate else sent + 100
        for number in range(sent, due):
            one = neighbours[number % len(ids)]
            one.sock.sendall(one.frame(ids[number % len(ids)], STAMP.pack(time.monotonic()) + padding))
        sent = max(sent, due)
        if rate:
            time.sleep(max(0.0, TICK - (time.perf_counter() - began - elapsed)))
    return sent


def idlers(pipe: Connection, url: str, count: int) -> None:
    """Hold `count` idle links, answering what the node asks."""
    selector = selectors.DefaultSelector()
    neighbours = []

    def look(wait: float) -> None:
        for key, _ in selector.select(wait):
            key.data.read()
        for neighbour in neighbours:
            neighbour.pump()

    for _ in range(count):
        neighbour = Neighbour(url)
        selector.register(neighbour.sock, selectors.EVENT_READ, neighbour)
        neighbours.append(neighbour)
        if not len(neighbours) % 250:  # a machine that is busy takes longer to open them all than a node waits
            look(0)
    pipe.send(None)
    while not pipe.poll():
        look(0.2)


def talkers(pipe: Connection, url: str, count: int) -> None:
    """Hold `count` links with datagram lanes, by which each talks with its neighbour; say how many are live when
    asked."""
    selector = selectors.DefaultSelector()
    neighbours = []
    for number in range(count):
        neighbour = Neighbour(url, source=CLIENTS[number % len(CLIENTS)])
        assert neighbour.udp is not None
        selector.register(neighbour.sock, selectors.EVENT_READ, neighbour.read)
        selector.register(neighbour.udp, selectors.EVENT_READ, neighbour.hear)
        neighbours.append(neighbour)
    pipe.send(None)
    body, due = os.urandom(SIZE), [time.monotonic() + BEGIN * number for number in range(count)]
    while True:
        for key, _ in selector.select(TICK):
            key.data()
        now = time.monotonic()
        for number, neighbour in enumerate(neighbours):
            if now >= due[number]:
                due[number] = now + 1 / (TALK if lives(neighbour) else ASK)
                neighbour.send(neighbours[number ^ 1].peer_id, body)
            else:
                neighbour.pump()
        if pipe.poll():
            pipe.recv()
            pipe.send(sum(map(lives, neighbours)))


def lives(neighbour: Neighbour) -> bool:
    """Return whether a neighbour has a datagram lane that is live."""
    return neighbour.engine.lanes.is_live(neighbour.engine.neighbours[0])


# The parent's side.


class Node:
    """A node on a core of its own, and the processes of its neighbours."""

    def __init__(self, stack: contextlib.ExitStack, host: str = "127.0.0.1") -> None:
        self._stack = stack
        self._cores = set(range(os.cpu_count() or 1))
        process, self.url = start_node(stack, host)
        self.pid = process.pid
        pin(self.pid, {max(self._cores)})

    def neighbours(self, what: Callable[..., None], *arguments: Any) -> tuple[Connection, Any]:
        """Start a process of neighbours; return its pipe and the first thing it says."""
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=what, args=(theirs, self.url, *arguments), daemon=True)
        process.start()
        assert process.pid is not None
        if len(self._cores) > 1:
            pin(process.pid, self._cores - {max(self._cores)})
        self._stack.callback(process.kill)
        self._stack.callback(ours.close)  # until then its other end finds it open
        return ours, ours.recv()


def asked(pipe: Connection) -> Any:
    """Return what a sink has counted."""
    pipe.send(None)
    return pipe.recv()


def measure_bulk(rounds: int, seconds: float) -> None:
    with contextlib.ExitStack() as stack:
        node = Node(stack)
        ear, ids = node.neighbours(sink, 1, "bytes")
        mouth, _ = node.neighbours(source, 1)
        rates, used = [], []
        unit = SIZE + (48 + 10) / PACKED
        for _ in range(rounds):
            mouth.send(("bulk", ids, seconds))
            time.sleep(seconds * 0.2)
            before, began, _ = asked(ear)
            cpu = cpu_seconds(node.pid)
            time.sleep(seconds * 0.6)
            after, ended, _ = asked(ear)
            used.append((cpu_seconds(node.pid) - cpu) / (ended - began))
            rates.append((after - before) / unit / (ended - began))
            mouth.recv()
        middle, busy = statistics.median(rates), statistics.median(used)
        print(f"bulk: {middle:,.0f} datagrams/s of {SIZE} bytes ({min(rates):,.0f}-{max(rates):,.0f})", end="")
        print(f", node busy {busy:.0%} of its core, so {middle / busy:,.0f}/s of a whole one")


def measure_idle(count: int, seconds: float) -> None:
    with contextlib.ExitStack() as stack:
        node = Node(stack)
        node.neighbours(idlers, 10)
        time.sleep(1.0)
        before = resident(node.pid)
        began = time.perf_counter()
        node.neighbours(idlers, count)
        opening = time.perf_counter() - began
        time.sleep(2.0)
        each = (resident(node.pid) - before) / count
        cpu = cpu_seconds(node.pid)
        time.sleep(seconds)
        share = (cpu_seconds(node.pid) - cpu) / seconds
        print(f"idle: {count} links, {each / 1000:.1f} kB each, {share:.2%} of a core over {seconds:.0f} s", end="")
        print(f" (opened in {opening:.1f} s)")


def measure_lanes(count: int, seconds: float) -> None:
    """In a network namespace: on loopback links have no lanes, and from one host a relay takes no 500 at once."""
    addresses = "".join(f"ip addr add {address}/32 dev lo && " for address in (SERVER, *CLIENTS))
    inside = f"ip link set lo up && {addresses}exec {sys.executable} {__file__} --lanes {count} --seconds {seconds / 5}"
    sys.stdout.flush()
    command = ["unshare", "-r", "-n", "sh", "-c", f"{inside} --only in-namespace"]
    if shutil.which("unshare") is None or subprocess.run(command, check=False).returncode:
        print("lanes: not measured, network namespaces are not permitted here")


def measure_lanes_here(count: int, seconds: float) -> None:
    with contextlib.ExitStack() as stack:
        node = Node(stack, SERVER)
        node.neighbours(talkers, 10)
        time.sleep(5.0)
        before = resident(node.pid)
        pipe, _ = node.neighbours(talkers, count)
        end = time.monotonic() + 60.0
        while (live := asked(pipe)) < count and time.monotonic() < end:
            time.sleep(0.5)
        cpu, began = cpu_seconds(node.pid), time.monotonic()
        time.sleep(seconds)
        share = (cpu_seconds(node.pid) - cpu) / (time.monotonic() - began)
        each = (resident(node.pid) - before) / count
        print(f"lanes: {count} links, {live} with a lane, {TALK} datagrams/s each: ", end="")
        print(f"{each / 1000:.1f} kB each, {share:.0%} of a core over {seconds:.0f} s")


def spread(delays: list[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile of `delays` in milliseconds."""
    cuts = statistics.quantiles(delays, n=100, method="inclusive")
    return cuts[49] * 1e3, cuts[98] * 1e3


def measure_pairs(count: int, rounds: int, seconds: float) -> None:
    with contextlib.ExitStack() as stack:
        node = Node(stack)
        ear, ids = node.neighbours(sink, count, "stamps")
        mouth, _ = node.neighbours(source, count)

        def run(rate: float) -> tuple[float, list[float]]:
            asked(ear)
            cpu = cpu_seconds(node.pid)
            mouth.send(("pairs", ids, rate, seconds))
            mouth.recv()
            share = (cpu_seconds(node.pid) - cpu) / seconds
            time.sleep(0.5)
            return share, asked(ear)[2]

        for rate in RATES:
            found = [run(rate) for _ in range(rounds)]
            busy = statistics.median(share for share, _ in found)
            middles, tails = zip(*(spread(delays) for _, delays in found), strict=True)
            print(f"{count} pairs, {rate:,.0f} packets/s, node busy {busy:.0%} of its core: ", end="")
            print(f"p50 {between(list(middles))} ms, p99 {between(list(tails))} ms")


def measure_deaf(rate: float, seconds: float) -> None:
    with contextlib.ExitStack() as stack:
        node = Node(stack)
        ear, ids = node.neighbours(sink, 1, "stamps")
        mouth, _ = node.neighbours(source, 1)
        _, deaf = node.neighbours(sink, 1, "deaf")
        shouter, _ = node.neighbours(source, 1)

        def run() -> tuple[int, list[float]]:
            asked(ear)
            mouth.send(("pairs", ids, rate, seconds))
            sent = mouth.recv()
            time.sleep(0.5)
            return sent, asked(ear)[2]

        for what in ("alone", "beside a neighbour that reads nothing of 2,000 packets/s sent to it"):
            if what != "alone":
                shouter.send(("pairs", deaf, 2000.0, seconds + 1.0))
            sent, delays = run()
            middle, tail = spread(delays)
            share = len(delays) / sent
            print(f"one pair {what}: {share:.1%} of {rate:,.0f}/s arrived, p50 {middle:.2f} ms, p99 {tail:.2f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="of the bulk and of each rate of the pairs")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--links", type=int, default=5000, help="idle ones")
    parser.add_argument("--lanes", type=int, default=500, help="links with a datagram lane")
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--only", nargs="+", choices=["bulk", "idle", "lanes", "pairs", "deaf", "in-namespace"])
    chosen = parser.parse_args()
    raise_limit()
    if chosen.only != ["in-namespace"]:
        print(f"one relay node on one core, {machine()}\n")
    parts: dict[str, Callable[[], None]] = {
        "bulk": lambda: measure_bulk(chosen.rounds, chosen.seconds),
        "pairs": lambda: measure_pairs(chosen.pairs, chosen.rounds, chosen.seconds / 2),
        "deaf": lambda: measure_deaf(1000.0, chosen.seconds),
        "idle": lambda: measure_idle(chosen.links, 5 * chosen.seconds),
        "lanes": lambda: measure_lanes(chosen.lanes, 5 * chosen.seconds),
        "in-namespace": lambda: measure_lanes_here(chosen.lanes, 5 * chosen.seconds),
    }
    for name, part in parts.items():
        if name in (chosen.only or list(parts)[:-1]):
            part()


if __name__ == "__main__":
    main()
