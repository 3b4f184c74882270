"""How the commands that serve wait for the signals that end them, or tell them to read files again.

Law: these signals are blocked, or handled, before any thread starts, so that none of them ends the process unseen.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Final

from ..limits import SIGNAL_POLL

STOP: Final = (signal.SIGINT, signal.SIGTERM)
RELOAD: Final[tuple[signal.Signals, ...]] = tuple(
    getattr(signal, name) for name in ("SIGHUP",) if hasattr(signal, name)
)
"""None on Windows."""


@contextlib.contextmanager
def signals_held(*signals: int) -> Iterator[Callable[[], int]]:
    """Hold `signals` back within the `with` block.

    Yields: what waits for the next of them, were it there before, and returns it. Main thread only.
    """
    if sys.platform != "win32" and hasattr(signal, "pthread_sigmask"):
        # Blocked before any thread starts, so every thread inherits it and sigwait is the only taker.
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        try:
            yield lambda: int(signal.sigwait(signals))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        return
    came: SimpleQueue[int] = SimpleQueue()

    def note(number: int, _frame: FrameType | None) -> None:
        came.put(number)

    def wait() -> int:
        while True:
            with contextlib.suppress(Empty):
                return came.get(timeout=SIGNAL_POLL)

    handlers = {number: signal.signal(number, note) for number in signals}
    try:
        yield wait
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
