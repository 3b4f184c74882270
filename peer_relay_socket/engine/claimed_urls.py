"""Whether the URLs that a neighbour names lead to it, before any other peer hears of them.

Lives here: trying such a URL, and being tried. May not live here: which URLs are known without a try (link.py), what is
told of them (gossip.py), dialling (the driver performs DialBack).

Law: a URL is passed on, or dialled on a neighbour's word, only if it led to that neighbour when we dialled it, or names
the address from which the neighbour is linked. Any other is tried first, by us alone and at most CLAIM_TRIES times for
one host: so a stranger that names a third party has it dialled by no more relays than it holds links to.

One try::

    us                                        the neighbour, in whose hello a URL was
      CHECKING nonce                   ->
      a connection to that URL, on which the acceptor begins a handshake, and we say PROOF nonce   =>
                                       <-     CHECKED nonce, over the link, if that came to it
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..codec.packet import LinkOp, split
from ..limits import (
    CLAIM_HOSTS,
    CLAIM_TRIES,
    CLAIM_URLS,
    DIAL_BACK_RATE,
    DIAL_BACK_TIME,
    make_room,
)
from ..rate import TokenBucket
from ..scope import reach
from .effects import DialBack
from .timers import Due

if TYPE_CHECKING:
    from .core import Core
    from .link import LinkState
    from .links import Links
    from .vain_hosts import VainHosts


class ClaimedUrls:
    """What one peer tries, and what others try of its own."""

    def __init__(self, core: Core, links: Links, vain: VainHosts, proved: Callable[[LinkState], None]) -> None:
        """Args: proved: told of a link of whose neighbour more may be said now."""
        self._core = core
        self._links = links
        self._vain = vain
        self._proved = proved
        self._rate = TokenBucket(DIAL_BACK_RATE, core.now)
        self._tries: dict[bytes, tuple[LinkState, str]] = {}
        """By nonce: what is being tried; at most CLAIM_HOSTS."""
        self._being_tried: dict[bytes, LinkState] = {}
        """By nonce: neighbours that said they try a URL of ours; at most CLAIM_HOSTS."""

    # --- trying ----------------------------------------------------------------------------------------------

    def look(self, link: LinkState) -> None:
        """A neighbour is there, or named other URLs: try those that nothing speaks for."""
        if not self._core.config.serves or not link.serves or link.direct:
            return
        doubtful = [url for url in link.urls if url not in link.known_urls and reach(url) >= link.scope]
        for url in doubtful[:CLAIM_URLS]:
            self._try(link, url, 0)

    def _try(self, link: LinkState, url: str, tries: int) -> None:
        core = self._core
        if not link.up or url not in link.urls or url in link.known_urls or tries >= CLAIM_TRIES:
            return
        if self._vain.is_spent(url) or not self._rate.take(core.now):
            core.counters["refused: to try a claimed URL"] += 1
        else:
            self._vain.note(url)
            nonce = core.entropy(8)
            make_room(self._tries, CLAIM_HOSTS)
            self._tries[nonce] = link, url
            self._links.tell(link, LinkOp.CHECKING, nonce)
            core.effects.append(DialBack(url, link.scope, nonce, link.nearby))
        again = core.now + DIAL_BACK_TIME * (1 << 3 * tries)
        core.timers.at(Due.CLAIM_AGAIN, again, self._try, link, url, tries + 1)

    def checked_heard(self, link: LinkState, operand: bytes) -> None:
        """A neighbour says that we reached it.

        Raises: PacketError.
        """
        nonce, _ = split(operand, 8)
        of, url = self._tries.get(nonce, (None, ""))
        if of is not link or url not in link.urls:
            self._core.counters["dropped: unasked answer"] += 1
            return
        del self._tries[nonce]
        self._vain.clear(url)
        link.proved_urls = (*link.proved_urls, url)[-CLAIM_URLS:]
        link.vouch()
        self._proved(link)

    # --- being tried -----------------------------------------------------------------------------------------

    def checking_heard(self, link: LinkState, operand: bytes) -> None:
        """A neighbour is about to try a URL of ours.

        Raises: PacketError.
        """
        nonce, _ = split(operand, 8)
        make_room(self._being_tried, CLAIM_HOSTS)
        self._being_tried[nonce] = link

    def reached(self, nonce: bytes) -> bool:
        """A connection came that says `nonce`: tell the neighbour that tries us. Returns: whether one does."""
        link = self._being_tried.pop(nonce, None)
        if link is None:
            return False
        if link.up:
            self._links.tell(link, LinkOp.CHECKED, nonce)
        return True
