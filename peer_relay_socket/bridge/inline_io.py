"""Threads that do the loop's input and output themselves while it sleeps: they send one datagram, or read one.

Lives here: the lock of what belongs to the loop, the loop's selector, the leader. May not live here: what is sent or
read.

Law: the loop's thread holds the lock whenever it is awake, so nothing on the loop knows of this; and a thread that runs
as the loop gives the lock back before it waits for anything.

A datagram that comes alone should not pass through two threads, which costs more than all else together: so of the
threads that wait for datagrams one, the *leader*, waits for the links itself, and the loop does not. What it finds is
one small packet for it, as a rule. Whatever else there is, it leaves to the loop.

What a signal handler raises comes out between any two instructions of the main thread, which may run as the loop. Three
things hold even then, here and in what is called from here: no nonce is used twice (engine/seal), no frame goes out in
halves and no byte that was read is lost (transport/stream), and no lock stays taken. All else may be lost with the
datagram that was under way, as UDP loses datagrams. CPython looks for signals after calls of Python functions and at
backward jumps, and never within C: so what must be one step is one call into C, and what it did is known afterwards by
a list that it filled.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sized
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from ..limits import LEADER_AFTER, LEADER_EVENTS, LEADER_FAST, LEADER_KEPT, LEADER_PATIENCE, LOOP_LOCK_PATIENCE
from ..originals import selectors, thread, time
from ..system import os, select
from ..transport.readers import Readers, Source, equip
from .waiting import WITHOUT_WAITING

if TYPE_CHECKING:
    import asyncio

    from .waiting import Waiters

T = TypeVar("T")

_WAITING: Final = (True,)
_BRIEFLY: Final = (LEADER_PATIENCE,)


class LoopLock:
    """The lock of what belongs to the loop: its thread's, but while that sleeps another's for a moment.

    A signal handler or the garbage collector may interrupt the thread that runs as the loop, and do anything there:
    even wait for the loop. So the loop waits LOOP_LOCK_PATIENCE at most and then goes on with a new lock: the old one
    counts for nothing any more, and the call that is still under way finds the loop's things changed beneath it. What
    runs as the loop must bear that, and must not make the loop do something sooner than it means to wake.
    """

    __slots__ = ("lock",)

    def __init__(self) -> None:
        self.lock = thread.allocate_lock()

    def take(self) -> None:
        """The loop is awake. Waits for the thread that runs as the loop: microseconds, at most LOOP_LOCK_PATIENCE."""
        if not self.lock.acquire(timeout=LOOP_LOCK_PATIENCE):
            self.lock = thread.allocate_lock()
            self.lock.acquire()

    def give(self) -> None:
        """The loop's thread goes to sleep."""
        self.lock.release()

    def hold(self, timeout: float) -> Callable[[], None] | None:
        """Keep the loop asleep, so that it holds no lock, for LOOP_LOCK_PATIENCE at most. Waits at most `timeout`.

        Returns: what lets it go on; None when the lock was not to be had.
        """
        lock = self.lock
        return lock.release if lock.acquire(timeout=timeout) else None


class LendingSelector(selectors.DefaultSelector):
    """The loop's selector. It lends the lock while it sleeps, and has lone messages taken without waking a thread.

    Where there is epoll, it waits for two poll sets: asyncio's, and that of the links. As long as no thread ever led,
    the first is in the second, so that one poll finds a link; from then on both are in a third, so that a leader can
    have the links' to itself.
    """

    if TYPE_CHECKING:

        def fileno(self) -> int: ...  # of what epoll makes

    def __init__(self, loop_lock: LoopLock) -> None:
        super().__init__()
        self._loop_lock = loop_lock
        self._loop: asyncio.AbstractEventLoop | None = None
        self.readers = Readers() if hasattr(select, "epoll") else None
        self._sleep: Callable[[float | None], list[tuple[int, int]]] | None = None
        self.leads = False
        """Whether a thread ever led."""
        if self.readers is not None:
            self._sleep = self.readers.poll
            self.readers.epoll.register(self.fileno(), select.EPOLLIN)
            both = self._both = select.epoll()
            both.register(self.fileno(), select.EPOLLIN)
            both.register(self.readers.fd, select.EPOLLIN)
            self.leave_links = partial(both.modify, self.readers.fd, 0)
            """Do not wait for links. Any thread; one call into C, as its opposite."""
            self.attend_links = partial(both.modify, self.readers.fd, select.EPOLLIN)

    def serve(self, loop: asyncio.AbstractEventLoop) -> None:
        """Be the selector of `loop`, and read its links."""
        self._loop = loop
        if self.readers is not None:
            equip(loop, self.readers)

    def let_lead(self) -> None:
        """From now on threads may lead. On the loop."""
        if self.readers is not None and not self.leads:
            self.readers.epoll.unregister(self.fileno())
            self._sleep = self._both.poll
            self.leads = True

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As any selector; where it does not sleep it keeps the lock."""
        readers, sleep, wait = self.readers, self._sleep, timeout
        if timeout is not None and timeout <= 0.0:
            if readers is not None:
                self._look(readers.poll(0))
            return super().select(0)
        if readers is None or sleep is None:
            self._loop_lock.lock.release()
            try:
                return super().select(timeout)
            finally:
                self._loop_lock.take()
        end = None if timeout is None else time.monotonic() + timeout
        loop_lock = self._loop_lock
        while True:
            loop_lock.lock.release()
            try:
                found = sleep(wait)
            finally:
                if not loop_lock.lock.acquire(False):  # in one step where no thread runs as the loop
                    loop_lock.take()
            if not self.leads:
                done = bool(found) and self._look(found)
            elif found:
                done = found[0][0] == readers.fd == found[-1][0]
                done = self._look(readers.poll(0)) and done
            else:
                done = False
            if end is not None and done:
                wait = end - time.monotonic()
            if not done or (wait is not None and wait <= 0.0):
                return super().select(0)

    def _look(self, found: list[tuple[int, int]]) -> bool:
        """Have lone messages taken. Returns: False when something is left to do on the loop."""
        loop, readers, done = self._loop, self.readers, True
        assert loop is not None
        assert readers is not None
        for fd, _ in found:
            source = readers.sources.get(fd)
            if source is None:  # asyncio's poll set
                done = False
                continue
            try:
                taken = source.read_fast()
            except Exception as error:  # whatever called select expects none
                loop.call_exception_handler({"message": "reading a link failed", "exception": error})
                taken = False
            if taken:
                readers.fast_reads += 1
            else:
                done = False
                readers.missed()
                loop.call_soon(source.read)
        return done

    def fds(self) -> list[int]:
        """Return what this holds open beside what is registered."""
        return [] if self.readers is None else [self.fileno(), self._both.fileno(), *self.readers.fds()]


class Followed(Protocol):
    """What the leader waits for: an inbox."""

    needs_check: bool
    waiters: Waiters

    @property
    def ready(self) -> Sized:
        """What it holds."""

    @property
    def bridge(self) -> object | None:
        """What crosses to threads that block comes through this; None before it is needed."""

    def open_bridge(self) -> object:
        """See to it that what the relay thread puts crosses to a thread that blocks."""


class Leader:
    """The place of the thread that waits for links instead of the loop, while it waits for a datagram.

    Where datagrams follow each other fast, the place is kept from one wait to the next, lest the loop wake up for what
    comes in between: at most LEADER_KEPT seconds, after which the loop looks whether a thread came back.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, loop_lock: LoopLock, sleep: LendingSelector, readers: Readers
    ) -> None:
        self._loop = loop
        self._loop_lock = loop_lock
        self._sleep = sleep
        self._leave_links = sleep.leave_links
        self.attend_links = sleep.attend_links
        self.readers = readers
        self._one_leads = thread.allocate_lock()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._waiting = False
        self._keeps_place = False
        self._look_is_due = False
        """Whether `_look_after` will run."""
        self.reads = 0
        """How often a leader read."""
        self._fast_since = 0.0
        self._being_read: Source | None = None
        """What is being read; if it stays so, the reading was interrupted."""
        readers.add(self._bell, self)
        self.release: Callable[[], object] = partial(os.eventfd_write, self._bell, 1)
        """Ends the leader's wait: the bell that an inbox rings. Any thread; one call into C."""

    @property
    def taken(self) -> bool:
        """Whether a thread is waiting here."""
        return self._waiting

    def wait(self, inbox: Followed, timeout: float | None) -> bool:
        """Wait for `inbox` as `Inbox.take` does, reading links meanwhile. Signal handlers run, and what they raise
        comes out of here.

        Returns: False when the place is taken, or what comes is not for it: then the loop reads, and `Inbox.take` it
            is.
        """
        readers = self.readers
        if readers.fast_reads < LEADER_AFTER:
            return False
        if not self._sleep.leads:
            self._soon(self._sleep.let_lead)
            return False
        leads: list[bool] = []
        acquired: list[bool] = []
        try:
            leads.extend(map(self._one_leads.acquire, WITHOUT_WAITING))
            if not leads[0]:
                return False
            if inbox.bridge is None:
                inbox.open_bridge()
            self._waiting = True
            bells = inbox.waiters.bells
            try:
                if not self._keeps_place:
                    self._leave_links()
                bells.append(self)
                if inbox.ready or inbox.needs_check:  # a put looks for bells after it put, and this the other way round
                    return True
                found = readers.poll(timeout, LEADER_EVENTS)
                try:  # noqa: SIM105  # contextlib's takes as long as all the rest
                    bells.remove(self)
                except ValueError:  # it was rung
                    pass
                if not found:
                    return True
                lock, done = self._loop_lock.lock, True
                try:
                    acquired.extend(map(lock.acquire, _WAITING, _BRIEFLY))
                    if not acquired[0]:
                        self._keeps_place = False
                        return False
                    for fd, _ in found:  # as the loop does
                        source = readers.sources.get(fd)
                        if source is self:
                            self._clear_bell()
                        elif source is not None:
                            self._being_read = source
                            if source.read_fast():
                                self._being_read = None
                                readers.fast_reads += 1
                            else:
                                done = readers.missed() and done
                                self._leave_to_loop(source)
                finally:
                    if acquired and acquired[0]:
                        lock.release()
                self.reads += 1
                if not done:
                    self._keeps_place = False
                elif not (self._keeps_place or self.reads & 15):
                    self._see_whether_to_keep_place()
                return done
            finally:
                self._waiting = False
                if not self._keeps_place:  # looked at after `_waiting` was changed, and in `_look_after` the other way
                    self.attend_links()  # round: in C as a whole, and nothing comes between
                if self in bells:
                    inbox.waiters.leave(self)
                if self._being_read is not None:
                    self._leave_to_loop(self._being_read)
        finally:
            if leads and leads[0]:
                if self._waiting:  # the end of the wait was interrupted, too
                    self._waiting = self._keeps_place = False
                    self.attend_links()
                self._one_leads.release()

    def _see_whether_to_keep_place(self) -> None:
        now = time.monotonic()
        if now < self._fast_since + LEADER_FAST:
            self._soon(self._keep_place)
        self._fast_since = now

    def _clear_bell(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._bell)

    def read_fast(self) -> bool:
        """The loop saw the leader's bell. Stop polling links if a leader waits, else resume; order relative to `wait`
        does not matter."""
        if self._waiting:
            self._leave_links()
        if not self._waiting:
            self._clear_bell()
            self.attend_links()
        return True

    def read(self) -> None:
        """Never due: `read_fast` does it."""

    def _leave_to_loop(self, source: Source) -> None:
        """Have the loop read `source`."""
        self._being_read = None
        self._soon(source.read)

    def _soon(self, call: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
            self._loop.call_soon_threadsafe(call)

    def _keep_place(self) -> None:
        if not self._keeps_place:
            self._keeps_place = True
            self._leave_links()
            if not self._look_is_due:
                self._look_later()

    def _look_later(self) -> None:
        self._look_is_due = True
        self._loop.call_later(LEADER_KEPT, self._look_after, self.reads)

    def _look_after(self, reads: int) -> None:
        if self._keeps_place and self.reads > reads:
            self._look_later()
            return
        self._look_is_due = self._keeps_place = False
        if not self._waiting:
            self.attend_links()
