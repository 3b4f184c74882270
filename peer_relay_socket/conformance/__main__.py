"""What a UDP socket implementation does otherwise than the kernel.

FACTORY is called as socket.socket is, with a family and a type: `gevent.socket:socket`, `peer_relay:socket`. Each
difference is printed: the case, the call, what the kernel did, what FACTORY's socket did. Exit status 0: there is
none; 1: there are some; 2: bad input.
"""

from __future__ import annotations

import argparse
import importlib
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from .worlds import World

PATIENCE = 3.0
"""Seconds that a case may take; the kernel needs milliseconds."""


def differences(make: Callable[..., Any], calls: Sequence[tuple[Any, ...]], families: dict[str, int]) -> list[str]:
    """Return what sockets that `make` makes do otherwise than the kernel's in one case; after the first they may differ
    in anything, so there is one at most.

    Args: families: the sockets to open, by name.
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
            if got != expected:
                call = method if isinstance(method, str) else "a function"
                return [f"{who}.{call}({', '.join(map(repr, rest))[:100]}): kernel {expected}, here {got}"]
        return []
    finally:
        kernel.close()
        theirs.close()


def _within(seconds: float, make: Callable[..., Any], calls: Sequence[Any], families: dict[str, int]) -> list[str]:
    """Return as `differences`, or that it never came to an end, on a thread that is left behind then, or what failed
    between calls: a socket could not be made, or had no address."""
    told: list[str] = [f"a call that returns on the kernel's socket takes more than {seconds:.0f} s"]

    def run() -> None:
        try:
            told[:] = differences(make, calls, families)
        except Exception as error:
            told[:] = [f"between calls: {type(error).__name__}: {error}"]

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return list(told)


def compare(make: Callable[..., Any]) -> tuple[int, dict[str, list[str]]]:
    """Return how many cases there are, and by name the differences of those that have some."""
    cases, cases6 = (importlib.import_module(f"{__package__}.{name}") for name in ("cases", "cases6"))
    four = dict.fromkeys(("a", "b", "c", "gone"), int(socket.AF_INET))
    six = {**dict.fromkeys(("a", "b", "gone"), int(socket.AF_INET6)), "four": int(socket.AF_INET)}
    tried = [(name, calls, four) for name, calls in cases.CASES.items()]
    tried += [(f"IPv6: {name}", calls, six) for name, calls in cases6.SIX.items()]
    found = {name: _within(PATIENCE, make, calls, families) for name, calls, families in tried}
    return len(found), {name: told for name, told in found.items() if told}


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m peer_relay_socket.conformance", description=__doc__)
    parser.add_argument("factory", metavar="MODULE:FACTORY", help="what makes sockets, as socket.socket does")
    module, _, name = parser.parse_args(arguments).factory.partition(":")
    try:
        make = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        parser.error(f"{module}:{name}: {error}")
    try:
        make(socket.AF_INET, socket.SOCK_DGRAM).close()
    except Exception as error:
        parser.error(f"{module}:{name} makes no sockets: {type(error).__name__}: {error}")
    try:
        count, found = compare(make)
    except AssertionError as error:  # cases.py: not Linux
        parser.error(str(error))
    for case, told in found.items():
        for each in told:
            print(f"{case}: {each}")
    print(f"{module}:{name}: {count - len(found)} of {count} cases as the kernel, {len(found)} otherwise")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
