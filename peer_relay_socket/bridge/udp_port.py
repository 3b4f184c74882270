"""The UDP sockets of a peer: the port of one that serves, with the number of its TCP port, which answers STUN and has
the neighbours' datagram lanes; and one for the lanes that lead to relays, while there are any.

Lives here: the sockets. May not live here: who is answered (engine/sight.py, engine/lanes.py), the bytes
(codec/stun.py, codec/lane.py).

Law: what comes here makes no work but for peers with a link, and a stranger gets nothing, a neighbour one answer to
each request, where that came from. Where the port is not to be had there is none, and neighbours are told of none.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from _socket import AF_INET, AF_INET6, IPPROTO_IPV6, IPV6_V6ONLY, SO_RCVBUF, SOCK_DGRAM, SOL_SOCKET
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..codec import lane
from ..codec.stun import binding_answer
from ..limits import LANE_FRAME_MOST, LANE_IDLE, LANE_RECEIVE_BUFFER
from ..originals import stdlib_socket
from ..scope import unmapped
from .log import log

if TYPE_CHECKING:
    import socket

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
        """Those of the port."""
        self._dialling: dict[int, stdlib_socket] = {}
        """Those for lanes to relays, by family, where the port has none."""
        self._by_family: dict[int, stdlib_socket] = {}
        """That by which frames leave to addresses of a family."""
        self._look: asyncio.TimerHandle | None = None
        """Closes `_dialling` once there are no lanes."""
        self.port: int | None = None
        """Its number; None where there is none."""

    def serve(self, listening: Sequence[socket.socket]) -> None:
        """Take the addresses of the TCP sockets that listen, if all can be had."""
        try:
            for tcp in listening:
                self._sockets.append(_bound(tcp.family, tcp.getsockname(), dual_stack=_is_dual_stack(tcp)))
        except OSError as error:
            port = listening[0].getsockname()[1]
            log.info("! no STUN answers, no datagram lanes: UDP port %d: %s", port, os.strerror(error.errno or 0))
            self.close()
            return
        for sock in self._sockets:
            self.port = sock.getsockname()[1]
            for family in (AF_INET6, AF_INET) if _is_dual_stack(sock) else (sock.family,):
                self._by_family.setdefault(family, sock)
            self._attend(sock)

    def close(self) -> None:
        """Stop."""
        if self._look is not None:
            self._look.cancel()
        for sock in (*self._sockets, *self._dialling.values()):
            asyncio.get_running_loop().remove_reader(sock.fileno())
            sock.close()
        self._sockets.clear()
        self._dialling.clear()
        self._by_family.clear()
        self.port = None

    def send(self, frames: Sequence[tuple[tuple[str, int], bytes]]) -> int:
        """Send frames of lanes. Returns: how many the kernel did not take; they are lost."""
        lost = 0
        for (host, port), frame in frames:
            family = AF_INET6 if ":" in host else AF_INET
            try:
                sock = self._by_family.get(family) or self._open(family)
                sock.sendto(frame, (f"::ffff:{host}" if sock.family != family else host, port))
            except OSError:
                lost += 1
        return lost

    def _open(self, family: int) -> stdlib_socket:
        """Return a socket for lanes to relays."""
        sock = _bound(family, ("", 0))
        if not self._dialling:
            self._look = asyncio.get_running_loop().call_later(LANE_IDLE, self._close_idle)
        self._dialling[family] = self._by_family[family] = sock
        self._attend(sock)
        return sock

    def _close_idle(self) -> None:
        """Close the sockets for lanes to relays once there are none."""

        def look(engine: Engine, _now: float) -> None:
            loop = asyncio.get_running_loop()
            if engine.lanes.count:
                self._look = loop.call_later(LANE_IDLE, self._close_idle)
                return
            for family, sock in self._dialling.items():
                loop.remove_reader(sock.fileno())
                sock.close()
                del self._by_family[family]
            self._dialling.clear()

        if self._dialling:
            self._owner.run(look)

    def _attend(self, sock: stdlib_socket) -> None:
        asyncio.get_running_loop().add_reader(sock.fileno(), self._readable, sock)

    def _readable(self, sock: stdlib_socket) -> None:
        asked: list[tuple[bytes, Any]] = []
        with contextlib.suppress(OSError):  # no more
            while len(asked) < _BURST:
                asked.append(sock.recvfrom(LANE_FRAME_MOST))

        def answer(engine: Engine, now: float) -> None:
            for data, source in asked:
                self._asked(engine, now, sock, data, source)

        self._owner.run(answer)

    def _asked(self, engine: Engine, now: float, sock: stdlib_socket, data: bytes, source: Any) -> None:
        host = unmapped(source[0])
        if lane.is_frame(data):
            engine.lane_heard(data, host, source[1], now)
            return
        answer = binding_answer(data, host, source[1])
        if answer is None:
            engine.count("dropped: no STUN request, or one whose answer would be too long")
        elif engine.may_ask(host, now):
            with contextlib.suppress(OSError):
                sock.sendto(answer, source)


def _bound(family: int, address: Any, *, dual_stack: bool = False) -> stdlib_socket:
    """Return a UDP socket with an address. Raises: OSError where that is not to be had."""
    sock = stdlib_socket(family, SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(SOL_SOCKET, SO_RCVBUF, LANE_RECEIVE_BUFFER)
        if family == AF_INET6:
            sock.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, not dual_stack)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


def _is_dual_stack(sock: socket.socket) -> bool:
    """Return whether an IPv6 socket takes IPv4, too."""
    return sock.family == AF_INET6 and not sock.getsockopt(IPPROTO_IPV6, IPV6_V6ONLY)
