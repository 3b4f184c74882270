"""The operator's guide: its samples are what the commands print, and its table names every counter once."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from peer_relay_socket import Peer
from peer_relay_socket.cli.ping import CURES
from tests.observe.conftest import relay, runtime_folder, start
from tests.observe.programs import ECHO, Program, peer_relay
from tests.patience import until
from tests.snippets import ROOT, snippet

__all__ = ["relay", "runtime_folder", "start"]

PACKAGE = Path(__file__).parents[2] / "peer_relay_socket"
GUIDE = PACKAGE / "cli" / "README.md"
PING = snippet("peer_relay_socket/cli/README.md", "ping")
TRACE = snippet("peer_relay_socket/cli/README.md", "trace")
DOCTOR = snippet("peer_relay_socket/cli/README.md", "doctor")
STATUS = snippet("peer_relay_socket/cli/README.md", "status")
TREE = snippet("peer_relay_socket/cli/README.md", "where to look")
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


def shown(console: str) -> str:
    """Return what a command prints, without the command."""
    command, _, output = console.partition("\n")
    assert command.startswith("$ peer-relay ")
    return plain(output)


@pytest.mark.slow
def test_samples_are_what_the_commands_print(runtime_folder: Path, start: Start, relay: Peer) -> None:
    url = relay.url or ""
    program = start(ECHO, url)
    until(lambda: peer_relay("status", str(program.pid)).returncode == 0)
    peer_id, ipv4 = program.words
    told = {"PEER_RELAY_BOOTSTRAP": url}
    assert shown(PING) == plain(peer_relay("ping", ipv4, "5000", "-c", "2", **told).stdout)
    assert shown(TRACE) == plain(peer_relay("trace", ipv4, **told).stdout)
    assert shown(DOCTOR) == plain(peer_relay("doctor", **told).stdout)
    status = peer_relay("status", str(program.pid)).stdout.replace("-c (pid", "echo.py (pid")
    assert shown(STATUS).partition(" sessions")[0] == plain(status).partition(" sessions")[0]
    assert peer_id in status


def test_the_tree_begins_with_what_ping_says_and_goes_on_with_what_doctor_looks_at() -> None:
    branches = re.findall(r"^[├└]─ (.+?)(?: {2,}|, but |$)", TREE, re.M)
    assert branches == [each for each in CURES if each != "answers no pings"] + ["answered"]  # npm peers
    looked_at = re.findall(r"^│  [├└]─ (\w+)", TREE.partition("├─ nobody has")[0], re.M)
    findings = (PACKAGE / "observe" / "checks.py").read_text()
    assert [each for each in looked_at if not re.search(rf'"{each}\b', findings)] == []
    refusals = re.findall(r"^│     [├└]─ (.+?) (?: |\.|have|one|ipv4)", TREE, re.M)
    texts = "".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    assert [each for each in refusals if each not in texts] == []


OTHERS = {"--address", "--no-daemon", "--no-resolv", "--quic-bind", "--workers"}
"""Options of other programs in the guides: dnsmasq, hypercorn."""
EVERYWHERE = {"--help", "--version", "--allow-links", "--deny-links"}
"""Options that need no guide, or that a guide names by their setting."""


def test_the_guides_and_the_commands_have_the_same_options() -> None:
    guides = [
        (ROOT / guide).read_text() for guide in ("README.md", "compat/README.md", "peer_relay_socket/cli/README.md")
    ]
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", "".join(guides)))
    rooms = (PACKAGE / "cli", ROOT / "compat" / "peer_relay")
    source = "".join(file.read_text() for room in rooms for file in room.glob("*.py"))
    assert named - OTHERS - EVERYWHERE == set(re.findall(r'"(--[a-z][a-z-]+)"', source)) - EVERYWHERE


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
