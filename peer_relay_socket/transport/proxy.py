"""The way out through a proxy, for networks that let out nothing else.

Lives here: finding the proxy of a URL and opening a tunnel through it. May not live here: what goes through the tunnel.

Law: what comes out is a connected socket on which not one byte of the target's has been read.
"""

from __future__ import annotations

import asyncio
import re
import socket
from dataclasses import replace
from typing import Literal

from websockets.exceptions import InvalidProxy
from websockets.headers import build_authorization_basic, build_host
from websockets.uri import WebSocketURI

from .. import limits
from .link import LinkError

__all__ = ["Proxy", "open_tunnel", "proxy_for"]

try:
    from websockets.proxy import Proxy, get_proxy, parse_proxy
except ImportError:  # websockets 15.0
    from websockets.uri import Proxy, get_proxy, parse_proxy  # type: ignore[no-redef,attr-defined]

_ANSWER = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")


def proxy_for(uri: WebSocketURI, proxy: str | Literal[True]) -> Proxy | None:
    """The proxy for a URL: `proxy` itself, or for True what the system (environment, `no_proxy`) says.

    Raises:
        LinkError: the proxy's URL makes no sense.
    """
    url = get_proxy(uri) if proxy is True else proxy
    if url is None:
        return None
    try:
        return parse_proxy(url)
    except (InvalidProxy, ValueError) as error:
        raise LinkError(f"cannot use the proxy: {error}") from None


async def open_tunnel(proxy: Proxy, uri: WebSocketURI, host: str) -> socket.socket:
    """Connect to `host` at the URL's port through a proxy. The caller bounds the time.

    Returns:
        A non-blocking socket, connected end to end.

    Raises:
        LinkError: the proxy refuses, or is of a kind not supported.
        OSError: the proxy cannot be reached.
    """
    if proxy.scheme.startswith("socks"):
        return await _open_socks(proxy, replace(uri, host=host))
    if proxy.scheme != "http":
        raise LinkError(f"proxies of kind {proxy.scheme}:// are not supported")
    sock = await _connect(proxy.host, proxy.port)
    try:
        await _ask(sock, proxy, build_host(host, uri.port, uri.secure, always_include_port=True))
    except BaseException:
        sock.close()
        raise
    return sock


async def _connect(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    error: OSError | None = None
    for family, kind, protocol, _, address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            await loop.sock_connect(sock, address)
        except OSError as failure:
            sock.close()
            error = failure
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise error or LinkError(f"the proxy {host} has no address")


async def _ask(sock: socket.socket, proxy: Proxy, target: str) -> None:
    loop = asyncio.get_running_loop()
    request = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"
    if proxy.username is not None:
        request += f"Proxy-Authorization: {build_authorization_basic(proxy.username, proxy.password or '')}\r\n"
    await loop.sock_sendall(sock, (request + "\r\n").encode("ascii"))
    answer = bytearray()
    while b"\r\n\r\n" not in answer:
        data = await loop.sock_recv(sock, 4096)
        if not data:
            raise LinkError("the proxy closed the connection")
        answer += data
        if len(answer) > limits.LINK_HANDSHAKE_MAX:
            raise LinkError(f"the proxy answered with more than {limits.LINK_HANDSHAKE_MAX} bytes")
    status = _ANSWER.match(answer)
    if status is None:
        raise LinkError("the proxy's answer is not HTTP")
    if not status[1].startswith(b"2"):
        raise LinkError(f"the proxy refused with HTTP {status[1].decode()}")
    if not answer.endswith(b"\r\n\r\n") or answer.count(b"\r\n\r\n") != 1:
        raise LinkError("the proxy sent bytes of its own into the tunnel")


async def _open_socks(proxy: Proxy, uri: WebSocketURI) -> socket.socket:
    from websockets.asyncio.client import connect_socks_proxy  # only here: 30 ms, and only some need it

    try:
        return await connect_socks_proxy(proxy, uri)
    except ImportError:
        raise LinkError("SOCKS proxies need the python-socks package") from None
    except OSError:
        raise
    except Exception as error:
        raise LinkError(f"the SOCKS proxy refused: {error.__cause__ or error}") from error
