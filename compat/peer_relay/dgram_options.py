"""The socket options of Node's `dgram`, by Node's names.

Lives here: what each sets on the `Socket` below. May not live here: events, addresses, datagrams (dgram.py).
"""

from __future__ import annotations

import errno
import os
import socket as _stdlib
from abc import abstractmethod
from typing import Final

from pyee.base import EventEmitter

from peer_relay_socket import Socket

_ADD_SOURCE: Final = 39
_DROP_SOURCE: Final = 40
"""Linux's IP_ADD_SOURCE_MEMBERSHIP and IP_DROP_SOURCE_MEMBERSHIP, which CPython 3.11 does not name."""


class DgramOptions(EventEmitter):
    """The options of a datagram socket. Each raises OSError: EBADF once it is closed."""

    @abstractmethod
    def _running(self) -> Socket:
        """Return the socket below. Raises: OSError: EBADF."""

    def setBroadcast(self, flag: bool) -> None:  # noqa: N802 - Node's name, as all here
        """Allow sending to 255.255.255.255, which reaches the sockets of this process and those of peers near by."""
        self._set(_stdlib.SOL_SOCKET, _stdlib.SO_BROADCAST, int(bool(flag)))

    def setTTL(self, ttl: int) -> int:  # noqa: N802
        """Set the hop limit (1..255) that this process's own sockets see. Returns: `ttl`. Raises: OSError: EINVAL."""
        if not 1 <= ttl <= 255:
            raise OSError(errno.EINVAL, "setTTL EINVAL")
        self._set(_stdlib.IPPROTO_IP, _stdlib.IP_TTL, ttl)
        return ttl

    def setMulticastTTL(self, ttl: int) -> int:  # noqa: N802
        """Set the hop limit (0..255) of multicast. Returns: `ttl`. Raises: OSError: EINVAL."""
        if not 0 <= ttl <= 255:
            raise OSError(errno.EINVAL, "setMulticastTTL EINVAL")
        self._set(_stdlib.IPPROTO_IP, _stdlib.IP_MULTICAST_TTL, ttl)
        return ttl

    def setMulticastLoopback(self, flag: bool) -> bool:  # noqa: N802
        """Say whether this process hears its own multicast. Returns: `flag`."""
        self._set(_stdlib.IPPROTO_IP, _stdlib.IP_MULTICAST_LOOP, int(bool(flag)))
        return flag

    def setMulticastInterface(self, interface: str) -> None:  # noqa: N802
        """Choose where multicast leaves; there is one network, so every IPv4 address will do.

        Raises: OSError: EINVAL for what is none.
        """
        self._set(_stdlib.IPPROTO_IP, _stdlib.IP_MULTICAST_IF, _packed(interface))

    def addMembership(self, group: str, interface: str | None = None) -> None:  # noqa: N802
        """Hear a multicast group. Raises: OSError: EINVAL for what is no group; what setsockopt raises otherwise."""
        self._set(_stdlib.IPPROTO_IP, _stdlib.IP_ADD_MEMBERSHIP, _membership(group, interface))

    def dropMembership(self, group: str, interface: str | None = None) -> None:  # noqa: N802
        """Hear a multicast group no more. Raises: as `addMembership`."""
        self._set(_stdlib.IPPROTO_IP, _stdlib.IP_DROP_MEMBERSHIP, _membership(group, interface))

    def addSourceSpecificMembership(self, source: str, group: str, interface: str | None = None) -> None:  # noqa: N802
        """Hear what one peer (its IPv4 address) sends to a multicast group. Raises: as `addMembership`."""
        self._set(_stdlib.IPPROTO_IP, _ADD_SOURCE, _membership(group, interface) + _packed(source))

    def dropSourceSpecificMembership(self, source: str, group: str, interface: str | None = None) -> None:  # noqa: N802
        """Undo `addSourceSpecificMembership`. Raises: as `addMembership`."""
        self._set(_stdlib.IPPROTO_IP, _DROP_SOURCE, _membership(group, interface) + _packed(source))

    def setRecvBufferSize(self, size: int) -> None:  # noqa: N802
        """Bound what may wait to be read, in bytes."""
        self._set(_stdlib.SOL_SOCKET, _stdlib.SO_RCVBUF, size)

    def setSendBufferSize(self, size: int) -> None:  # noqa: N802
        """Bound what may wait to be sent, in bytes."""
        self._set(_stdlib.SOL_SOCKET, _stdlib.SO_SNDBUF, size)

    def getRecvBufferSize(self) -> int:  # noqa: N802
        """Return what may wait to be read, in bytes."""
        return self._running().getsockopt(_stdlib.SOL_SOCKET, _stdlib.SO_RCVBUF)

    def getSendBufferSize(self) -> int:  # noqa: N802
        """Return what may wait to be sent, in bytes."""
        return self._running().getsockopt(_stdlib.SOL_SOCKET, _stdlib.SO_SNDBUF)

    def getSendQueueSize(self) -> int:  # noqa: N802
        """Return 0: bytes that wait in Node because its kernel does not take them; here `send` itself waits."""
        self._running()
        return 0

    def getSendQueueCount(self) -> int:  # noqa: N802
        """Return 0: datagrams that wait so."""
        self._running()
        return 0

    def _set(self, level: int, option: int, value: int | bytes) -> None:
        self._running().setsockopt(level, option, value)


def _membership(group: str, interface: str | None) -> bytes:
    return _packed(group) + _packed(interface or "0.0.0.0")


def _packed(address: str) -> bytes:
    try:
        return _stdlib.inet_aton(address)
    except OSError:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL)) from None
