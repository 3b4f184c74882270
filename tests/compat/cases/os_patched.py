"""Sockets call none of the functions that tests of programs put stand-ins for."""

import select
import socket
from unittest import mock

broken = OSError(28, "No space left on device")
names = ("fstat", "write", "read", "close", "dup", "dup2", "open", "getpid", "urandom")
with mock.patch.multiple("os", **{name: mock.Mock(side_effect=broken) for name in names}):
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("", 0))
    receiver.settimeout(1)
    assert not select.select([receiver], [], [], 0)[0]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", ("127.0.0.1", receiver.getsockname()[1]))
    assert select.select([receiver], [], [], 1)[0]
    assert receiver.recv(9) == b"x"
    receiver.close()
