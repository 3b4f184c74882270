"""Whether it stays as fast as it gets bigger: throughput beside known peers, beside bound sockets, and memory over many
datagrams.

A receiver with a peer of its own is flooded over a direct link. Between floods a crowd of other peers, in a process of
their own, talk with it one after the other, or it binds more sockets. Sizes take turns with the smallest, so that a
ratio compares floods that ran one after the other.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import resource
import socket
import time
from multiprocessing.connection import Connection

from ends import DIRECT, LARGEST, between, course, free_tcp_port, machine, resident

PORT, SIZE, SOURCE = 9000, 1200, 64


def receive(pipe: Connection, port: int) -> None:
    """Serve links; count what comes to PORT; bind more sockets and report as told."""
    import os

    os.environ.update(PEER_RELAY_PORT=str(port), PEER_RELAY_WRTC="0")
    from peer_relay_socket import Socket

    end = Socket(socket.AF_INET, socket.SOCK_DGRAM)
    end.bind(("", PORT))
    pipe.send(end.peer.id.hex())
    more: list[socket.socket] = []
    end.settimeout(0.1)
    while True:
        asked = pipe.recv()
        if asked["do"] == "bind":
            while len(more) + 1 < asked["count"]:
                more.append(Socket(socket.AF_INET, socket.SOCK_DGRAM))
                more[-1].bind(("", 0))
            pipe.send(len(more) + 1)
        elif asked["do"] == "greet":
            while not pipe.poll():
                with contextlib.suppress(TimeoutError):
                    end.sendto(*end.recvfrom(LARGEST))
            pipe.recv()
        else:
            received, first, last = 0, 0.0, time.perf_counter()
            while not received or time.perf_counter() - last < 0.3:
                with contextlib.suppress(TimeoutError):
                    end.recvfrom(LARGEST)
                    last = time.perf_counter()
                    first = first or last
                    received += 1
            pipe.send(received / (last - first))


def crowd(pipe: Connection, where: str, port: int) -> None:
    """Make as many peers as told, each of which asks until it is answered."""
    from peer_relay_socket import Socket

    made: list[socket.socket] = []
    while True:
        count = pipe.recv()
        while len(made) < count:
            one = Socket(socket.AF_INET, socket.SOCK_DGRAM, wrtc=False, bootstrap=[f"ws://127.0.0.1:{port}"])
            made.append(one)
            one.settimeout(1.0)
            while True:
                one.sendto(b"hello", (where, PORT))
                with contextlib.suppress(TimeoutError):
                    one.recvfrom(LARGEST)
                    break
        pipe.send(len(made))


class Receiver:
    """The receiver's process, a sender here, and a crowd."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        from peer_relay_socket import Socket

        spawn = multiprocessing.get_context("spawn")
        self.port = free_tcp_port()
        self.pipe, theirs = spawn.Pipe()
        process = spawn.Process(target=receive, args=(theirs, self.port), daemon=True)
        process.start()
        stack.callback(process.kill)
        self.id = self.pipe.recv()
        self.crowd, theirs = spawn.Pipe()
        process = spawn.Process(target=crowd, args=(theirs, self.id, self.port), daemon=True)
        process.start()
        stack.callback(process.kill)
        url = f"ws://127.0.0.1:{self.port}"
        self.sender = stack.enter_context(Socket(socket.AF_INET, socket.SOCK_DGRAM, wrtc=False, bootstrap=[url]))
        self.flood(0.2)

    def flood(self, seconds: float) -> float:
        """Send flat out; return the datagrams per second that arrived."""
        payload, where = bytes(SIZE), (self.id, PORT)
        self.pipe.send({"do": "count"})
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for _ in range(32):
                self.sender.sendto(payload, where)
        rate: float = self.pipe.recv()
        return rate

    def grow(self, what: str, count: int) -> None:
        """Let there be `count` known peers or bound sockets."""
        if what == "bound sockets":
            self.pipe.send({"do": "bind", "count": count})
            self.pipe.recv()
        elif count > 1:
            self.crowd.send(count - 1)
            self.pipe.send({"do": "greet"})
            self.crowd.recv()
            self.pipe.send(None)


def grown(what: str, counts: list[int], rounds: int, seconds: float) -> None:
    """Print the rate beside each of `counts`, and its ratio to that of a receiver that stays small."""
    with contextlib.ExitStack() as stack:
        small, big = Receiver(stack), Receiver(stack)
        for count in counts:
            big.grow(what, count)
            pairs = [(big.flood(seconds), small.flood(seconds)) for _ in range(rounds)]
            rates = between([one for one, _ in pairs], 0)
            print(f"| {what} | {count:,} | {rates} | {between([one / other for one, other in pairs])} |", flush=True)


def memory(datagrams: float) -> None:
    """Print the resident memory of both ends as `datagrams` go from one to the other."""
    with contextlib.ExitStack() as stack:
        made = course(stack, DIRECT)
        sent = run = 0
        print("\n| datagrams of 64 bytes so far | sender MiB | receiver MiB |\n|---|---|---|")
        for part in (0.01, 0.1, 0.25, 0.5, 0.75, 1.0):
            while sent < part * datagrams:
                run = run % 255 + 1
                sent += int(made.flood(run, SOURCE, min(2.0, 2.0 * datagrams / 1e6))["received"])
            sizes = [resident(end.process.pid) / 2**20 for end in (made.asking, made.answering)]
            print(f"| {sent:,} | {sizes[0]:.1f} | {sizes[1]:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.4, help="of each flood")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--datagrams", type=float, default=1e7, help="over which memory is watched")
    chosen = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(f"as it grows, {machine()}; {chosen.rounds} rounds, medians (lowest-highest), {SIZE} bytes, direct link\n")
    print("| beside | count | datagrams/s | to a receiver beside 1 |\n|---|---|---|---|")
    for what in ("known peers", "bound sockets"):
        grown(what, chosen.counts, chosen.rounds, chosen.seconds)
    memory(chosen.datagrams)


if __name__ == "__main__":
    main()
