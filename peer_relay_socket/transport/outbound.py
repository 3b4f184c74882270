"""Links that this end opens: a URL to an open link.

Lives here: `dial` and the client's half of the opening handshake. May not live here: the life of an open link, proxies.

Law: whatever an address or a name turns out to be, only a literal that `allow` was asked about is connected to, and
redirects are never followed; so no stranger's URL reaches a place that the caller would refuse (SSRF, DNS rebinding).
"""

from __future__ import annotations

import asyncio
import encodings.idna  # noqa: F401  # getaddrinfo wants it, and CPython 3.12 imports nothing once it is ending
import functools
import os
import re
import socket
from collections.abc import Awaitable, Callable, Iterable
from email.utils import parsedate_to_datetime
from ssl import CERT_REQUIRED, SSLCertVerificationError, SSLContext, SSLError, create_default_context
from typing import Literal

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidURI
from websockets.headers import build_host
from websockets.http11 import Request, Response
from websockets.uri import WebSocketURI, parse_uri

from .. import limits
from ..address import pinned_id
from ..foreign_text import one_line
from ..meeting import Meeting
from ..originals import time
from ..scope import is_this_machine, unmapped
from .connection import SILENT, Connection
from .forwarded import HIDDEN
from .headers import MEETING_HEADER, header
from .link import Link, LinkError, LinkHandler
from .versions import OLDER, SUBPROTOCOL

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")


class _Outbound(Connection):
    """A connection that `dial` makes."""

    def __init__(
        self, handler: LinkHandler, url: str, uri: WebSocketURI, ssl: SSLContext | None, host: str | None
    ) -> None:
        core = ClientProtocol(uri, subprotocols=[SUBPROTOCOL, OLDER], max_size=limits.MAX_BUNDLE, logger=SILENT)
        super().__init__(handler, core, outbound=True, url=url, tls=ssl is not None)
        self._ssl = ssl
        self._hostname = uri.host
        self._host = host
        self._error: OSError | None = None
        self.meeting: tuple[Meeting, int, str] | None = None
        """Whose program must answer, on which port, and what it is asked."""
        self.settled: asyncio.Future[OSError | None] = self._loop.create_future()

    def _arrived(self, raw: asyncio.Transport) -> bool:
        self.left_from = raw.get_extra_info("sockname")
        if self._host is not None:  # a proxy's address says nothing about where the neighbour is
            self.remote_host = self._host
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
        request = self._core.connect()
        if self.meeting is not None:
            request.headers[MEETING_HEADER] = self.meeting[2]
        self._core.send_request(request)
        self._flush()

    def _handshake(self, event: Request | Response) -> bool:
        self.clock_skew = _clock_skew(header(event.headers, "Date"))
        if self.meeting is not None and self._core.handshake_exc is None:
            meeting, port, question = self.meeting
            own = self._transport.get_extra_info("sockname") if self._transport is not None else ("", 0)
            if not meeting.is_answer(question, header(event.headers, MEETING_HEADER), port, own[:2]):
                self._fail("another user's program listens there")
                return False
        return self._core.handshake_exc is None

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
    named: bool = True,
    meeting: Meeting | None = None,
    shown: str | None = None,
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
            package), a URL that one, None none. Loopback hosts are never reached by proxy.
        named: whether the URL is the program's own. The proxy then resolves its name (where there is nothing but a
            proxy, nothing else can), and `allow` is asked only about a host that is an IP literal. A URL learned from
            other peers is resolved here, and the proxy is given an address that `allow` holds for.
        meeting: whose program must be there.
        shown: what the link says that it dialled, where that is another URL.

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
    context = (ssl or _default_context(*map(os.environ.get, ("SSL_CERT_FILE", "SSL_CERT_DIR")))) if uri.secure else None
    try:
        async with asyncio.timeout(timeout):
            deadline = asyncio.get_running_loop().time() + timeout
            return await _dial(_Dialling(handler, shown or url, uri, context, meeting), allow, proxy, deadline, named)
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

    __slots__ = ("handler", "meeting", "ssl", "uri", "url")

    def __init__(
        self, handler: LinkHandler, url: str, uri: WebSocketURI, ssl: SSLContext | None, meeting: Meeting | None
    ) -> None:
        self.handler, self.url, self.uri, self.ssl, self.meeting = handler, url, uri, ssl, meeting

    async def connect_to(self, address: str) -> Link:
        """One attempt: connect to an IP literal."""
        loop = asyncio.get_running_loop()
        return await self._open(lambda link: loop.create_connection(lambda: link, address, self.uri.port))

    async def connect_over(self, sock: socket.socket) -> Link:
        """One attempt: over a socket that is connected."""
        loop = asyncio.get_running_loop()
        return await self._open(lambda link: loop.create_connection(lambda: link, sock=sock), HIDDEN)

    async def _open(self, connect: Callable[[_Outbound], Awaitable[object]], host: str | None = None) -> Link:
        link = _Outbound(self.handler, self.url, self.uri, self.ssl, host)
        if self.meeting is not None:
            link.meeting = self.meeting, self.uri.port, self.meeting.question(self.uri.port)
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
    attempt: _Dialling, allow: Callable[[str], bool], proxy: str | Literal[True] | None, deadline: float, named: bool
) -> Link:
    uri = attempt.uri
    addresses = _numeric(uri.host, uri.port)
    via = None
    if proxy is not None and not any(map(is_this_machine, addresses or [uri.host])):
        from .proxy import open_tunnel, proxy_for  # only here: urllib.request takes 5 ms

        via = proxy_for(uri, proxy)
    if via is not None and not addresses and named:
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


def _clock_skew(date: str) -> float | None:
    """Return by how much our clock is ahead of `date`, as an HTTP answer has it: in whole seconds, cut off."""
    try:
        return time.time() - parsedate_to_datetime(date).timestamp() - 0.5
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _parse(url: str) -> WebSocketURI:
    if len(url) > limits.URL_MAX:
        raise LinkError(f"a URL of more than {limits.URL_MAX} characters")
    try:
        if not url.isprintable() or " " in url:
            raise ValueError("it holds blanks or control characters")
        uri = parse_uri(url if pinned_id(url) is None else url.partition("#")[0])
        if not 0 < uri.port < 65536:
            raise ValueError("its port is out of range")
    except InvalidURI as error:
        raise LinkError(f"{one_line(url)!r} is not a WebSocket URL: {error.msg}") from None
    except ValueError as error:
        raise LinkError(f"{one_line(url)!r} is not a WebSocket URL: {one_line(error)}") from None
    return uri


@functools.lru_cache(maxsize=4)
def _default_context(*files: str | None) -> SSLContext:
    """Return a context that trusts whom OpenSSL trusts now: reading all authorities takes 20 ms."""
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
    except RuntimeError as error:  # the interpreter is ending and starts no thread any more
        raise LinkError(f"cannot resolve {host}: {error}") from None
    return _literals(entry[4][0] for entry in found)


def _literals(hosts: Iterable[str | int]) -> list[str]:
    return list(dict.fromkeys(unmapped(str(host)) for host in hosts))
