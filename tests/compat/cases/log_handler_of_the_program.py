"""A handler of the program's is not run where it would get a real UDP socket, also for what the network itself logs."""

import logging
import logging.handlers
import os
import signal
import socket
import sys
import threading

signal.alarm(30)
came = threading.Event()


class Noting(logging.handlers.DatagramHandler):
    """Says when it was called."""

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        came.set()


handler = Noting("100.88.7.200", 5999)
logging.getLogger().addHandler(handler)
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).bind(("", 0))
if "peer_relay_socket" in sys.modules:
    assert came.wait(20), "the network said nothing"
logging.getLogger("program").error("the program's first record")
if "peer_relay_socket" in sys.modules:
    inode = os.readlink(f"/proc/self/fd/{handler.sock.fileno()}")[8:-1]
    with open("/proc/net/udp") as table:
        assert not any(inode in line.split() for line in table), "a real UDP socket"
    assert all(each.name != "peer-relay" for each in threading.enumerate())
os._exit(0)
