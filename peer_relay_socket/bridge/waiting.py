"""Threads that wait until something changes, and the lock under which it changes.

Lives here: `Waiters`, and what they wait at. May not live here: what they wait for.

Law: each waiting thread has a bell of its own, a bare lock that another thread releases. To ring takes no lock, so what
a signal handler raises amid it, or amid the wait, leaves nothing locked. A wake-up may be stale: look again.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol, TypeAlias

from ..originals import thread

if TYPE_CHECKING:
    from _thread import LockType

Guard: TypeAlias = "AbstractContextManager[bool]"


def guard() -> Guard:
    """Return a reentrant lock: signal handlers and the garbage collector run socket calls inside socket calls."""
    return threading.RLock()


def on_main_thread() -> bool:
    """Return whether this is the thread in which signal handlers run."""
    return threading.get_ident() == threading.main_thread().ident


class Bell(Protocol):
    """What a thread waits at."""

    def release(self) -> object:
        """Wake it. Any thread; one call into C."""


class Waiters:
    """The threads that wait for one thing. Any thread; nothing here takes a lock."""

    __slots__ = ("bells",)

    def __init__(self) -> None:
        self.bells: list[Bell] = []
        """Always the same list, from which each bell is taken in one step. There is more than one per thread while
        signal handlers wait, too."""

    def enter(self) -> LockType:
        """Hang up a bell for the calling thread; a change after this is not missed. Returns: what `wait` takes."""
        bell = thread.allocate_lock()
        bell.acquire()
        self.bells.append(bell)
        return bell

    def leave(self, bell: Bell) -> None:
        """Take the bell down. Idempotent."""
        try:  # noqa: SIM105  # contextlib's takes as long as all the rest
            self.bells.remove(bell)
        except ValueError:  # it was rung
            pass

    def wait(self, bell: LockType, timeout: float | None) -> bool:
        """Wait until the bell is rung, at most `timeout` seconds. Signal handlers run, and what they raise comes out of
        here. Returns: False when the time is up."""
        return bell.acquire(timeout=-1 if timeout is None else min(timeout, threading.TIMEOUT_MAX))

    def wake_all(self) -> None:
        """Let every waiting thread look again."""
        bells = self.bells  # one that an exception kept its owner from taking down goes here
        while bells:
            try:
                bell = bells.pop()
            except IndexError:  # its owner was faster
                return
            bell.release()
