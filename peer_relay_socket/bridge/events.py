"""What a driver tells its host, and what it takes from it.

Lives here: protocols, no code. May not live here: anything that implements them (host.py, ports.py, the gateways).

Law: the driver knows a host by `Owner` alone, and what takes datagrams from the network by `Receiver` alone. All calls
are made on the relay thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ..address import Destination, PeerId, Spelling

if TYPE_CHECKING:
    from ..admission import Admission
    from ..config import PeerConfig
    from ..engine.effects import Deliver, Segment
    from ..engine.fast_path import Run
    from ..identity import Identity
    from .outbox import Outbox
    from .waiting import Event


class Filling(Protocol):
    """What is more than half full of datagrams that nothing has taken yet: an inbox, say."""

    def has_drained(self) -> bool:
        """Return whether most of that is gone."""


class Receiver(Protocol):
    """Where a host's driver takes what comes from the network."""

    def deliver(self, run: Deliver, filling: list[Filling] | None = None) -> bool:
        """Take in datagrams, in order.

        Args: filling: where to note what is more than half full now.
        Returns: False when nothing is there to take them; the source is then told.
        """

    def deliver_lone(self, run: Run, datagram: bytes) -> bool:
        """Take in a datagram that is alone, on the thread that read it. Returns: False, with nothing done, where that
        is for `deliver` to do."""

    def deliver_group(
        self, source: PeerId, source_port: int, port: int, form: int, group: str, datagram: bytes
    ) -> None:
        """Take in a datagram for a broadcast or multicast address."""

    def deliver_segment(self, came: Segment) -> None:
        """Take in a TCP segment, or drop and count it."""

    def hears(self, port: int) -> bool:
        """Return whether what comes to `port` from the network finds anything there."""

    def unreachable(self, destination: Destination, port: int, source_port: int, error: int) -> None:
        """What was sent from `source_port` to a port of `destination` found nothing there (an errno)."""

    def unreachable_peer(self, destination: Destination, error: int, why: str = "") -> None:
        """What was sent to `destination` found no such peer (an errno)."""

    def identity_changed(self) -> None:
        """This host has another id, and with it other addresses, from now on."""


class Owner(Protocol):
    """A host, as its driver knows it."""

    @property
    def config(self) -> PeerConfig:
        """The host's settings."""

    @property
    def admission(self) -> Admission:
        """With which peers it may be linked, and talk."""

    @property
    def spelling(self) -> Spelling:
        """How its network spells ids."""

    @property
    def outbox(self) -> Outbox:
        """What callers post."""

    @property
    def receiver(self) -> Receiver:
        """Where all that comes from the network goes."""

    @property
    def identity(self) -> Identity:
        """Its key."""

    @property
    def peer_id(self) -> PeerId:
        """Its id as it is now."""

    @property
    def peers(self) -> tuple[PeerId, ...]:
        """The peers that it is linked to."""

    @property
    def linked(self) -> Event:
        """Set while at least one link is up."""

    @property
    def settled(self) -> Event:
        """Set by the driver once the short addresses are known to be this host's alone."""

    def peer_up(self, peer_id: PeerId) -> None:
        """A link is up."""

    def peer_down(self, peer_id: PeerId) -> None:
        """A link is gone."""

    def message(self, source: PeerId, text: bytes) -> None:
        """A peer sent a message: JSON, if it is honest."""

    def listens(self, event_name: str) -> bool:
        """Return whether the program listens to such events."""

    def report(self, problem: str) -> None:
        """Something went wrong that the program should know of."""

    def change_identity(self, identity: Identity | None = None) -> None:
        """Take another identity: this one, or any."""
