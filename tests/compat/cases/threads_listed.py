"""A socket adds no thread to those that a program can list, wait for, or count; nor does the network's end."""

import contextlib
import logging
import signal
import socket
import threading

signal.alarm(30)
logging.basicConfig(level=logging.DEBUG, handlers=[logging.NullHandler()])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("", 0))
sock.settimeout(0.2)


def receive() -> None:
    sock.sendto(b"x", ("100.88.7.200", 9))
    with contextlib.suppress(TimeoutError):
        sock.recvfrom(10)


for _ in range(3):
    threading.Thread(target=receive).start()
for each in threading.enumerate():
    if each is not threading.current_thread():
        each.join()
assert threading.active_count() == 1, threading.enumerate()
