"""Waits shorter than a millisecond on an event loop, whose own end at whole ones (timerfd_create(2)).

Law: relay thread only; at most one wait at a time.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

_MONOTONIC: Final = 1
_FLAGS: Final = 0o2004000
"""TFD_NONBLOCK | TFD_CLOEXEC."""


class _Times(ctypes.Structure):
    """struct itimerspec: the period, and the time until the first."""

    _fields_ = [(name, ctypes.c_long) for name in ("period_s", "period_ns", "first_s", "first_ns")]


class ShortTimer:
    """Calls back once, as soon after the time asked for as the kernel wakes anything (0.05 ms)."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
        """Raises: OSError without a descriptor left."""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._loop = loop
        self._callback = callback
        self._fd: int = self._libc.timerfd_create(_MONOTONIC, _FLAGS)
        if self._fd < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), "timerfd_create")
        loop.add_reader(self._fd, self._fired)

    def start(self, seconds: float) -> None:
        """Call back so much later, and not before."""
        times = _Times(0, 0, int(seconds), max(1, int(seconds % 1 * 1e9)))
        self._libc.timerfd_settime(self._fd, 0, ctypes.byref(times), None)

    def close(self) -> None:
        """Never call back again. Idempotent."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _fired(self) -> None:
        with contextlib.suppress(BlockingIOError):  # started again meanwhile
            os.read(self._fd, 8)
            self._callback()
