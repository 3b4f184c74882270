"""The control socket: how `peer-relay status`, `ping` and `trace` ask a running process.

Lives here: the server in the process that is asked. May not live here: the asking side (processes.py), what the answers
hold (bridge/status.py, bridge/probes.py).

Law: it changes nothing in the process, answers only the user that the process runs as, and whatever goes wrong with it
is no concern of the program's. One line of JSON is a request; each line of the answer is one object, and the last one
has a key "end". At most CONTROL_CLIENTS at once, CONTROL_LINE bytes a request, CONTROL_IDLE seconds between two.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import socket
import struct
import sys
from typing import Any, Final

from ..address import Special
from ..bridge.host import Host, open_hosts
from ..bridge.log import log
from ..bridge.runtime import Runtime
from ..limits import CONTROL_CLIENTS, CONTROL_IDLE, CONTROL_LINE, CONTROL_WRITE_TIME, PING_MOST
from ..originals import os
from ..system import AF_UNIX, getegid, geteuid, getgid, getuid
from .folder import SUFFIX, make
from .records import Records

_SO_PEERCRED: Final = getattr(socket, "SO_PEERCRED", None)
_UCRED: Final = struct.Struct("3i")


class BadRequestError(ValueError):
    """A request that means nothing; its text is the answer."""


class Control:
    """The control socket of this process. Loop thread only."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._user = getuid()
        self._path = ""
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        """At most CONTROL_CLIENTS."""
        self._records = Records()

    async def start(self) -> None:
        """Listen. Raises: OSError where that cannot be."""
        if getuid() != geteuid() or getgid() != getegid():
            raise PermissionError("a setuid program has no control socket")
        self._path = f"{make()}/{self._runtime.pid}{SUFFIX}"
        listening = _bind(self._path)
        options: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
        if sys.platform != "win32":  # `serve` looks first; this is for mypy
            self._server = await asyncio.start_unix_server(
                self._accepted, sock=listening, limit=CONTROL_LINE, **options
            )
        self._runtime.at_exit(lambda _limit: None, self._at_exit)

    def _at_exit(self, _limit: float) -> None:
        if os.getpid() == self._runtime.pid:
            with contextlib.suppress(OSError):
                os.unlink(self._path)

    def _changed_user(self) -> bool:
        """Whether the process has become another user's since; then the socket is closed."""
        if getuid() == geteuid() == self._user:
            return False
        if self._server is not None:
            self._server.close()
        self._at_exit(0.0)
        return True

    # --- one client --------------------------------------------------------------------------------------------

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        try:
            if self._changed_user() or len(self._clients) >= CONTROL_CLIENTS or not self._is_ours(writer):
                return
            assert task is not None
            self._clients.add(task)
            await self._serve(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):  # gone, or too slow
            pass
        finally:
            if task is not None:
                self._clients.discard(task)
            writer.transport.abort()

    def _is_ours(self, writer: asyncio.StreamWriter) -> bool:
        """Whether the client runs as our user. Where the system does not say, the folder keeps others out."""
        if _SO_PEERCRED is None:
            return True
        client = writer.get_extra_info("socket")
        _, user, _ = _UCRED.unpack(client.getsockopt(socket.SOL_SOCKET, _SO_PEERCRED, _UCRED.size))
        return bool(user == self._user)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                line = await asyncio.wait_for(reader.readline(), CONTROL_IDLE)
            except ValueError:
                await _say(writer, {"end": "error", "error": f"a request of more than {CONTROL_LINE} bytes"})
                return
            if not line.endswith(b"\n"):
                return
            try:
                request = json.loads(line)
                if not isinstance(request, dict):
                    raise BadRequestError("a request is an object")
                await self._answer(request, writer)
            except (BadRequestError, RecursionError, json.JSONDecodeError, UnicodeDecodeError) as error:
                await _say(writer, {"end": "error", "error": str(error)[:200]})

    async def _answer(self, request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        ask = request.get("ask")
        if ask == "status":
            await _say(writer, {"end": "status", "peers": await self._records.peers()})
            return
        if ask not in ("ping", "trace"):
            raise BadRequestError('"ask" is none of status, ping, trace')
        host = _host(request)
        destination = host.spelling.parse(_text(request, "peer"))
        if isinstance(destination, Special):
            raise BadRequestError('"peer" is no id, no .peer name and no address of a peer')
        probes = host.probes
        if probes is None:
            raise BadRequestError("this peer takes no part in the network")
        lines: asyncio.Queue[Any] = asyncio.Queue()  # one per PING_INTERVAL or hop
        work: asyncio.Future[Any]
        if ask == "ping":
            port, count = _number(request, "port", 0, 65535, 0), _number(request, "count", 1, PING_MOST, 1)
            work = asyncio.ensure_future(probes.ping(destination, port, count, lines.put_nowait))
        else:
            work = asyncio.ensure_future(probes.trace(destination, lines.put_nowait))
        work.add_done_callback(lambda _done: lines.put_nowait(None))
        try:
            await _say(writer, {"from": host.peer_id.hex(), "ipv4": host.spelling.ipv4(host.peer_id)})
            while (line := await lines.get()) is not None:
                await _say(writer, line)
            await _say(writer, {"end": ask, **work.result()})
        finally:
            work.cancel()


def _host(request: dict[str, Any]) -> Host:
    hosts = [host for host in open_hosts() if host.started]
    name = request.get("id")
    if name is not None:
        hosts = [host for host in hosts if host.peer_id.hex() == name]
    if not hosts:
        raise BadRequestError("this process holds no such peer")
    return hosts[0]


def _text(request: dict[str, Any], key: str) -> str:
    value = request.get(key)
    if not isinstance(value, str):
        raise BadRequestError(f'"{key}" is no text')
    return value


def _number(request: dict[str, Any], key: str, least: int, most: int, default: int) -> int:
    value = request.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadRequestError(f'"{key}" is no number from {least} to {most}')
    return value


async def _say(writer: asyncio.StreamWriter, value: object) -> None:
    """Send a line; a client that does not take it within CONTROL_WRITE_TIME is let go (TimeoutError)."""
    writer.write(json.dumps(value).encode() + b"\n")
    await asyncio.wait_for(writer.drain(), CONTROL_WRITE_TIME)


def _bind(path: str) -> socket.socket:
    """Return a socket at `path`, with mode 0600, where nothing else listens.

    Raises: OSError.
    """
    assert AF_UNIX is not None
    sock = socket.socket(AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            sock.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not is_stale(path):
                raise
            os.unlink(path)
            sock.bind(path)
        os.chmod(path, 0o600)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def is_stale(path: str) -> bool:
    """Return whether nothing listens at `path` any more."""
    assert AF_UNIX is not None
    with socket.socket(AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
        return False


_serving: set[int] = set()
"""The process that has, or tried to have, a control socket."""


def serve(runtime: Runtime) -> None:
    """Show this process, once. Loop thread only; never raises."""
    if runtime.pid in _serving or AF_UNIX is None:
        return
    _serving.clear()
    _serving.add(runtime.pid)
    starting = asyncio.ensure_future(Control(runtime).start())
    starting.add_done_callback(_complain)


def _complain(starting: asyncio.Task[None]) -> None:
    if not starting.cancelled() and (error := starting.exception()) is not None:
        log.debug("! no control socket, so `peer-relay status` does not see this process: %s", error)
