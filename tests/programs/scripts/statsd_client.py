"""Counts at a statsd of this machine (PyPI statsd) and asks a peer: IP PORT STATSD-PORT"""

import socket
import sys

from statsd import StatsClient

statsd = StatsClient("127.0.0.1", int(sys.argv[3]))
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.settimeout(10)
    for number in range(20):
        sock.sendto(b"text %d" % number, (sys.argv[1], int(sys.argv[2])))
        assert sock.recv(99) == b"TEXT %d" % number
        statsd.incr("answers")
print("20 answers", flush=True)
