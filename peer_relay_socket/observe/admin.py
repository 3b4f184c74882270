"""The admin port of a node: health, metrics, the record, and a page that shows it.

Lives here: HTTP as far as that needs it, who may ask. May not live here: what is answered (bridge/status.py,
metrics.py, page.html).

Law: it only reads. A request is GET or HEAD with at most ADMIN_HEAD bytes in ADMIN_TIME seconds, of at most
ADMIN_CLIENTS clients at once, of which the one that has said nothing for longest gives way to the next. Off loopback a
token is asked for. A Host header that names neither an address nor this server is refused, or any web page could read
this through a name of its own that it points here (DNS rebinding), and so is the Origin of another site.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import ipaddress
import json
from http import HTTPStatus
from importlib import resources
from typing import Final, NamedTuple

from ..bridge.host import open_hosts
from ..limits import (
    ADMIN_CLIENTS,
    ADMIN_HEAD,
    ADMIN_PATIENCE,
    ADMIN_TIME,
    DRAIN_NOTICE,
    DROPS_STEP,
    STREAM_CLIENTS,
)
from . import metrics
from .records import Records
from .stream import Stream

_JSON: Final = "application/json"
_TEXT: Final = "text/plain; charset=utf-8"
_HTML: Final = "text/html; charset=utf-8"
_POLICY: Final = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; connect-src 'self'"
)
_PAGES: Final = {"/": ("page.html", ""), "/join": ("join.html", " ws: wss:")}
"""Each page, and where it may connect to besides."""
_OPEN: Final = ("/livez", "/readyz")
"""What needs no token: probes of orchestrators have none."""


class _Answer(NamedTuple):
    status: HTTPStatus
    kind: str
    body: bytes
    more: str = ""


class Admin:
    """The admin server of this process. Loop thread only, but for `__init__`."""

    def __init__(self, host: str, port: int, token: str | None) -> None:
        self._host = host
        self._port = port
        self._token = token
        self._clients = 0
        self._waiting: dict[asyncio.StreamWriter, float] = {}
        """Clients that have not sent their request, and since when, longest there first; at most ADMIN_CLIENTS."""
        self._server: asyncio.Server | None = None
        self._draining = False
        self._probed = False
        """Whether a probe has asked whether this node is ready."""
        self._said_not_ready = asyncio.Event()
        self._records = Records()
        self._stream = Stream(self._records.peers, self._why_not_ready)

    async def start(self) -> int:
        """Serve. Returns: the port.

        Raises: OSError, as asyncio's servers do.
        """
        server = self._server = await asyncio.start_server(self._accepted, self._host, self._port, limit=ADMIN_HEAD)
        self._port = server.sockets[0].getsockname()[1]
        self._note_losses()
        return self._port

    def _note_losses(self) -> None:
        self._stream.losses.note({host.peer_id.hex(): host.counters() for host in open_hosts()})
        asyncio.get_running_loop().call_later(DROPS_STEP, self._note_losses)

    async def drain(self) -> None:
        """From now on the node is not ready. Waits until those who ask have heard so, at most DRAIN_NOTICE seconds."""
        self._draining = True
        if self._probed:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._said_not_ready.wait(), DRAIN_NOTICE)

    async def close(self) -> None:
        """Serve no more."""
        if self._server is not None:
            self._server.close()

    # --- one request -------------------------------------------------------------------------------------------

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        try:
            if self._clients > ADMIN_CLIENTS and not self._make_way():
                _write(writer, _plain(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections"), head=False)
            else:
                await self._serve(reader, writer)
            await asyncio.wait_for(writer.drain(), ADMIN_TIME)
            writer.close()
            await asyncio.wait_for(writer.wait_closed(), ADMIN_TIME)
        except (OSError, TimeoutError):  # gone, or too slow
            pass
        finally:
            self._clients -= 1
            writer.transport.abort()

    def _make_way(self) -> bool:
        """Let go of the client that has said nothing for longest; return whether there was one."""
        client, since = next(iter(self._waiting.items()), (None, 0.0))
        if client is None or asyncio.get_running_loop().time() < since + ADMIN_PATIENCE:
            return False
        del self._waiting[client]
        client.transport.abort()
        return True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._waiting[writer] = asyncio.get_running_loop().time()
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), ADMIN_TIME)
        except asyncio.LimitOverrunError:
            _write(writer, _plain(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request is too large"), head=False)
            return
        except asyncio.IncompleteReadError:
            return
        finally:
            self._waiting.pop(writer, None)
        lines = head.decode("latin-1").split("\r\n")
        words = lines[0].split(" ")
        fields = [line.partition(":") for line in lines[1:] if line]
        headers = {name.strip().lower(): value.strip() for name, _, value in fields}
        if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith("/"):
            _write(writer, _plain(HTTPStatus.BAD_REQUEST, "not an HTTP request"), head=False)
        elif words[0] not in ("GET", "HEAD"):
            answer = _plain(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD", "Allow: GET, HEAD\r\n")
            _write(writer, answer, head=False)
        else:
            path = words[1].partition("?")[0]
            refusal = self._refusal(path, headers)
            if refusal is None and path == "/stream" and words[0] == "GET":
                await self._follow(writer)
            else:
                _write(writer, refusal or await self._answer(path), head=words[0] == "HEAD")

    async def _follow(self, writer: asyncio.StreamWriter) -> None:
        if self._stream.clients >= STREAM_CLIENTS:
            _write(writer, _plain(HTTPStatus.SERVICE_UNAVAILABLE, "too many pages"), head=False)
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n")
        writer.write(b"Connection: close\r\nX-Content-Type-Options: nosniff\r\nX-Accel-Buffering: no\r\n\r\n")
        await self._stream.serve(writer)

    def _refusal(self, path: str, headers: dict[str, str]) -> _Answer | None:
        """Return what keeps this request out, if anything does."""
        name = headers.get("host", "")
        if not self._is_us(name):
            return _plain(HTTPStatus.MISDIRECTED_REQUEST, "this Host is not served here: ask by address or localhost")
        if "origin" in headers and headers["origin"].partition("://")[2] != name:
            return _plain(HTTPStatus.FORBIDDEN, "another site's page may not ask")
        if self._token is None or path in _OPEN or self._has_token(headers.get("authorization", "")):
            return None
        return _plain(
            HTTPStatus.UNAUTHORIZED, "the token is missing", 'WWW-Authenticate: Basic realm="token as password"\r\n'
        )

    def _is_us(self, name: str) -> bool:
        host = name.rpartition(":")[0] if name.rpartition(":")[2].isdecimal() else name
        host = host.strip("[]").lower()
        if host in ("localhost", self._host.lower()) and host:
            return True
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return False
        return True

    def _has_token(self, given: str) -> bool:
        assert self._token is not None
        scheme, _, value = given.partition(" ")
        if scheme.lower() == "basic":
            with contextlib.suppress(ValueError):
                value = base64.b64decode(value, validate=True).decode("latin-1").partition(":")[2]
        elif scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(value.strip().encode("utf-8", "replace"), self._token.encode())

    async def _answer(self, path: str) -> _Answer:
        if path == "/livez":
            return _plain(HTTPStatus.OK, "alive")
        if path == "/readyz":
            why = self._why_not_ready()
            self._probed = True
            if self._draining:
                self._said_not_ready.set()
            return _plain(HTTPStatus.SERVICE_UNAVAILABLE if why else HTTPStatus.OK, why or "ready")
        if path == "/status":
            peers = await self._records.peers()
            return _Answer(HTTPStatus.OK, _JSON, json.dumps({"peers": peers}).encode() + b"\n")
        if path == "/metrics":
            try:
                text = metrics.text(await self._records.peers(), self._records.lag, not self._why_not_ready())
            except metrics.NoLibraryError as error:
                return _plain(HTTPStatus.NOT_IMPLEMENTED, str(error))
            return _Answer(HTTPStatus.OK, metrics.CONTENT_TYPE, text)
        if path in _PAGES:
            name, policy = _PAGES[path]
            page = resources.files(__package__).joinpath(name).read_bytes()
            return _Answer(HTTPStatus.OK, _HTML, page, f"Content-Security-Policy: {_POLICY}{policy}\r\n")
        return _plain(HTTPStatus.NOT_FOUND, "there are /livez, /readyz, /metrics, /status, /stream, /join and /")

    def _why_not_ready(self) -> str:
        if self._draining:
            return "draining"
        hosts = open_hosts()
        if not hosts:
            return "no peer"
        cut_off = [host for host in hosts if host.config.bootstrap and not host.linked.is_set()]
        return "cut off: no bootstrap URL answers" if cut_off else ""


def _plain(status: HTTPStatus, text: str, more: str = "") -> _Answer:
    return _Answer(status, _TEXT, text.encode() + b"\n", more)


def _write(writer: asyncio.StreamWriter, answer: _Answer, *, head: bool) -> None:
    lines = f"HTTP/1.1 {answer.status.value} {answer.status.phrase}\r\nContent-Type: {answer.kind}\r\n"
    lines += f"Content-Length: {len(answer.body)}\r\nConnection: close\r\nCache-Control: no-store\r\n"
    lines += f"X-Content-Type-Options: nosniff\r\n{answer.more}\r\n"
    writer.write(lines.encode() + (b"" if head else answer.body))
