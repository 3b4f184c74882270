"""Daemon threads of ours, which the program does not see.

Lives here: how a background thread starts and ends. May not live here: what one does.

Law: `threading` does not know them, so that a program that waits for every thread it can list still ends. The threads
are the interpreter's even where `threading` is an event library's (gevent, eventlet).
"""

from __future__ import annotations

from collections.abc import Callable

from ..originals import thread


class BackgroundThread:
    """A started daemon thread. In a forked child, which has none of its parent's threads, it means nothing."""

    __slots__ = ("_over", "_run", "ident")

    def __init__(self, run: Callable[[], object]) -> None:
        """Raises: RuntimeError: the interpreter is ending, or there can be no more threads."""
        self._run = run
        self._over = thread.allocate_lock()
        self._over.acquire()
        self.ident = thread.start_new_thread(self._until_over, ())

    def _until_over(self) -> None:
        try:
            self._run()
        finally:
            self._over.release()

    def is_alive(self) -> bool:
        """Return whether it still runs."""
        return self._over.locked()

    def join(self, timeout: float) -> None:
        """Wait for its end, at most `timeout` seconds. Any number of threads may."""
        if self._over.acquire(timeout=timeout):
            self._over.release()
