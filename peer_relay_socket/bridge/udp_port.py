"""The UDP port of a peer that serves, which has the number of its TCP port: it answers STUN.

Lives here: the sockets. May not live here: who is answered (engine/sight.py), the bytes (codec/stun.py).

Law: what comes here makes no work but for peers with a link, and nothing leaves but one answer to each request, to
where that came from. Where the port is not to be had there is none, and neighbours are told of none.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from _socket import IPPROTO_IPV6, IPV6_V6ONLY, SOCK_DGRAM
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..codec.stun import MAX_REQUEST, binding_answer
from ..originals import stdlib_socket
from ..scope import unmapped
from .log import log

if TYPE_CHECKING:
    from ..engine.engine import Engine

_BURST: Final = 32
"""Datagrams read before the loop looks at something else."""


class Owner(Protocol):
    """The driver, as far as this needs it."""

    def run(self, act: Callable[[Engine, float], object]) -> None:
        """Call `act` with the engine and the time, if there is one."""


class UdpPort:
    """The UDP sockets of one peer. Loop thread only, but for `__init__`."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._sockets: list[stdlib_socket] = []
        self.port: int | None = None
        """Its number; None where there is none."""

    def serve(self, addresses: Sequence[tuple[int, Any]]) -> None:
        """Listen at the addresses (family, socket address) of the TCP listener, if all can be had."""
        try:
            for family, address in addresses:
                sock = stdlib_socket(family, SOCK_DGRAM)
                self._sockets.append(sock)
                sock.setblocking(False)
                if address[0] == "::":
                    sock.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 0)
                sock.bind(address)
        except OSError as error:
            log.info("! no STUN answers: UDP port %d: %s", address[1], os.strerror(error.errno or 0))
            self.close()
            return
        for sock in self._sockets:
            asyncio.get_running_loop().add_reader(sock.fileno(), self._readable, sock)
            self.port = sock.getsockname()[1]

    def close(self) -> None:
        """Stop."""
        for sock in self._sockets:
            asyncio.get_running_loop().remove_reader(sock.fileno())
            sock.close()
        self._sockets.clear()
        self.port = None

    def _readable(self, sock: stdlib_socket) -> None:
        asked: list[tuple[bytes, Any]] = []
        with contextlib.suppress(OSError):  # no more
            while len(asked) < _BURST:
                asked.append(sock.recvfrom(MAX_REQUEST + 1))

        def answer(engine: Engine, now: float) -> None:
            for data, source in asked:
                self._asked(engine, now, sock, data, source)

        self._owner.run(answer)

    def _asked(self, engine: Engine, now: float, sock: stdlib_socket, data: bytes, source: Any) -> None:
        host = unmapped(source[0].partition("%")[0])
        answer = binding_answer(data, host, source[1])
        if answer is None:
            engine.count("dropped: no STUN request, or one whose answer would be too long")
        elif engine.may_ask(host, now):
            with contextlib.suppress(OSError):
                sock.sendto(answer, source)
