"""Answer as a game server does that is asked for its status (RakNet's unconnected ping): ADDRESS PORT"""

import socket
import sys

MAGIC = bytes.fromhex("00ffff00fefefefefdfdfdfd12345678")
STATUS = b"MCPE;A server;800;1.21;3;10;1;world;Survival;1;19132;19133;"

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
    server.bind((sys.argv[1], int(sys.argv[2])))
    print("READY", flush=True)
    while True:
        ping, client = server.recvfrom(1500)
        if ping[:1] == b"\1" and MAGIC in ping:
            length = len(STATUS).to_bytes(2)
            server.sendto(b"\x1c" + ping[1:9] + bytes(8) + MAGIC + length + STATUS, client)
