"""What a UDP socket implementation does otherwise than the kernel.

FACTORY is called as socket.socket is, with a family and a type: `gevent.socket:socket`, `peer_relay:socket`. Each case
is a row of calls on fresh sockets a, b, c and gone; @b is the address of b. Of a case with a difference the first one
is printed: the call, what the kernel did, what FACTORY's socket did; what is the same after a moment is none. Exit
status 0: there is none; 1: there are some; 2: bad input.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from .comparison import BadFactoryError, all_cases, outcomes


class _Arguments(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {' '.join(message.split())}\n")


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
    if not all(options.factory.partition(":")):
        parser.error(f"{options.factory!r} is no MODULE:FACTORY")
    chosen = list(cases) if options.case is None else [options.case]
    different = 0
    try:
        for name, found in outcomes(options.factory, chosen, show=options.case is not None):
            different += bool(found)
            for each in found:
                print(f"{name}: {each}")
    except BadFactoryError as error:
        parser.error(str(error))
    print(f"{options.factory}: {len(chosen) - different} of {len(chosen)} cases as the kernel, {different} otherwise")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
