"""Microseconds from a question to its answer, one at a time, between two blocking processes: kernel UDP, a direct link,
one relay.

Every round measures every path one after the other; ratios are taken within a round. Nothing is pinned to a core: most
of the kernel's own figure on an idle virtual machine is the waking of a sleeping core.
"""

from __future__ import annotations

import argparse
import itertools
import statistics

from ends import KERNEL, PATHS, askers, machine


def measure(rounds: int, count: int, sizes: list[int], paths: tuple[str, ...]) -> dict[tuple[str, int], list[dict]]:
    """Return (path, size) -> what each round found."""
    found: dict[tuple[str, int], list[dict]] = {(path, size): [] for path in paths for size in sizes}
    runs = itertools.cycle(range(1, 256))
    with askers(paths) as ends:
        for turn in range(rounds):
            order = paths[turn % len(paths) :] + paths[: turn % len(paths)]
            for size, path in itertools.product(sizes, order):
                one = ends[path].do("ping", count + 60, run=next(runs), size=size, count=count)
                cuts = statistics.quantiles(one["seconds"], n=100, method="inclusive")
                found[path, size].append({"p50": cuts[49] * 1e6, "p99": cuts[98] * 1e6, "lost": one["lost"]})
    return found


def report(found: dict[tuple[str, int], list[dict]]) -> None:
    """Print a line per size and path: medians of the rounds' p50 and p99."""
    print("| bytes | path | p50 µs | p99 µs | lost | p50 beside kernel UDP in the same round |")
    print("|---|---|---|---|---|---|")
    for (path, size), rounds in sorted(found.items(), key=lambda item: (item[0][1], PATHS.index(item[0][0]))):
        p50, p99 = (statistics.median(one[name] for one in rounds) for name in ("p50", "p99"))
        lost = sum(one["lost"] for one in rounds)
        beside = "-"
        if (KERNEL, size) in found and path != KERNEL:
            ratios = [one["p50"] / other["p50"] for one, other in zip(rounds, found[KERNEL, size], strict=True)]
            beside = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        print(f"| {size} | {path} | {p50:,.0f} | {p99:,.0f} | {lost} | {beside} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=500, help="questions per round, size and path")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 1200])
    parser.add_argument("--paths", nargs="+", choices=PATHS, default=list(PATHS))
    chosen = parser.parse_args()
    print(f"round trip, {machine()}; {chosen.rounds} rounds of {chosen.count} questions, medians")
    report(measure(chosen.rounds, chosen.count, chosen.sizes, tuple(chosen.paths)))


if __name__ == "__main__":
    main()
