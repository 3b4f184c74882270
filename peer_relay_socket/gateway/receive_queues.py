"""How much waits in the sockets of programs in a namespace (sock_diag(7); proc_net_udp(5) where the kernel has no such
thing for UDP).

Law: each look is one request and its answer, 3 µs; the tables of all sockets, which cost 40, are for what is rare.
Every descriptor was opened in the namespace that it is about.
"""

from __future__ import annotations

import os
import socket
import struct
from functools import partial
from typing import Final, NamedTuple

from ..limits import SOCKET_BUFFER

_BY_FAMILY, _REQUEST, _ERROR = 20, 1, 2
_MEMORY_INFO: Final = 7
"""INET_DIAG_SKMEMINFO: bytes that wait, at most, ... as the kernel counts them."""
_ANY: Final = 0xFFFFFFFF
_MESSAGE: Final = 72
"""Bytes of an answer before its attributes (struct inet_diag_msg)."""


class Queue(NamedTuple):
    """What waits in one socket, and how much may, in bytes as the kernel counts them."""

    waiting: int
    most: int


class ReceiveQueues:
    """The UDP sockets of one namespace. One thread."""

    def __init__(self, diag: socket.socket, tables: list[int], index: int, known: socket.socket) -> None:
        """Args: diag: a socket of NETLINK_SOCK_DIAG. tables: /proc/net/udp and udp6. index: of the device by which
        datagrams come. known: a UDP socket of the namespace, by which is found out whether the kernel answers."""
        self._diag = diag
        self._tables = tables
        self._index = index
        known.bind(("", 0))
        port: int = known.getsockname()[1]
        self._answered = self._ask(bytes((127, 0, 0, 1)) * 2 + struct.pack("!HH", 1, port)) is not None

    def queue(self, key: bytes) -> Queue | None:
        """Return what waits in the socket to which a datagram goes; None when there is none.

        Args: key: of the datagram, as of `packets.udp_key`.
        """
        if self._answered:
            return self._ask(key)
        waiting = self._look_up(int.from_bytes(key[-2:]))
        return None if waiting is None else Queue(waiting, SOCKET_BUFFER)

    def hears(self, port: int) -> bool:
        """Return whether there is a socket on `port`."""
        return self._look_up(port) is not None

    def _ask(self, key: bytes) -> Queue | None:
        half = (len(key) - 4) // 2
        family = socket.AF_INET if half == 4 else socket.AF_INET6
        extensions = 1 << _MEMORY_INFO - 1
        body = struct.pack("=BBBxI", family, socket.IPPROTO_UDP, extensions, _ANY) + key[-4:]
        body += key[:half].ljust(16, b"\0") + key[half : 2 * half].ljust(16, b"\0")
        body += struct.pack("=III", self._index, _ANY, _ANY)
        try:
            self._diag.send(struct.pack("=IHHII", 16 + len(body), _BY_FAMILY, _REQUEST, 0, 0) + body)
            answer = self._diag.recv(4096)
        except OSError:  # no memory for the answer, say
            return None
        if struct.unpack_from("=H", answer, 4)[0] == _ERROR:
            return None
        at = 16 + _MESSAGE
        while at + 12 <= len(answer):
            length, kind, waiting, most = struct.unpack_from("=HHII", answer, at)
            if kind == _MEMORY_INFO:
                return Queue(waiting, most)
            at += max(4, length + 3 & ~3)
        return None

    def _look_up(self, port: int) -> int | None:
        """Return how many bytes wait in the fullest socket on `port`."""
        most, wanted = None, b":%04X" % port
        for fd in self._tables:
            os.lseek(fd, 0, os.SEEK_SET)
            table = b"".join(iter(partial(os.read, fd, 65_536), b""))  # the kernel gives 31 sockets at a time
            for line in table.split(b"\n")[1:]:
                fields = line.split(None, 5)
                if len(fields) > 5 and fields[1].endswith(wanted):
                    most = max(most or 0, int(fields[4].partition(b":")[2], 16))
        return most
