"""The examples of compat/README.md, "Native programs", run word for word."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.gateway.conftest import LIMIT
from tests.gateway.test_native_programs import needs
from tests.processes import environment
from tests.snippets import snippet

pytestmark = pytest.mark.slow


def run(example: str, node: str, folder: Path) -> str:
    """Run an example in a network of its own; return what it prints."""
    (folder / "bin").mkdir()
    command = folder / "bin" / "peer-relay"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m peer_relay "$@"\n')
    command.chmod(0o755)
    settings = environment(PEER_RELAY_BOOTSTRAP=node)
    settings["PATH"] = f"{command.parent}:{settings['PATH']}:/usr/sbin:/sbin"
    with (
        (folder / "log").open("w+") as log,
        subprocess.Popen(
            ["bash", "-c", example + "\nwait\n"],
            cwd=folder,
            env=settings,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as shell,
    ):
        try:
            told = shell.communicate(timeout=4 * LIMIT)[0]
        except subprocess.TimeoutExpired:
            shell.kill()
            log.seek(0)
            pytest.fail(log.read())
    return told


@needs("dnsmasq", "dig")
def test_dns_example_prints_the_answer(node: str, tmp_path: Path, run_command: list[str]) -> None:
    printed = run(snippet("compat/README.md", "DNS"), node, tmp_path).splitlines()
    assert [line for line in printed if not line.startswith(";")] == ["10.1.2.3"]  # dig remarks on tries that failed


@needs("transmission-cli", "transmission-create")
def test_bittorrent_example_completes(node: str, tmp_path: Path, run_command: list[str]) -> None:
    assert run(snippet("compat/README.md", "BitTorrent"), node, tmp_path).splitlines()[-1] == "complete"


def test_game_example_tells_players_apart(node: str, tmp_path: Path, run_command: list[str]) -> None:
    told = run(snippet("compat/README.md", "game"), node, tmp_path)
    assert told == "jump: move 1 of player 1\njump: move 1 of player 2\n"
