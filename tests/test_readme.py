"""The example in README.md runs as it is printed there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import LIMIT
from tests.processes import environment, read_line
from tests.snippets import snippet

README = Path(__file__).parent.parent / "README.md"


PROGRAMS = {"server.py": snippet("README.md", "server.py"), "client.py": snippet("README.md", "client.py")}


def test_the_readme_is_short_and_links_to_nothing_that_the_package_index_lacks() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= 140
    assert re.findall(r"\]\((?!https://)", text) == []


@pytest.mark.slow
def test_two_terminals_talk_with_nothing_configured(tmp_path: Path) -> None:
    for name, text in PROGRAMS.items():
        (tmp_path / name).write_text(text)
    environ = environment(PYTHONUNBUFFERED="1", XDG_STATE_HOME=str(tmp_path))  # where the programs of this user meet
    serve = [sys.executable, str(tmp_path / "server.py")]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, env=environ, text=True) as server:
        try:
            *words, address = read_line(server.stdout).split()
            assert words == ["reach", "me", "at"]
            ask = [sys.executable, str(tmp_path / "client.py"), address]
            asked = subprocess.run(ask, capture_output=True, env=environ, text=True, timeout=LIMIT, check=False)
            assert asked.stdout == f"(b'HELLO', ('{address}', 5000))\n", asked.stderr
        finally:
            server.kill()
