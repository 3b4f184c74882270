"""When questions of our own may be sent: no faster than relays take them.

Lives here: the line of addresses to ask for, and whose turn it is. May not live here: what is asked (resolver.py).

Law: RESOLVE_RATE packets per second, for each relay that they may go by. The addresses asked for least often go first,
and of these the newest: a program that sends to thousands of addresses of nobody delays no first word to a peer. What
is in the line is a question of the resolver, so there are at most MAX_RESOLVING.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ..address import Prefix
from ..codec.packet import ALTERNATES
from ..limits import RESOLVE_RATE
from ..rate import TokenBucket
from .timers import Due

if TYPE_CHECKING:
    from .core import Core
    from .routing import Router
    from .timers import Timer


class Turns:
    """The questions of one peer that wait to be sent."""

    def __init__(self, core: Core, router: Router, ask: Callable[[Prefix], None]) -> None:
        """Args: ask: called once for each address whose turn it is."""
        self._core = core
        self._router = router
        self._ask = ask
        self._bucket = TokenBucket(RESOLVE_RATE, core.now)
        self._line: dict[Prefix, int] = {}
        """How often each was asked for, the one that has waited longest first; at most MAX_RESOLVING."""
        self._timer: Timer | None = None

    def __iter__(self) -> Iterator[Prefix]:
        """Yield the addresses that wait, the one that has waited longest first."""
        return iter(self._line)

    def wait(self, prefix: Prefix, tries: int) -> None:
        """Let `prefix`, asked for `tries` times, be asked for in its turn: at once, if there is one to spare."""
        self.leave(prefix)
        self._line[prefix] = tries
        if self._timer is None:
            self._next()

    def leave(self, prefix: Prefix) -> None:
        """`prefix` need not be asked for any more."""
        self._line.pop(prefix, None)

    @property
    def ample(self) -> bool:
        """Whether nothing else waits, and half of what may be sent at once is left."""
        return not self._line and self._bucket.level >= self._bucket.burst / 2

    def sent(self) -> None:
        """A question was sent."""
        self._bucket.level -= 1.0

    def _next(self) -> None:
        core, line, bucket = self._core, self._line, self._bucket
        self._timer = None
        bucket.refill(core.now)
        bucket.change(RESOLVE_RATE * max(1, min(len(self._router.relays), ALTERNATES)))
        while line and bucket.level >= 1.0:
            prefix = min(reversed(line), key=line.__getitem__)
            del line[prefix]
            self._ask(prefix)
        if line and self._timer is None:
            self._timer = core.timers.at(Due.RESOLVE_TURN, core.now + 1.0 / bucket.rate, self._next)
