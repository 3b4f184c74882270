"""`socks`: SOCKS5 UDP ASSOCIATE (RFC 1928, RFC 1929) into the overlay.

Lives here: the protocol on the TCP connection, and an association's datagrams. May not live here: who listens where.

Law: one association is one overlay port and ends with its TCP connection; CONNECT and BIND are refused, for the overlay
carries datagrams; and a client is served only from the address of its TCP connection.

    request        VER 5 | CMD | 0 | ATYP | address | port            ATYP 1 IPv4, 3 name, 4 IPv6
    datagram       0 0 | FRAG | ATYP | address | port | data          FRAG is 0, or it is dropped
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import socket
from typing import Final

from ..address import Destination, PeerId, Special
from ..limits import FLOWS_PER_SOCKET, GATEWAY_SOURCES, SOCKS_HANDSHAKE_TIME
from .overlay_ports import LocalAddress, LocalSocket, OverlayPorts, bound

_VERSION: Final = 5
_OPEN, _LOGIN, _NO_METHOD = 0, 2, 0xFF
_ASSOCIATE: Final = 3
_DONE, _FAILED, _REFUSED, _NO_COMMAND, _NO_ATYP = 0, 1, 2, 7, 8
_IPV4, _NAME, _IPV6 = 1, 3, 4
_NOWHERE: Final = bytes((_IPV4,)) + bytes(6)


class Socks:
    """The server. Relay thread only."""

    def __init__(
        self, ports: OverlayPorts, loop: asyncio.AbstractEventLoop, login: tuple[str, str] | None = None
    ) -> None:
        """Args: login: user and password that clients must give."""
        self._ports = ports
        self._loop = loop
        self._login = None if login is None else (login[0].encode(), login[1].encode())
        self._server: asyncio.Server | None = None
        self._clients = 0
        self.address: LocalAddress = ("", 0)

    async def serve(self, listen: LocalAddress) -> None:
        """Raises: OSError when `listen` cannot be bound."""
        self._server = await asyncio.start_server(self._client, *listen)
        host, port = self._server.sockets[0].getsockname()[:2]
        self.address = host, port

    def close(self) -> None:
        """Take no more clients."""
        if self._server is not None:
            self._server.close()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        association: Association | None = None
        self._clients += 1
        try:
            async with asyncio.timeout(SOCKS_HANDSHAKE_TIME):
                if self._clients > GATEWAY_SOURCES:
                    self._ports.count("refused: too many SOCKS clients")
                elif await self._agree(reader, writer):
                    association = await self._request(reader, writer)
            if association is not None:
                while await reader.read(1024):  # as long as the client keeps it open, which RFC 1928 has no limit for
                    pass
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # a client that breaks off, or says nothing
        finally:
            self._clients -= 1
            if association is not None:
                association.close()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _agree(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Settle how the client proves who it is. Returns: whether it has."""
        version, count = await reader.readexactly(2)
        methods = await reader.readexactly(count) if version == _VERSION else b""
        method = _OPEN if self._login is None else _LOGIN
        if method not in methods:
            writer.write(bytes((_VERSION, _NO_METHOD)))
            return False
        writer.write(bytes((_VERSION, method)))
        if self._login is None:
            return True
        version, length = await reader.readexactly(2)
        user = await reader.readexactly(length)
        password = await reader.readexactly((await reader.readexactly(1))[0])
        known = hmac.compare_digest(user, self._login[0]) & hmac.compare_digest(password, self._login[1])
        welcome = bool(known) and version == 1
        writer.write(bytes((1, not welcome)))
        if not welcome:
            self._ports.count("refused: a SOCKS client's password")
        return welcome

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Association | None:
        version, command, _, kind = await reader.readexactly(4)
        if kind == _NAME:
            await reader.readexactly((await reader.readexactly(1))[0])
        elif kind in (_IPV4, _IPV6):
            await reader.readexactly(4 if kind == _IPV4 else 16)
        port = int.from_bytes(await reader.readexactly(2)) if kind in (_NAME, _IPV4, _IPV6) else 0
        code = _DONE
        if version != _VERSION or kind not in (_NAME, _IPV4, _IPV6):
            code = _NO_ATYP
        elif command in (1, 2):
            code = _REFUSED
            self._ports.count("refused: SOCKS CONNECT or BIND, which the overlay has no streams for")
        elif command != _ASSOCIATE:
            code = _NO_COMMAND
        association = None
        if code == _DONE:
            try:
                host = writer.get_extra_info("sockname")[0]
                association = Association(self._ports, self._loop, host, writer.get_extra_info("peername")[0], port)
            except OSError:
                code = _FAILED
        where = _NOWHERE if association is None else _spelled(*association.address)
        writer.write(bytes((_VERSION, code, 0)) + where)
        await writer.drain()
        return association


class Association:
    """One client's UDP relay."""

    def __init__(
        self, ports: OverlayPorts, loop: asyncio.AbstractEventLoop, host: str, client_host: str, client_port: int
    ) -> None:
        """Args: host: where to take datagrams. client_host, client_port: where they come from; 0 = any port.

        Raises: OSError.
        """
        self._ports = ports
        self._client_host = client_host
        self._client: LocalAddress | None = (client_host, client_port) if client_port else None
        self._places: dict[bytes, tuple[Destination, int, int] | None] = {}
        self._heads: dict[tuple[PeerId, int, int], bytes] = {}
        self._port = 0
        sock = bound((host, 0))
        try:
            self._claim(client_port)
        except OSError:
            sock.close()
            raise
        self._socket = LocalSocket(loop, sock, self._asked, ports.count)

    @property
    def address(self) -> LocalAddress:
        """Where the client is to send to."""
        return self._socket.address

    def _claim(self, wanted: int) -> None:
        """Take the overlay port: the client's own number where that is known and free."""
        if wanted and not self._port:
            self._port = self._ports.open(self, wanted if self._ports.is_free(wanted) else 0)

    def heard(self, source: PeerId, source_port: int, form: int, datagrams: list[bytes]) -> bool:
        """Pass on what came for our overlay port."""
        if self._client is None:
            return False
        key = (source, source_port, form)
        head = self._heads.get(key)
        if head is None:
            if len(self._heads) >= FLOWS_PER_SOCKET:
                self._heads.clear()
            spelling = self._ports.interface.spelling
            host = spelling.ipv6(source) if form == 6 else spelling.ipv4(source)
            head = self._heads[key] = bytes(3) + _spelled(host, source_port)
        self._socket.send([head + data for data in datagrams], self._client)
        return True

    def _asked(self, came: list[tuple[bytes, LocalAddress]]) -> None:
        batches: dict[tuple[Destination, int, int], list[bytes]] = {}
        for data, client in came:
            if self._client is None and client[0] == self._client_host:
                self._client = client
                self._claim(client[1])
            if client != self._client:
                self._ports.count("refused: a SOCKS datagram from another than the client")
                continue
            head = _head(data)
            if head is None:
                self._ports.count("dropped: a SOCKS datagram that is a fragment or malformed")
                continue
            place = self._place(data[3:head])
            if place is not None:
                batches.setdefault(place, []).append(data[head:])
        for (destination, port, form), datagrams in batches.items():
            self._ports.send(destination, self._port, port, form, datagrams)

    def _place(self, head: bytes) -> tuple[Destination, int, int] | None:
        """Return the destination, port and form that a head means; None, counted, for what is not of the overlay."""
        if head not in self._places:
            if len(self._places) >= FLOWS_PER_SOCKET:
                self._places.clear()
            text, port = _read(head)
            meant = self._ports.interface.spelling.parse(text)
            known = not isinstance(meant, Special) and port
            self._places[head] = (meant, port, 6 if head[0] == _IPV6 else 4) if known else None  # type: ignore[assignment]
        place = self._places[head]
        if place is None:
            self._ports.interface.host.drop_foreign(_read(head)[0], 1)
        return place

    def close(self) -> None:
        """Free the port and the socket."""
        self._socket.close()
        if self._port:
            self._ports.close(self._port)


def _head(datagram: bytes) -> int | None:
    """Return where the data of a datagram begins; None for a fragment, and for what is malformed."""
    if len(datagram) < 4 or datagram[2]:
        return None
    kind = datagram[3]
    length = {_IPV4: 4, _IPV6: 16}.get(kind)
    if kind == _NAME and len(datagram) > 4:
        length = 1 + datagram[4]
    if length is None or len(datagram) < 6 + length:
        return None
    return 6 + length


def _read(head: bytes) -> tuple[str, int]:
    """Return the host and port of ATYP || address || port."""
    address, port = head[1:-2], int.from_bytes(head[-2:])
    if head[0] == _NAME:
        return address[1:].decode("ascii", "replace"), port
    return socket.inet_ntop(socket.AF_INET if head[0] == _IPV4 else socket.AF_INET6, address), port


def _spelled(host: str, port: int) -> bytes:
    """Return ATYP || address || port."""
    if ":" in host:
        return bytes((_IPV6,)) + socket.inet_pton(socket.AF_INET6, host) + port.to_bytes(2)
    return bytes((_IPV4,)) + socket.inet_aton(host) + port.to_bytes(2)
