"""Chat by broadcast: whoever shares a relay hears each other.

python chat.py NAME        # in two terminals, or on two machines with one PEER_RELAY_BOOTSTRAP
"""

import sys
import threading

import peer_relay as socket

PORT = 5005


def hear(sock: socket.socket) -> None:
    while True:
        data, (address, _) = sock.recvfrom(65535)
        print(f"[{address}] {data.decode(errors='replace')}", flush=True)


def main(name: str) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.bind(("", PORT))
    threading.Thread(target=hear, args=(sock,), daemon=True).start()
    print("reach me at", sock.peer.address, flush=True)
    for line in sys.stdin:
        sock.sendto(f"{name}: {line.strip()}".encode(), ("<broadcast>", PORT))


if __name__ == "__main__":
    main(sys.argv[1])
