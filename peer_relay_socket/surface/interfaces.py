"""Which of this machine's interfaces a program names, by number or address, where it joins a group.

Lives here: from either to a number. May not live here: what is done with it (memberships.py).

Law: the overlay is an interface of its own, number 0: the wildcard and the overlay's addresses name it. All other
interfaces lead to the same overlay; they are told apart only because programs count on that.
"""

from __future__ import annotations

import _socket
import array
import contextlib
import struct
import sys
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Final

from ..system import LINUX

if TYPE_CHECKING:
    from ..bridge.endpoint import Endpoint

OVERLAY: Final = 0
_LOOPBACK: Final = 1
_SIOCGIFCONF: Final = 0x8912
_ENTRY: Final = 40 if struct.calcsize("@P") == 8 else 32
"""sizeof(struct ifreq)."""
_MOST: Final = 1024
"""Addresses looked at; what a machine has more is not found."""


def by_number(number: int) -> int | None:
    """Return `number` if it is an interface's, or 0; else None."""
    return number if not number or number in dict(_socket.if_nameindex()) else None


def by_address(endpoint: Endpoint, address: IPv4Address) -> int | None:
    """Return the number of the interface that has `address`, or None."""
    if not int(address) or address in endpoint.host.spelling.ipv4_network:
        return OVERLAY
    if address.is_loopback:
        return _LOOPBACK
    return _by_address().get(address.packed) if LINUX else OVERLAY


if sys.platform == "linux":

    def _by_address() -> dict[bytes, int]:
        """Return the numbers of the interfaces by their IPv4 addresses: netdevice(7), SIOCGIFCONF."""
        import fcntl

        buffer = array.array("B", bytes(_MOST * _ENTRY))
        with contextlib.closing(_socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)) as asked:
            request = struct.pack("@iP", len(buffer), buffer.buffer_info()[0])
            size: int = struct.unpack("@iP", fcntl.ioctl(asked.fileno(), _SIOCGIFCONF, request))[0]
        raw, numbers = buffer.tobytes(), {name: number for number, name in _socket.if_nameindex()}
        found = {}
        for start in range(0, size, _ENTRY):
            name = raw[start : start + 16].partition(b"\0")[0].partition(b":")[0].decode("ascii", "replace")
            if name in numbers:
                found[raw[start + 20 : start + 24]] = numbers[name]
        return found

else:

    def _by_address() -> dict[bytes, int]:
        return {}
