"""What a relay still does for a well-behaved peer while hostile links flood it.

A sender and a receiver, neither of which can be dialled, talk over one `peer-relay node`, flat out: first alone, then
while ten links of one kind (see flooders.py) flood that node, then alone again, and so on; each share is taken beside
the mean of the unloaded rates before and after. All meet the node at this machine's own address, not at loopback, so
that it treats them as strangers; with --sources each flooder has an address of its own and no limit per host helps.
`offered` is what the flooders got rid of, in all; `relay: core` the relay's share of one core meanwhile.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from ends import RELAY, End, cpu_seconds, end, machine, read_line, resident, start_node
from flooders import KINDS

FLOODERS = Path(__file__).with_name("flooders.py")
WARM_UP = 2.0
"""Seconds of flood before it is measured: bursts that limits allow are over."""


def own_address() -> str:
    """Return an address of this machine that others would see; loopback if it has no other."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # sends nothing
        return str(probe.getsockname()[0])
    return "127.0.0.1"


@contextlib.contextmanager
def flooding(kind: str, url: str, count: int, sources: list[str], told: list[list[float]]) -> Iterator[None]:
    """Flood while the block runs; then add what was got rid of to `told`."""
    argv = [sys.executable, str(FLOODERS), kind, url, str(count), *sources]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        read_line(process, 30)
        time.sleep(WARM_UP)
        yield
        assert process.poll() is None, "the flooders ended"
        process.terminate()
        told.append(json.loads(read_line(process, 30)))
    finally:
        end(process)


def measure(kinds: list[str], rounds: int, seconds: float, size: int, count: int, sources: list[str]) -> None:
    """Print a line per kind."""
    print(
        "| flood | offered, MB/s | connections/s | alone, datagrams/s | flooded | share | arrived | relay: core | MiB |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    with contextlib.ExitStack() as stack:
        node, url = start_node(stack, own_address())
        options = {"bootstrap": [url]}
        receiver = End("answer", RELAY, options)
        stack.callback(end, receiver.process)
        sender = End("ask", RELAY, options, receiver.first)
        stack.callback(end, sender.process)
        runs = itertools.cycle(range(1, 256))

        def rate() -> tuple[float, float]:
            one = sender.do("flood", seconds + 60, run=next(runs), size=size, seconds=seconds)
            return one["received"] / one["receiving"], one["received"] / one["sent"]

        rate()
        for kind in kinds:
            shares, alone, flooded, arrived = [], [rate()[0]], [], []
            told: list[list[float]] = []
            busy: list[float] = []
            before = resident(node.pid) / 2**20
            for _ in range(rounds):
                with flooding(kind, url, count, sources, told):
                    used, clock = cpu_seconds(node.pid), time.monotonic()
                    loaded, part = rate()
                    busy.append((cpu_seconds(node.pid) - used) / (time.monotonic() - clock))
                    after = resident(node.pid) / 2**20
                time.sleep(1.0)
                alone.append(rate()[0])
                flooded.append(loaded)
                arrived.append(part)
                shares.append(loaded / statistics.mean(alone[-2:]))
            figures = (
                kind,
                f"{statistics.median(each[0] / each[2] / 1e6 for each in told):,.0f}",
                f"{statistics.median(each[1] / each[2] for each in told):,.0f}",
                f"{statistics.median(alone):,.0f}",
                f"{statistics.median(flooded):,.0f}",
                f"{statistics.median(shares):.0%} ({min(shares):.0%}-{max(shares):.0%})",
                f"{statistics.median(arrived):.1%}",
                f"{statistics.median(busy):.0%}",
                f"{before:.0f}-{after:.0f}",
            )
            print("|", " | ".join(figures), "|", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of sending, per measurement")
    parser.add_argument("--size", type=int, default=1200, help="bytes of a datagram")
    parser.add_argument("--links", type=int, default=10, help="hostile links")
    parser.add_argument("--sources", nargs="+", default=[], help="addresses of this machine that the floods come from")
    parser.add_argument("--kinds", nargs="+", choices=[*KINDS, "mixed"], default=[*KINDS, "mixed"])
    chosen = parser.parse_args()
    print(f"flood, {machine()}; {chosen.links} links, {chosen.rounds} rounds of {chosen.seconds} s, medians")
    measure(chosen.kinds, chosen.rounds, chosen.seconds, chosen.size, chosen.links, chosen.sources)


if __name__ == "__main__":
    main()
