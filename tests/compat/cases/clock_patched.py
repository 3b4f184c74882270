"""Timeouts of sockets do not depend on the program's clock: tests of programs freeze it. In any thread."""

import signal
import socket
import threading
import time
from unittest import mock

signal.alarm(20)
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("127.0.0.1", 0))
sock.settimeout(0.2)
outcomes = []


def receive() -> None:
    try:
        sock.recvfrom(10)
    except TimeoutError:
        outcomes.append("timed out")


with mock.patch("time.monotonic", return_value=time.monotonic()), mock.patch("time.time", return_value=0.0):
    receive()
    thread = threading.Thread(target=receive)
    thread.start()
    thread.join()
    late = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    late.bind(("", 0))
    late.settimeout(0.2)
    sock = late
    receive()
assert outcomes == ["timed out"] * 3, outcomes
