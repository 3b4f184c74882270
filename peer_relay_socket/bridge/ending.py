"""The last moment of a process at which anything can be said: when modules are torn down.

Lives here: an object that is collected then. May not live here: what is said (runtime.py).

Law: no module may import this one, or it would be collected too late, with the modules that are needed cleared.
"""

from __future__ import annotations

import gc
from collections.abc import Callable


class _LastWord:
    """Calls `say` when it is collected."""

    def __init__(self, say: Callable[[], object]) -> None:
        self._say = say

    def __del__(self) -> None:
        self._say()


_kept: list[_LastWord] = []


def at_teardown(say: Callable[[], object]) -> None:
    """Have `say` called when modules are torn down, after finalisers of the program's: no thread but the caller's runs
    any more."""
    _kept.append(_LastWord(say))
    # The collector then looks at its oldest generation first, then at the youngest, and at the second one's end last.
    gc.collect(0)
