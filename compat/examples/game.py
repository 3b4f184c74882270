"""A tiny game: players walk along a line, and the server tells all of them where everybody is, twenty times a second.

python game.py serve                    # prints its address
python game.py play ADDRESS NAME        # each line on stdin is a step: + or -
"""

import json
import sys
import threading
import time

import peer_relay as socket

PORT, TICK, SILENT = 5007, 0.05, 10.0


def serve() -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("", PORT))
    print("game at", sock.peer.address, flush=True)
    players: dict[tuple[str, int], dict[str, object]] = {}
    next_tick = time.monotonic()
    while True:
        sock.settimeout(max(0.001, next_tick - time.monotonic()))
        try:
            data, player = sock.recvfrom(1500)
            name, at = json.loads(data)
            players[player] = {"name": name, "at": at, "seen": time.monotonic()}
        except (TimeoutError, ValueError, OSError):  # a tick is due; no JSON; a player is gone
            pass
        now = time.monotonic()
        if now >= next_tick:
            next_tick = now + TICK
            players = {where: player for where, player in players.items() if now - float(str(player["seen"])) < SILENT}
            world = json.dumps({str(player["name"]): player["at"] for player in players.values()}).encode()
            for where in players:
                sock.sendto(world, where)


def play(address: str, name: str) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((address, PORT))
    threading.Thread(target=watch, args=(sock,), daemon=True).start()
    at = 0
    for line in sys.stdin:  # each datagram says where the player is, not how it moved: a lost one does no harm
        at += {"+": 1, "-": -1}.get(line.strip(), 0)
        sock.send(json.dumps([name, at]).encode())


def watch(sock: socket.socket) -> None:
    while True:
        print(sock.recv(65535).decode(), flush=True)


if __name__ == "__main__":
    serve() if sys.argv[1] == "serve" else play(*sys.argv[2:4])
