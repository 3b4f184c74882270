"""A UDP server as textbooks have it: BIND PORT. Answers every datagram with its text in capitals."""

import socket
import sys

bind, port = sys.argv[1], int(sys.argv[2])
family = socket.AF_INET6 if ":" in bind else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as server:
    server.bind((bind, port))
    print(f"READY on port {port}", flush=True)
    while True:
        data, source = server.recvfrom(65535)
        print(f"{data.decode()!r} from {source[0]} port {source[1]}", flush=True)
        server.sendto(data.upper(), source)
