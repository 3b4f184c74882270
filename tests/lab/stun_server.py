"""A STUN server (RFC 8489) as small as it can be: stun_server.py PORT tells everybody where it sees them."""

from __future__ import annotations

import socket
import struct
import sys

COOKIE = 0x2112A442


def answer(request: bytes, host: str, port: int) -> bytes | None:
    """Return the answer to a binding request; None to anything else."""
    if len(request) < 20 or request[:2] != b"\0\1" or struct.unpack_from(">I", request, 4)[0] != COOKIE:
        return None
    address = struct.unpack(">I", socket.inet_aton(host))[0] ^ COOKIE
    mapped = struct.pack(">HHBBHI", 0x0020, 8, 0, 1, port ^ COOKIE >> 16, address)
    return struct.pack(">HHI", 0x0101, len(mapped), COOKIE) + request[8:20] + mapped


def main() -> None:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("0.0.0.0", int(sys.argv[1])))
    print("ready", flush=True)
    while True:
        request, source = server.recvfrom(2048)
        reply = answer(request, *source)
        if reply is not None:
            server.sendto(reply, source)


if __name__ == "__main__":
    main()
