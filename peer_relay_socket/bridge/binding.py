"""Where a socket is: its addresses, and what it hears.

Lives here: `Binding`, the part of an endpoint that the port table knows. May not live here: which binding gets a
datagram (ports.py), the socket's life (endpoint.py).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Final, TypeAlias

from ..address import Destination
from .inbox import Address, Inbox

Place: TypeAlias = "str | Destination"
"""Where one end of a datagram is: `WILDCARD`, `OWN`, the text of an IP address that is no peer's (loopback, a
multicast group), or a peer."""
WILDCARD: Final = ""
OWN: Final = "own"
"""This host's virtual address, however spelled."""

OptionKey: TypeAlias = "tuple[int, int]"


class Membership:
    """A socket's membership of one group: from every source but some, or from some only (RFC 3376 §3.1)."""

    __slots__ = ("only", "sources")

    def __init__(self) -> None:
        self.only = False
        """Whether `sources` are those that are heard, not those that are not."""
        self.sources: set[str] | None = None
        """As texts of addresses; None until the first is named, and until then `only` may change."""

    def admits(self, source: str) -> bool:
        """Return whether what `source` sends is heard."""
        return True if self.sources is None else (source in self.sources) == self.only


class Binding(ABC):
    """A socket as the port table sees it. What is here changes under the table's lock."""

    __slots__ = (
        *("__weakref__", "broadcast", "family", "groups", "inbox", "local", "mapped", "options", "peer", "peer_place"),
        *("peer_port", "pinned", "port", "port_pinned", "recverr", "reuse_addr", "reuse_port", "v6only"),
    )

    def __init__(self, family: int, inbox: Inbox) -> None:
        self.family = family
        self.inbox = inbox
        self.local: Place = WILDCARD
        self.port = 0
        """0 = not bound."""
        self.pinned = False
        """bind() chose `local`, so that disconnecting keeps it."""
        self.port_pinned = False
        """bind() chose `port`."""
        self.mapped = False
        """An AF_INET6 socket whose `local` or peer is spelled ::ffff:a.b.c.d."""
        self.peer: Address | None = None
        self.peer_place: Place | None = None
        self.peer_port = 0
        self.reuse_addr = self.reuse_port = self.broadcast = self.v6only = self.recverr = False
        self.groups: dict[str, Mapping[int, Membership]] = {}
        """By the group's address and the interface's number; replaced, never changed, and never empty."""
        self.options: dict[OptionKey, int | bytes] = {}

    @abstractmethod
    def close_if_abandoned(self) -> bool:
        """Close when neither a socket object nor a bare fd, here or in another process, is left. Returns: whether."""
