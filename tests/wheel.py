"""The wheel, built from a copy of the checkout: a build leaves files behind."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.snippets import ROOT

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


def build_wheel(folder: Path) -> Path:
    """Return the wheel, made in an empty folder."""
    source = folder / "source"
    source.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("peer_relay_socket", "compat"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([*PIP, "wheel", "-q", "--no-deps", "-w", str(folder), str(source)], timeout=120, check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel
