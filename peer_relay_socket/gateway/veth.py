"""Where there is no /dev/net/tun: a pair of virtual Ethernet devices (veth(4)) and two packet sockets (packet(7)).

One device is the program's; the other is in a namespace that only one packet socket holds, so that both are gone with
that. What is written to this socket comes in at the program's device. What leaves by the program's device is read
there: the kernel hands it to the other half by a queue of the processor that sends, and where a program moves between
processors, its datagrams would overtake one another. What passes is as from a TUN device, behind 14 bytes of Ethernet.

Law: frames go out of here, and into here, as packets.py draws them.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import sys
from collections.abc import Callable
from itertools import count
from typing import Final

from ..limits import PACKET_SOCKET_BUFFER
from .netlink import Netlink
from .packets import VIRTIO, ipv6_fragments

assert sys.platform == "linux"

_NEW_NETWORK: Final = 0x40000000
_PACKET, _VNET_HEADER, _EVERYTHING, _NOTHING, _GET_ADDRESS, _FILTER = 263, 15, 3, 0, 0x8927, 26
_ETHERNET: Final = 14
_MTU: Final = 65_535
_LONGEST: Final = _MTU + VIRTIO + _ETHERNET
_FAR: Final = "far0"
_TYPES: Final = {4: b"\x08\x00", 6: b"\x86\xdd"}
_OUTGOING: Final = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 0xFFFFF004),  # load the packet's type (SKF_AD_PKTTYPE)
        (0x15, 0, 1, 4),  # PACKET_OUTGOING
        (0x06, 0, 0, 0xFFFFFFFF),  # all of it
        (0x06, 0, 0, 0),  # nothing
    )
)
"""A program for the kernel (SO_ATTACH_FILTER): of a device's packets, those that leave by it."""


def open_pair(libc: ctypes.CDLL, name: str) -> tuple[int, int, bytes]:
    """Make a device `name` in this namespace. Returns: the packet sockets to read what leaves by it, and to write what
    comes in, and its Ethernet address.

    Raises: OSError when this kernel has no such device, or does not permit it.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(libc.unshare(_NEW_NETWORK))
        try:
            with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as routing:
                netlink = Netlink(routing)
                netlink.add_pair(_FAR, name, home)
                netlink.up(socket.if_nametoindex(_FAR), mtu=_MTU)
            far = _packet_socket(_FAR, _NOTHING)
        finally:
            _check(libc.setns(home, _NEW_NETWORK))
    finally:
        os.close(home)
    near = _packet_socket(name, _EVERYTHING)
    address = fcntl.ioctl(near, _GET_ADDRESS, name.encode().ljust(40, b"\0"))[18:24]
    return near.detach(), far.detach(), address


def _packet_socket(name: str, protocol: int) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.setblocking(False)
    sock.setsockopt(_PACKET, _VNET_HEADER, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PACKET_SOCKET_BUFFER)
    instructions = ctypes.create_string_buffer(_OUTGOING, len(_OUTGOING))
    count = len(_OUTGOING) // 8
    sock.setsockopt(socket.SOL_SOCKET, _FILTER, struct.pack("HP", count, ctypes.addressof(instructions)))
    sock.bind((name, protocol))
    sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # that the device is not up yet
    return sock


def _check(result: int) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def reader(fd: int) -> Callable[[], bytes]:
    """Return what reads one frame. It raises as os.read."""

    def read() -> bytes:
        frame = os.read(fd, _LONGEST)
        return frame[:VIRTIO] + frame[VIRTIO + _ETHERNET :]

    return read


def writer(fd: int, address: bytes) -> Callable[[bytes], int]:
    """Return what writes one frame. It raises as os.write. Args: address: the device's."""
    headers = {version: address + address + kind for version, kind in _TYPES.items()}
    numbers = count(1)

    def write(frame: bytes) -> int:
        if len(frame) > VIRTIO + _MTU and frame[VIRTIO] >> 4 == 6:  # which a TUN device would take
            return sum(map(write, ipv6_fragments(frame, next(numbers) & 0xFFFFFFFF)))
        needs, kind, length, size, start, offset = struct.unpack_from("<BBHHHH", frame)
        if needs:  # places count from the first byte of Ethernet
            length, start = length + _ETHERNET, start + _ETHERNET
        virtio = struct.pack("<BBHHHH", needs, kind, length, size, start, offset)
        return os.write(fd, virtio + headers[frame[VIRTIO] >> 4] + frame[VIRTIO:])

    return write
