"""The fuzzer's targets hold on the kept corpus and on a few hundred inputs more."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
KEPT = sorted(CORPUS.glob("*/*"))


@pytest.mark.parametrize("path", KEPT, ids=[f"{path.parent.name}-{path.name}" for path in KEPT])
def test_kept_input_breaks_nothing(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())


def test_every_target_has_a_small_corpus() -> None:
    assert {path.parent.name for path in KEPT} == set(TARGETS)
    assert sum(path.stat().st_size for path in KEPT) < 64 * 1024


commands = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=80)), max_size=6).map(
    lambda pairs: b"".join(bytes((command, len(rest))) + rest for command, rest in pairs)
)


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.one_of(st.binary(max_size=200), commands))
def test_target_holds_on_arbitrary_bytes(name: str, data: bytes) -> None:
    TARGETS[name](data)
