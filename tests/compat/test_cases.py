"""Programs that once broke, each run on the kernel's sockets first and then on ours: `cases/` holds them.

A case is a whole program that exits 0 when its sockets do what its docstring says, and it ends itself when it hangs.
Those that need rights of their own, or an option of `run`, say so here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import environment

CASES = sorted(Path(__file__).with_name("cases").glob("*.py"))
NATIVE = [sys.executable]
OURS = [sys.executable, "-m", "peer_relay", "run"]
OPTIONS = {name: ["--identity", "{tmp}/key"] for name in ("environment_cleared", "program_replaced")}
"""What a case is run with."""
ROOT = frozenset({"name_moves", "privileges_dropped"})
"""Cases that want to be root."""


def outcome(command: list[str]) -> str:
    done = subprocess.run(
        command,
        env=environment(PEER_RELAY_BOOTSTRAP="ws://127.0.0.1:1"),  # nobody is there: a peer linked to no other
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    return "ok" if done.returncode == 0 else f"{done.returncode}\n{done.stdout}{done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_case_goes_as_on_the_kernel(case: Path, tmp_path: Path) -> None:
    if case.stem in ROOT and os.geteuid() != 0:
        pytest.skip("needs root")
    assert outcome([*NATIVE, str(case)]) == "ok"
    options = [word.format(tmp=tmp_path) for word in OPTIONS.get(case.stem, [])]
    assert outcome([*OURS, *options, str(case)]) == "ok"
