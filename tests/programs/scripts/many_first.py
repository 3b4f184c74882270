"""Send COUNT datagrams of SIZE bytes to HOST PORT as the first thing that the program does."""

import socket
import sys

host, port, count, size = sys.argv[1], *map(int, sys.argv[2:])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * 1024 * 1024)
    for number in range(count):
        sender.sendto(number.to_bytes(4).ljust(size, b"x"), (host, port))
print("SENT")
