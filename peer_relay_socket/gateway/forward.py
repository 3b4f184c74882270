"""`forward`: a local UDP port that leads to a port of a peer. Lives here: which local source an answer is for."""

from __future__ import annotations

import asyncio

from ..address import Destination, PeerId, Prefix
from .overlay_ports import LocalAddress, LocalSocket, OverlayPorts, Sources, bound


class _Client:
    """A local program's socket, as the peer sees it: an overlay port of its own."""

    def __init__(self, forward: Forward, address: LocalAddress) -> None:
        self._forward = forward
        self._address = address
        self.port = forward.ports.open(self)

    def heard(self, source: PeerId, source_port: int, form: int, datagrams: list[bytes]) -> bool:
        """Pass an answer on; nothing but the port that was asked may answer."""
        if not self._forward.leads_to(source, source_port):
            return False
        self._forward.answer(self._address, datagrams)
        return True


class Forward:
    """One local port. Relay thread only."""

    def __init__(
        self,
        ports: OverlayPorts,
        loop: asyncio.AbstractEventLoop,
        local: LocalAddress,
        peer: Destination,
        port: int,
        form: int,
    ) -> None:
        """Raises: OSError when `local` cannot be bound."""
        self.ports = ports
        self._peer = peer
        self._port = port
        self._form = form
        self._socket = LocalSocket(loop, bound(local), self._asked, ports.count)
        self._clients: Sources[LocalAddress, _Client] = Sources(loop, self._forget)

    @property
    def address(self) -> LocalAddress:
        """Where local programs send to."""
        return self._socket.address

    def leads_to(self, source: PeerId, port: int) -> bool:
        """Return whether that port of that peer is the one that this leads to."""
        peer = self._peer
        return port == self._port and (peer.matches(source) if isinstance(peer, Prefix) else peer == source)

    def answer(self, client: LocalAddress, datagrams: list[bytes]) -> None:
        """Pass on what the peer sent to `client`."""
        self._clients.get(client)  # it is not idle
        self._socket.send(datagrams, client)

    def _asked(self, came: list[tuple[bytes, LocalAddress]]) -> None:
        batches: dict[LocalAddress, list[bytes]] = {}
        for data, source in came:
            batches.setdefault(source, []).append(data)
        for source, datagrams in batches.items():
            client = self._clients.get(source)
            if client is None:
                client = _Client(self, source)
                self._clients.add(source, client)
            self.ports.send(self._peer, client.port, self._port, self._form, datagrams)

    def _forget(self, source: LocalAddress, client: _Client) -> None:
        self.ports.close(client.port)

    def close(self) -> None:
        """Let go of all sockets."""
        self._clients.clear()
        self._socket.close()
