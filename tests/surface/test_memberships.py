"""Memberships of one group on several interfaces: what needs a machine with more than loopback is no twin's case."""

from __future__ import annotations

import errno
import fcntl
import socket
import struct

import pytest

from peer_relay_socket.surface.udp_socket import Socket

GROUP = "239.77.8.9"
OVERLAY, LOOPBACK = "100.64.1.2", "127.0.0.1"


def member(interface: str) -> bytes:
    return socket.inet_aton(GROUP) + socket.inet_aton(interface)


def change(sock: Socket, option: int, interface: str) -> int:
    try:
        sock.setsockopt(socket.IPPROTO_IP, option, member(interface))
    except OSError as error:
        return error.errno or 0
    return 0


def test_membership_counts_per_interface_and_lasts_until_the_last_is_left() -> None:
    join, leave = socket.IP_ADD_MEMBERSHIP, socket.IP_DROP_MEMBERSHIP
    with Socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("", 0))
        sock.setblocking(False)
        assert [change(sock, join, each) for each in ("0.0.0.0", LOOPBACK)] == [0, 0]
        assert [change(sock, join, each) for each in (OVERLAY, LOOPBACK)] == [errno.EADDRINUSE] * 2
        for left in ("0.0.0.0", LOOPBACK):
            sock.sendto(b"once", (GROUP, sock.getsockname()[1]))
            assert sock.recv(9) == b"once"
            with pytest.raises(BlockingIOError):
                sock.recv(9)
            assert change(sock, leave, left) == 0
        sock.sendto(b"none", (GROUP, sock.getsockname()[1]))
        with pytest.raises(BlockingIOError):
            sock.recv(9)
        assert change(sock, leave, OVERLAY) == errno.EADDRNOTAVAIL


def address_of(name: str) -> bytes | None:
    """SIOCGIFADDR."""
    with socket.socket() as asked:
        try:
            answer = fcntl.ioctl(asked.fileno(), 0x8915, struct.pack("16sH14x", name.encode(), socket.AF_INET))
        except OSError:
            return None
    return answer[20:24]


@pytest.mark.parametrize("make", [socket.socket, Socket])
def test_address_and_number_name_the_same_interface(make: type[socket.socket]) -> None:
    addresses = {number: address_of(name) for number, name in socket.if_nameindex()}
    with make(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for number, address in addresses.items():
            if address is not None:
                group = socket.inet_aton(GROUP)
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + address)
                request = group + bytes(4) + struct.pack("i", number)
                with pytest.raises(OSError, match=str(errno.EADDRINUSE)):
                    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
