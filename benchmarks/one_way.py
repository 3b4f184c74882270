"""Datagrams per second from one blocking process to another, and what they cost: kernel UDP, a direct link, one relay.

Every round measures every path one after the other, so that what else the machine does falls on all alike; ratios are
taken within a round. The sender goes flat out: the kernel drops what its receiver is too slow for, so look at the share
that arrived as well. CPU is what all processes used, per 100,000 datagrams that arrived.
"""

from __future__ import annotations

import argparse
import itertools
import statistics

from ends import KERNEL, PATHS, between, courses, machine

Found = dict[tuple[str, int], list[dict[str, float]]]


def measure(rounds: int, seconds: float, sizes: list[int], paths: tuple[str, ...]) -> Found:
    """Return (path, size) -> what each round found."""
    found: Found = {(path, size): [] for path in paths for size in sizes}
    runs = itertools.cycle(range(1, 256))
    with courses(paths) as made:
        for turn in range(rounds):
            order = paths[turn % len(paths) :] + paths[: turn % len(paths)]
            for size, path in itertools.product(sizes, order):
                found[path, size].append(made[path].flood(next(runs), size, seconds))
    return found


def report(found: Found, yardstick: str, order: tuple[str, ...]) -> None:
    """Print a line per size and path: medians, and the ratios to `yardstick` within a round."""
    beside = f"rate / {yardstick} | CPU / {yardstick}"
    print(f"| bytes | path | datagrams/s | Mbit/s | arrived | CPU s per 100,000 | {beside} |")
    print("|---|---|---|---|---|---|---|---|")
    for (path, size), rounds in sorted(found.items(), key=lambda item: (item[0][1], order.index(item[0][0]))):
        rate = statistics.median(one["rate"] for one in rounds)
        arrived = statistics.median(one["received"] / one["sent"] for one in rounds)
        cpu = statistics.median(one["cpu"] for one in rounds)
        beside = "- | -"
        others = found.get((yardstick, size), [])
        if others and path != yardstick:
            pairs = list(zip(rounds, others, strict=True))
            rates = between([one["rate"] / other["rate"] for one, other in pairs])
            beside = f"{rates} | {between([one['cpu'] / other['cpu'] for one, other in pairs], 3)}"
        megabits = rate * size * 8 / 1e6
        print(f"| {size} | {path} | {rate:,.0f} | {megabits:,.0f} | {arrived:.1%} | {cpu:.2f} | {beside} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of sending, per round, size and path")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 512, 1200])
    parser.add_argument("--paths", nargs="+", choices=PATHS, default=list(PATHS))
    chosen = parser.parse_args()
    print(f"one way, {machine()}; {chosen.rounds} rounds of {chosen.seconds} s, medians (lowest-highest)")
    report(measure(chosen.rounds, chosen.seconds, chosen.sizes, tuple(chosen.paths)), KERNEL, PATHS)


if __name__ == "__main__":
    main()
