"""What the simulator leaves behind in the process that ran it."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _thaw() -> Iterator[None]:
    """A population that has joined is frozen, and all that was there before with it; at the end pytest's plugins ask
    who refers to what."""
    yield
    gc.unfreeze()
