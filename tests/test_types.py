"""Programs that use this package pass type checkers: the examples in README.md, and one that uses every name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_readme import PROGRAMS

ROOT = Path(__file__).parent.parent
PATHS = [str(ROOT), str(ROOT / "compat")]

pytestmark = pytest.mark.slow


@pytest.fixture
def programs(tmp_path: Path) -> list[str]:
    for name, text in PROGRAMS.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "typed_program.py").write_text((ROOT / "tests" / "typed_program.py").read_text())
    return [str(path) for path in tmp_path.iterdir()]


def check(command: list[str], folder: Path, **environ: str) -> None:
    done = subprocess.run(
        command, cwd=folder, env=os.environ | environ, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_programs_pass_mypy_strict(programs: list[str], tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--config-file=", "--strict", "--cache-dir", str(tmp_path / "cache")]
    check([*command, *programs], tmp_path, MYPYPATH=os.pathsep.join(PATHS))


def test_programs_pass_pyright(programs: list[str], tmp_path: Path) -> None:
    pytest.importorskip("pyright")
    venv = Path(sys.prefix)
    settings = {"extraPaths": PATHS, "venvPath": str(venv.parent), "venv": venv.name, "pythonVersion": "3.11"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    check([sys.executable, "-m", "pyright", *programs], tmp_path, PYRIGHT_PYTHON_GLOBAL_NODE="1")


@pytest.mark.parametrize(
    "wrong",
    [
        'Peer(bootstap="ws://a")',
        'Peer(port="eighty")',
        'Socket(direct="leak")',
        'Peer().on("mesage", print)',
        "dgram.createSocket(port=[])",
        'peer_relay.socket(wrtc="no")',
    ],
)
def test_a_wrong_setting_or_event_is_found_by_mypy(wrong: str, tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    program = tmp_path / "wrong.py"
    names = "import peer_relay\nfrom peer_relay import dgram\nfrom peer_relay_socket import Peer, Socket\n"
    program.write_text(f"{names}\n{wrong}\n")
    cache = ROOT / ".mypy_cache" / "programs"
    command = [sys.executable, "-m", "mypy", "--config-file=", "--cache-dir", str(cache), str(program)]
    with pytest.raises(AssertionError, match=r"wrong.py:5: error"):
        check(command, tmp_path, MYPYPATH=os.pathsep.join(PATHS))
