"""How much of the codec and the engine the kept corpus reaches: python -m tests.fuzz.coverage

Prints, per file, which share of its lines some kept input executes, and exits with 1 below FLOOR in all.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).parents[2]
ROOMS = ("codec", "engine")
CORPUS = Path(__file__).parent / "corpus"
FLOOR = 0.5


def lines_of(code: CodeType) -> set[int]:
    """Return the lines of functions that are in `code`; a module's own run at its import."""
    found: set[int] = set()
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_flags & 2:  # a function's, not a class body's
                found |= {line for _, _, line in constant.co_lines() if line and line != constant.co_firstlineno}
            found |= lines_of(constant)
    return found


def executed() -> dict[str, set[int]]:
    """Run every kept input. Returns: file -> the lines that ran."""
    from tests.fuzz.targets import TARGETS

    ran: dict[str, set[int]] = {}

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        file = frame.f_code.co_filename
        if "/peer_relay_socket/codec/" not in file and "/peer_relay_socket/engine/" not in file:
            return None
        if event == "line":
            ran.setdefault(file, set()).add(frame.f_lineno)
        return trace

    sys.settrace(trace)
    try:
        for path in sorted(CORPUS.glob("*/*")):
            TARGETS[path.parent.name](path.read_bytes())
    finally:
        sys.settrace(None)
    return ran


def main() -> int:
    """Print the table."""
    ran = executed()
    reached = total = 0
    for room in ROOMS:
        for file in sorted((ROOT / "peer_relay_socket" / room).rglob("*.py")):
            lines = lines_of(compile(file.read_text(), str(file), "exec"))
            if lines:
                hit = lines & ran.get(str(file), set())
                reached, total = reached + len(hit), total + len(lines)
                print(f"{len(hit) / len(lines):5.0%} of {len(lines):4}  {file.relative_to(ROOT / 'peer_relay_socket')}")
    print(f"{reached / total:5.0%} of {total:4}  in all")
    return 0 if reached >= FLOOR * total else 1


if __name__ == "__main__":
    sys.exit(main())
