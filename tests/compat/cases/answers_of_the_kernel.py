"""What the kernel answers about UDP sockets: descriptors made non-blocking, closed sockets, interfaces, numbers."""

import contextlib
import errno
import fcntl
import os
import select
import signal
import socket
import struct

signal.alarm(20)


def udp(kind: int = 0) -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM | kind)


def errno_of(call: object, *arguments: object) -> int | None:
    try:
        call(*arguments)
    except OSError as error:
        return error.errno
    return 0


# A descriptor that is non-blocking is, whatever its timeout.
first, second, third = udp(), udp(), udp()
for each in (first, second, third):
    each.bind(("127.0.0.1", 0))
fcntl.fcntl(first, fcntl.F_SETFL, fcntl.fcntl(first, fcntl.F_GETFL) | os.O_NONBLOCK)
os.set_blocking(second.fileno(), False)
third.setblocking(False)
shared = socket.fromfd(third.fileno(), socket.AF_INET, socket.SOCK_DGRAM)
for each in (first, second, shared):
    assert each.gettimeout() is None
    for call in (lambda s: s.recvfrom(9), lambda s: s.recv_into(bytearray(9)), lambda s: s.recvmsg(9)):
        assert errno_of(call, each) == errno.EAGAIN
made = udp(socket.SOCK_NONBLOCK)
assert fcntl.fcntl(made, fcntl.F_GETFL) & os.O_NONBLOCK
assert made.gettimeout() == 0.0

# A closed socket is a bad descriptor.
made.close()
there = ("127.0.0.1", 9)
for call in ("bind", "connect"):
    assert errno_of(getattr(made, call), there) == errno.EBADF, call
assert errno_of(made.sendto, b"x", there) == errno.EBADF
assert errno_of(made.sendmsg, [b"x"], [], 0, there) == errno.EBADF
assert errno_of(made.send, b"x") == errno.EBADF

# Interfaces answer.
for request in (0x8915, 0x891B, 0x8919):  # address, netmask, broadcast address
    answer = fcntl.ioctl(first.fileno(), request, struct.pack("256s", b"lo"))
    assert answer[16:18] == struct.pack("@H", socket.AF_INET)
sender = udp()
sender.sendto(b"12345", second.getsockname())
select.select([second], [], [], 5)
assert struct.unpack("@i", fcntl.ioctl(second, 0x541B, bytes(4)))[0] == 5

# An address of this machine's means this host.
probe = udp()
with contextlib.suppress(OSError):
    probe.connect(("192.0.2.200", 9))
addresses = {socket.gethostname(), *(address for address in [probe.getsockname()[0]] if address != "0.0.0.0")}
for address in addresses:
    with contextlib.suppress(socket.gaierror), udp() as here, udp() as elsewhere:
        here.bind((address, 0))
        here.settimeout(5)
        elsewhere.sendto(b"x", (address, here.getsockname()[1]))
        assert here.recv(9) == b"x"
assert errno_of(udp().bind, ("192.0.2.77", 0)) == errno.EADDRNOTAVAIL

# Numbers are taken and refused as CPython does.
third.connect(third.getsockname())
for refused in (1 << 31, 1 << 70):
    for call in (third.shutdown, udp().listen):
        with contextlib.suppress(OverflowError):
            call(refused)
            raise AssertionError((call, refused))


class Port:
    """A number that is no int."""

    def __index__(self) -> int:
        return second.getsockname()[1]


assert second.recv(9) == b"12345"
sender.sendto(b"x", ("127.0.0.1", Port()))
select.select([second], [], [], 5)
assert second.recv(9) == b"x"
