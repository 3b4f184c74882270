"""Datagrams per second from one blocking process to another: kernel UDP, a direct link, one relay.

Every round measures every path one after the other, so that what else the machine does falls on all alike; ratios are
taken within a round. The sender goes flat out: the kernel drops what its receiver is too slow for, so look at the share
that arrived as well.
"""

from __future__ import annotations

import argparse
import itertools
import statistics

from ends import KERNEL, PATHS, askers, machine


def measure(rounds: int, seconds: float, sizes: list[int], paths: tuple[str, ...]) -> dict[tuple[str, int], list[dict]]:
    """Return (path, size) -> what each round found."""
    found: dict[tuple[str, int], list[dict]] = {(path, size): [] for path in paths for size in sizes}
    runs = itertools.cycle(range(1, 256))
    with askers(paths) as ends:
        for turn in range(rounds):
            order = paths[turn % len(paths) :] + paths[: turn % len(paths)]
            for size, path in itertools.product(sizes, order):
                one = ends[path].do("flood", seconds + 60, run=next(runs), size=size, seconds=seconds)
                one["rate"] = one["received"] / one["receiving"] if one["receiving"] else 0.0
                found[path, size].append(one)
    return found


def report(found: dict[tuple[str, int], list[dict]]) -> None:
    """Print a line per size and path: medians, and the spread of the ratio."""
    print("| bytes | path | datagrams/s | Mbit/s | arrived | offered/s | beside kernel UDP in the same round |")
    print("|---|---|---|---|---|---|---|")
    for (path, size), rounds in sorted(found.items(), key=lambda item: (item[0][1], PATHS.index(item[0][0]))):
        rate = statistics.median(one["rate"] for one in rounds)
        arrived = statistics.median(one["received"] / one["sent"] for one in rounds)
        offered = statistics.median(one["sent"] / one["sending"] for one in rounds)
        beside = "-"
        if (KERNEL, size) in found and path != KERNEL:
            ratios = [one["rate"] / other["rate"] for one, other in zip(rounds, found[KERNEL, size], strict=True)]
            beside = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        megabits = rate * size * 8 / 1e6
        print(f"| {size} | {path} | {rate:,.0f} | {megabits:,.0f} | {arrived:.1%} | {offered:,.0f} | {beside} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of sending, per round, size and path")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 512, 1200])
    parser.add_argument("--paths", nargs="+", choices=PATHS, default=list(PATHS))
    chosen = parser.parse_args()
    print(f"one way, {machine()}; {chosen.rounds} rounds of {chosen.seconds} s, medians")
    report(measure(chosen.rounds, chosen.seconds, chosen.sizes, tuple(chosen.paths)))


if __name__ == "__main__":
    main()
