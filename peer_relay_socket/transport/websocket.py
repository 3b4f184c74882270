"""Links over WebSocket: `listen` for neighbours, `dial` one.

Lives here: the opening handshake of both directions and the limits on strangers that it needs. May not live here: the
life of an open link (connection.py), proxies (proxy.py).

Law: whatever an address or a name turns out to be, only a literal that `allow` was asked about is connected to, and
redirects are never followed; so no stranger's URL reaches a place that the caller would refuse (SSRF, DNS rebinding).
"""

from __future__ import annotations

import asyncio
import errno
import functools
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ssl import CERT_REQUIRED, SSLCertVerificationError, SSLContext, SSLError, create_default_context
from typing import Final, Literal

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidURI
from websockets.headers import build_host
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.typing import Origin, Subprotocol
from websockets.uri import WebSocketURI, parse_uri

from .. import limits
from .connection import SILENT, Connection, one_line, unmapped
from .link import Link, LinkError, LinkHandler
from .proxy import open_tunnel, proxy_for

__all__ = ["SUBPROTOCOL", "Link", "LinkError", "LinkHandler", "Listener", "dial", "listen"]

SUBPROTOCOL: Final = Subprotocol("peer-relay.2")
"""What our client offers and our server selects. npm's client offers none; npm's server echoes whatever is offered."""

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")
_REQUEST_LINE = re.compile(rb"[A-Z]{1,20} \S{1,8192} HTTP/1\.[01]\r\n")
_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


def _anyone(host: str) -> str | None:
    return None


# --- inbound ---------------------------------------------------------------------------------------------------------


def _select(core: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """Ours where it is offered; a client that does not offer it (npm's) is accepted without."""
    return SUBPROTOCOL if SUBPROTOCOL in offered else None


class _Inbound(Connection):
    """A connection that a listener accepted."""

    __slots__ = ("_listener", "_network")

    def __init__(self, listener: Listener) -> None:
        core = ServerProtocol(
            origins=listener.origins, select_subprotocol=_select, max_size=limits.MAX_BUNDLE, logger=SILENT
        )
        super().__init__(listener.handler, core, outbound=False, url=None, tls=listener.ssl is not None)
        self._listener = listener
        self._network = ""

    def _arrived(self, raw: asyncio.Transport) -> bool:
        listener = self._listener
        self._network = _network(self.remote_host)
        refusal = listener.enter(self, self._network)
        if refusal is None:
            self._timer = self._loop.call_later(listener.open_timeout, self._drop)
            return True
        if refusal and not self.tls:
            raw.write(_refusal(refusal))
            raw.close()
        else:
            raw.abort()
        return False

    async def _start_tls(self, raw: asyncio.Transport) -> asyncio.Transport | None:
        assert self._listener.ssl is not None
        return await self._loop.start_tls(
            raw,
            self,
            self._listener.ssl,
            server_side=True,
            ssl_handshake_timeout=self._listener.open_timeout,
            ssl_shutdown_timeout=limits.LINK_CLOSE_TIMEOUT,
        )

    def _begin(self) -> None:
        """The client speaks first."""

    def _handshake(self, event: Request | Response) -> bool:
        core = self._core
        assert isinstance(core, ServerProtocol)
        assert isinstance(event, Request)
        if core.close_expected():  # what followed the request was no WebSocket
            return False
        response = core.accept(event)
        core.send_response(response)
        if response.status_code != 101:
            self._end("refused")
            return False
        self.ours = core.subprotocol == SUBPROTOCOL
        return True

    def _handshake_stuck(self, head: bytearray) -> None:
        core = self._core
        assert isinstance(core, ServerProtocol)
        if core.close_expected():
            if self._transport is not None and _REQUEST_LINE.match(head):
                self._transport.write(_BAD_REQUEST)
            self._end("no WebSocket request")
        elif len(head) > limits.LINK_HANDSHAKE_MAX:
            core.send_response(core.reject(431, f"The request is larger than {limits.LINK_HANDSHAKE_MAX} bytes.\n"))
            self._end("request too large")

    def _settled(self, error: OSError | None) -> None:
        self._listener.leave(self, self._network)


class Listener:
    """Accepts neighbours on one port. Made by `listen`."""

    def __init__(
        self,
        handler: LinkHandler,
        *,
        ssl: SSLContext | None,
        admit: Callable[[str], str | None],
        origins: Sequence[str],
        open_timeout: float,
        half_open_max: int,
        half_open_per_host: int,
    ) -> None:
        self.handler = handler
        self.ssl = ssl
        self.origins: list[Origin | None] = [None, *map(Origin, origins)]
        self.open_timeout = open_timeout
        self.port = 0
        self._admit = admit
        self._half_open_max = half_open_max
        self._half_open_per_host = half_open_per_host
        self._half_open: dict[Connection, None] = {}  # at most half_open_max
        self._per_network: dict[str, int] = {}  # no more entries than _half_open
        self._servers: list[asyncio.Server] = []

    async def serve(self, sockets: list[socket.socket]) -> None:
        """Start accepting on `sockets`."""
        loop = asyncio.get_running_loop()
        self.port = sockets[0].getsockname()[1]
        for sock in sockets:
            self._servers.append(await loop.create_server(lambda: _Inbound(self), sock=sock))

    def enter(self, link: Connection, network: str) -> str | None:
        """Count a connection that begins its handshake. A text refuses it; an empty one is not told to the client."""
        count = self._per_network.get(network, 0)
        if count >= self._half_open_per_host or len(self._half_open) >= self._half_open_max:
            return ""
        try:
            refusal = self._admit(link.remote_host)
        except Exception as error:
            context = {"message": "admit failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)
            return ""
        if refusal is None:
            self._half_open[link] = None
            self._per_network[network] = count + 1
        return refusal

    def leave(self, link: Connection, network: str) -> None:
        """The handshake of a connection came to an end, good or bad."""
        if link not in self._half_open:
            return
        del self._half_open[link]
        self._per_network[network] -= 1
        if not self._per_network[network]:
            del self._per_network[network]

    async def close(self) -> None:
        """Stop accepting and drop what has not finished its handshake. Open links stay: they are the handler's."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        for link in list(self._half_open):
            link.abort()
        await asyncio.sleep(0)


async def listen(
    handler: LinkHandler,
    host: str,
    port: int,
    *,
    ssl: SSLContext | None = None,
    admit: Callable[[str], str | None] = _anyone,
    origins: Sequence[str] = (),
    open_timeout: float = limits.LINK_OPEN_TIMEOUT,
    half_open_max: int = limits.HALF_OPEN_MAX,
    half_open_per_host: int = limits.HALF_OPEN_PER_HOST,
) -> Listener:
    """Accept neighbours.

    A request with an `Origin` header comes from a web page, which any site can make a browser send: it is answered 403
    unless `origins` names that origin. Requests that are no WebSocket get a short HTTP answer.

    Args:
        host: name or IP literal to bind; "" for all interfaces, IPv4 and IPv6 on one socket where there is IPv6.
        port: 0..65535; 0 takes any free one, see `Listener.port`.
        ssl: serve wss:// with this context.
        admit: asked with the IP literal of each connection before any work is done for it; a text refuses it and is
            told to the client (HTTP 503; not under TLS).
        origins: origins that may connect, as browsers spell them: "https://example.org".

    Raises:
        OSError: the address cannot be bound; as asyncio raises it.
    """
    listener = Listener(
        handler,
        ssl=ssl,
        admit=admit,
        origins=origins,
        open_timeout=open_timeout,
        half_open_max=half_open_max,
        half_open_per_host=half_open_per_host,
    )
    await listener.serve(await _bind(host, port))
    return listener


async def _bind(host: str, port: int) -> list[socket.socket]:
    """Listening sockets, all on one port: for a name, one for each of its addresses that this host has."""
    if not host:
        if socket.has_dualstack_ipv6():
            return [socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)]
        return [socket.create_server(("", port), backlog=1024)]
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    for family, address in dict.fromkeys((entry[0], entry[4]) for entry in found):
        bound = sockets[0].getsockname()[1] if sockets else port
        try:
            sockets.append(socket.create_server((address[0], bound, *address[2:]), family=family, backlog=1024))
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                for sock in sockets:
                    sock.close()
                raise
            missing = error  # "localhost" names ::1 also where there is no IPv6
    if not sockets:
        raise missing or OSError(f"{host} has no address")
    return sockets


def _refusal(text: str) -> bytes:
    body = one_line(text).encode() + b"\n"
    head = f"HTTP/1.1 503 {one_line(text)}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode("ascii", "replace") + body


def _network(host: str) -> str:
    """What counts as one stranger: an IPv4 address, an IPv6 /64."""
    address = ipaddress.ip_address(host.partition("%")[0])
    return host if address.version == 4 else str(int(address) >> 64)


# --- outbound --------------------------------------------------------------------------------------------------------


class _Outbound(Connection):
    """A connection that `dial` makes."""

    __slots__ = ("_error", "_hostname", "_ssl", "settled")

    def __init__(self, handler: LinkHandler, url: str, uri: WebSocketURI, ssl: SSLContext | None) -> None:
        core = ClientProtocol(uri, subprotocols=[SUBPROTOCOL], max_size=limits.MAX_BUNDLE, logger=SILENT)
        super().__init__(handler, core, outbound=True, url=url, tls=ssl is not None)
        self._ssl = ssl
        self._hostname = uri.host
        self._error: OSError | None = None
        self.settled: asyncio.Future[OSError | None] = self._loop.create_future()

    def _arrived(self, raw: asyncio.Transport) -> bool:
        return True

    async def _start_tls(self, raw: asyncio.Transport) -> asyncio.Transport | None:
        assert self._ssl is not None
        return await self._loop.start_tls(
            raw,
            self,
            self._ssl,
            server_hostname=self._hostname,
            ssl_handshake_timeout=3600.0,  # dial's own timeout ends it
            ssl_shutdown_timeout=limits.LINK_CLOSE_TIMEOUT,
        )

    def _begin(self) -> None:
        assert isinstance(self._core, ClientProtocol)
        self._core.send_request(self._core.connect())
        self._flush()

    def _handshake(self, event: Request | Response) -> bool:
        if self._core.handshake_exc is not None:
            return False
        self.ours = self._core.subprotocol == SUBPROTOCOL
        return True

    def _handshake_stuck(self, head: bytearray) -> None:
        status = _STATUS_LINE.match(head)
        if status is not None and status[1] != b"101":
            self._fail(f"answered HTTP {status[1].decode()}, not a WebSocket")
        elif self._core.handshake_exc is not None:
            self._fail(f"answered, but not as a WebSocket: {one_line(self._core.handshake_exc)}")
        elif len(head) > limits.LINK_HANDSHAKE_MAX:
            self._fail(f"answered with more than {limits.LINK_HANDSHAKE_MAX} bytes before any WebSocket")

    def _fail(self, text: str) -> None:
        self._error = LinkError(text)
        self.abort()

    def _settled(self, error: OSError | None) -> None:
        if not self.settled.done():
            self.settled.set_result(error if error is None else self._error or error)


async def dial(
    handler: LinkHandler,
    url: str,
    *,
    timeout: float,  # noqa: ASYNC109  # one bound over several steps, and the error names it
    allow: Callable[[str], bool],
    ssl: SSLContext | None = None,
    proxy: str | Literal[True] | None = True,
) -> Link:
    """Open a link to a URL.

    The host's name is resolved here, and only addresses for which `allow` holds are tried, in the resolver's order,
    each with its share of the time. Redirects are not followed.

    Args:
        url: ws://HOST[:PORT][/PATH] or wss://...
        timeout: seconds for all of it: resolving, connecting, TLS, handshake.
        allow: asked with each IP literal; IPv4-mapped IPv6 addresses are asked about as the IPv4 address they mean.
        ssl: context for wss://; by default the system's authorities and the host's name are verified.
        proxy: True uses the system's proxy for this URL where it has one (HTTP CONNECT; SOCKS with the python-socks
            package), a URL that one, None none. The proxy resolves names, so `allow` is then asked only about a host
            that is an IP literal. Loopback hosts are never reached by proxy.

    Returns:
        The open link; `link_opened` was called before.

    Raises:
        ValueError: never; a URL that cannot be dialled is a LinkError.
        TimeoutError: no answer in time.
        LinkError: no such name, no allowed address, no WebSocket there, certificate refused.
        OSError: ConnectionRefusedError and whatever else connecting raises.
    """
    uri = _parse(url)
    where = build_host(uri.host, uri.port, uri.secure, always_include_port=True)
    context = (ssl or _default_context()) if uri.secure else None
    try:
        async with asyncio.timeout(timeout):
            deadline = asyncio.get_running_loop().time() + timeout
            return await _dial(_Dialling(handler, url, uri, context), allow, proxy, deadline)
    except LinkError as error:
        raise LinkError(f"{where}: {error}") from error.__cause__
    except SSLCertVerificationError as error:
        raise LinkError(f"{where}: certificate refused: {error.verify_message}") from error
    except SSLError as error:
        raise LinkError(f"{where}: TLS failed: {one_line(error.reason or error)}") from error
    except TimeoutError:
        raise TimeoutError(f"{where}: no answer within {timeout:g} s") from None


class _Dialling:
    """What every attempt of one `dial` shares."""

    __slots__ = ("handler", "ssl", "uri", "url")

    def __init__(self, handler: LinkHandler, url: str, uri: WebSocketURI, ssl: SSLContext | None) -> None:
        self.handler, self.url, self.uri, self.ssl = handler, url, uri, ssl

    async def connect_to(self, address: str) -> Link:
        """One attempt: connect to an IP literal."""
        loop = asyncio.get_running_loop()
        return await self._open(lambda link: loop.create_connection(lambda: link, address, self.uri.port))

    async def connect_over(self, sock: socket.socket) -> Link:
        """One attempt: over a socket that is connected."""
        loop = asyncio.get_running_loop()
        return await self._open(lambda link: loop.create_connection(lambda: link, sock=sock))

    async def _open(self, connect: Callable[[_Outbound], Awaitable[object]]) -> Link:
        link = _Outbound(self.handler, self.url, self.uri, self.ssl)
        try:
            await connect(link)
            error = await link.settled
        except BaseException:
            link.abort()
            raise
        if error is not None:
            raise error
        return link


async def _dial(
    attempt: _Dialling, allow: Callable[[str], bool], proxy: str | Literal[True] | None, deadline: float
) -> Link:
    uri = attempt.uri
    addresses = _numeric(uri.host, uri.port)
    via = None if proxy is None or _is_loopback(uri.host, addresses) else proxy_for(uri, proxy)
    if via is not None and not addresses:
        return await attempt.connect_over(await open_tunnel(via, uri, uri.host))
    if not addresses:
        addresses = await _resolve(uri.host, uri.port)
    allowed = [address for address in addresses if allow(address)]
    if not allowed:
        raise LinkError(f"no link may go to {', '.join(addresses[:4])}")
    if via is not None:
        return await attempt.connect_over(await open_tunnel(via, uri, allowed[0]))
    error: OSError | None = None
    for i, address in enumerate(allowed):
        try:
            async with asyncio.timeout((deadline - asyncio.get_running_loop().time()) / (len(allowed) - i)):
                return await attempt.connect_to(address)
        except OSError as failure:
            error = failure
    assert error is not None
    raise error


def _parse(url: str) -> WebSocketURI:
    if len(url) > limits.URL_MAX:
        raise LinkError(f"a URL of more than {limits.URL_MAX} characters")
    try:
        if not url.isprintable() or " " in url:
            raise ValueError("it holds blanks or control characters")
        uri = parse_uri(url)
        if not 0 < uri.port < 65536:
            raise ValueError("its port is out of range")
    except InvalidURI as error:
        raise LinkError(f"{one_line(url)!r} is not a WebSocket URL: {error.msg}") from None
    except ValueError as error:
        raise LinkError(f"{one_line(url)!r} is not a WebSocket URL: {one_line(error)}") from None
    return uri


@functools.cache
def _default_context() -> SSLContext:
    context = create_default_context()
    assert context.verify_mode is CERT_REQUIRED
    return context


def _numeric(host: str, port: int) -> list[str]:
    """The address that a host already is, in every spelling the system's resolver takes (127.1, 0x7f000001)."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return []
    return _literals(entry[4][0] for entry in found)


async def _resolve(host: str, port: int) -> list[str]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a host name"
        raise LinkError(f"cannot resolve {host}: {reason}") from error
    return _literals(entry[4][0] for entry in found)


def _literals(hosts: Iterable[str | int]) -> list[str]:
    return list(dict.fromkeys(unmapped(str(host)) for host in hosts))


def _is_loopback(host: str, addresses: list[str]) -> bool:
    if addresses:
        return any(ipaddress.ip_address(address).is_loopback for address in addresses)
    return host == "localhost" or host.endswith(".localhost")
