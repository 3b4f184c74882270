"""A relay under ten hostile links of every kind: service goes on, limits bite, memory stays where it is."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peer_relay_socket.limits import MAX_LINK_QUEUE
from peer_relay_socket.surface.udp_socket import Socket
from tests.processes import read_line

pytestmark = pytest.mark.slow
FLOODERS = Path(__file__).parents[2] / "benchmarks" / "flooders.py"
LIMIT = 60.0
"""Seconds of the relay's processor time: under a flood it takes all that it gets, which beside others is little."""
LATE = 300.0
"""Seconds after which it hangs, however busy the machine is."""
LINKS = 20
RELAY = """
import json, sys, time
from peer_relay_socket import Peer
with Peer(host=sys.argv[1], port=0, wrtc=False) as peer:
    print(peer.url, flush=True)
    for line in sys.stdin:
        size = next(line for line in open("/proc/self/status") if line.startswith("VmRSS:")).split()[1]
        print(json.dumps([int(size) * 1024, peer.counters(), time.process_time()]), flush=True)
"""


def own_address() -> str:
    """Return an address of this machine at which it meets itself as a stranger."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # sends nothing
        address = str(probe.getsockname()[0])
        if not address.startswith("127."):
            return address
    pytest.skip("needs address: an IPv4 one that is not loopback")


@contextlib.contextmanager
def process(*argv: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        try:
            yield started
        finally:
            started.kill()


def line(of: subprocess.Popen[str]) -> str:
    text = read_line(of.stdout, LATE)
    assert text, "it ended"
    return text.strip()


def ask(relay: subprocess.Popen[str]) -> tuple[int, dict[str, int], float]:
    """Return the relay's size in bytes, its counters, and how many seconds it has computed."""
    assert relay.stdin is not None
    relay.stdin.write("\n")
    relay.stdin.flush()
    size, counters, spent = json.loads(line(relay))
    return size, counters, spent


def exchange(relay: subprocess.Popen[str], a: Any, b: Any, count: int) -> None:
    """Let `count` datagrams be answered, however many it takes."""
    where = (b.peer.id.hex(), 5000)
    began, late = ask(relay)[2], time.monotonic() + LATE
    for number in range(count):
        text = b"%d" % number
        while True:
            a.sendto(text, where)
            try:
                while (heard := b.recvfrom(100))[0] != text:  # one that was late
                    pass
                b.sendto(*heard)
                while a.recvfrom(100)[0] != text:
                    pass
                break
            except TimeoutError:
                spent = ask(relay)[2] - began
                assert spent < LIMIT, f"{number} of {count} exchanges while it computed for {spent:.0f} s"
                assert time.monotonic() < late, f"{number} of {count} exchanges, and it computed for {spent:.0f} s"


def test_a_flooded_relay_serves_on_and_does_not_grow() -> None:
    with process("-c", RELAY, own_address()) as relay:
        url = line(relay)
        with (
            Socket(socket.AF_INET, socket.SOCK_DGRAM, bootstrap=url, wrtc=False) as a,
            Socket(socket.AF_INET, socket.SOCK_DGRAM, bootstrap=url, wrtc=False) as b,
        ):
            b.bind(("", 5000))
            for each in (a, b):
                each.settimeout(0.5)
                assert each.peer.wait_connected(LIMIT)
            exchange(relay, a, b, 20)
            before, *_ = ask(relay)
            with process(str(FLOODERS), "mixed", url, str(LINKS)) as flooders:
                assert line(flooders) == "flooding"
                expected = {"link throttled", "dropped: too much control traffic"}
                end = time.monotonic() + LATE
                while expected - ask(relay)[1].keys():
                    assert time.monotonic() < end, ask(relay)
                    exchange(relay, a, b, 20)
                sizes = []
                for _ in range(5):
                    exchange(relay, a, b, 30)
                    sizes.append(ask(relay)[0])
                assert flooders.poll() is None
            exchange(relay, a, b, 20)
            # Two of the flooders read nothing: as much waits for each as a slow neighbour may have.
            assert max(sizes) - before < 2 * MAX_LINK_QUEUE + 64 * 1024 * 1024
