"""The example in README.md runs as it is printed there."""

from __future__ import annotations

import os
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import LIMIT

README = Path(__file__).parent.parent / "README.md"


def example(name: str) -> str:
    """Return the code block whose first line names it."""
    for block in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL):
        if block.startswith(f"# {name}"):
            return str(block)
    raise AssertionError(f"README.md has no example {name}")


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], LIMIT)[0], f"{process.args}: silent"
    return process.stdout.readline()


def test_the_readme_is_short_and_links_to_nothing_that_the_package_index_lacks() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= 140
    assert re.findall(r"\]\((?!https://)", text) == []


@pytest.mark.slow
def test_the_example_runs(tmp_path: Path) -> None:
    for name in ("server.py", "client.py"):
        (tmp_path / name).write_text(example(name))
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PEER_RELAY_")}
    environ["PYTHONUNBUFFERED"] = "1"
    start = [sys.executable, "-m", "peer_relay", "node"]
    with subprocess.Popen(start, stdout=subprocess.PIPE, env=environ, text=True) as node:
        try:
            environ["PEER_RELAY_BOOTSTRAP"] = line_of(node).split()[3]
            serve = [sys.executable, str(tmp_path / "server.py")]
            with subprocess.Popen(serve, stdout=subprocess.PIPE, env=environ, text=True) as server:
                try:
                    address = line_of(server).split()[-1]
                    ask = [sys.executable, str(tmp_path / "client.py"), address]
                    asked = subprocess.run(ask, capture_output=True, env=environ, text=True, timeout=LIMIT, check=False)
                    assert asked.stdout == f"(b'HELLO', ('{address}', 5000))\n", asked.stderr
                finally:
                    server.kill()
        finally:
            node.kill()
