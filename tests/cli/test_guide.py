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
            elif isinstance(value, ast.JoinedStr):
                names.add(text_of(value))
    return {name for name in names if " " in name}


def test_the_table_names_every_counter_once() -> None:
    table = GUIDE.read_text().partition("## Counters")[2].partition("## Log lines")[0]
    rows = re.findall(r"^\| `([^`]+)` \|", table, re.M)
    assert [name for name, times in Counter(rows).items() if times > 1] == []
    assert counters() - set(rows) == set()
    texts = "".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    assert [name for name in rows if f'"{name.replace("...", "{name}")}"' not in texts] == []


TEXTS = {
    "info": 0,
    "warning": 0,
    "error": 0,
    "log": 1,
    "report": 0,
    "_report": 0,
    "note": 1,
    "_note_once": 2,
    "append": 0,
}
"""Which argument of what puts lines into the log is the text."""


def text_of(value: ast.expr) -> str:
    """Return a text with `...` for what is put into it, without its mark; "" for what is none."""
    if isinstance(value, ast.JoinedStr):
        text = "".join(str(part.value) if isinstance(part, ast.Constant) else "..." for part in value.values)
    else:
        text = re.sub(r"%[.\d]*[a-z]", "...", str(value.value)) if isinstance(value, ast.Constant) else ""
    text = re.sub(r"\.{4,}", "...", re.sub(r"^[!=] ", "", text))
    return text if " " in text.strip(". :") else ""


def log_lines() -> set[str]:
    """Return what the source puts into the log from level info on, but for what it says in others' words."""
    found: set[str] = set()
    rooms = [file for room in ("bridge", "engine", "cli") for file in (PACKAGE / room).rglob("*.py")]
    for file in (*rooms, PACKAGE / "admission.py", PACKAGE.parent / "compat" / "peer_relay" / "dgram.py"):
        if not re.search(r"\b(log|report|note|problems)\b", text := file.read_text()):
            continue
        tree = ast.parse(text)
        for call in ast.walk(tree):
            if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in TEXTS):
                continue
            name, at, receiver = call.func.attr, TEXTS[call.func.attr], ast.unparse(call.func.value)
            if name in ("info", "warning", "error", "log", "append") and receiver.split(".")[-1] not in (
                "log",
                "problems",
            ):
                continue
            if len(call.args) <= at or (at and ast.unparse(call.args[at - 1]) in ("_DEBUG", "10", "logging.DEBUG")):
                continue
            given = call.args[at]
            if isinstance(given, ast.Name):  # put together before
                assigned = [node for node in ast.walk(tree) if isinstance(node, ast.Assign)]
                found |= {text_of(node.value) for node in assigned if ast.unparse(node.targets[0]) == given.id}
            else:
                found.add(text_of(given))
    return found - {""}


def test_the_table_has_every_line_of_the_log_and_no_other() -> None:
    table = GUIDE.read_text().partition("## Log lines")[2].partition("## Settings")[0]
    assert re.findall(r"^\| `(.+?)` \| \S", table, re.M) == sorted(log_lines())
