"""The operator's guide: its samples are what the commands print, and its table names every counter once."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from peer_relay_socket import Peer
from tests.observe.conftest import relay, runtime_folder, start
from tests.observe.programs import ECHO, Program, peer_relay
from tests.patience import until

__all__ = ["relay", "runtime_folder", "start"]

PACKAGE = Path(__file__).parents[2] / "peer_relay_socket"
GUIDE = PACKAGE / "cli" / "README.md"
Start = Callable[..., Program]


def plain(text: str) -> str:
    """Return `text` with what differs from run to run replaced."""
    text = re.sub(r"ws://127\.0\.0\.1:\d+", "URL", text)
    text = re.sub(r"\bfd[0-9a-f]{0,2}:[0-9a-f:]+", "IPV6", text)
    text = re.sub(r"\b100\.\d+\.\d+\.\d+\b", "IPV4", text)
    text = re.sub(r"\b[0-9a-f]{40}\b", "ID", text)
    text = re.sub(r"\b(?=[0-9a-f]*)[0-9a-f]{8}\b", "id", text)
    text = re.sub(r"\d+(\.\d+)? (µs|ms|s|m|h|B|kB|MB)\b", "N", text)
    text = re.sub(r"\d+(\.\d+)?", "N", text)
    return re.sub(r" +", " ", text)


def sample(command: str) -> str:
    """Return what the guide shows below `$ peer-relay command`."""
    found = re.search(rf"^\$ peer-relay {command}\b.*\n((?:(?!```).*\n)*)", GUIDE.read_text(), re.M)
    assert found is not None, command
    return found[1]


@pytest.mark.slow
def test_samples_are_what_the_commands_print(runtime_folder: Path, start: Start, relay: Peer) -> None:
    url = relay.url or ""
    program = start(ECHO, url)
    until(lambda: peer_relay("status", str(program.pid)).returncode == 0)
    peer_id, ipv4 = program.words
    told = {"PEER_RELAY_BOOTSTRAP": url}
    assert plain(sample("ping")) == plain(peer_relay("ping", ipv4, "5000", "-c", "2", **told).stdout)
    assert plain(sample("trace")) == plain(peer_relay("trace", ipv4, **told).stdout)
    assert plain(sample("doctor")) == plain(peer_relay("doctor", **told).stdout)
    shown = peer_relay("status", str(program.pid)).stdout.replace("-c (pid", "echo.py (pid")
    head, _, _ = sample("status").partition("  sessions")
    assert plain(head) == plain(shown.partition("  sessions")[0])
    assert peer_id in shown


def counters() -> set[str]:
    """Return the names of all counters that the source counts under."""
    names: set[str] = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name | ast.Attribute):
                name = node.value.attr if isinstance(node.value, ast.Attribute) else node.value.id
                value: ast.expr | None = node.slice if name in ("counters", "_past") else None
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                value = node.args[0] if node.func.attr in ("count", "_count") else None
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                value = node.value
                if not (isinstance(value, ast.Constant) and re.match(r"(dropped|refused): ", str(value.value))):
                    value = None
            else:
                value = None
            if isinstance(value, ast.Constant) and isinstance(value.value, str) and len(value.value) > 3:
                names.add(value.value)
    return {name for name in names if " " in name}


def test_the_table_names_every_counter_once() -> None:
    rows = re.findall(r"^\| `([^`]+)` \|", GUIDE.read_text().partition("## Counters")[2], re.M)
    assert [name for name, times in Counter(rows).items() if times > 1] == []
    assert counters() - set(rows) == set()
