"""Microseconds from a question to its answer, one at a time, between two blocking processes: kernel UDP, a direct link,
one relay.

Every round measures every path one after the other; ratios are taken within a round. With the ends on two cores most of
the kernel's own figure is the waking of a sleeping core; with everything on one core nothing but software is left.
"""

from __future__ import annotations

import argparse
import itertools
import statistics

from ends import KERNEL, PATHS, between, courses, machine

Found = dict[tuple[str, int, str], list[dict[str, float]]]
CORES = ("two", "one", "free")


def measure(rounds: int, count: int, sizes: list[int], paths: tuple[str, ...], cores: list[str]) -> Found:
    """Return (cores, size, path) -> what each round found."""
    found: Found = {key: [] for key in itertools.product(cores, sizes, paths)}
    runs = itertools.cycle(range(1, 256))
    with courses(paths) as made:
        for turn in range(rounds):
            order = paths[turn % len(paths) :] + paths[: turn % len(paths)]
            for where, size, path in itertools.product(cores, sizes, order):
                made[path].pin(where)
                found[where, size, path].append(made[path].ping(next(runs), size, count))
    return found


def report(found: Found) -> None:
    """Print a line per way of pinning, size and path: medians of the rounds' p50 and p99."""
    print("| cores | bytes | path | p50 µs | p99 µs | p99 / p50 | lost | p50 / kernel UDP |")
    print("|---|---|---|---|---|---|---|---|")
    for (cores, size, path), rounds in found.items():
        p50, p99 = (statistics.median(one[name] for one in rounds) for name in ("p50", "p99"))
        lost = sum(one["lost"] for one in rounds)
        beside = "-"
        others = found.get((cores, size, KERNEL), [])
        if others and path != KERNEL:
            beside = between([one["p50"] / other["p50"] for one, other in zip(rounds, others, strict=True)])
        print(f"| {cores} | {size} | {path} | {p50:,.0f} | {p99:,.0f} | {p99 / p50:.1f} | {lost:.0f} | {beside} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=500, help="questions per round, size, path and way of pinning")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 1200])
    parser.add_argument("--paths", nargs="+", choices=PATHS, default=list(PATHS))
    parser.add_argument("--cores", nargs="+", choices=CORES, default=["two", "one"], help="where the processes run")
    chosen = parser.parse_args()
    print(f"round trip, {machine()}; {chosen.rounds} rounds of {chosen.count} questions, medians (lowest-highest)")
    report(measure(chosen.rounds, chosen.count, chosen.sizes, tuple(chosen.paths), chosen.cores))


if __name__ == "__main__":
    main()
