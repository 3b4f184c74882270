"""Waiting for something to become true."""

from __future__ import annotations

import time
from collections.abc import Callable

LIMIT = 30.0


def until(what: Callable[[], object], limit: float = LIMIT) -> None:
    """Wait until `what` holds."""
    end = time.monotonic() + limit
    while not what():
        assert time.monotonic() < end, what
        time.sleep(0.005)
