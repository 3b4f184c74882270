"""Receive on PORT until COUNT different datagrams came, or nothing for 5 s after the first. Prints how many came."""

import socket
import sys

port, count = map(int, sys.argv[1:])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
    receiver.bind(("", port))
    print("READY", flush=True)
    receiver.settimeout(30)
    came = set()
    try:
        while len(came) < count:
            came.add(receiver.recv(2000)[:4])
            receiver.settimeout(5)
    except TimeoutError:
        pass
print(len(came), "of", count)
