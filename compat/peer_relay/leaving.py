"""The ends of a program under `peer-relay run` at which Python runs no exit handler: os._exit and SIGTERM.

Lives here: what is put in their way, so that what was sent leaves first. May not live here: a normal end (atexit).

Law: the program finds the signal as it left it until the network is in use; and it ends though its main thread is in C,
where no Python handler runs.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Final, NoReturn

from peer_relay_socket.bridge import runtime
from peer_relay_socket.bridge.threads import BackgroundThread
from peer_relay_socket.limits import EXIT_TIME, HANDLER_TIME
from peer_relay_socket.system import SIGKILL

_set_wakeup_fd: Final = signal.set_wakeup_fd
_heard: list[int] = []
"""One element once the Python handler has run."""


def flush_first() -> None:
    """From now on let what was sent leave first."""
    leave = os._exit

    def _exit(status: int) -> NoReturn:
        try:
            if not runtime.on_relay_thread():
                runtime.stop_current()
        finally:
            leave(status)

    _exit.__doc__ = leave.__doc__
    os._exit = _exit
    runtime.when_started(_flush_on_sigterm)


def _flush_on_sigterm() -> None:
    """Let SIGTERM, where it would kill at once, wait for what was sent. Only the main thread may ask for signals."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        with contextlib.suppress(ValueError):
            signal.signal(signal.SIGTERM, _terminate)
            _watch()


def _terminate(number: int, frame: FrameType | None) -> None:
    _heard.append(number)
    signal.signal(number, signal.SIG_DFL)  # a second one does not wait
    runtime.stop_from_signal(EXIT_TIME)
    os.kill(os.getpid(), number)


def _watch() -> None:
    """Have the relay thread hear of signals at once, by the interpreter's wake-up descriptor where that is free. The
    program does not see that it is taken."""
    if _set_wakeup_fd(-1) != -1:
        return  # an event loop has it, which does not stay in C
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    _set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)

    def set_wakeup_fd(fd: int, *, warn_on_full_buffer: bool = True) -> int:
        before = _set_wakeup_fd(fd, warn_on_full_buffer=warn_on_full_buffer)
        if fd == -1:
            _set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        return -1 if before == writer.fileno() else before

    set_wakeup_fd.__doc__ = _set_wakeup_fd.__doc__
    signal.set_wakeup_fd = set_wakeup_fd
    current = runtime.Runtime.current()
    current.call(current.loop.add_reader, reader, partial(_woken, reader, current.loop.call_later))


def _woken(reader: socket.socket, later: Callable[..., object]) -> None:
    with contextlib.suppress(OSError):
        if signal.SIGTERM in reader.recv(4096) and signal.getsignal(signal.SIGTERM) is _terminate:
            later(HANDLER_TIME, _end_soon)


def _end_soon() -> None:
    with contextlib.suppress(RuntimeError):  # the interpreter is ending, and starts no thread any more
        BackgroundThread(_end_for_the_main_thread)


def _end_for_the_main_thread() -> None:
    """The main thread has had its time to run the handler: it is in C."""
    if not _heard:
        runtime.stop_current()
        with contextlib.suppress(Exception):
            import ctypes

            ctypes.CDLL(None).signal(int(signal.SIGTERM), None)  # signal.signal is the main thread's
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), SIGKILL)
