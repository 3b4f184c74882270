"""Calls that must not be made where they come up: amid a lock, in a signal handler, in the garbage collector.

Lives here: the thread that makes them instead, in order. May not live here: what they do.

Law: to hand a call over takes no lock that an interrupted thread may hold (SimpleQueue is made for that), and nothing
interrupts the thread that makes it with calls of its own.
"""

from __future__ import annotations

import contextlib
import os
from _queue import SimpleQueue
from collections.abc import Callable

from ..originals import thread
from .log import log
from .runtime import on_relay_thread

_errands: SimpleQueue[Callable[[], object]] | None = None
_errand_thread = 0


def aside(call: Callable[[], object]) -> None:
    """Have `call` made soon, in order, on the thread of errands. Any thread, at any point."""
    global _errands
    errands = _errands
    if errands is None:
        errands = SimpleQueue()
        try:
            # Not threading's start, which must not be interrupted either.
            thread.start_new_thread(_run_errands, (errands,))
        except RuntimeError:  # the interpreter is ending, and with it all threads that could wait for this
            return
        _errands = errands
    errands.put(call)


def patiently(call: Callable[[], object]) -> None:
    """Make `call`, which may wait for the loop, where that may be waited for: here, unless the garbage collector, say,
    came to it on the relay thread or on that of errands. Any thread."""
    if not (on_relay_thread() or thread.get_ident() == _errand_thread):
        call()
        return
    with contextlib.suppress(RuntimeError):  # the interpreter is ending, which sees to all that is left
        thread.start_new_thread(_call_quietly, (call,))


def _run_errands(errands: SimpleQueue[Callable[[], object]]) -> None:
    global _errand_thread
    _errand_thread = thread.get_ident()
    while True:
        _call_quietly(errands.get())  # no limit: this thread's whole job is to wait, and it is a daemon


def _call_quietly(call: Callable[[], object]) -> None:
    try:
        call()
    except Exception:
        log.exception("what was put aside raised")


def _forget_errands() -> None:
    global _errands
    _errands = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_errands)
