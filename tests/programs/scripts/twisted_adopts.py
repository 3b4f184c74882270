"""Twisted's reactor on a socket that was made before it (PyPI Twisted, adoptDatagramPort): IP PORT"""

import os
import socket
import sys
from typing import Any

from twisted.internet import reactor
from twisted.internet.protocol import DatagramProtocol


class Upper(DatagramProtocol):
    def datagramReceived(self, datagram: bytes, addr: Any) -> None:  # noqa: N802
        self.transport.write(datagram.upper(), addr)


sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind((sys.argv[1], int(sys.argv[2])))
os.set_blocking(sock.fileno(), False)
reactor.adoptDatagramPort(sock.fileno(), socket.AF_INET, Upper())
sock.close()
print("READY", flush=True)
reactor.run()
