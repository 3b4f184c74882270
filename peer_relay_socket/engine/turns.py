"""When questions of our own may be sent: no faster than relays take them.

Lives here: the line of addresses to ask for, and whose turn it is. May not live here: what is asked (resolver.py).

Law: RESOLVE_RATE packets per second, for each relay that they may go by. The addresses asked for least often go first.
Of these it is the newest's turn or, as often, that of any: a program that sends to thousands of addresses of nobody
hardly delays a first word to a peer, and one that does so all the time starves no peer, in whatever order it sends.
What waits is a question of the resolver, so there are at most MAX_RESOLVING.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING

from ..address import Prefix
from ..codec.packet import ALTERNATES
from ..limits import RESOLVE_RATE, RESOLVE_TRIES
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
        self._lines: tuple[dict[Prefix, None], ...] = tuple({} for _ in range(RESOLVE_TRIES))
        """By how often they were asked for, the newest last; in all at most MAX_RESOLVING."""
        self._timer: Timer | None = None

    def __iter__(self) -> Iterator[Prefix]:
        """Yield the addresses that wait, beginning with any of them."""
        first = int(self._core.random.random() * sum(map(len, self._lines)))
        yield from islice(chain(*self._lines), first, None)
        yield from islice(chain(*self._lines), first)

    def wait(self, prefix: Prefix, tries: int) -> None:
        """Let `prefix`, asked for `tries` times, be asked for in its turn: at once, if there is one to spare."""
        self.leave(prefix)
        self._lines[tries][prefix] = None
        if self._timer is None:
            self._next()

    def leave(self, prefix: Prefix) -> None:
        """`prefix` need not be asked for any more."""
        for line in self._lines:
            line.pop(prefix, None)

    @property
    def ample(self) -> bool:
        """Whether nothing else waits, and half of what may be sent at once is left."""
        return not any(self._lines) and self._bucket.level >= self._bucket.burst / 2

    def sent(self) -> None:
        """A question was sent."""
        self._bucket.level -= 1.0

    def _next(self) -> None:
        core, bucket = self._core, self._bucket
        self._timer = None
        bucket.refill(core.now)
        bucket.change(RESOLVE_RATE * max(1, min(len(self._router.relays), ALTERNATES)))
        while any(self._lines) and bucket.level >= 1.0:
            line = next(filter(None, self._lines))
            newest = len(line) - 1
            place = newest if newest == 0 or core.random.random() < 0.5 else int(core.random.random() * len(line))
            prefix = next(islice(line, place, None))
            del line[prefix]
            self._ask(prefix)
        if any(self._lines) and self._timer is None:
            self._timer = core.timers.at(Due.RESOLVE_TURN, core.now + 1.0 / bucket.rate, self._next)
