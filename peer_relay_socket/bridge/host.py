"""One peer as callers see it: an identity, a port table, an outbox, and a driver that starts when it is needed.

Lives here: what a peer's sockets share. May not live here: socket semantics (surface), routing (engine), I/O (driver).

Law: everything here may be called from any thread and none of it waits, except where a docstring says how long.
"""

from __future__ import annotations

from ..address import PeerId, Spelling
from ..config import PeerConfig
from ..identity import Identity
from .mailbox import Outbox
from .ports import PortTable


class Host:
    """A host of the overlay: one identity, many ports.

    Traffic between its own sockets (loopback) never needs the network, so nothing starts before `start`.
    """

    def __init__(self, config: PeerConfig) -> None:
        self.config = config
        self.spelling = Spelling(config.ipv4_network)
        self.identity = Identity.generate() if config.identity is None else Identity.load_or_create(config.identity)
        self.outbox = Outbox()
        self.foreign_drops = 0
        """Datagrams that sockets sent to addresses outside the overlay."""
        self.ports = PortTable(self.spelling, lambda: self.identity.peer_id)

    @property
    def peer_id(self) -> PeerId:
        """This host's id as it is now; one that is not pinned may change until `settle` has returned."""
        return self.identity.peer_id

    def start(self) -> None:
        """Begin to take part in the network, if that has not begun. Returns at once."""

    def drop_foreign(self, host: str, datagrams: int) -> None:
        """Count `datagrams` that a socket sent to `host`, an IP address that is no peer's. Any thread."""
        self.foreign_drops += datagrams

    def settle(self, timeout: float) -> PeerId:
        """Start, wait at most `timeout` seconds until the id's short addresses are known to be ours alone.

        Returns: the id as it is then.
        """
        self.start()
        return self.peer_id
