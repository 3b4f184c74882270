"""Finding peers on the same link by multicast, without any relay or Internet.

Lives here: the two UDP sockets, when questions are asked, which frames are heeded. May not live here: the bytes of
frames (codec/lan.py), whom to be linked to (engine).

Law: what is heard becomes a candidate and no more, which a link proves or a failed dial forgets. Only what was sent on
this link counts: frames leave with TTL 255, and those that arrive with less passed a router (RFC 5082). So no stranger
elsewhere has us answer, or dial into this network. A question is answered once, to the address it came from, with as
many bytes as it has, LAN_ANSWERS a second.

Why not mDNS (zeroconf): its answers go to everybody, so that a network key would hide nothing; it answers with several
times the bytes; and port 5353 is often another program's. 239.255/16 is for a site's own use (RFC 2365).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import random
import struct
import sys
from _socket import (
    AF_INET,
    IP_ADD_MEMBERSHIP,
    IP_MULTICAST_IF,
    IP_MULTICAST_TTL,
    IP_TTL,
    IPPROTO_IP,
    SO_REUSEADDR,
    SOCK_DGRAM,
    SOL_SOCKET,
    if_nameindex,
    inet_aton,
)
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from ..codec.lan import FRAME, TOKEN, LanFrame, LanKind, lan_frame, read_lan_frame
from ..errors import PacketError
from ..limits import LAN_ANSWERS, LAN_EVERY, LAN_FIRST, LAN_HEARD, LAN_QUESTIONS, make_room
from ..originals import os, stdlib_socket
from ..rate import TokenBucket
from ..scope import Scope
from ..system import LINUX
from .log import log

if TYPE_CHECKING:
    from ..engine.engine import Engine

GROUP: Final = "239.255.115.17"
PORT: Final = 7317
"""UDP; the number of the embedded node's TCP port."""
_PURPOSE: Final = b"peers on one link"
_HOPS: Final = 255
_ANCILLARY: Final = 64
"""More than a TTL takes with its header."""
_IP_RECVTTL, _IP_MULTICAST_ALL = 12, 49
"""Of Linux (linux/in.h); Python 3.11 has no names for them."""
_SIOCGIFFLAGS: Final = 0x8913
_UP, _LOOPBACK, _POINT_TO_POINT, _MULTICAST = 0x1, 0x8, 0x10, 0x1000
"""Flags of an interface (netdevice(7))."""


class Owner(Protocol):
    """The driver, as far as this needs it."""

    @property
    def running_engine(self) -> Engine | None:
        """The engine; None before the start and after the end."""

    @property
    def port(self) -> int | None:
        """The TCP port served on."""

    def run(self, act: Callable[[Engine, float], object]) -> None:
        """Call `act` with the engine and the time, if there is one."""


class Lan:
    """The announcements of one peer. Loop thread only."""

    def __init__(self, owner: Owner, tls: bool) -> None:
        """Raises: OSError where multicast cannot be had."""
        self._owner = owner
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._heard = TokenBucket(LAN_HEARD, self._loop.time())
        self._answers = TokenBucket(LAN_ANSWERS, self._loop.time())
        self._asked: dict[bytes, None] = {}
        """Tokens of our questions, at most LAN_QUESTIONS."""
        self._seen: dict[bytes, None] = {}
        """Tokens of others' questions, at most LAN_QUESTIONS: one that comes by two wires is answered once."""
        self._joined: set[int] = set()
        """Interfaces whose questions we hear."""
        self._group = _udp()
        self._own = _udp()
        try:
            self._group.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
            self._group.setsockopt(IPPROTO_IP, _IP_MULTICAST_ALL, 0)
            self._group.bind((GROUP, PORT))
            self._own.setsockopt(IPPROTO_IP, IP_TTL, _HOPS)
            self._own.setsockopt(IPPROTO_IP, IP_MULTICAST_TTL, _HOPS)
            self._own.bind(("", 0))
        except BaseException:
            self.close()
            raise
        for sock in (self._group, self._own):
            self._loop.add_reader(sock.fileno(), self._readable, sock)

    def close(self) -> None:
        """Hear and say nothing more."""
        for sock in (self._group, self._own):
            if sock.fileno() >= 0:
                self._loop.remove_reader(sock.fileno())
                sock.close()

    async def announce(self) -> None:
        """Ask who is there, again and again."""
        for wait in LAN_FIRST:
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # lest all ask at once
            self._ask()
        while True:
            linked = self._owner.running_engine is not None and bool(self._owner.running_engine.neighbours)
            await asyncio.sleep(LAN_EVERY[linked] * random.uniform(0.75, 1.25))
            self._ask()

    # --- sending -------------------------------------------------------------------------------------------------

    def _ask(self) -> None:
        token = os.urandom(TOKEN)
        frame = self._frame(LanKind.QUESTION, token)
        if frame is None:
            return
        make_room(self._asked, LAN_QUESTIONS)
        self._asked[token] = None
        for index in _interfaces(self._own):
            wire, group = (struct.pack("4s4si", ip, b"", index) for ip in (b"", inet_aton(GROUP)))  # ip_mreqn
            with contextlib.suppress(OSError):  # an interface without an address, or that is just going
                if index not in self._joined:
                    self._group.setsockopt(IPPROTO_IP, IP_ADD_MEMBERSHIP, group)
                    self._joined.add(index)
                self._own.setsockopt(IPPROTO_IP, IP_MULTICAST_IF, wire)
                self._own.sendto(frame, (GROUP, PORT))

    def _frame(self, kind: LanKind, token: bytes) -> bytes | None:
        engine, port = self._owner.running_engine, self._owner.port
        if engine is None or port is None:
            return None
        key = engine.network_key(_PURPOSE)
        return lan_frame(key, os.urandom(TOKEN), LanFrame(kind, token, engine.peer_id, port, self._tls))

    # --- receiving -----------------------------------------------------------------------------------------------

    def _readable(self, sock: stdlib_socket) -> None:
        for _ in range(16):  # then the loop looks at something else
            if sys.platform != "win32":
                try:
                    data, ancillary, _, source = sock.recvmsg(FRAME + 1, _ANCILLARY)
                except OSError:
                    return
                self._arrived(data, ancillary, source)

    def _arrived(self, data: bytes, ancillary: Sequence[tuple[int, int, bytes]], source: tuple[str, int]) -> None:
        engine = self._owner.running_engine
        if engine is None:
            return
        frame = self._believed(engine, data, ancillary)
        if frame is None:
            engine.count("dropped: a LAN announcement from elsewhere, of another network, or one too many")
            return
        scope = Scope.of(source[0])
        if frame.peer_id == engine.peer_id or scope is None or frame.token in self._seen:
            return
        if frame.kind is LanKind.QUESTION:
            make_room(self._seen, LAN_QUESTIONS)
            self._seen[frame.token] = None
            answer = self._frame(LanKind.ANSWER, frame.token)
            if answer is not None and self._answers.take(self._loop.time()):
                with contextlib.suppress(OSError):
                    self._own.sendto(answer, source)
        url = f"{'wss' if frame.tls else 'ws'}://{source[0]}:{frame.port}"
        log.debug("< LAN: %s is at %s", frame.peer_id.hex()[:8], url)
        self._owner.run(lambda engine, now: engine.suggest(frame.peer_id, url, scope, now))

    def _believed(self, engine: Engine, data: bytes, ancillary: Sequence[tuple[int, int, bytes]]) -> LanFrame | None:
        """Return a frame that was sent on this link, by a peer of our network, and is no answer to nothing."""
        if not self._heard.take(self._loop.time()) or _hops(ancillary) != _HOPS:
            return None
        try:
            frame = read_lan_frame(engine.network_key(_PURPOSE), data)
        except PacketError:
            return None
        return None if frame.kind is LanKind.ANSWER and frame.token not in self._asked else frame


def _udp() -> stdlib_socket:
    if not LINUX:  # the numbers above are Linux's
        raise OSError(errno.EOPNOTSUPP, "peers on one link are found on Linux alone")
    sock = stdlib_socket(AF_INET, SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(IPPROTO_IP, _IP_RECVTTL, 1)
    return sock


def _hops(ancillary: Sequence[tuple[int, int, bytes]]) -> int:
    """Return the TTL with which a datagram arrived; 0 where the kernel does not say."""
    for level, kind, value in ancillary:
        if (level, kind) == (IPPROTO_IP, IP_TTL) and len(value) == 4:
            return int(struct.unpack("i", value)[0])
    return 0


def _interfaces(sock: stdlib_socket) -> list[int]:
    """Return the numbers of the interfaces that lead to a link; loopback where there is no other."""
    links: list[int] = []
    loopback: list[int] = []
    if sys.platform == "linux":
        import fcntl

        for index, name in if_nameindex():
            try:
                answer = fcntl.ioctl(sock.fileno(), _SIOCGIFFLAGS, struct.pack("16sh14x", name.encode()[:15], 0))
            except OSError:  # just gone
                continue
            (flags,) = struct.unpack_from("H", answer, 16)
            if flags & _LOOPBACK and flags & _UP:
                loopback.append(index)
            elif flags & _UP and flags & _MULTICAST and not flags & _POINT_TO_POINT:
                links.append(index)
    return links or loopback
