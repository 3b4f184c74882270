"""Daemon threads of ours, which the program does not see.

Lives here: how a background thread starts and ends, and how it is awaited. May not live here: what one does.

Law: `threading` does not know them, so that a program that waits for every thread it can list still ends. The threads
are the interpreter's even where `threading` is an event library's (gevent, eventlet).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError

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


async def in_background(call: Callable[[], object]) -> None:
    """Make `call` on a thread of its own, and wait for its end. Where the running loop is not asyncio's, make it here.

    Raises: what `call` raises.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        call()
        return
    done: Future[None] = Future()

    def run() -> None:
        with contextlib.suppress(InvalidStateError):  # the caller was cancelled meanwhile
            try:
                call()
            except Exception as error:
                done.set_exception(error)
            else:
                done.set_result(None)

    BackgroundThread(run)
    await asyncio.wrap_future(done)
