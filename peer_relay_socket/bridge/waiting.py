"""Threads that wait until something changes, and the lock under which it changes.

Lives here: `Waiters`, and what they wait at. May not live here: what they wait for.

Law: each waiting thread has a bell of its own, a bare lock that another thread releases. To ring takes no lock, so what
a signal handler raises amid it, or amid the wait, leaves nothing locked. A wake-up may be stale: look again. Locks are
the interpreter's even where `threading` is an event library's (gevent, eventlet), whose locks no other thread may free.
"""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeAlias, TypeVar

from ..originals import MAIN_THREAD, thread, time

if TYPE_CHECKING:
    import asyncio
    from _thread import LockType

T = TypeVar("T")

WITHOUT_WAITING: Final = (False,)
"""What makes a lock's `acquire` not wait. Where a signal handler may raise, a lock is taken by
`noted.extend(map(lock.acquire, WITHOUT_WAITING))`: one call into C that notes whether, so that a caller which is
interrupted there releases what it has, and nothing else."""

Guard: TypeAlias = "AbstractContextManager[bool]"


def guard() -> Guard:
    """Return a reentrant lock: signal handlers and the garbage collector run socket calls inside socket calls."""
    return thread.RLock()


def on_main_thread() -> bool:
    """Return whether this is the thread in which signal handlers run."""
    return thread.get_ident() == MAIN_THREAD[0]


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


class Event:
    """As threading.Event, without `clear` in the middle of a wait."""

    __slots__ = ("_is_set", "_waiters")

    def __init__(self) -> None:
        self._is_set = False
        self._waiters = Waiters()

    def is_set(self) -> bool:
        """Return whether it has come."""
        return self._is_set

    def set(self) -> None:
        """It has come: wake every thread that waits for it. Any thread."""
        self._is_set = True
        self._waiters.wake_all()

    def clear(self) -> None:
        """It has yet to come."""
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has come, at most `timeout` seconds. Returns: whether it has."""
        end = None if timeout is None else time.monotonic() + timeout
        while not self._is_set:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return False
            bell = self._waiters.enter()
            try:
                if not self._is_set:
                    self._waiters.wait(bell, left)
            finally:
                self._waiters.leave(bell)
        return True


class Outcome(Generic[T]):
    """What a coroutine on the loop will return, for a caller's thread that waits for it."""

    __slots__ = ("_over", "_task", "_unwanted")

    def __init__(self) -> None:
        self._over = Event()
        self._task: asyncio.Task[T] | None = None
        self._unwanted = False

    def follow(self, task: asyncio.Task[T]) -> None:
        """This is the task. Loop thread only."""
        self._task = task
        task.add_done_callback(lambda _task: self._over.set())
        if self._unwanted:
            task.cancel()

    def unwanted(self) -> None:
        """Nothing waits for it any more. Loop thread only."""
        self._unwanted = True
        if self._task is not None:
            self._task.cancel()

    def result(self, timeout: float | None = None) -> T:
        """Wait for it, at most `timeout` seconds. Any thread but the loop's.

        Raises: TimeoutError; CancelledError of concurrent.futures when the loop ended first; what the coroutine raises.
        """
        if not self._over.wait(timeout):
            raise TimeoutError
        assert self._task is not None
        if self._task.cancelled():
            raise CancelledError
        return self._task.result()
