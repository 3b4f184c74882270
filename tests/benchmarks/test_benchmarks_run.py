"""Every benchmark runs to its table with settings so small that the figures mean nothing: what README promises must
not rot. What it measures beside us is left out where that is not installed."""

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytestmark = pytest.mark.slow
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(script: str, *arguments: str) -> str:
    """Run a benchmark; return what it printed."""
    argv = [sys.executable, BENCHMARKS / script, *arguments]
    shown = subprocess.run(argv, capture_output=True, text=True, timeout=180, check=False)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    return shown.stdout


COMMANDS = re.findall(r"`\.venv/bin/python benchmarks/(\w+\.py)([^`]*)`", (BENCHMARKS / "README.md").read_text())


def test_the_guide_has_every_benchmark_with_options_that_it_takes_and_all_run_here() -> None:
    own = Path(__file__).read_text()
    assert {script for script, _ in COMMANDS} == set(re.findall(r'"(\w+\.py)"', own))
    for script, rest in COMMANDS:
        taken = (BENCHMARKS / script).read_text()
        assert [option for option in re.findall(r"--\w+", rest) if f'"{option}"' not in taken] == [], script


def test_floor_prints_what_no_goal_can_be_below() -> None:
    shown = run("floor.py", "--rounds", "1", "--count", "50")
    rows = dict(re.findall(r"^\| ([a-zA-Z ]+) \| \d+ \| [^|]+ \| ([\d.]+) \|$", shown, re.MULTILINE))
    assert list(rows) == ["kernel UDP", "direct link", "one relay"], shown


def test_compare_prints_a_ratio_of_a_checkout_to_itself() -> None:
    shown = run("compare.py", str(BENCHMARKS.parent), "--rounds", "1", "--questions", "round_trip")
    assert re.search(r"^\| round_trip \| [\d,]+ µs \| [\d,]+ µs \| \d", shown, re.MULTILINE), shown


def test_cost_prints_what_a_kind_of_packet_costs() -> None:
    shown = run("cost.py", "--links", "20", "--sessions", "64", "--hostile", "5", "--kinds", "TRACE")
    assert re.search(r"^\| TRACE \| [\d.]+, \d+ \| [\d.]+, \d+ \| [\d.]+, \d+ \|$", shown, re.MULTILINE), shown


def test_flood_prints_a_share_for_every_kind_that_is_asked_for() -> None:
    shown = run("flood.py", "--rounds", "1", "--seconds", "0.2", "--kinds", "small")
    (row,) = re.findall(r"^\| small \| \S+ \| \S+ \| ([\d,]+) \| ([\d,]+) \| \d+%", shown, re.MULTILINE)
    assert "0" not in row, shown


def test_sealing_prints_a_cost() -> None:
    shown = run("sealing.py", "--rounds", "1", "--seconds", "0.1", "--paths", "direct link")
    rows = re.findall(r"^\| 1200 \| ([a-z ]+) \| ([\d,]+) \| ([\d,]+) \| -?\d+%", shown, re.MULTILINE)
    assert [path for path, *_ in rows] == ["direct link"], shown
    assert "0" not in [rate for _, *rates in rows for rate in rates], shown


def test_footprint_prints_what_each_thing_costs_beside_its_yardstick() -> None:
    argv = [sys.executable, BENCHMARKS / "footprint.py", "--rounds", "1"]
    shown = subprocess.run(argv, capture_output=True, text=True, timeout=240, check=False)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    rows = re.findall(r"^\| [^|]+ \| [^|]+ \| ([\d,.]+) (?:ms|MiB|µs|bytes) \| ([\d,.]+) ", shown.stdout, re.MULTILINE)
    assert len(rows) == 6, shown.stdout
    assert "0.0" not in [figure for row in rows for figure in row]


def test_native_prints_a_figure_for_every_path() -> None:
    allowed = subprocess.run(
        [sys.executable, "-m", "peer_relay", "run", "true"], capture_output=True, text=True, check=False
    )
    if allowed.returncode == 2:
        pytest.skip(allowed.stderr.strip())
    shown = run("native.py", "--rounds", "1", "--seconds", "0.2", "--count", "50")
    rows = re.findall(r"^\| ([a-zA-Z ]+) \| ([\d,.]+) \| \S+(?: \S+)? \| ([\d,]+) \|", shown, re.MULTILINE)
    assert [path for path, *_ in rows] == ["kernel UDP", "direct link", "one relay"], shown
    assert re.search(r"^start: [\d.]+ s alone, [\d.]+ s under peer-relay run", shown, re.MULTILINE)


@pytest.mark.parametrize(
    "arguments",
    [
        ("one_way.py", "--rounds", "1", "--seconds", "0.1", "--sizes", "1200"),
        ("round_trip.py", "--rounds", "1", "--count", "50", "--sizes", "1200", "--cores", "free"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_benchmark_prints_a_figure_for_every_path_when_it_is_run(arguments: tuple[str, ...]) -> None:
    shown = run(*arguments)
    rows = dict(re.findall(r"^(?:\| free )?\| 1200 \| ([a-zA-Z ]+) \| ([\d,]+) \|", shown, re.MULTILINE))
    assert list(rows) == ["kernel UDP", "direct link", "one relay"], shown
    assert "0" not in rows.values(), shown


def test_relayed_measures_whoever_is_installed_and_says_who_is_not() -> None:
    peers = ("npm peer-relay", "npm, uncompressed", "coturn and aioice", "n2n supernode")
    shown = run("relayed.py", "--rounds", "1", "--seconds", "0.1", "--peers", "one relay", *peers)
    for peer in peers:
        assert f"### beside {peer}\n" in shown or f"{peer}: not measured, " in shown, shown


def test_relay_node_prints_all_five_measurements() -> None:
    arguments = ("--rounds", "1", "--seconds", "0.3", "--links", "5", "--pairs", "2", "--lanes", "4")
    shown = run("relay_node.py", *arguments)
    figures = re.findall(r"^(bulk: \d|2 pairs, 1,000|one pair beside|idle: 5 links)", shown, re.MULTILINE)
    assert len(figures) == 4, shown
    if "not measured" not in shown:
        assert "\nlanes: 4 links, 4 with a lane" in shown, shown


def test_asyncio_programs_run_on_both_networks() -> None:
    pytest.importorskip("aioquic", reason="needs aioquic")
    pytest.importorskip("kademlia", reason="needs kademlia")
    shown = run("asyncio_programs.py", "--rounds", "1")
    assert len(re.findall(r"^\| (?:aioquic|kademlia) \| \d", shown, re.MULTILINE)) == 2, shown


def test_scale_prints_rates_and_memory() -> None:
    arguments = ("--rounds", "1", "--seconds", "0.1", "--counts", "1", "3", "--datagrams", "2e4")
    shown = run("scale.py", *arguments)
    assert len(re.findall(r"^\| (?:known peers|bound sockets) \| [13] \| \d", shown, re.MULTILINE)) == 4, shown
    assert len(re.findall(r"^\| [\d,]+ \| [\d.]+ \| [\d.]+ \|$", shown, re.MULTILINE)) == 6, shown


def test_convoy_prints_both_paths() -> None:
    shown = run("convoy.py", "--rounds", "1", "--seconds", "0.5")
    assert len(re.findall(r"^\| (?:kernel UDP|direct link) \| \d", shown, re.MULTILINE)) == 2, shown


def test_picture_shows_every_path(tmp_path: Path) -> None:
    arguments = ("--rounds", "1", "--seconds", "0.1", "--sizes", "64", "1200", "--peers")
    run("picture.py", str(tmp_path / "it.svg"), *arguments)
    drawing = ElementTree.parse(tmp_path / "it.svg")
    names = {text.text for text in drawing.iter("{http://www.w3.org/2000/svg}text")}
    assert {"kernel UDP", "direct link", "one relay", "64", "1200"} <= names
