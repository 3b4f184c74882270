"""Every benchmark runs to its table on every path: what README promises must not rot."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_flood_prints_a_share_for_every_kind_that_is_asked_for() -> None:
    argv = [sys.executable, BENCHMARKS / "flood.py", "--rounds", "1", "--seconds", "0.2", "--kinds", "small"]
    shown = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    (row,) = re.findall(r"^\| small \| \S+ \| \S+ \| ([\d,]+) \| ([\d,]+) \| \d+%", shown.stdout, re.MULTILINE)
    assert "0" not in row, shown.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("one_way.py", "--rounds", "1", "--seconds", "0.1", "--sizes", "1200"),
        ("round_trip.py", "--rounds", "1", "--count", "50", "--sizes", "1200"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_benchmark_prints_a_figure_for_every_path_when_it_is_run(arguments: tuple[str, ...]) -> None:
    argv = [sys.executable, BENCHMARKS / arguments[0], *arguments[1:]]
    shown = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    rows = dict(re.findall(r"^\| 1200 \| ([a-zA-Z ]+) \| ([\d,]+) \|", shown.stdout, re.MULTILINE))
    assert list(rows) == ["kernel UDP", "direct link", "one relay"], shown.stdout
    assert "0" not in rows.values(), shown.stdout
