"""The guides speak of files that exist, and link to nothing that does not."""

from __future__ import annotations

import configparser
import re
import shlex
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.sim import __main__ as sim
from tests.snippets import GUIDES, ROOT, snippet
from tests.soak import __main__ as soak

FILES = {
    path.relative_to(ROOT).as_posix() for pattern in ("[a-z]*/**/*", "*", ".[cg]*/*") for path in ROOT.glob(pattern)
}


@pytest.mark.parametrize("guide", GUIDES)
def test_guide_links_lead_to_files(guide: str) -> None:
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", (ROOT / guide).read_text("utf-8"))
    assert [link for link in links if not ((ROOT / guide).parent / link).exists()] == []


def test_the_rooms_stand_in_the_order_of_the_contract() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    layers = config["importlinter:contract:rooms"]["layers"].split("peer_relay_socket.codec")[0]
    held = re.findall(r"peer_relay_socket\.(\w+)", layers)
    drawn = re.findall(r"\w+", snippet("peer_relay_socket/README.md", "the rooms").partition("the small")[0])
    assert drawn == ["compat", *held, "codec"]


def commands(text: str) -> list[list[str]]:
    """Return the words of each command of a shell snippet."""
    return [shlex.split(line, comments=True) for line in text.replace("\\\n", "").splitlines()]


def test_the_simulators_commands_are_taken() -> None:
    """They run for minutes; what they are asked for is read as they read it."""
    read: dict[str, Callable[[list[str]], object]] = {"tests.sim": sim.parsed, "tests.soak": soak.parsed}
    read["tests.sim.snapshot"] = lambda words: [int(word) for word in words]
    for python, option, module, *words in commands(snippet("tests/sim/README.md", "simulations")):
        assert (python, option) == ("python", "-m")
        read[module](words)


@pytest.mark.slow
def test_the_commands_for_tests_find_what_they_name() -> None:
    """They run for minutes; each finds tests, or a part of a script."""
    for words in commands(snippet("tests/README.md", "commands")):
        if words[0] == "bash":
            script = (ROOT / words[1]).read_text()
            assert all(f"\n{part}() {{" in script for part in words[2:])
        elif len(words) > 3:
            assert words[:3] == [".venv/bin/python", "-m", "pytest"]
            collect = [sys.executable, *words[1:], "--collect-only", "-qq", "-n", "0", "-p", "no:cacheprovider"]
            subprocess.run(collect, cwd=ROOT, stdout=subprocess.DEVNULL, timeout=120, check=True)


def test_maintainers_guide_names_files_that_exist() -> None:
    named = re.findall(r"`([\w./-]+\.(?:py|md|cfg))`", (ROOT / "peer_relay_socket/README.md").read_text("utf-8"))
    assert named
    assert [name for name in named if not any(f"/{path}".endswith(f"/{name}") for path in FILES)] == []
