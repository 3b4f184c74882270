"""The one background thread and its event loop; every peer of the process shares them.

Lives here: starting, sharing and stopping that thread, the thread that runs callers' callbacks, what fork does to both.
May not live here: what runs on the loop (driver).

Law: a process has at most one relay thread, it is a daemon, and no thread waits for it without a limit. After fork
the child has none: `Runtime.current` makes a new one there, and what belonged to the old one says so with an error.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import sys
import threading
from _queue import SimpleQueue
from collections.abc import Callable, Coroutine
from functools import partial
from importlib import import_module
from os import devnull
from typing import Any, ClassVar, Final, TypeVar

from ..limits import EXIT_TIME, LATE_TIME, PARK_TIME, TASKS_TIME
from ..originals import os, thread, time
from ..system import O_CLOEXEC
from .inline_io import Leader, LendingSelector, LoopLock
from .log import divert, finish, log
from .threads import BackgroundThread
from .waiting import Outcome

T = TypeVar("T")

_when_started: Final[list[Callable[[], object]]] = []
_LAST: Final = -sys.maxsize
"""multiprocessing runs finalizers of higher priority first."""


class RelayLoop(asyncio.SelectorEventLoop):
    """asyncio's loop on a clock that programs cannot set."""

    def time(self) -> float:
        """Return the monotonic time in seconds."""
        return time.monotonic()

    def run_in_executor(  # type: ignore[override]  # which is generic in the arguments
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> Any:
        """As asyncio's, but the default executor is a thread of ours for each call: the end of a program waits for
        none, and programs do not see them."""
        if executor is not None:
            return super().run_in_executor(executor, func, *args)
        if sys.is_finalizing():
            raise RuntimeError("the interpreter is shutting down: a thread that starts now never runs")
        outcome = self.create_future()

        def tell(error: BaseException | None, result: object = None) -> None:
            if outcome.done():
                return
            if error is None:
                outcome.set_result(result)
            else:
                outcome.set_exception(error)

        def run() -> None:
            try:
                told = partial(tell, None, func(*args))
            except Exception as error:
                told = partial(tell, error)
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self.call_soon_threadsafe(told)

        BackgroundThread(run)
        return outcome


class Runtime:
    """The relay thread of this process."""

    _by_process: ClassVar[dict[int, Runtime]] = {}
    _forking: ClassVar[threading.local] = threading.local()

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop_lock = LoopLock()
        sleep = LendingSelector(self.loop_lock)
        self.loop: asyncio.AbstractEventLoop = RelayLoop(sleep)
        sleep.serve(self.loop)
        self.leader = None if sleep.readers is None else Leader(self.loop, self.loop_lock, sleep, sleep.readers)
        """Where a thread that waits for a datagram may take the loop's place; None where there is no epoll."""
        self._first_at_exit: list[Callable[[float], None]] = []
        self._at_exit: list[tuple[Callable[[float], None], Callable[[float], object]]] = []
        self._callbacks: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._callback_thread: BackgroundThread | None = None
        self._one_starts = thread.allocate_lock()
        self.ended = False
        """Whether the program has ended, but for what runs at exit."""
        self._end_left = EXIT_TIME
        """Seconds that the end of the process may still be held up, by all peers together."""
        self._thread: BackgroundThread | None = None
        with contextlib.suppress(
            RuntimeError
        ):  # at the interpreter's end there are no new threads: callers run the loop
            self._thread = BackgroundThread(self._run)

    @classmethod
    def current(cls) -> Runtime:
        """Return the process's runtime, started if need be. Any thread, and whatever interrupts one: no lock is taken,
        for what runs meanwhile (a log handler, a signal handler, a finaliser) may need the runtime, too."""
        pid = os.getpid()
        runtime = cls._by_process.get(pid)
        if runtime is not None:
            return runtime
        made = cls()
        runtime = cls._by_process.setdefault(pid, made)
        if runtime is not made:
            made.stop(TASKS_TIME)
            return runtime
        divert(on_relay_thread, "asyncio", "concurrent")
        _stop_with_worker()
        for callback in _when_started:
            callback()
        return runtime

    @classmethod
    def started(cls) -> Runtime | None:
        """Return the process's runtime if there is one."""
        return cls._by_process.get(os.getpid())

    @classmethod
    def before_fork(cls) -> None:
        """Let the relay thread come to rest first: whatever lock of OpenSSL, of the import system or of logging it held
        at that moment would stay locked in the child for ever. Waits PARK_TIME at most; any thread."""
        runtime = cls.started()
        if runtime is not None and runtime._is_running() and not on_relay_thread():
            cls._forking.held = runtime.loop_lock.hold(PARK_TIME)

    @classmethod
    def after_fork(cls) -> None:
        """In the parent: let the relay thread go on."""
        go_on, cls._forking.held = getattr(cls._forking, "held", None), None
        if go_on is not None:
            go_on()

    @classmethod
    def forked(cls) -> None:
        """This process is a fork: the old thread and loop did not come along."""
        cls._forking = threading.local()
        inherited = list(cls._by_process.values())
        cls._by_process.clear()
        for runtime in inherited:
            _let_go(runtime.loop)

    def _run(self) -> None:
        self.loop_lock.take()  # and never given back when the loop has ended
        self.loop.set_exception_handler(_mishap)
        self.loop.set_debug(False)  # python -X dev is about the program's loops, and would time ours on its stderr
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        self._end_tasks()

    def _end_tasks(self) -> None:
        """End what still runs (a dial that waits for a name), lest it end in a traceback when it is collected."""
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        if tasks:
            with contextlib.suppress(RuntimeError):  # told to stop once more
                self.loop.run_until_complete(asyncio.wait(tasks, timeout=TASKS_TIME))

    def _is_running(self) -> bool:
        """Return whether the loop has a thread of its own."""
        return self._thread is not None and self._thread.is_alive() and not sys.is_finalizing()

    def call(self, callback: Callable[..., object], *args: object) -> None:
        """Run callback(*args) on the loop, soon. Any thread."""
        self.loop.call_soon_threadsafe(callback, *args)

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Outcome[T]:
        """Run a coroutine on the loop. Any thread but the relay thread itself waits for the result, with a timeout.

        Raises: RuntimeError where the loop is closed.
        """
        outcome: Outcome[T] = Outcome()
        try:
            self.call(lambda: outcome.follow(self.loop.create_task(coroutine)))
        except RuntimeError:
            coroutine.close()
            raise
        return outcome

    def announce(self, callback: Callable[[], object]) -> None:
        """Run a caller's callback, in order with others, on a thread where it may block. Any thread."""
        self._callbacks.put(callback)
        if not self._callback_thread and self._one_starts.acquire(False):
            self._callback_thread = BackgroundThread(partial(_call_back, self._callbacks))

    def wait_for(self, coroutine: Coroutine[Any, Any, T], timeout: float) -> T:
        """Return what `coroutine`, run on the loop, returns. At the end of the process all such waits together are as
        long as EXIT_TIME at most.

        Raises: TimeoutError; RuntimeError where no loop can run.
        """
        if not self.ended:
            return self._wait_for(coroutine, timeout)
        began = time.monotonic()
        try:
            return self._wait_for(coroutine, min(timeout, self._end_left))
        finally:
            self._end_left = max(0.0, self._end_left - (time.monotonic() - began))

    def _wait_for(self, coroutine: Coroutine[Any, Any, T], timeout: float) -> T:
        if not self._is_running():
            return self._run_here(coroutine, timeout)
        outcome = self.submit(coroutine)
        try:
            return outcome.result(timeout)
        except TimeoutError:
            self.call(outcome.unwanted)
            raise

    def _run_here(self, coroutine: Coroutine[Any, Any, T], timeout: float) -> T:
        """When modules are torn down only the caller's thread is left, and it runs the loop itself."""
        self.loop_lock.take()
        try:
            self.loop._thread_id = None  # type: ignore[attr-defined]  # the thread that ran it is no more
            amid = asyncio.current_task(self.loop)
            if amid is not None:  # it ended amid a step of this task, which nothing will finish
                asyncio.tasks._leave_task(self.loop, amid)  # documented for loops
            return self.loop.run_until_complete(asyncio.wait_for(coroutine, timeout))
        finally:
            coroutine.close()
            self.loop_lock.give()

    def show(self) -> None:
        """Let other programs of this user ask this process. By name: what shows hosts is a room above them, and nothing
        that goes wrong with it is the program's concern."""
        with contextlib.suppress(Exception):
            import_module("peer_relay_socket.observe.control").serve(self)

    def at_exit(self, linger: Callable[[float], None], leave: Callable[[float], object]) -> None:
        """Have linger(seconds it may take) called when the program has ended, and leave(seconds it may take) before the
        loop stops; each in order."""
        self._at_exit.append((linger, leave))
        if self.ended:
            linger(LATE_TIME)

    def first_at_exit(self, callback: Callable[[float], None]) -> None:
        """Have callback(seconds it may take) called before all that."""
        self._first_at_exit.append(callback)

    def forget_exit(self, leave: Callable[[float], object]) -> None:
        """Undo `at_exit`."""
        self._at_exit = [each for each in self._at_exit if each[1] != leave]

    def linger(self, timeout: float) -> None:
        """The program has ended, but for what others do at exit, and its finalisers: get out what was sent so far,
        within `timeout` seconds for all peers; then whatever is sent goes out before the call returns."""
        end = time.monotonic() + timeout
        if not self.ended:
            self.ended = True
            import_module(f"{__package__}.ending").at_teardown(partial(_stop_at_teardown, self))
        for collect in self._first_at_exit:
            collect(max(0.0, end - time.monotonic()))
        for left, (linger, _) in zip(range(len(self._at_exit), 0, -1), list(self._at_exit), strict=True):
            linger(max(0.0, end - time.monotonic()) / left)  # one that waits leaves time to the others

    def stop(self, timeout: float) -> None:
        """Let peers leave in good order, within `timeout` seconds for all of them, then stop the loop and its thread.
        Idempotent."""
        end = time.monotonic() + timeout
        while self._first_at_exit:
            self._first_at_exit.pop(0)(max(0.0, end - time.monotonic()))
        while self._at_exit:
            share = max(0.0, end - time.monotonic()) / len(self._at_exit)
            self._at_exit.pop(0)[1](share)
        if self._thread is None or sys.is_finalizing():
            return
        self._callbacks.put(None)
        if self._thread.is_alive():
            self.call(self.loop.stop)
            self._thread.join(timeout)
        if not self._thread.is_alive() and not self.loop.is_closed():
            self.loop.close()


def _let_go(loop: asyncio.AbstractEventLoop) -> None:
    """In a forked child: close the child's copies of what the parent's loop has open, or a port would stay taken and
    neighbours would wait when the parent has ended. The loop's objects are not touched: /dev/null takes the numbers.

    Reads private members of asyncio's loops, and does nothing where there are none (uvloop's).
    """
    selector = getattr(loop, "_selector", None)
    transports = getattr(loop, "_transports", {})
    if not isinstance(selector, LendingSelector):
        return
    fds = {key.fd for key in selector.get_map().values()}
    fds.update(selector.fds())
    fds.update(fd for fd, transport in list(transports.items()) if not transport.is_closing())  # paused ones too
    bell = getattr(loop, "_csock", None)
    if bell is not None and bell.fileno() >= 0:
        fds.add(bell.fileno())
    with contextlib.suppress(OSError):
        null = os.open(devnull, os.O_RDWR | O_CLOEXEC)
        for fd in fds:
            os.dup2(null, fd, inheritable=False)
        os.close(null)


def _call_back(queue: SimpleQueue[Callable[[], object] | None]) -> None:
    while True:
        callback = queue.get()  # no limit: this thread's whole job is to wait, and it is a daemon
        if callback is None:
            return
        try:
            callback()
        except Exception:
            log.exception("a callback raised")


def _mishap(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what went wrong in a callback: a line, and at debug level the traceback."""
    message, error = context.get("message", ""), context.get("exception")
    # aioice repeats STUN requests on a connection that was closed meanwhile (0.13).
    harmless = "Transaction.__retry" in message
    # A loop that wants a thread once the interpreter ends gets none: "can't register atexit after shutdown" and others.
    # One that imports something then cannot: "sys.meta_path is None, Python is likely shutting down".
    harmless = harmless or (isinstance(error, RuntimeError | ImportError) and "shut" in str(error))
    level = logging.DEBUG if harmless else logging.ERROR
    log.log(level, "! %s: %r", message, error)
    log.debug("! traceback", exc_info=error)


def on_relay_thread() -> bool:
    """Return whether the caller is the relay thread, whose own sockets must be the kernel's."""
    runtime = Runtime.started()
    return runtime is not None and runtime._thread is not None and thread.get_ident() == runtime._thread.ident


def when_started(callback: Callable[[], object]) -> None:
    """Have `callback` called whenever a relay thread starts, in this process or a forked child, on the thread that
    needs it first."""
    _when_started.append(callback)


@atexit.register
def linger() -> None:
    """Get out what was sent, at the end of a process that has other things to do first: handlers that are older than
    ours, as `logging.shutdown` may be, and finalisers of modules."""
    runtime = Runtime.started()
    if runtime is not None:
        with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C: the program has ended, and is not to wait for us
            runtime.linger(EXIT_TIME - LATE_TIME)
            finish(TASKS_TIME)
    when_started(_linger_from_the_start)


def _linger_from_the_start() -> None:
    runtime = Runtime.started()
    if runtime is not None:
        runtime.linger(0.0)


def _stop_at_teardown(runtime: Runtime) -> None:
    with contextlib.suppress(Exception, KeyboardInterrupt):  # what is too late is too late
        runtime.stop(TASKS_TIME)


def stop_current() -> None:
    """Stop this process's runtime, if it has one: what the end of a process needs. Peers have EXIT_TIME in all; any
    thread but the relay's."""
    runtime = Runtime.started()
    if runtime is not None:
        runtime.stop(EXIT_TIME)
        finish(TASKS_TIME)


def stop_from_signal(limit: float) -> None:
    """As `stop_current`, in a signal handler. The interrupted thread may hold what stopping needs, so another one does
    it, and is waited for `limit` seconds at most."""
    if Runtime.started() is not None:
        with contextlib.suppress(RuntimeError):  # the interpreter is ending already
            BackgroundThread(stop_current).join(limit)


def _stop_with_worker() -> None:
    """Stop with this process if it is a worker of multiprocessing: forked ones end in os._exit, past atexit."""
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(None, stop_current, exitpriority=_LAST)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=Runtime.before_fork, after_in_parent=Runtime.after_fork, after_in_child=Runtime.forked)
