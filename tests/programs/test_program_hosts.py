"""What the harness promises of every program: waits end, failures show the output, nothing survives."""

from pathlib import Path

import pytest

from tests.programs.program_hosts import KernelNetwork, Network, table


def run_script(network: Network, text: str, ready: str | None = None) -> None:
    script = network.directory / "script.py"
    script.write_text(text)
    network.finish(network.start("lone", script, ready=ready), "^done$", seconds=5)


@pytest.mark.parametrize(
    ("script", "ready", "why"),
    [
        ("print('odd')", "^READY", "lone printed no line like '^READY'"),
        ("print('odd')", None, "line like '^done$': None"),
        ("print('done\\nodd'); raise SystemExit(3)", None, "exit status 3, line like '^done$': 'done'"),
    ],
)
def test_network_shows_the_output_when_a_program_fails(
    tmp_path: Path, script: str, ready: str | None, why: str
) -> None:
    with KernelNetwork("ip", tmp_path) as network, pytest.raises(AssertionError) as failure:
        run_script(network, script, ready)
    assert why in str(failure.value)
    assert "\nodd" in str(failure.value)


def test_network_ends_what_it_started_when_it_is_left(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("import time\nprint('READY', flush=True)\ntime.sleep(60)")
    with KernelNetwork("ip", tmp_path) as network:
        program = network.start("lone", tmp_path / "script.py", ready="^READY")
        assert program.wait(0) is None
    assert program.wait(0) == -15


def test_table_has_a_row_per_program_and_a_column_per_network() -> None:
    rows = [("echo", "kernel ip", "0.10"), ("echo", "relay ip", "0.25"), ("tftpy", "relay ip", "1.50")]
    assert [line.split() for line in table(rows)] == [
        ["kernel", "ip", "relay", "ip"],
        ["echo", "0.10", "0.25"],
        ["tftpy", "-", "1.50"],
    ]
