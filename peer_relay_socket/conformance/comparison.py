"""Cases run on the kernel's sockets and on another implementation's, and where the two part.

Law: another implementation is imported and called in a process of its own. A call that never returns may use all of a
core, and would slow every later case down; its process is killed, and the next case begins in a new one.
"""

from __future__ import annotations

import functools
import importlib
import multiprocessing
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.context import SpawnProcess
from operator import attrgetter
from typing import Any, Final, Protocol

from .worlds import World

PATIENCE: Final = 3.0
"""Seconds that a case may take; the kernel needs milliseconds."""
DELIVERY: Final = 1.0
"""Seconds within which a datagram must arrive that the other implementation has; it takes microseconds."""
IMPORT: Final = 60.0
"""Seconds that an implementation may take to be imported."""
TURNS: Final = 30
"""Parts of a wait: a pause in which the machine let nothing run uses up one of them, not the whole wait."""

SPAWN: Final = multiprocessing.get_context("spawn")

Case = tuple[Sequence[tuple[Any, ...]], dict[str, int]]


def all_cases() -> dict[str, Case]:
    """Return the calls and the sockets of each case, by its name."""
    cases, cases6 = (importlib.import_module(f"{__package__}.{name}") for name in ("cases", "cases6"))
    four = dict.fromkeys(("a", "b", "c", "gone"), int(socket.AF_INET))
    six = {**dict.fromkeys(("a", "b", "gone"), int(socket.AF_INET6)), "four": int(socket.AF_INET)}
    found: dict[str, Case] = {name: (calls, four) for name, calls in cases.CASES.items()}
    return found | {f"IPv6: {name}": (calls, six) for name, calls in cases6.SIX.items()}


def _quiet(line: str) -> None:
    """Print nothing."""


def differences(make: Callable[..., Any], case: Case, show: Callable[[str], object] = _quiet) -> list[str]:
    """Return what sockets that `make` makes do otherwise than the kernel's in one case; after the first they may differ
    in anything, so there is one at most.

    Args: show: called with each call and what it did, alike on both.
    """
    calls, families = case
    kernel, theirs = World(socket.socket), World(make)
    try:
        for world in (kernel, theirs):
            for name, family in families.items():
                world.open(name, family)
        for who, method, *rest in calls:
            expected, got = kernel.do(who, method, *rest), theirs.do(who, method, *rest)
            for world, outcome in ((kernel, expected), (theirs, got)):
                if "BlockingIOError" in outcome and expected != got:  # it may be delivered a moment later
                    world.readable(who, DELIVERY)
            if expected != got and "BlockingIOError" in expected:
                expected = kernel.do(who, method, *rest)
            elif expected != got and "BlockingIOError" in got:
                got = theirs.do(who, method, *rest)
            if isinstance(method, str):
                call = f"{who}.{method}({', '.join(map(repr, rest))[:100]})"
            else:
                call = f"line {method.__code__.co_firstlineno} of {method.__code__.co_filename}, with {who}"
            if got != expected:
                return [f"{call}\n    kernel {_text(expected)}\n    here   {_text(got)}"]
            show(f"{call} {_text(got)}")
        return []
    finally:
        kernel.close()
        theirs.close()


def _text(outcome: tuple[Any, ...]) -> str:
    """Return as a sentence what a call did."""
    verb, *rest = outcome
    if verb == "returns":
        return f"returns {rest[0]!r}"
    kind, number, text = rest
    return f"raises {kind}: {text}" + ("" if number is None or f"[Errno {number}]" in text else f" (errno {number})")


class BadFactoryError(Exception):
    """What was named makes no sockets; the text says why."""


def _factory(text: str) -> Callable[..., Any]:
    """Return what `text` names.

    Raises: BadFactoryError: it makes no sockets.
    """
    module, _, name = text.partition(":")
    try:
        imported = importlib.import_module(module)
    except Exception as error:
        raise BadFactoryError(f"{module} cannot be imported: {type(error).__name__}: {error}") from error
    try:
        make: Callable[..., Any] = attrgetter(name)(imported)
    except AttributeError as error:
        raise BadFactoryError(str(error)) from error
    try:
        make(socket.AF_INET, socket.SOCK_DGRAM).close()
    except Exception as error:
        raise BadFactoryError(f"{text} makes no sockets: {type(error).__name__}: {error}") from error
    return make


def _compare(text: str, names: Sequence[str], show: bool, results: _Pipe) -> None:
    """Send "" or why `text` makes no sockets, then the differences of each case: what a process of its own does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one is interrupted, too
    try:
        make = _factory(text)
    except BadFactoryError as error:
        results.send(str(error))
        return
    results.send("")
    cases = all_cases()
    for name in names:
        try:
            found = differences(make, cases[name], functools.partial(print, flush=True) if show else _quiet)
        except Exception as error:  # a socket could not be made, or had no address
            found = [f"between calls: {type(error).__name__}: {error}"]
        results.send(found)


class _Pipe(Protocol):
    """An end of a pipe between processes: types differ by system."""

    def poll(self, timeout: float) -> bool: ...
    def recv(self) -> Any: ...
    def send(self, obj: Any) -> None: ...


class _StoppedError(Exception):
    """The process sends nothing more; the text says why."""


def _received(process: SpawnProcess, results: _Pipe, seconds: float, late: str) -> Any:
    """Return what the process sent.

    Raises: _StoppedError: nothing came within seconds, which is `late`, or the process ended.
    """
    if not any(results.poll(seconds / TURNS) for _ in range(TURNS)):
        raise _StoppedError(f"{late} takes more than {seconds:.0f} s")
    try:
        return results.recv()
    except EOFError:
        process.join(seconds)
        raise _StoppedError(f"the process ended with {process.exitcode}") from None


def outcomes(
    text: str, names: Sequence[str], *, show: bool = False, patience: float = PATIENCE
) -> Iterator[tuple[str, list[str]]]:
    """Yield each case and what differs in it: the first difference, that a call never returned, or nothing.

    Args: text: "MODULE:FACTORY". show: print each call and what it did, alike on both. patience: seconds a case.

    Raises: BadFactoryError: `text` makes no sockets.
    """
    left = list(names)
    while left:
        results, theirs = SPAWN.Pipe(duplex=False)
        process = SPAWN.Process(target=_compare, args=(text, tuple(left), show, theirs), daemon=True)
        process.start()
        theirs.close()  # so that the pipe ends when the process does
        try:
            try:
                complaint = _received(process, results, IMPORT, "to import it and to make a socket")
            except _StoppedError as stopped:
                complaint = f"{text}: {stopped}"
            if complaint:
                raise BadFactoryError(complaint)
            while left:
                found = _received(process, results, patience, "a call that returns on the kernel's socket")
                yield left.pop(0), found
            process.join(patience)
        except _StoppedError as stopped:
            yield left.pop(0), [str(stopped)]
        finally:
            process.kill()
            process.join()
            results.close()
