"""Noticing that another live process uses our key.

Lives here: what being thrown off a relay again and again means, when to say so and how long to stay away. May not live
here: links, logging.

Law: a neighbour keeps one link per peer, the newest, so two processes with one key throw each other off in turn. Once
is nothing (we dialled twice, say); again and again at one URL is a rival, and both had better come back ever later.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from ..limits import KEY_CONFLICT_COUNT, KEY_CONFLICT_MEMORY, KEY_CONFLICT_URLS, KEY_CONFLICT_WAIT, make_room


@dataclass(slots=True)
class _Place:
    times: int = 0
    last: float = 0.0


class KeyConflicts:
    """How often our links to each URL were superseded by one that we do not know of."""

    def __init__(self) -> None:
        self._places: dict[str, _Place] = {}
        self._dice = random.Random()
        self._silence = KEY_CONFLICT_WAIT
        self._silent_until = 0.0

    def superseded(self, url: str, now: float) -> bool:
        """Our link to `url` was given up for a newer one of ours.

        Returns: whether to say so now: at the third time in a row, and again after KEY_CONFLICT_WAIT times 2, 4, ...
        """
        place = self._places.get(url)
        if place is None or now - place.last > KEY_CONFLICT_MEMORY:
            make_room(self._places, KEY_CONFLICT_URLS)
            place = self._places[url] = _Place()
        place.times += 1
        place.last = now
        if place.times < KEY_CONFLICT_COUNT or now < self._silent_until:
            return False
        self._silence *= 2.0
        self._silent_until = now + self._silence
        return True

    def wait(self, url: str, now: float) -> float:
        """Return how many seconds to stay away from `url`: none, or from the third time on 1, 2, 4 ...
        KEY_CONFLICT_WAIT, less up to a half by chance."""
        place = self._places.get(url)
        if place is None or place.times < KEY_CONFLICT_COUNT or now - place.last > KEY_CONFLICT_MEMORY:
            return 0.0
        longest = min(KEY_CONFLICT_WAIT, 2.0 ** (place.times - KEY_CONFLICT_COUNT))
        return longest * (0.5 + 0.5 * self._dice.random())
