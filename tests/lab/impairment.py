"""Delay, jitter and loss for kernels without a netem:
impairment.py ONE OTHER DELAY_MS JITTER_MS LOSS_PERCENT SEED [udp|ip [MBIT_PER_SECOND]]

Carries Ethernet frames between two interfaces (packet(7)), which nothing else connects. Frames with UDP in them (`ip`:
all of IPv4) are held back for DELAY +- JITTER, drawn evenly, so that jitter reorders UDP, as netem's does, or lost; all
others go at once. TCP's jitter does not reorder: that would be taken for loss. With a rate they also queue, each way
for itself, for QUEUE seconds at most. Prints "ready".

Headers for virtual devices (PACKET_VNET_HDR) travel along: checksums that are left to hardware, and segments that are
left whole, stay so. What an interface has no room for is lost, as on a full wire.
"""

from __future__ import annotations

import contextlib
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
QUEUE = 0.1
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


def put(out: socket.socket, frame: bytes) -> None:
    """Send a frame, or lose it."""
    with contextlib.suppress(BlockingIOError):
        out.send(frame)


def is_ip(frame: bytes) -> bool:
    """Whether an Ethernet frame, behind its virtual header, has IPv4 in it."""
    return frame[VNET_HEADER + 12 : VNET_HEADER + 14] == b"\x08\x00"


def is_udp(frame: bytes) -> bool:
    """Whether it has UDP over IPv4 in it."""
    return is_ip(frame) and frame[VNET_HEADER + 23 : VNET_HEADER + 24] == b"\x11"


def main() -> None:
    one, other = map(tap, sys.argv[1:3])
    delay, jitter, loss = map(float, sys.argv[3:6])
    dice = random.Random(int(sys.argv[6]))
    concerns = is_ip if "ip" in sys.argv[7:8] else is_udp
    rate = float(sys.argv[8]) * 125_000 if len(sys.argv) > 8 else 0.0
    free = dict.fromkeys((one, other), 0.0)
    """When the last byte of what waits has gone, each way."""
    latest = dict.fromkeys((one, other), 0.0)
    held: list[tuple[float, int, socket.socket, bytes]] = []
    across = {one: other, other: one}
    seen = 0
    print("ready", flush=True)
    while True:
        now = time.monotonic()
        while held and held[0][0] <= now:
            _, _, out, frame = heapq.heappop(held)
            put(out, frame)
        ready, _, _ = select.select([one, other], [], [], max(0.0, held[0][0] - now) if held else None)
        for tapped in ready:
            frame, source = tapped.recvfrom(1 << 17)
            if source[2] == OUTGOING:
                continue
            if not concerns(frame):
                put(across[tapped], frame)
            elif dice.random() * 100 >= loss:
                due = time.monotonic()
                if rate:
                    if free[tapped] > due + QUEUE:
                        continue
                    free[tapped] = due = max(due, free[tapped]) + len(frame) / rate
                seen += 1
                due += max(0.0, delay + dice.uniform(-jitter, jitter)) / 1000
                if not is_udp(frame):
                    latest[tapped] = due = max(due, latest[tapped])
                heapq.heappush(held, (due, seen, across[tapped], frame))


if __name__ == "__main__":
    main()
