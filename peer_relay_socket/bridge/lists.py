"""Files with lists of peers, looked at while a peer runs.

Lives here: when they are looked at. May not live here: what they say (admission).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..admission import Admission
from ..limits import LIST_POLL


class ListWatch:
    """The lists of one peer. Loop thread only.

    Args:
        changed: called when a list says something else.
        report: told what is wrong with a list.
    """

    def __init__(
        self,
        admission: Admission,
        loop: asyncio.AbstractEventLoop,
        changed: Callable[[], object],
        report: Callable[[str], object],
    ) -> None:
        self._admission = admission
        self._loop = loop
        self._changed = changed
        self._report = report
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look from now on, if there are lists."""
        if self._admission:
            self._timer = self._loop.call_later(LIST_POLL, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self.start()
        self.look()

    def look(self, *, at_once: bool = False) -> None:
        """Read again what changed.

        Args: at_once: whether the files are known to be written to their end.
        """
        if self._admission.reload(at_once=at_once):
            self._changed()
        problems, self._admission.problems = self._admission.problems, []
        for problem in problems:
            self._report(problem)
