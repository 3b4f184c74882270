"""The code in the guides, by name.

Every block of code in a guide stands below a comment that says which file runs it, and what it is called:
`<!-- tests/test_readme.py: server.py -->`. That file asks for it, `snippet("README.md", "server.py")`, and runs it, or
holds it against the code.

Law: there are no other blocks (test_snippets.py).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]
GUIDES: Final = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "[a-z]*/**/*.md", ".github/*.md")
    for path in ROOT.glob(pattern)
)

_MARK: Final = re.compile(r"<!-- (\S+): (.+) -->")


class Snippet(NamedTuple):
    """A block of code in a guide."""

    line: int
    """Where it begins in the guide."""
    language: str
    text: str
    runner: str
    """The file that runs it, relative to the root; "" without a mark."""
    name: str


def snippets(guide: str) -> list[Snippet]:
    """Return the blocks of code of a guide.

    Args: guide: its path, relative to the root.
    """
    found = []
    lines = (ROOT / guide).read_text("utf-8").splitlines()
    begin: int | None = None
    for number, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if begin is None:
            begin = number
            continue
        mark = _MARK.fullmatch(lines[begin - 1]) if begin else None
        text = "".join(f"{each}\n" for each in lines[begin + 1 : number])
        runner, name = mark.groups() if mark else ("", "")
        found.append(Snippet(begin + 1, lines[begin][3:], text, runner, name))
        begin = None
    assert begin is None, f"{guide}: the block that begins in line {begin} has no end"
    return found


def snippet(guide: str, name: str) -> str:
    """Return the code of a guide that has this name."""
    (found,) = [each.text for each in snippets(guide) if each.name == name]
    return found
