"""Node's `dgram`, for people who port code written for it or for npm's `PeerRelay.Socket`.

Lives here: Node's names, argument orders and events over an AF_PEER `Socket`. May not live here: what a datagram does.

Law: every callback runs on the thread that runs all callbacks of the process, one after another, never on the relay's;
so code that relies on Node's one thread need not lock. What Node reports later, by callback or "error", is reported so.

    socket = dgram.createSocket({"bootstrap": "ws://relay.example.org:8080"})
    socket.on("message", lambda data, rinfo: print(data, rinfo["address"], rinfo["port"]))
    socket.bind(5000)
    socket.send(b"hello", 5000, "<40 hex digits>")
"""

from __future__ import annotations

import errno
import os
import socket as _stdlib
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, Literal, TypeAlias, Unpack
from weakref import finalize, ref

from peer_relay_socket import AF_PEER, Peer
from peer_relay_socket import Socket as _Socket
from peer_relay_socket.address import ID_BYTES
from peer_relay_socket.bridge.callbacks import StayAlive, read_aloud
from peer_relay_socket.bridge.log import log
from peer_relay_socket.bridge.runtime import Runtime
from peer_relay_socket.config import SocketSettings
from peer_relay_socket.limits import MAX_DATAGRAM

from .dgram_options import DgramOptions

Data: TypeAlias = "bytes | bytearray | memoryview | str"
Listener: TypeAlias = Callable[..., object]

_FAMILY: Final = "peer-relay"
_READ_AHEAD: Final = 64
"""Datagrams handed to a slow listener ahead of time; the others wait, and are dropped, in the socket's buffer."""
_UNUSED_OPTIONS: Final = ("type", "ipv6Only", "lookup", "signal", "receiveBlockList", "sendBlockList")
"""Options of Node's sockets that are taken and mean nothing here."""
_SOCKET_OPTIONS: Final = ("reuseAddr", "reusePort", "recvBufferSize", "sendBufferSize")


class Options(SocketSettings, total=False):
    """What `createSocket` takes: settings of a peer, and Node's options by Node's names."""

    type: str
    reuseAddr: bool  # noqa: N815
    reusePort: bool  # noqa: N815
    ipv6Only: bool  # noqa: N815
    recvBufferSize: int  # noqa: N815
    sendBufferSize: int  # noqa: N815
    lookup: object
    signal: object
    receiveBlockList: object  # noqa: N815
    sendBlockList: object  # noqa: N815


class Socket(DgramOptions):
    """A datagram socket as Node has it. Events: "listening", "message" (bytes, rinfo), "connect", "error" (OSError),
    "close", which also comes when the peer is destroyed by something else.

    rinfo is {"address": 40 hex digits, "port", "family": "peer-relay", "size"}. Wherever an address is wanted, a peer's
    id as bytes, its 40 hex digits and its ".peer" name will do.

    # Unlike Node: an "error" that nothing listens to is a line in the log and does not end the program. It may be the
    # network's (a bootstrap that does not answer), which mends itself, and comes on a thread that can end nothing.

    Args: opts: settings of a private peer (port, bootstrap, wrtc, npm_peers, ... as `peer_relay_socket.Socket`; without
        any, the process's default one), and Node's reuseAddr, reusePort, recvBufferSize, sendBufferSize. settings: the
        same as keywords.
    """

    def __init__(self, opts: Options | str | None = None, **settings: Unpack[Options]) -> None:
        """Raises: ConfigError; OSError, when the peer cannot serve where it is told to."""
        super().__init__()
        options: dict[str, Any] = {**(opts if isinstance(opts, dict) else {}), **settings}
        for name in (*_UNUSED_OPTIONS, *(name for name, value in options.items() if value is None)):
            options.pop(name, None)
        kept = {name: value for name, value in options.items() if name not in _SOCKET_OPTIONS}
        self._socket: _Socket | None = _Socket(AF_PEER, **kept)
        self._peer = self._socket.peer
        self._alive = StayAlive()
        self._bound = False
        """Whether it listens; a port alone may have been taken before (`address`)."""
        self._heeds = False
        """Whether the peer's errors are passed on."""
        self._unlisten = [_listen_to(self._peer, "close", self, Socket._peer_closed)]
        for name, option in (("reuseAddr", "SO_REUSEADDR"), ("reusePort", "SO_REUSEPORT")):
            if options.get(name):
                if not hasattr(_stdlib, option):
                    raise OSError(errno.ENOPROTOOPT, os.strerror(errno.ENOPROTOOPT))
                self._set(_stdlib.SOL_SOCKET, getattr(_stdlib, option), 1)
        if "recvBufferSize" in options:
            self.setRecvBufferSize(options["recvBufferSize"])
        if "sendBufferSize" in options:
            self.setSendBufferSize(options["sendBufferSize"])

    @property
    def peer(self) -> Peer:
        """The peer behind the socket.

        Raises: OSError: EBADF after `close`.
        """
        self._running()
        return self._peer

    def addListener(self, event: str, listener: Listener) -> Socket:  # noqa: N802 - Node's name, as all that look so
        """As `on`."""
        return self.on(event, listener)  # type: ignore[no-any-return]  # `on` is a decorator, too

    def removeListener(self, event: str, listener: Listener) -> Socket:  # noqa: N802
        """As `off`."""
        return self.off(event, listener)

    def removeAllListeners(self, event: str | None = None) -> Socket:  # noqa: N802
        """Undo every `on` and `once` of one event, or of all."""
        self.remove_all_listeners(event)
        return self

    def listenerCount(self, event: str) -> int:  # noqa: N802
        """Return how many listeners an event has."""
        return len(self.listeners(event))

    def on(self, event: str, f: Listener | None = None) -> Any:
        """Call `f` at each such event. Returns: this socket, as Node does; without `f` a decorator, as pyee does."""
        if f is None:
            return self.listens_to(event)
        self.add_listener(event, f)
        return self

    def once(self, event: str, f: Listener | None = None) -> Any:
        """As `on`, for the next event only."""
        if f is None:
            return partial(self.once, event)
        super().once(event, f)
        self._heed(event)
        return self

    def add_listener(self, event: str, f: Listener) -> Listener:  # type: ignore[override]  # pyee's is generic in f
        """As pyee's."""
        super().add_listener(event, f)
        self._heed(event)
        return f

    def off(self, event: str, listener: Listener) -> Socket:
        """Undo one `on` or `once`; harmless if there was none."""
        if listener in self.listeners(event):
            self.remove_listener(event, listener)
        return self

    # --- life ------------------------------------------------------------------------------------------------

    def bind(self, *arguments: Any) -> Socket:
        """bind([port[, address]][, cb]) or bind({"port", "address"}[, cb]): take a port, any if none, and listen.

        "listening", and `cb`, come when the port is taken; the seed of this waited for the first peer.

        Raises: OSError: EBADF after `close`, EINVAL when bound already. What else is wrong comes as "error".
        """
        sock = self._running()
        callback, rest = _callback(arguments)
        if rest and isinstance(rest[0], dict):
            rest = (rest[0].get("port"), rest[0].get("address"))
        port, address = (*rest, None, None)[:2]
        if self._bound:
            raise OSError(errno.EINVAL, "Socket is already bound")
        if callback is not None:
            self.once("listening", callback)
        try:
            sock.disconnect()  # gives back a port that `address` took
            sock.bind((_host(address) if address else "", int(port or 0)))
        except (OSError, OverflowError) as error:
            if callback is not None:
                self.off("listening", callback)
            self._error_later(error)
            return self
        self._listening(sock)
        return self

    def _listen(self, sock: _Socket) -> None:
        """Listen, on any port if none was taken, before the first datagram is sent."""
        if not self._bound:
            if not sock.getsockname()[1]:
                sock.bind(("", 0))
            self._listening(sock)

    def _listening(self, sock: _Socket) -> None:
        self._bound = True
        self._alive.ref()
        self._later("listening")
        read_aloud(partial(self._receive, sock), _READ_AHEAD)

    def _receive(self, sock: _Socket) -> Callable[[], object] | None:
        """Wait for one datagram. Returns: what tells of it; None when the socket is closed."""
        while True:
            try:
                data, (address, port) = sock.recvfrom(MAX_DATAGRAM)
            except OSError as error:
                if self._socket is not sock or error.errno == errno.EBADF:
                    return None
                if error.errno in (errno.EAGAIN, errno.EINTR):
                    continue
                return partial(self._tell_error, error)
            rinfo = {"address": address, "port": port, "family": _FAMILY, "size": len(data)}
            return partial(self._message, data, rinfo)

    def _message(self, data: bytes, rinfo: dict[str, Any]) -> None:
        if self._socket is not None:  # what was under way when it closed is not told, as in Node
            self.emit("message", data, rinfo)

    def close(self, callback: Listener | None = None) -> Socket:
        """Close the socket, and its private peer; `callback` is a listener of "close".

        Raises: OSError: EBADF when it is closed already.
        """
        sock = self._running()
        if callback is not None:
            self.once("close", callback)
        self._socket = None
        for unlisten in self._unlisten:
            unlisten()
        sock.close()
        self._later("close")
        Runtime.current().announce(self._alive.unref)
        return self

    def ref(self) -> Socket:
        """Let this socket, once it is bound, keep the program running until it is closed, which is the default."""
        self._alive.allow(True)
        return self

    def unref(self) -> Socket:
        """Let the program end though this socket is open."""
        self._alive.allow(False)
        return self

    # --- sending -----------------------------------------------------------------------------------------------

    def send(self, message: Data | Iterable[Data], *arguments: Any) -> None:
        """send(message[, offset, length][, port[, address]][, cb]): send one datagram; a list is joined.

        `length` bytes from `offset` on, as Node does (the seed took what lay between the two). Without an address: to
        this process's own socket on `port`, or the connected one. `cb(error or None, bytes sent)` comes later; without
        `cb` an error comes as "error". Waits while the network takes no more.

        Raises: OSError: EBADF after `close`, EISCONN for a port where the socket is connected. TypeError. ValueError:
            offset and length outside the message, no port from 1 to 65535 where it is not connected.
        """
        sock = self._running()
        callback, rest = _callback(arguments)
        data = _bytes(message)
        connected = sock_is_connected(sock)
        if len(rest) >= 2 and isinstance(rest[1], int) and (len(rest) > 2 or connected):
            offset, length = int(rest[0]), int(rest[1])
            if not 0 <= offset <= offset + length <= len(data):
                raise ValueError(f"offset {offset} and length {length} lie outside a message of {len(data)} bytes")
            data, rest = data[offset : offset + length], rest[2:]
        port, address = (*rest, None, None)[:2]
        host = "localhost" if address is None else _host(address)
        if not connected:
            _check_port(port)
        elif port is not None:
            raise OSError(errno.EISCONN, "Already connected")
        try:
            self._listen(sock)
            sent = sock.send(data) if port is None else sock.sendto(data, (host, int(port)))
        except (OSError, OverflowError) as error:
            if callback is None:
                self._error_later(error)
            else:
                Runtime.current().announce(partial(callback, error, 0))
            return
        if callback is not None:
            Runtime.current().announce(partial(callback, None, sent))

    def connect(self, port: int, *arguments: Any) -> None:
        """connect(port[, address][, cb]): from now on send to, and hear, only that socket. "connect", and `cb`, follow;
        an error comes to `cb`, or as "error" without one.

        Raises: OSError: EBADF after `close`, EISCONN. ValueError: no port from 1 to 65535.
        """
        sock = self._running()
        callback, rest = _callback(arguments)
        if sock_is_connected(sock):
            raise OSError(errno.EISCONN, "Already connected")
        _check_port(port)
        try:
            self._listen(sock)
            sock.connect((_host(rest[0]) if rest else "localhost", port))
        except OSError as error:
            if callback is None:
                self._error_later(error)
            else:
                Runtime.current().announce(partial(callback, error))
            return
        if callback is not None:
            self.once("connect", callback)
        self._later("connect")

    def disconnect(self) -> None:
        """Undo `connect`. Raises: OSError: EBADF after `close`, ENOTCONN."""
        sock = self._running()
        if not sock_is_connected(sock):
            raise OSError(errno.ENOTCONN, "Not connected")
        sock.disconnect()

    # --- names ---------------------------------------------------------------------------------------------------

    def address(self) -> dict[str, Any]:
        """Return {"address": our id, "port", "family": "peer-relay"}. A socket that is not bound takes a port for this,
        as npm's has one from the start; `bind` may still choose another. Raises: OSError: EBADF when closed."""
        sock = self._running()
        port = sock.getsockname()[1]
        if not port:
            sock.bind(("", 0))
            port = sock.getsockname()[1]
        return {"address": self._peer.id.hex(), "port": port, "family": _FAMILY}

    def remoteAddress(self) -> dict[str, Any]:  # noqa: N802
        """Return the same of the connected peer. Raises: OSError: ENOTCONN."""
        address, port = self._running().getpeername()
        return {"address": address, "port": port, "family": _FAMILY}

    def _running(self) -> _Socket:
        if self._socket is None:
            raise OSError(errno.EBADF, "Not running")
        return self._socket

    def _later(self, event: str, *arguments: object) -> None:
        Runtime.current().announce(partial(self.emit, event, *arguments))

    def _error_later(self, error: Exception) -> None:
        Runtime.current().announce(partial(self._tell_error, error))

    def _tell_error(self, error: Exception) -> None:
        if self.listeners("error"):
            self.emit("error", error)
        else:
            log.warning('! a dgram socket without a listener of "error": %s', error)

    def _heed(self, event: str) -> None:
        """Pass the peer's errors on from the first listener on, and so those that the peer has kept for one."""
        if event == "error" and not self._heeds and self._socket is not None:
            self._heeds = True
            self._unlisten.append(_listen_to(self._peer, "error", self, Socket._peer_error))

    def _peer_error(self, error: Exception) -> None:
        if self._socket is not None and self.listeners("error"):  # else the peer's line in the log says it
            self.emit("error", error)

    def _peer_closed(self) -> None:
        if self._socket is not None:
            self.close()


def createSocket(  # noqa: N802 - Node's name
    opts: Options | str | None = None, listener: Listener | None = None, **settings: Unpack[Options]
) -> Socket:
    """Return a new socket; `listener` hears its "message" events. A type ("udp4") is taken and means nothing."""
    made = Socket(opts, **settings)
    if listener is not None:
        made.on("message", listener)
    return made


def _listen_to(
    peer: Peer, event: Literal["close", "error"], socket: Socket, method: Callable[..., object]
) -> Callable[[], object]:
    """Have `method` called at each such event of `peer`, as long as `socket` lives. Returns: what undoes it."""
    alive = ref(socket)

    def listener(*arguments: object) -> None:
        if (each := alive()) is not None:
            method(each, *arguments)

    peer.on(event, listener)
    unlisten = finalize(socket, peer.off, event, listener)
    unlisten.atexit = False
    return unlisten


def sock_is_connected(sock: _Socket) -> bool:
    """Return whether `sock` is connected."""
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def _callback(arguments: tuple[Any, ...]) -> tuple[Listener | None, tuple[Any, ...]]:
    """Split a trailing callback off, and what was left out (None) before it."""
    callback = None
    if arguments and callable(arguments[-1]):
        callback, arguments = arguments[-1], arguments[:-1]
    while arguments and arguments[-1] is None:
        arguments = arguments[:-1]
    return callback, arguments


def _bytes(message: Data | Iterable[Data]) -> bytes:
    if isinstance(message, str):
        return message.encode()
    if isinstance(message, bytes | bytearray | memoryview):
        return bytes(message)
    if isinstance(message, list | tuple):
        return b"".join(_bytes(part) for part in message)
    raise TypeError(f"a message is bytes, a string, or a list of these, not {type(message).__name__}")


def _host(address: object) -> str:
    """Return an address as an AF_PEER socket takes it: a peer's id may come as bytes."""
    if isinstance(address, bytes | bytearray | memoryview) and len(address) == ID_BYTES:
        return bytes(address).hex()
    if not isinstance(address, str):
        raise TypeError(f"the address must be a string, or an id of {ID_BYTES} bytes, not {type(address).__name__}")
    return address


def _check_port(port: object) -> None:
    if not isinstance(port, int) or not 0 < port < 65536:
        raise ValueError(f"Port should be > 0 and < 65536. Received {port!r}.")
