"""compat/README.md: every test that it names exists, every row of its tables names one, and the tests that only it
needs."""

from __future__ import annotations

import ast
import errno
import re
import subprocess
import sys
from pathlib import Path
from queue import Empty, Queue

import pytest

from peer_relay_socket import Peer
from peer_relay_socket.identity import Identity
from tests.patience import LIMIT

ROOT = Path(__file__).parent.parent.parent
GUIDE = ROOT / "compat" / "README.md"

_NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


def rows() -> list[list[str]]:
    """Return the cells of the tables that compare with npm."""
    lines = [line for line in GUIDE.read_text().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in cells if len(row) == 3 and row[2] != "shown by"]


def test_every_sentence_has_a_test() -> None:
    assert len(rows()) > 20
    for sentence, here, shown in rows():
        assert sentence
        assert here
        assert _NAMED.findall(shown), sentence
        assert not _NAMED.sub("", shown).strip(), sentence


@pytest.mark.slow
def test_every_test_that_is_named_exists() -> None:
    named = {f"tests/{file}::{test}" for file, test in _NAMED.findall(GUIDE.read_text())}
    files = sorted({name.partition("::")[0] for name in named})
    collect = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "slow or not slow", *files]
    found = subprocess.run(collect, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    collected = {line.partition("[")[0] for line in found.stdout.splitlines() if "::" in line}
    assert sorted(named - collected) == [], found.stdout[-2000:] + found.stderr


def raised() -> set[str]:
    """Return the names of the errnos that the source raises, or leaves for the next call to raise."""
    found: set[str] = set()
    for folder in ("peer_relay_socket/surface", "peer_relay_socket/bridge", "compat/peer_relay"):
        for file in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(file.read_text())
            asked = {
                node for compare in ast.walk(tree) if isinstance(compare, ast.Compare) for node in ast.walk(compare)
            }
            for node in ast.walk(tree):
                if node in asked:
                    continue
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "errno":
                    found.add(node.attr)
                elif isinstance(node, ast.Name) and node.id in errno.errorcode.values():
                    found.add(node.id)  # "from errno import"
    return found


def test_the_table_of_errors_has_every_errno_that_is_raised_and_no_other() -> None:
    rows = re.findall(r"^\| (E[A-Z]+) \| \S", GUIDE.read_text().partition("## Errors")[2], re.M)
    assert rows == sorted(raised())


def test_an_id_is_160_bits_and_belongs_to_a_key(tmp_path: Path) -> None:
    identity = Identity.load_or_create(str(tmp_path / "key"))
    with Peer(identity=tmp_path / "key", port=0, host="127.0.0.1") as peer:
        assert len(peer.id) * 8 == 160
        assert peer.id == identity.peer_id
    assert Identity.generate().peer_id != identity.peer_id


@pytest.mark.slow
def test_a_message_to_a_peer_that_is_not_there_is_lost_in_silence() -> None:
    heard: Queue[object] = Queue()
    with Peer(port=0, host="127.0.0.1") as relay, Peer(bootstrap=relay.url or "") as peer:
        peer.on("error", heard.put).on("message", lambda *message: heard.put(message))
        assert peer.wait_connected(LIMIT)
        peer.send(bytes(20), "lost")
        relay.send(peer.id, "found")
        assert heard.get(timeout=LIMIT) == ("found", relay.id)
        with pytest.raises(Empty):
            heard.get_nowait()
