"""A gevent server, unmodified (PyPI gevent's DatagramServer): IP PORT"""

import sys

from gevent.server import DatagramServer


class Upper(DatagramServer):
    def handle(self, data: bytes, address: object) -> None:
        self.socket.sendto(data.upper(), address)


server = Upper((sys.argv[1], int(sys.argv[2])))
server.start()
print("READY", flush=True)
server.serve_forever()
