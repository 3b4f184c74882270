"""This checkout beside another one, on one machine: how much faster or slower it is than BASE.

BASE is the folder of another checkout, or a commit of this repository, which is then checked out into a temporary one.
Both run under this interpreter, each with its own benchmarks/ends.py. Every round measures both one after the other,
the first of them in turn, so that what else the machine does falls on both alike; ratios are taken within a round, and
more than 1 means that this checkout is better: datagrams/s as ours / base, microseconds as base / ours. Take 9 rounds
and more on a machine with nothing else to do.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ends

HERE = Path(__file__).resolve()
QUESTIONS = {  # what is asked: (path, command, its details, which figure counts)
    "one_way": (ends.DIRECT, "flood", {"size": 1200, "seconds": 0.5}, "rate"),
    "relayed": (ends.RELAY, "flood", {"size": 1200, "seconds": 0.5}, "rate"),
    "round_trip": (ends.DIRECT, "ping", {"size": 64, "count": 1000}, "p50"),
    "round_trip, relayed": (ends.RELAY, "ping", {"size": 64, "count": 1000}, "p50"),
}


def serve() -> None:
    """Run one checkout's ends, in a process of its own: a line of JSON per question, and one per answer."""
    with ends.courses((ends.DIRECT, ends.RELAY)) as made:
        print(json.dumps("ready"), flush=True)
        for run, line in enumerate(sys.stdin, 1):
            path, command, details = json.loads(line)
            found = getattr(made[path], command)(1 + run % 255, **details)
            print(json.dumps(found), flush=True)


class Checkout:
    """One checkout's ends, as a process that answers questions."""

    def __init__(self, folder: Path) -> None:
        paths = os.pathsep.join(map(str, (folder / "benchmarks", folder, folder / "compat")))
        self.process = subprocess.Popen(
            [sys.executable, str(HERE), "--serve"],
            env={**os.environ, "PYTHONPATH": paths, "PYTHONSAFEPATH": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, *question: object) -> Any:
        """Return the answer to a question, or that it is ready if there is none."""
        assert self.process.stdin is not None
        if question:
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
        return json.loads(ends.read_line(self.process, 2 * ends.READY_SECONDS + 60))

    def close(self) -> None:
        """Have it end its own processes, and then itself."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(ends.READY_SECONDS)


@contextlib.contextmanager
def checked_out(base: str) -> Iterator[Path]:
    """Give the folder of `base`."""
    if Path(base).is_dir():
        yield Path(base).resolve()
        return
    repository = str(HERE.parents[1])
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            ["git", "-C", repository, "worktree", "add", "-q", "--detach", folder + "/base", base], check=True
        )
        try:
            yield Path(folder, "base")
        finally:
            subprocess.run(["git", "-C", repository, "worktree", "remove", "--force", folder + "/base"], check=True)


def measure(base: Path, rounds: int, questions: list[str]) -> dict[str, list[tuple[float, float]]]:
    """Return question -> (base, ours) of each round."""
    found: dict[str, list[tuple[float, float]]] = {question: [] for question in questions}
    with contextlib.ExitStack() as stack:
        both = [Checkout(base), Checkout(HERE.parents[1])]
        for one in both:
            stack.callback(one.close)
        for one in both:
            one.ask()
        for turn in range(rounds):
            for question in questions:
                path, command, details, figure = QUESTIONS[question]
                order = both if turn % 2 == 0 else both[::-1]
                told = {one: one.ask(path, command, details)[figure] for one in order}
                found[question].append((told[both[0]], told[both[1]]))
    return found


def report(found: dict[str, list[tuple[float, float]]]) -> None:
    """Print a line per question: medians, and the ratios within a round."""
    print("| | base | ours | better by |")
    print("|---|---|---|---|")
    for question, rounds in found.items():
        less_is_better = QUESTIONS[question][3] != "rate"
        ratios = [base / ours if less_is_better else ours / base for base, ours in rounds]
        unit = "µs" if less_is_better else "datagrams/s"
        base, ours = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"| {question} | {base:,.0f} {unit} | {ours:,.0f} {unit} | {ends.between(ratios, 3)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", help="a checkout's folder, or a commit")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--questions", nargs="+", choices=QUESTIONS, default=list(QUESTIONS))
    chosen = parser.parse_args()
    print(f"beside {chosen.base}, {ends.machine()}; {chosen.rounds} rounds, medians (lowest-highest)")
    with checked_out(chosen.base) as base:
        report(measure(base, chosen.rounds, chosen.questions))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    if sys.argv[1:] == ["--serve"]:
        serve()
    else:
        main()
