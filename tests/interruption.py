"""What a signal handler may do to any code: raise between two of its instructions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import peer_relay_socket

_PACKAGE = str(Path(peer_relay_socket.__file__).parent)


class InterruptionError(Exception):
    """What the handler raised."""


@contextmanager
def interrupted(instruction: int, act: Callable[[], None] | None = None) -> Iterator[None]:
    """Raise before the `instruction`-th instruction that the block executes of this package, and swallow that; or call
    `act` there, and go on."""
    left = instruction

    def trace(frame: FrameType, event: str, _arg: object) -> object:
        nonlocal left
        if not frame.f_code.co_filename.startswith(_PACKAGE):
            return None
        frame.f_trace_opcodes = True
        left -= event == "opcode"
        if left == 0:
            left = -1
            if act is None:
                raise InterruptionError
            act()
        return trace

    before = sys.gettrace()
    try:
        sys.settrace(trace)
        yield
    except InterruptionError:
        pass
    finally:
        sys.settrace(before)
