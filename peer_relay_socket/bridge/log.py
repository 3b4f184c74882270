"""The log lines of a peer: logger "peer_relay", on a thread of their own.

Lives here: how a line gets to the program's handlers. May not live here: what is worth a line.

Law: a handler is the program's. It may block, wait for a thread that waits for us, or send through a socket of ours: so
none is called where the relay, or a caller that starts it, would wait for that. The thread ends with the last line.
"""

from __future__ import annotations

import _thread
import contextlib
import logging
import sys
import threading
from _thread import LockType
from collections import deque
from collections.abc import Callable
from functools import partial
from types import BuiltinFunctionType
from typing import Any, Final

from ..limits import LOG_LINES
from ..originals import os, thread

_waiting: Final[deque[Callable[[], object]]] = deque(maxlen=LOG_LINES)
_diverted: Final[set[str]] = set()
_handling = thread.allocate_lock()
"""Held by the thread that handles lines."""


class _Log(logging.LoggerAdapter[logging.Logger]):
    """The logger, for any thread; never waits."""

    def log(self, level: int, msg: object, *args: object, **how: Any) -> None:
        """As `logging.Logger.log`."""
        if self.logger.isEnabledFor(level):
            if how.get("exc_info") is True:
                how["exc_info"] = sys.exc_info()
            _hand_over(partial(self.logger.log, level, msg, *args, **how))


log: Final = _Log(logging.getLogger("peer_relay"))


def divert(on_relay_thread: Callable[[], bool], *packages: str) -> None:
    """Have what loggers of `packages` say on the relay thread handled as ours. What they say elsewhere stays."""

    def divert_record(record: logging.LogRecord) -> bool:
        if not on_relay_thread():
            return True
        _hide_thread()
        _hand_over(partial(logging.getLogger(record.name).callHandlers, record))
        return False

    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and name.partition(".")[0] in packages and name not in _diverted:
            _diverted.add(name)
            logger.addFilter(divert_record)


def log_to_stderr(level: int) -> None:
    """Show lines of `level` and above on stderr, unless the program has a handler for them."""
    logger = log.logger
    logger.setLevel(level)
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s peer-relay %(levelname)s %(message)s"))
        logger.addHandler(handler)
        logger.propagate = False


def finish(limit: float) -> None:
    """Wait until the lines so far are with their handlers, at most `limit` seconds."""
    if _handling.locked():
        done = thread.allocate_lock()
        done.acquire()
        _hand_over(done.release)
        done.acquire(timeout=limit)


def _hand_over(call: Callable[[], object]) -> None:
    if sys.is_finalizing():  # a thread started now would never run
        with contextlib.suppress(Exception):
            call()
        return
    _waiting.append(call)
    handling = _handling
    if handling.acquire(False):
        try:
            if _threads_are_real():  # so that the program, whose handlers it runs, can list it and wait for it
                threading.Thread(target=_handle, args=(handling,), name="peer-relay-log", daemon=True).start()
            else:
                thread.start_new_thread(_handle, (handling,))
        except RuntimeError:  # at the interpreter's end there are no new threads
            _handle(handling)


def _handle(handling: LockType) -> None:
    while True:
        while _waiting:
            with contextlib.suppress(Exception):  # what a handler raises logging has shown
                _waiting.popleft()()
        handling.release()
        if not _waiting or not handling.acquire(False):
            break
    if not _threads_are_real():
        _hide_thread()


def _threads_are_real() -> bool:
    """Return whether `threading` starts threads, and not an event library's."""
    return isinstance(_thread.start_new_thread, BuiltinFunctionType)


def _hide_thread() -> None:
    """Take the calling thread, which logging asked `threading` about, out of what that lists."""
    getattr(threading, "_active", {}).pop(thread.get_ident(), None)


def _forget() -> None:
    """In a forked child, which has no thread that handles lines."""
    global _handling
    _waiting.clear()
    _handling = thread.allocate_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
