"""Coverage-guided fuzzing, by hand: python -m tests.fuzz TARGET [libFuzzer options] [CORPUS...]

Needs atheris (pip install atheris). Without a corpus it starts from tests/fuzz/corpus/TARGET and keeps what it finds in
a scratch folder; a finding is written to the working directory as crash-*. Ten minutes of one target:

    python -m tests.fuzz engine -max_total_time=600
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]


def main() -> None:
    """Run one target until libFuzzer is told to stop or something is found."""
    with atheris.instrument_imports(include=["peer_relay_socket"]):
        from tests.fuzz.targets import TARGETS
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: python -m tests.fuzz {{{','.join(TARGETS)}}} [libFuzzer options] [CORPUS...]")
    name = sys.argv.pop(1)
    if not any(not option.startswith("-") for option in sys.argv[1:]):
        sys.argv += [tempfile.mkdtemp(prefix="fuzz-"), str(Path(__file__).parent / "corpus" / name)]
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
