"""The last moment of a process at which anything can be said.

Lives here: how it is met. May not live here: what is said (runtime.py).

Law: this module is the last in sys.modules, and `sys` refers to it.

At its end the interpreter (Py_FinalizeEx, finalize_modules) forgets its modules and collects as garbage those to which
nothing else refers, the program's as a rule; the finalisers of all that runs before anything of it is freed, in an
order of the collector's. Then it clears the modules that are left, the youngest first. So a module that is still
referred to and the youngest is cleared after all those finalisers, which may send, and before every module that is
needed to say goodbye.
"""

from __future__ import annotations

import sys
from collections.abc import Callable


class _LastWord:
    """Calls `say` when this module is cleared."""

    def __init__(self, say: Callable[[], object]) -> None:
        self._say = say

    def __del__(self) -> None:
        self._say()


_kept: list[_LastWord] = []


def at_teardown(say: Callable[[], object]) -> None:
    """Have `say` called when modules are torn down, after finalisers of the program's: no thread but the caller's runs
    any more."""
    _kept.append(_LastWord(say))
    module = sys.modules[__name__] = sys.modules.pop(__name__)
    setattr(sys, "_peer_relay_ending", module)  # noqa: B010 - a name that typing knows nothing of
