"""What sealing costs: datagrams per second one way, sealed and not, in the same run.

Both pairs run the same program over the same paths; in one, both ends replace the two calls that seal and open a packet
by plain copies (`ends.unseal`; the package has no such switch), so the difference is encryption, authentication and the
replay window. Rounds alternate which pair goes first; the cost is taken within a round. Beside it, and less shaken by
what else the machine does: the processor time of either end for each datagram that arrived, and what sealing adds to
the busier of the two, which is what bounds the rate where each has a core to itself.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import statistics

from ends import DIRECT, RELAY, End, cpu_seconds, end, free_tcp_port, machine, start_node

PATHS = (DIRECT, RELAY)


def pair(stack: contextlib.ExitStack, path: str, unsealed: bool) -> tuple[End, End]:
    """Start both ends; return the asking and the answering one."""
    extra = {"unsealed": True} if unsealed else {}
    if path == DIRECT:
        port = free_tcp_port()
        answering, asking = {"port": port, **extra}, {"bootstrap": [f"ws://127.0.0.1:{port}"], **extra}
    else:
        answering = asking = {"bootstrap": [start_node(stack)[1]], **extra}
    receiver = End("answer", path, answering)
    stack.callback(end, receiver.process)
    sender = End("ask", path, asking, receiver.first)
    stack.callback(end, sender.process)
    return sender, receiver


def measure(path: str, size: int, rounds: int, seconds: float) -> None:
    """Print a line."""
    rates: dict[bool, list[float]] = {True: [], False: []}
    used: dict[bool, list[float]] = {True: [0.0, 0.0], False: [0.0, 0.0]}
    carried = {True: 0, False: 0}
    with contextlib.ExitStack() as stack:
        ends = {unsealed: pair(stack, path, unsealed) for unsealed in (False, True)}
        runs = itertools.cycle(range(1, 256))
        for turn in range(rounds + 1):
            for unsealed in (False, True) if turn % 2 else (True, False):
                before = [cpu_seconds(each.process.pid) for each in ends[unsealed]]
                one = ends[unsealed][0].do("flood", seconds + 60, run=next(runs), size=size, seconds=seconds)
                if turn:  # the first warms up
                    rates[unsealed].append(one["received"] / one["receiving"])
                    carried[unsealed] += one["received"]
                    for side, each in enumerate(ends[unsealed]):
                        used[unsealed][side] += cpu_seconds(each.process.pid) - before[side]
    costs = [1 - sealed / plain for sealed, plain in zip(rates[False], rates[True], strict=True)]
    each = {unsealed: [1e6 * spent / carried[unsealed] for spent in used[unsealed]] for unsealed in used}
    print(
        f"| {size} | {path} | {statistics.median(rates[False]):,.0f} | {statistics.median(rates[True]):,.0f} "
        f"| {statistics.median(costs):.0%} ({min(costs):.0%}-{max(costs):.0%}) "
        f"| {each[False][0]:.2f} / {each[True][0]:.2f} | {each[False][1]:.2f} / {each[True][1]:.2f} "
        f"| {1 - max(each[True]) / max(each[False]):.0%} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=0.5, help="of sending, per round and pair")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1200])
    parser.add_argument("--paths", nargs="+", choices=PATHS, default=list(PATHS))
    chosen = parser.parse_args()
    print(f"sealing, {machine()}; {chosen.rounds} rounds of {chosen.seconds} s, medians")
    print("| bytes | path | sealed, datagrams/s | not sealed | cost | sender, µs: sealed / not | receiver | cost |")
    print("|---|---|---|---|---|---|---|---|")
    for path, size in itertools.product(chosen.paths, chosen.sizes):
        measure(path, size, chosen.rounds, chosen.seconds)


if __name__ == "__main__":
    main()
