"""What a signal handler may do to any code: raise between two of its instructions."""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import peer_relay_socket

_PACKAGE = str(Path(peer_relay_socket.__file__).parent)
_LOOKS = frozenset(("CALL", "CALL_FUNCTION_EX", "CALL_KW", "JUMP_BACKWARD", "RESUME"))
"""Instructions after which CPython looks for signals, and for other threads that want to run."""


class InterruptionError(Exception):
    """What the handler raised."""


@contextmanager
def interrupted(
    instruction: int, act: Callable[[], None] | None = None, *, after_calls: bool = False
) -> Iterator[None]:
    """Raise before the `instruction`-th instruction that the block executes of this package, and swallow that; or call
    `act` there, and go on.

    Args: after_calls: count only instructions before which CPython does look for signals. Which those are it promises
        nobody, so whatever need not rely on it shall not.
    """
    left = instruction
    before_it: dict[FrameType, str] = {}

    def trace(frame: FrameType, event: str, _arg: object) -> object:
        nonlocal left
        if not frame.f_code.co_filename.startswith(_PACKAGE):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= not after_calls or before_it.get(frame) in _LOOKS
            before_it[frame] = dis.opname[frame.f_code.co_code[frame.f_lasti]]
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
