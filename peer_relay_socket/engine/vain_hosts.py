"""Hosts that were dialled in vain on others' word.

Lives here: how often, and when last. May not live here: what is dialled (candidates.py, claimed_urls.py).

Law: CLAIM_TRIES times, then not before CLAIM_AGAIN seconds have passed, whatever strangers say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..limits import CLAIM_AGAIN, CLAIM_HOSTS, CLAIM_TRIES, make_room

if TYPE_CHECKING:
    from .core import Core


def _host(url: str) -> str:
    return urlsplit(url).netloc.lower()


class VainHosts:
    """What one peer dialled in vain."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._by_host: dict[str, tuple[int, float]] = {}
        """How often, and when last; at most CLAIM_HOSTS."""

    def __len__(self) -> int:
        return len(self._by_host)

    def is_spent(self, url: str) -> bool:
        """Return whether the host of `url` is not to be dialled for now."""
        count, last = self._by_host.get(_host(url), (0, 0.0))
        return count >= CLAIM_TRIES and self._core.now < last + CLAIM_AGAIN

    def note(self, url: str) -> None:
        """`url` was dialled in vain, or is dialled and nothing has answered yet."""
        host, now = _host(url), self._core.now
        count, last = self._by_host.pop(host, (0, now))
        make_room(self._by_host, CLAIM_HOSTS)
        self._by_host[host] = 1 if now >= last + CLAIM_AGAIN else count + 1, now

    def clear(self, url: str) -> None:
        """A peer answered at `url`."""
        self._by_host.pop(_host(url), None)
