"""A program that changes its root and its user before its first datagram is served: a socket needs no files."""

import os
import socket
import tempfile

early = socket.socket(socket.AF_INET, socket.SOCK_DGRAM) if os.fork() else None
os.chroot(tempfile.mkdtemp())
os.chdir("/")
os.setgid(65534)
os.setuid(65534)
sock = early or socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("", 0))
sock.sendto(b"x", ("100.88.7.200", 9))
if early is not None:
    assert os.wait()[1] == 0
