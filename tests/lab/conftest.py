"""What every test in the lab needs: a machine that permits one."""

from __future__ import annotations

import pytest

from tests.lab.nat_lab import Lab


@pytest.fixture(scope="session")
def _why_there_is_no_lab() -> str | None:
    return Lab.missing()


@pytest.fixture(autouse=True)
def _lab_is_possible(_why_there_is_no_lab: str | None) -> None:
    if _why_there_is_no_lab is not None:
        pytest.skip(f"needs lab: {_why_there_is_no_lab}")
