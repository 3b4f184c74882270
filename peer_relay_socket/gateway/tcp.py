"""TCP between programs in namespaces, where both ends asked for it: segments travel the overlay as they are.

Lives here: which segments are passed on, and which are refused. May not live here: what a segment is made of
(packets.py). The kernels at both ends do all of TCP: order, repetition, windows.

Law: a segment's addresses are those of the peer that sealed it and of this host, whatever a packet said; and no peer
opens a connection to a port that was not named.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..address import Destination, Special, UnprovedId
from ..errors import PacketError
from ..limits import SPELLED_SOURCES
from . import packets
from .packets import TCP, Packet

if TYPE_CHECKING:
    from ..bridge.host_interface import HostInterface
    from ..engine.effects import Segment


class Segments:
    """The TCP of one device. Relay thread only."""

    def __init__(
        self, interface: HostInterface, write: Callable[[bytes], object], allowed: frozenset[int] | None
    ) -> None:
        """Args: write: takes a frame for the device. allowed: ports that peers may connect to; None = no TCP at all."""
        self._interface = interface
        self._write = write
        self._allowed = allowed
        self._destinations: dict[bytes, Destination | None] = {}
        """By address; None for those of no peer."""
        self._leaving: list[tuple[Destination, int, bytes]] = []

    def from_program(self, packet: Packet, own: bytes) -> None:
        """Pass a segment on at the next `send`; one that cannot be is answered by a reset."""
        destination = self._destination(packet.destination) if self._allowed is not None else None
        if destination is None or packet.source != own or packet.fragment is not None:
            reset = packets.tcp_reset(packet)
            if reset is not None:
                self._write(packets.segment_frame(packet.destination, packet.source, reset))
        else:
            self._leaving.append((destination, packet.version, packet.payload))

    def send(self) -> None:
        """Send what programs wrote."""
        if self._leaving:
            self._interface.send_segments(self._leaving)
            self._leaving = []

    def _destination(self, address: bytes) -> Destination | None:
        try:
            return self._destinations[address]
        except KeyError:
            text = socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)
            meant = self._interface.spelling.parse(text)
            if len(self._destinations) >= SPELLED_SOURCES:
                self._destinations.clear()
            found = self._destinations[address] = None if isinstance(meant, Special) else meant
            return found

    def from_peer(self, came: Segment, own: bytes) -> None:
        """Write a peer's segment to the device; where it would open a connection that is not allowed, reset that."""
        host, spelling = self._interface.host, self._interface.spelling
        if isinstance(came.source, UnprovedId) or (came.address_conflict and came.form == 4):
            host.count("dropped: TCP of a peer that has not its address alone")
            return
        family, spell = (socket.AF_INET, spelling.ipv4) if came.form == 4 else (socket.AF_INET6, spelling.ipv6)
        packet = Packet(came.form, TCP, socket.inet_pton(family, spell(came.source)), own, 64, came.data)
        try:
            port, opens = packets.read_segment(packet.payload)
        except PacketError:
            host.count("dropped: a malformed TCP segment of a peer")
            return
        if self._allowed is None or (opens and port not in self._allowed):
            host.count("refused: TCP to a port that --tcp-allow does not name")
            reset = packets.tcp_reset(packet)
            if reset is not None:
                self._interface.send_segments([(came.source, came.form, reset)])
        else:
            self._write(packets.segment_frame(packet.source, own, packet.payload))
