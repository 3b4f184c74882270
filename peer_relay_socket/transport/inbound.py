"""Links that neighbours open: accepting connections, and the limits on strangers while they shake hands.

Lives here: `listen` and the server's half of the opening handshake. May not live here: the life of an open link.

Law: a stranger costs nothing before it is counted, and is counted until its handshake is done or its connection gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import socket
from collections.abc import Callable, Sequence
from ssl import SSLContext
from weakref import WeakSet

from websockets.http11 import Request, Response
from websockets.protocol import SEND_EOF
from websockets.server import ServerProtocol
from websockets.typing import Origin

from .. import limits
from ..foreign_text import one_line
from ..meeting import Meeting
from ..originals import stdlib_socket
from ..rate import TokenBucket
from ..scope import Crowds, Scope, crowd_groups, unmapped
from .connection import SILENT, Connection
from .forwarded import Proxies
from .headers import MEETING_HEADER, header
from .link import LinkHandler
from .versions import select

_REQUEST_LINE = re.compile(rb"[A-Z]{1,20} \S+ HTTP/1\.[01]\r\n")
_NO_PROXIES = Proxies()
_SCARCE_PAUSE = 0.1
"""Seconds before another try where the process has no more descriptors; asyncio waits 1 s."""
_listening: WeakSet[socket.socket] = WeakSet()
_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


def _anyone(host: str) -> str | None:
    return None


class _Inbound(Connection):
    """A connection that a listener accepted."""

    def __init__(self, listener: Listener) -> None:
        core = ServerProtocol(
            origins=listener.origins, select_subprotocol=select, max_size=limits.MAX_BUNDLE, logger=SILENT
        )
        super().__init__(listener.handler, core, outbound=False, url=None, tls=listener.ssl is not None)
        self._listener = listener

    def _arrived(self, raw: asyncio.Transport) -> bool:
        listener = self._listener
        refusal = listener.enter(self)
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
        meeting = self._listener.meeting
        answer = None
        if meeting is not None:
            answer = meeting.answer(header(event.headers, MEETING_HEADER), self._listener.port)
            if answer is None:
                core.send_response(core.reject(403, "This is where the programs of one user meet.\n"))
                self._end("refused")
                return False
        alive = event.path.partition("?")[0] == "/healthz" and "Upgrade" not in event.headers
        response = core.reject(200, "ok\n") if alive else core.accept(event)
        if answer is not None:
            response.headers[MEETING_HEADER] = answer
        core.send_response(response)
        if response.status_code != 101:
            if response.status_code == 403:
                self._listener.page_refused(self.remote_host, one_line(header(event.headers, "Origin")))
            self._end("refused")
            return False
        self.remote_host = self._listener.proxies.client(self.remote_host, event.headers)
        return True

    def _handshake_stuck(self, head: bytearray) -> None:
        core = self._core
        assert isinstance(core, ServerProtocol)
        if core.close_expected():
            if core.writes == [SEND_EOF] and _REQUEST_LINE.match(head):
                core.writes.insert(0, _BAD_REQUEST)  # to what is HTTP but unreadable the core says nothing
            self._end("no WebSocket request")
        elif len(head) > limits.LINK_HANDSHAKE_MAX:
            core.send_response(core.reject(431, f"The request is larger than {limits.LINK_HANDSHAKE_MAX} bytes.\n"))
            self._end("request too large")

    def _settled(self, error: OSError | None) -> None:
        self._listener.leave(self)


class Listener:
    """Accepts neighbours on one port. Made by `listen`."""

    def __init__(
        self,
        handler: LinkHandler,
        *,
        ssl: SSLContext | None,
        admit: Callable[[str], str | None],
        origins: Sequence[str],
        proxies: Proxies,
        open_timeout: float,
        half_open_max: int,
        half_open_per_host: int,
        meeting: Meeting | None,
    ) -> None:
        self.meeting = meeting
        self.handler = handler
        self.ssl = ssl
        self.origins: list[Origin | None] = [None, *map(Origin, origins)]
        self.proxies = proxies
        self.page_refused: Callable[[str, str], object] = lambda _host, _origin: None
        """Told the host, and the origin, of each request of a web page that is not among `origins`."""
        self.open_timeout = open_timeout
        self.port = 0
        self._admit = admit
        self._half_open_max = half_open_max
        self._half_open: dict[Connection, str] = {}  # and the address it came from; at most half_open_max
        self._crowds: Crowds[Connection] = Crowds(half_open_per_host)  # of _half_open
        self._tasks: set[asyncio.Task[None]] = set()
        self.sockets: list[socket.socket] = []
        """Those that listen."""
        self._rate = TokenBucket(limits.ACCEPT_RATE, 0.0)
        self._rates: dict[str, TokenBucket] = {}  # by host, at most ACCEPT_HOSTS

    def serve(self, sockets: list[socket.socket]) -> None:
        """Start accepting on `sockets`."""
        self.port = sockets[0].getsockname()[1]
        self.sockets = sockets
        for sock in sockets:
            sock.setblocking(False)
            _listening.add(sock)
            self._attend(sock)

    def _attend(self, sock: socket.socket) -> None:
        if sock.fileno() >= 0:
            asyncio.get_running_loop().add_reader(sock, self._accept, sock)

    def _accept(self, sock: socket.socket) -> None:
        """Accept one connection, at ACCEPT_RATE. asyncio's servers take whatever comes, a hundred between two looks at
        other links; and its `sock_accept` loses a connection that comes as it is cancelled."""
        loop = asyncio.get_running_loop()
        try:
            client, address = sock.accept()
        except OSError as error:
            scarce = error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
            wait = _SCARCE_PAUSE if scarce else 0.0  # else it is gone again, which is nothing to wait for
        else:
            if self._is_crowded(address[0]):
                client.close()
                wait = self._rate.charge(loop.time(), limits.ACCEPT_REFUSED_COST)
            else:
                task = loop.create_task(self._welcome(client))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                wait = self._rate.charge(loop.time())
        if wait > 0.0:
            loop.remove_reader(sock)
            loop.call_later(wait, self._attend, sock)

    def _is_crowded(self, host: str) -> bool:
        """Count a connection; return whether its host, or a prefix that it is in, has made too many of late."""
        host = unmapped(host)
        if Scope.of(host) is Scope.LOOPBACK or self.proxies.trusts(host):
            return False
        now = asyncio.get_running_loop().time()
        groups = zip(crowd_groups(host), limits.PREFIX_FACTORS, strict=False)
        rates = [self._rate_of(group, factor, now) for group, factor in groups]
        return not all([rate.take(now) for rate in rates])  # noqa: C419  # each counts it

    def _rate_of(self, group: str, factor: int, now: float) -> TokenBucket:
        rate = self._rates.get(group)
        if rate is None:
            limits.make_room(self._rates, limits.ACCEPT_HOSTS)
            burst = factor * limits.ACCEPT_PER_HOST_AT_ONCE
            rate = self._rates[group] = TokenBucket(factor * limits.ACCEPT_PER_HOST, now, burst=burst)
        return rate

    async def _welcome(self, client: socket.socket) -> None:
        client.setblocking(False)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: _Inbound(self), client)
        except OSError:  # gone already
            client.close()

    def enter(self, link: Connection) -> str | None:
        """Count a connection that begins its handshake. A text refuses it; an empty one is not told to the client."""
        host = link.remote_host
        if self._crowds.is_full(host) and not self.proxies.trusts(host):
            return ""
        if len(self._half_open) >= self._half_open_max and not self._make_way(host):
            return ""
        try:
            refusal = self._admit(host)
        except Exception as error:
            context = {"message": "admit failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)
            return ""
        if refusal is None:
            self._half_open[link] = host
            self._crowds.add(link, host)
        return refusal

    def _make_way(self, host: str) -> bool:
        """Drop a connection of the most crowded prefix for one from `host`; return whether there was one to drop."""
        victim = self._crowds.to_give_way(host, lambda _link: True)
        if victim is None:
            return False
        self.leave(victim)
        victim.abort()
        return True

    def leave(self, link: Connection) -> None:
        """The handshake of a connection came to an end, good or bad."""
        host = self._half_open.pop(link, None)
        if host is not None:
            self._crowds.remove(link, host)

    async def close(self) -> None:
        """Stop accepting and drop what has not finished its handshake. Open links stay: they are the handler's."""
        sockets, self.sockets = self.sockets, []
        for sock in sockets:
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()
        if self._tasks:  # a step or two of the loop, then each accepted connection has an owner to close it
            await asyncio.wait(self._tasks, timeout=limits.LINK_CLOSE_TIMEOUT)
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
    proxies: Proxies = _NO_PROXIES,
    open_timeout: float = limits.LINK_OPEN_TIMEOUT,
    half_open_max: int = limits.HALF_OPEN_MAX,
    half_open_per_host: int = limits.HALF_OPEN_PER_HOST,
    meeting: Meeting | None = None,
) -> Listener:
    """Accept neighbours.

    A request with an `Origin` header comes from a web page, which any site can make a browser send: it is answered 403
    unless `origins` names that origin. Requests that are no WebSocket get a short HTTP answer,
    GET /healthz a 200.

    Args:
        host: name or IP literal to bind; "" for all interfaces, IPv4 and IPv6 on one socket where there is IPv6.
        port: 0..65535; 0 takes any free one, see `Listener.port`.
        ssl: serve wss:// with this context.
        admit: asked with the IP literal of each connection before any work is done for it; a text refuses it and is
            told to the client (HTTP 503; not under TLS).
        origins: origins that may connect, as browsers spell them: "https://example.org".
        proxies: reverse proxies that others come through; a trusted one is under no limit per host.
        meeting: whose programs alone may connect.

    Raises:
        OSError: the address cannot be bound; as asyncio raises it.
    """
    listener = Listener(
        handler,
        ssl=ssl,
        admit=admit,
        origins=origins,
        proxies=proxies,
        open_timeout=open_timeout,
        half_open_max=half_open_max,
        half_open_per_host=half_open_per_host,
        meeting=meeting,
    )
    listener.serve(await _bind(host, port))
    return listener


async def _bind(host: str, port: int) -> list[socket.socket]:
    """Listening sockets, all on one port: for a name, one for each of its addresses that this host has. 0: one that is
    free for UDP, too, which datagram lanes want, if a few tries find one."""
    with contextlib.ExitStack() as passed_over, contextlib.suppress(OSError):  # open until the last try
        for _ in range(limits.ANY_PORT_TRIES if port == 0 else 0):
            sockets = await _bind_once(host, port)
            if all(map(_is_free_for_udp, sockets)):
                return sockets
            for sock in sockets:
                passed_over.enter_context(sock)
    return await _bind_once(host, port)


def _is_free_for_udp(listening: socket.socket) -> bool:
    with stdlib_socket(listening.family, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        if listening.family == socket.AF_INET6:
            only_ipv6 = listening.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_ipv6)
        probe.bind(listening.getsockname())
        return True
    return False


async def _bind_once(host: str, port: int) -> list[socket.socket]:
    if not host:
        if socket.has_dualstack_ipv6():
            return [socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)]
        return [socket.create_server(("", port), backlog=1024)]
    kind, passive = socket.SOCK_STREAM, socket.AI_PASSIVE
    try:  # a number needs no resolver, and so no thread, which an interpreter that is ending has none of
        found = socket.getaddrinfo(host, port, type=kind, flags=passive | socket.AI_NUMERICHOST)
    except socket.gaierror:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=kind, flags=passive)
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


def _close_listening() -> None:
    """In a forked child: the ports are the parent's."""
    for sock in list(_listening):
        sock.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_listening)
