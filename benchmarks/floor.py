"""Microseconds of a round trip that does what the protocol demands and nothing else, beside kernel UDP, on one core.

What no Python can do without: frame and mask, header, AES-GCM end to end, a tag per link, one poll, read and write per
message; no sockets, sessions, routes, budgets or threads. Four tags and four AES-GCM operations on a direct link, eight
tags with a relay between. A goal below 1.3 times what this finds is none.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import socket
import statistics
import sys
from collections.abc import Callable
from contextlib import ExitStack
from hashlib import blake2b
from hmac import compare_digest
from struct import Struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from ends import between, clock, machine
from websockets.speedups import apply_mask

FRONT, LONE, COUNTER, HEAD = Struct(">BBBxI44sQ"), Struct(">BIBHHHH"), Struct(">Q"), Struct(">BBH")
FRESH = blake2b(key=bytes(32), digest_size=16).copy
SECRET = AESGCM(bytes(32))
IDS, NONCE = bytes(44), bytes(4)
SIZE = 1200
TAG = 24
MASK = b"mask"


def tag(counter: bytes, *covered: bytes) -> bytes:
    mac = FRESH()
    mac.update(counter + b"".join(covered))
    return mac.digest()


def write(fd: int, bundle: bytes, masked: bool) -> None:
    head = HEAD.pack(0x82, 0x80 * masked | 126, len(bundle))
    os.write(fd, b"".join((head, MASK, apply_mask(bundle, MASK))) if masked else head + bundle)


def read(poll: Callable[[], object], fd: int, masked: bool) -> bytes:
    """Return a bundle whose tag is right."""
    poll()
    frame = os.read(fd, 65536)
    if not frame:
        sys.exit()
    size = frame[2] << 8 | frame[3]
    bundle = apply_mask(frame[8 : 8 + size], frame[4:8]) if masked else frame[4 : 4 + size]
    FRONT.unpack_from(bundle)
    end = len(bundle) - TAG
    if not compare_digest(tag(bundle[end : end + 8], bundle[: FRONT.size], bundle[end - 16 : end]), bundle[end + 8 :]):
        sys.exit("no such tag")
    return bundle


def send(fd: int, data: bytes, number: int, masked: bool) -> None:
    size = len(data)
    front = FRONT.pack(0x11, 16, 0, size + LONE.size + 28, IDS, number)
    record = LONE.pack(1, 9 + size, 4, 5, 6, 1, size) + data
    sealed = SECRET.encrypt(NONCE + front[-8:], record, None)
    counter = COUNTER.pack(number)
    write(fd, b"".join((front, sealed, counter, tag(counter, front, sealed[-16:]))), masked)


def receive(poll: Callable[[], object], fd: int, masked: bool) -> bytes:
    bundle = read(poll, fd, masked)
    plain = SECRET.decrypt(NONCE + bundle[FRONT.size - 8 : FRONT.size], bundle[FRONT.size : -TAG], None)
    LONE.unpack_from(plain)
    return plain[LONE.size :]


def polled(*ends: socket.socket) -> Callable[[], object]:
    poll = select.epoll()
    for end in ends:
        poll.register(end.fileno(), select.EPOLLIN)
    return poll.poll


def joined() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a TCP connection over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        dialled = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
    for end in (dialled, accepted):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return dialled, accepted


def pass_on(one: socket.socket, other: socket.socket) -> None:
    """Be the relay."""
    here, there = one.fileno(), other.fileno()
    polls = {here: polled(one), there: polled(other)}
    number = 0
    while True:  # a question comes by one and its answer by the other, in turn
        for fd, to in ((here, there), (there, here)):
            bundle = read(polls[fd], fd, True)
            counter, number = COUNTER.pack(number), number + 1
            head, end = bytes((0x11, 15)), len(bundle) - TAG
            mac = tag(counter, head, bundle[2 : FRONT.size], bundle[end - 16 : end])
            write(to, b"".join((head, bundle[2:end], counter, mac)), False)


def forked(stack: ExitStack, run: Callable[[], None]) -> None:
    """Run `run` in a child, until the stack ends."""
    child = os.fork()
    if child == 0:
        run()
        os._exit(0)
    stack.callback(os.waitpid, child, 0)
    stack.callback(os.kill, child, signal.SIGKILL)


def kernel(stack: ExitStack) -> Callable[[int], object]:
    """Return what asks and is answered by the kernel's UDP."""
    asking, answering = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    for end in (asking, answering):
        end.bind(("127.0.0.1", 0))
    where, data = answering.getsockname(), bytes(SIZE)

    def answer() -> None:
        while True:
            answering.sendto(*answering.recvfrom(65536))

    def ask(_number: int) -> None:
        asking.sendto(data, where)
        asking.recvfrom(65536)

    forked(stack, answer)
    return ask


def floor(stack: ExitStack, relayed: bool) -> Callable[[int], object]:
    """Return what asks and is answered by the protocol alone."""
    asking, answering = joined()
    if relayed:
        (asking, near), (answering, far) = (asking, answering), joined()
        forked(stack, lambda: pass_on(near, far))
    poll, data = polled(asking), bytes(SIZE)

    def answer() -> None:
        own = polled(answering)
        number = 0
        while True:
            send(answering.fileno(), receive(own, answering.fileno(), not relayed), number, relayed)
            number += 1

    def ask(number: int) -> None:
        send(asking.fileno(), data, number, True)
        receive(poll, asking.fileno(), False)

    forked(stack, answer)
    return ask


def median(ask: Callable[[int], object], count: int) -> float:
    took = []
    for number in range(count):
        began = clock()
        ask(number)
        took.append(clock() - began)
    return statistics.median(took) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--count", type=int, default=1000, help="questions per round and path")
    chosen = parser.parse_args()
    print(f"floor of {SIZE} bytes, {machine()}; {chosen.rounds} rounds of {chosen.count}, medians (lowest-highest)")
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with ExitStack() as stack:
        paths = {"kernel UDP": kernel(stack), "direct link": floor(stack, False), "one relay": floor(stack, True)}
        found = {path: [] for path in paths}
        for _ in range(chosen.rounds):
            for path, ask in paths.items():
                found[path].append(median(ask, chosen.count))
    print("| path | p50 µs | beside kernel UDP | goal no lower than |\n|---|---|---|---|")
    for path, rounds in found.items():
        ratios = [one / other for one, other in zip(rounds, found["kernel UDP"], strict=True)]
        least = 1.3 * statistics.median(ratios)
        print(f"| {path} | {statistics.median(rounds):.0f} | {between(ratios)} | {least:.1f} |")


if __name__ == "__main__":
    main()
