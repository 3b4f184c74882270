"""UDP on uvloop: libuv reads and writes file descriptors itself, so it can neither see the patch nor be audited.

Lives here: `create_datagram_endpoint` for uvloop's loops, with asyncio's own datagram transport over their public
`add_reader` and `add_writer`. May not live here: any other part of uvloop, which stays as it is.

Law: while patched, a uvloop datagram endpoint is the overlay's, or of a socket object that is not UDP over IP.
"""

from __future__ import annotations

import asyncio
import functools
from asyncio import selector_events
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

from peer_relay_socket.surface.udp_socket import Socket

from . import names, sockets
from .importing import WhenImported

_Endpoint = Callable[..., Any]
_original: dict[type, _Endpoint] = {}


class _AsAsyncio(asyncio.BaseEventLoop):
    """A loop that asyncio's datagram code can be run with, though another loop runs it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # Not super().__init__: this loop is never run, it only lends its methods.
        self._loop = loop
        self._debug = loop.get_debug()
        self._transports: dict[int, object] = {}
        self._add_reader, self._remove_reader = loop.add_reader, loop.remove_reader
        self._add_writer, self._remove_writer = loop.add_writer, loop.remove_writer

    def __getattribute__(self, name: str) -> Any:
        if name in _RUNS:
            return getattr(object.__getattribute__(self, "_loop"), name)
        return object.__getattribute__(self, name)

    def __del__(self) -> None:
        """Nothing: the base class would warn that a loop was not closed."""

    def __repr__(self) -> str:
        return repr(self._loop)

    async def getaddrinfo(self, host: Any, port: Any, **how: int) -> Any:
        """Resolve as the patched `socket.getaddrinfo`; uvloop's own asks libc."""
        return await self._loop.run_in_executor(None, functools.partial(names.getaddrinfo, host, port, **how))

    async def sock_connect(self, sock: Any, address: Any) -> None:
        """Connect an overlay socket, which never waits."""
        sock.connect(address)

    def _make_datagram_transport(
        self, sock: Any, protocol: Any, address: Any = None, waiter: Any = None, extra: Any = None
    ) -> asyncio.DatagramTransport:
        make = selector_events._SelectorDatagramTransport  # type: ignore[attr-defined]  # asyncio's, untyped
        return make(self, sock, protocol, address, waiter, extra)  # type: ignore[no-any-return]


_RUNS: Final = frozenset({"call_soon", "call_later", "call_exception_handler", "create_future", "get_debug", "time"})
"""What the real loop is asked to do."""


async def _create_datagram_endpoint(
    self: Any, protocol_factory: Any, local_addr: Any = None, remote_addr: Any = None, *, sock: Any = None, **how: Any
) -> Any:
    theirs = sock is not None and not (isinstance(sock, Socket) and sock._endpoint is not None)
    if theirs or sockets.on_relay_thread():
        return await _original[type(self)](self, protocol_factory, local_addr, remote_addr, sock=sock, **how)
    return await asyncio.BaseEventLoop.create_datagram_endpoint(
        _AsAsyncio(self), protocol_factory, local_addr, remote_addr, sock=sock, **how
    )


def patch() -> None:
    """Replace the method in uvloop, now if it is loaded, else when it is imported."""
    _import.begin()


def unpatch() -> None:
    """Undo `patch`."""
    _import.end()
    while _original:
        kind, method = _original.popitem()
        kind.create_datagram_endpoint = method  # type: ignore[attr-defined]


def _patch_module(module: ModuleType) -> None:
    kind = module.Loop
    if kind not in _original:
        _original[kind] = kind.create_datagram_endpoint
        kind.create_datagram_endpoint = _create_datagram_endpoint


_import: Final = WhenImported("uvloop", _patch_module)
