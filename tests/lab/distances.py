"""A wide area network in one process: distances.py JSON

JSON: {"ports": [interface, ...], "delays": [[milliseconds from port to port, ...], ...]}. Carries Ethernet frames
between these interfaces (packet(7)), each held back for the distance between its two ports; TCP and UDP alike. The
last byte of a hardware address is the number of its port, from 1; what goes to nobody in particular goes to all.
Prints "ready". A line on stdin, JSON again, changes what is named in it:

{"delays": ..., "cut": [port, ...], "no_udp": [port, ...]}: ports through which nothing passes, or no UDP.

The answer is {"overrun": frames that the kernel has dropped since this process could not take them in time}.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import os
import select
import socket
import struct
import sys
import time

from tests.lab.impairment import OUTGOING, VNET_HEADER, is_udp, tap

IPV4, ARP = b"\x08\x00", b"\x08\x06"
SOL_PACKET, PACKET_STATISTICS = 263, 6


class Network:
    """The ports, and what is on its way."""

    def __init__(self, ports: list[str], delays: list[list[float]]) -> None:
        self._taps = [tap(port) for port in ports]
        self.delays = delays
        self.cut: list[int] = []
        self.no_udp: list[int] = []
        self._held: list[tuple[float, int, socket.socket, bytes]] = []
        self._seen = 0
        self._overrun = 0

    def run(self) -> None:
        """Carry frames until stdin ends."""
        numbers = {tapped: port for port, tapped in enumerate(self._taps)}
        commands = b""
        while True:
            now = time.monotonic()
            while self._held and self._held[0][0] <= now:
                _, _, out, frame = heapq.heappop(self._held)
                with contextlib.suppress(OSError):  # that machine is gone
                    out.send(frame)
            wait = max(0.0, self._held[0][0] - now) if self._held else None
            for ready in select.select([0, *self._taps], [], [], wait)[0]:
                if ready == 0:
                    data = os.read(0, 1 << 16)
                    if not data:
                        return
                    *lines, commands = (commands + data).split(b"\n")
                    for line in lines:
                        vars(self).update(json.loads(line))
                        print(json.dumps({"overrun": self._count_overrun()}), flush=True)
                else:
                    frame, source = ready.recvfrom(1 << 17)
                    if source[2] != OUTGOING:
                        self._take(numbers[ready], frame)

    def _count_overrun(self) -> int:
        for tapped in self._taps:
            _, dropped = struct.unpack("=II", tapped.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
            self._overrun += dropped
        return self._overrun

    def _take(self, port: int, frame: bytes) -> None:
        """A frame came from a machine."""
        if frame[VNET_HEADER + 12 : VNET_HEADER + 14] not in (IPV4, ARP):
            return
        everybody = frame[VNET_HEADER] & 1
        for other in range(len(self._taps)) if everybody else (frame[VNET_HEADER + 5] - 1,):
            ends = {port, other}
            if other == port or ends & {*self.cut} or (is_udp(frame) and ends & {*self.no_udp}):
                continue
            self._seen += 1
            due = time.monotonic() + self.delays[port][other] / 1000
            heapq.heappush(self._held, (due, self._seen, self._taps[other], frame))


if __name__ == "__main__":
    network = Network(**json.loads(sys.argv[1]))
    print("ready", flush=True)
    network.run()
