"""``python -m tests.soak --peers 300 --seconds 600``: prints a Markdown table; exit status 1 if something was left."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.soak.soak import Outcome, Plan, Soak, Usage


def at(ordered: list[float], share: float) -> float:
    """Return a quantile, 0 of none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def table(plan: Plan, outcome: Outcome) -> str:
    """Return what is to be printed."""
    spread = "{:.2f}, {:.2f}, {:.2f}"

    def usage(value: Usage) -> str:
        return f"{value.peers}: {value.fds}, {value.threads}, {value.kilobytes / 1024:.0f} MB"

    def quantiles(values: list[float]) -> str:
        return spread.format(at(values, 0.5), at(values, 0.99), at(values, 1.0))

    rows = [
        ("delivered", f"{outcome.delivered} of {outcome.sent} ({outcome.share:.3%})"),
        (
            "misdelivered; errors from sendto; too late to listen",
            f"{outcome.misdelivered}; {outcome.errors}; {outcome.late}",
        ),
        ("seconds to arrive: median, p99, most", quantiles(outcome.delays)),
        ("peers that left; that were killed", f"{outcome.left}; {outcome.killed}"),
        ("newcomers reached; not within 30 s", f"{len(outcome.reached)}; {outcome.unreached}"),
        ("seconds from start to reached: median, p99, most", quantiles(outcome.reached)),
        ("seconds from a kill to the last loss: each", ", ".join(f"{each:.1f}" for each in outcome.recovered)),
        ("one process, joined: peers: fds, threads, memory", usage(outcome.before)),
        ("... half way", usage(outcome.middle)),
        ("... at the end", usage(outcome.after)),
        ("processes that lived to the end; and then did not end", f"{outcome.survivors}; {outcome.stuck}"),
        ("... before the first peer; after the last", f"{usage(outcome.fresh)}; {usage(outcome.emptied)}"),
    ]
    title = f"{plan.peers} real peers in {plan.processes} processes, {plan.seconds:.0f} s, seed {plan.seed}"
    return f"| {title} | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in rows)


def parsed(arguments: list[str]) -> Plan:
    """Return what the words of the command line ask for."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Real peers that come and go.")
    plan = Plan()
    for name in ("peers", "processes", "seed"):
        parser.add_argument("--" + name, type=int, default=getattr(plan, name))
    for name in ("seconds", "rate", "ramp", "replace-every", "kill-every"):
        parser.add_argument("--" + name, type=float, default=getattr(plan, name.replace("-", "_")))
    return Plan(**vars(parser.parse_args(arguments)))


def main(arguments: list[str]) -> int:
    """Run it."""
    plan = parsed(arguments)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as state:
        outcome = asyncio.run(Soak(plan, Path(state)).run())
    print(table(plan, outcome))
    print(f"| wall seconds in all | {time.monotonic() - began:.0f} |")
    return int(outcome.leaked)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
