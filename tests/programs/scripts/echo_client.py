"""A UDP client as textbooks have it: HOST PORT TEXT... Sends each text until it is answered, five times at most."""

import socket
import sys

TRIES, SECONDS = 5, 2.0

host, port = sys.argv[1], int(sys.argv[2])
family, kind, protocol, _, server = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
with socket.socket(family, kind, protocol) as client:
    client.settimeout(SECONDS)
    for text in sys.argv[3:]:
        for _ in range(TRIES):
            client.sendto(text.encode(), server)
            try:
                data, source = client.recvfrom(65535)
            except TimeoutError:
                continue
            print(f"{text!r} to {server[0]} port {server[1]}, answered {data.decode()!r}", flush=True)
            break
        else:
            sys.exit(f"no answer from {server[0]} port {server[1]}")
