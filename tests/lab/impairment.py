"""Delay, jitter and loss for kernels without a netem: impairment.py ONE OTHER DELAY_MS JITTER_MS LOSS_PERCENT SEED

Carries Ethernet frames between two interfaces (packet(7)), which nothing else connects. Frames with UDP in them are
held back for DELAY +- JITTER, drawn evenly, so that jitter reorders, as netem's does, or lost; all others go at once.
Prints "ready". Headers for virtual devices (PACKET_VNET_HDR) travel along: checksums that are left to hardware, and
segments that are left whole, stay so.
"""

from __future__ import annotations

import heapq
import random
import select
import socket
import sys
import time

ETH_P_ALL = 3
SOL_PACKET, PACKET_VNET_HDR = 263, 15
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
VNET_HEADER = 10
OUTGOING = 4
"""Type of a frame that we, or this machine, sent."""
BUFFER = 8 << 20


def tap(interface: str) -> socket.socket:
    """Return a socket that gets every frame that arrives at an interface."""
    tapped = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    tapped.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    for option, force in ((socket.SO_RCVBUF, SO_RCVBUFFORCE), (socket.SO_SNDBUF, SO_SNDBUFFORCE)):
        try:
            tapped.setsockopt(socket.SOL_SOCKET, force, BUFFER)
        except PermissionError:  # what the machine allows must do
            tapped.setsockopt(socket.SOL_SOCKET, option, BUFFER)
    tapped.bind((interface, 0))
    tapped.setblocking(False)
    return tapped


def is_udp(frame: bytes) -> bool:
    """Whether an Ethernet frame, behind its virtual header, has UDP over IPv4 in it."""
    at = VNET_HEADER
    return frame[at + 12 : at + 14] == b"\x08\x00" and frame[at + 23 : at + 24] == b"\x11"


def main() -> None:
    one, other = map(tap, sys.argv[1:3])
    delay, jitter, loss = map(float, sys.argv[3:6])
    dice = random.Random(int(sys.argv[6]))
    held: list[tuple[float, int, socket.socket, bytes]] = []
    across = {one: other, other: one}
    seen = 0
    print("ready", flush=True)
    while True:
        now = time.monotonic()
        while held and held[0][0] <= now:
            _, _, out, frame = heapq.heappop(held)
            out.send(frame)
        ready, _, _ = select.select([one, other], [], [], max(0.0, held[0][0] - now) if held else None)
        for tapped in ready:
            frame, source = tapped.recvfrom(1 << 17)
            if source[2] == OUTGOING:
                continue
            if not is_udp(frame):
                across[tapped].send(frame)
            elif dice.random() * 100 >= loss:
                seen += 1
                due = time.monotonic() + max(0.0, delay + dice.uniform(-jitter, jitter)) / 1000
                heapq.heappush(held, (due, seen, across[tapped], frame))


if __name__ == "__main__":
    main()
