"""What a UDP socket implementation does otherwise than the kernel.

FACTORY is called as socket.socket is, with a family and a type: `gevent.socket:socket`, `peer_relay:socket`. Each case
is a row of calls on fresh sockets a, b, c and gone; @b is the address of b. Of a case with a difference the first one
is printed: the call, what the kernel did, what FACTORY's socket did; what is the same after a moment is none. Exit
status 0: there is none; 1: there are some; 2: bad input.
"""

from __future__ import annotations

import argparse
import importlib
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final, NoReturn

from .worlds import World

PATIENCE: Final = 3.0
"""Seconds that a case may take; the kernel needs milliseconds."""


def _quiet(line: str) -> None:
    """Print nothing."""


def differences(
    make: Callable[..., Any],
    calls: Sequence[tuple[Any, ...]],
    families: dict[str, int],
    show: Callable[[str], object] = _quiet,
) -> list[str]:
    """Return what sockets that `make` makes do otherwise than the kernel's in one case; after the first they may differ
    in anything, so there is one at most.

    Args: families: the sockets to open, by name. show: called with each call and what it did, alike on both.
    """
    kernel, theirs = World(socket.socket), World(make)
    try:
        for world in (kernel, theirs):
            for name, family in families.items():
                world.open(name, family)
        for who, method, *rest in calls:
            expected, got = kernel.do(who, method, *rest), theirs.do(who, method, *rest)
            for world, told in ((kernel, expected), (theirs, got)):
                if "BlockingIOError" in told and expected != got:  # it may be delivered a moment later
                    world.readable(who, 0.2)
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


def _within(
    seconds: float,
    make: Callable[..., Any],
    calls: Sequence[Any],
    families: dict[str, int],
    show: Callable[[str], object] = _quiet,
) -> list[str]:
    """Return as `differences`, or that it never came to an end, on a thread that is left behind then, or what failed
    between calls: a socket could not be made, or had no address."""
    told: list[str] = [f"a call that returns on the kernel's socket takes more than {seconds:.0f} s"]

    def run() -> None:
        try:
            told[:] = differences(make, calls, families, show)
        except Exception as error:
            told[:] = [f"between calls: {type(error).__name__}: {error}"]

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return list(told)


Case = tuple[Sequence[Any], dict[str, int]]


def all_cases() -> dict[str, Case]:
    """Return the calls and the sockets of each case, by its name."""
    cases, cases6 = (importlib.import_module(f"{__package__}.{name}") for name in ("cases", "cases6"))
    four = dict.fromkeys(("a", "b", "c", "gone"), int(socket.AF_INET))
    six = {**dict.fromkeys(("a", "b", "gone"), int(socket.AF_INET6)), "four": int(socket.AF_INET)}
    found: dict[str, Case] = {name: (calls, four) for name, calls in cases.CASES.items()}
    return found | {f"IPv6: {name}": (calls, six) for name, calls in cases6.SIX.items()}


class _Arguments(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {' '.join(message.split())}\n")


def _factory(parser: argparse.ArgumentParser, text: str) -> Callable[..., Any]:
    """Return what `text` names; exit with one line if it is nothing that makes sockets."""
    module, colon, name = text.partition(":")
    if not (module and colon and name):
        parser.error(f"{text!r} is no MODULE:FACTORY")
    try:
        imported = importlib.import_module(module)
    except Exception as error:
        parser.error(f"{module} cannot be imported: {type(error).__name__}: {error}")
    try:
        make: Callable[..., Any] = attrgetter(name)(imported)
    except AttributeError as error:
        parser.error(str(error))
    try:
        make(socket.AF_INET, socket.SOCK_DGRAM).close()
    except Exception as error:
        parser.error(f"{text} makes no sockets: {type(error).__name__}: {error}")
    return make


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print, and return the exit status."""
    parser = _Arguments(prog="python -m peer_relay_socket.conformance", description=__doc__)
    parser.add_argument("factory", metavar="MODULE:FACTORY", help="what makes sockets, as socket.socket does")
    parser.add_argument("--case", metavar="NAME", help="only this case, call by call")
    options = parser.parse_args(arguments)
    try:
        cases = all_cases()
    except AssertionError as error:  # cases.py: not Linux
        parser.error(str(error))
    if options.case is not None and options.case not in cases:
        parser.error(f"no case {options.case!r}; there are {', '.join(cases)}")
    make = _factory(parser, options.factory)
    chosen = cases if options.case is None else {options.case: cases[options.case]}
    show = _quiet if options.case is None else print
    different = 0
    for name, (calls, families) in chosen.items():
        found = _within(PATIENCE, make, calls, families, show)
        different += bool(found)
        for each in found:
            print(f"{name}: {each}")
    print(f"{options.factory}: {len(chosen) - different} of {len(chosen)} cases as the kernel, {different} otherwise")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
