"""`expose`: a local UDP server that peers reach, each from a loopback address of its own.

Lives here: which loopback address and socket stands for which peer. May not live here: who is admitted (admission lists
are the host's).

Law: a server that tells clients apart by address and port goes on doing so. A peer's loopback address is its overlay
address with 127 in front (100.64.1.2 -> 127.64.1.2), so it is the same after restarts and on every machine; its port is
the port that the peer sends from.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

from ..address import PeerId
from .overlay_ports import LocalAddress, LocalSocket, OverlayPorts, Sources

_OWN_LOOPBACK = "127.0.0."
"""Addresses that this machine's own programs use; no peer may appear as one of those."""


class Expose:
    """One exposed server. Relay thread only."""

    def __init__(
        self, ports: OverlayPorts, loop: asyncio.AbstractEventLoop, server: LocalAddress, port: int, *, anyone: bool
    ) -> None:
        """Args: port: the overlay port. anyone: whether peers are served that no allow list names.

        Raises: OSError: where loopback has one address only, or `server` cannot be reached from it.
        """
        self._ports = ports
        self._loop = loop
        self._server = server
        self._port = port
        config = ports.interface.host.config
        self.admits = anyone or config.allow_datagrams is not None
        self._peers: Sources[tuple[PeerId, int], LocalSocket] = Sources(loop, self._forget)
        self._addresses: dict[str, tuple[PeerId, int]] = {}
        """Loopback address -> the peer that it stands for, and how many sockets it has."""
        probe = self._socket("127.64.0.1", 0)
        probe.close()
        ports.open(self, port)

    def heard(self, source: PeerId, source_port: int, form: int, datagrams: list[bytes]) -> bool:
        """Pass on what a peer sent."""
        if not self.admits:
            self._ports.count("refused: from a peer that no allow list names", len(datagrams))
            return False
        key = (source, source_port)
        known = self._peers.get(key)
        if known is None:
            known = self._stand_in(source, source_port, len(datagrams))
            if known is None:
                return False
        known.send(datagrams)
        return True

    def _stand_in(self, source: PeerId, source_port: int, datagrams: int) -> LocalSocket | None:
        """Return a socket that stands for a port of a peer, None where it can have none; so many datagrams are lost."""
        host = self._loopback(source)
        owner, _ = self._addresses.get(host, (source, 0))
        if owner != source or host.startswith(_OWN_LOOPBACK):
            self._ports.count("refused: from a peer whose loopback address another has", datagrams)
            return None
        try:
            sock = self._socket(host, source_port)
        except OSError:  # taken by another program, or below 1024 and not ours to have
            self._ports.count("a peer's source port was not to be had; it appears with another one")
            try:
                sock = self._socket(host, 0)
            except OSError:
                self._ports.count("refused: no socket for the peer", datagrams)
                return None
        self._count_socket(host, source, +1)

        def answered(came: list[tuple[bytes, LocalAddress]]) -> None:
            self._peers.get((source, source_port))  # it is not idle
            self._ports.send(source, self._port, source_port, 4, [data for data, _ in came])

        def refused() -> None:
            self._ports.interface.refuse(source, self._port, source_port)

        local = LocalSocket(self._loop, sock, answered, self._ports.count, refused)
        self._peers.add((source, source_port), local)
        return local

    def _socket(self, host: str, port: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with contextlib.ExitStack() as undo:
            undo.callback(sock.close)
            try:
                sock.bind((host, port))
                sock.connect(self._server)
            except OSError as error:
                where = f"from {host} to {self._server[0]}:{self._server[1]}"
                raise OSError(error.errno, os.strerror(error.errno or 0), where) from None
            undo.pop_all()
        return sock

    def _count_socket(self, host: str, source: PeerId, change: int) -> None:
        _, sockets = self._addresses.get(host, (source, 0))
        if sockets + change:
            self._addresses[host] = source, sockets + change
        else:
            del self._addresses[host]

    def _forget(self, key: tuple[PeerId, int], local: LocalSocket) -> None:
        local.close()
        self._count_socket(self._loopback(key[0]), key[0], -1)

    def _loopback(self, peer: PeerId) -> str:
        return "127." + self._ports.interface.spelling.ipv4(peer).partition(".")[2]

    def close(self) -> None:
        """Let go of all sockets."""
        self._ports.close(self._port)
        self._peers.clear()
