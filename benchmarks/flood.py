"""What a relay still does for a well-behaved peer while hostile links flood it.

A sender and a receiver, neither of which can be dialled, talk over one `peer-relay node`, flat out, while ten links of
one kind (see flooders.py) flood that node or, stopped by a signal, stand still; the two take turns, and each share is
that of one turn and the next, so that what else the machine does falls on both. All meet the node at this machine's own
address, not at loopback, so that it treats them as strangers; with --sources each flooder has an address of its own and
no limit per host helps. `offered` is what the flooders got rid of, in all; `relay: core` the relay's share of one core
while it was flooded.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

from ends import RELAY, End, cpu_seconds, end, machine, read_line, resident, start_node
from flooders import KINDS

FLOODERS = Path(__file__).with_name("flooders.py")
WARM_UP = 2.0
"""Seconds of flood before it is measured: bursts that limits allow are over."""
PAUSE = 0.5
"""Seconds after it began or stopped."""


def own_address() -> str:
    """Return an address of this machine that others would see; loopback if it has no other."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # sends nothing
        return str(probe.getsockname()[0])
    return "127.0.0.1"


class Flood:
    """Ten links that flood, or stand still."""

    def __init__(self, kind: str, url: str, count: int, sources: list[str]) -> None:
        argv = [sys.executable, str(FLOODERS), kind, url, str(count), *sources]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        read_line(self.process, 30)
        self.seconds = 0.0
        """How long it flooded."""
        self._since = time.monotonic()
        time.sleep(WARM_UP)

    def stop(self) -> None:
        """Stand still."""
        self.process.send_signal(signal.SIGSTOP)
        self.seconds += time.monotonic() - self._since
        time.sleep(PAUSE)

    def go_on(self) -> None:
        """Flood again."""
        self._since = time.monotonic()
        self.process.send_signal(signal.SIGCONT)
        time.sleep(PAUSE)

    def offered(self) -> tuple[float, float]:
        """End it, while it stands still; return bytes and connections per second of flooding."""
        self.process.terminate()
        self.process.send_signal(signal.SIGCONT)
        sent, connections, *_ = json.loads(read_line(self.process, 30))
        self.process.wait(30)
        return sent / self.seconds, connections / self.seconds


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

        def rate() -> dict[str, float]:
            used, clock = cpu_seconds(node.pid), time.monotonic()
            one = sender.do("flood", seconds + 60, run=next(runs), size=size, seconds=seconds)
            busy = (cpu_seconds(node.pid) - used) / (time.monotonic() - clock)
            rate, arrived = one["received"] / one["receiving"], one["received"] / one["sent"]
            return {"rate": rate, "arrived": arrived, "busy": busy}

        rate()
        for kind in kinds:
            found: dict[bool, list[dict[str, float]]] = {True: [], False: []}
            sizes = [resident(node.pid) / 2**20]
            flood = Flood(kind, url, count, sources)
            try:
                for turn in range(rounds):
                    for flooded in (True, False) if turn % 2 == 0 else (False, True):
                        if not flooded:
                            flood.stop()
                        elif turn:
                            flood.go_on()
                        found[flooded].append(rate())
                        sizes.append(resident(node.pid) / 2**20)
                    if turn % 2:
                        flood.stop()
                assert flood.process.poll() is None, "the flooders ended"
                sent, connections = flood.offered()
            finally:
                end(flood.process)
            shares = [one["rate"] / other["rate"] for one, other in zip(found[True], found[False], strict=True)]
            figures = (
                kind,
                f"{sent / 1e6:,.0f}",
                f"{connections:,.0f}",
                f"{statistics.median(one['rate'] for one in found[False]):,.0f}",
                f"{statistics.median(one['rate'] for one in found[True]):,.0f}",
                f"{statistics.median(shares):.0%} ({min(shares):.0%}-{max(shares):.0%})",
                f"{statistics.median(one['arrived'] for one in found[True]):.1%}",
                f"{statistics.median(one['busy'] for one in found[True]):.0%}",
                f"{sizes[0]:.0f}-{max(sizes):.0f}",
            )
            print("|", " | ".join(figures), "|", flush=True)
            time.sleep(1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=1.0, help="of sending, per measurement")
    parser.add_argument("--size", type=int, default=1200, help="bytes of a datagram")
    parser.add_argument("--links", type=int, default=10, help="hostile links")
    parser.add_argument("--sources", nargs="+", default=[], help="addresses of this machine that the floods come from")
    parser.add_argument("--kinds", nargs="+", choices=[*KINDS, "mixed"], default=[*KINDS, "mixed"])
    chosen = parser.parse_args()
    for source in chosen.sources:
        try:
            socket.create_server((source, 0)).close()
        except OSError as error:
            parser.error(f"--sources: {source}: {error.strerror}")
    print(f"flood, {machine()}; {chosen.links} links, {chosen.rounds} rounds of {chosen.seconds} s, medians")
    measure(chosen.kinds, chosen.rounds, chosen.seconds, chosen.size, chosen.links, chosen.sources)


if __name__ == "__main__":
    main()
