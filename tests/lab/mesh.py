"""A peer in the wide area lab, told by lines on stdin what to do: mesh.py URL...

Prints {"id"}. Each line is JSON, and is answered with a line:

{"to": [id, ...], "rate": datagrams a second to each}  from now on; answered {}
{"account": true}   {"sent": {id: how many so far}, "got": {id: [[number, milliseconds, seconds since the start], ...]
                    since the last account}, "paths": {id: [reached, transport, relay]}, "counters": {}}

All processes of the lab are on one machine, so their clocks are one. LAB_WRTC=1: WebRTC is on.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
import time
from typing import Any

from peer_relay_socket import AF_PEER, Socket

PORT = 5000
SIZE = 200


class Mesh:
    """What one peer sends, and what comes."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._to: list[str] = []
        self._rate = 1.0
        self._sent: dict[str, int] = {}
        self._got: dict[str, list[tuple[int, float, float]]] = {}
        self._began = self._due = time.monotonic()

    def run(self) -> None:
        """Obey until stdin ends."""
        commands = b""
        while True:
            wait = max(0.0, self._due - time.monotonic()) if self._to else None
            for ready in select.select([0, self._socket], [], [], wait)[0]:
                if ready is self._socket:
                    self._receive()
                    continue
                data = os.read(0, 1 << 16)
                if not data:
                    return
                *lines, commands = (commands + data).split(b"\n")
                for line in lines:
                    print(json.dumps(self._obey(**json.loads(line))), flush=True)
            if self._to and time.monotonic() >= self._due:
                self._due += 1 / self._rate
                self._send()

    def _obey(self, to: list[str] | None = None, rate: float = 1.0, account: bool = False) -> dict[str, Any]:
        if to is not None:
            self._to, self._rate, self._due = to, rate, time.monotonic()
        if not account:
            return {}
        got, self._got = self._got, {}
        status = self._socket.peer.status()
        paths = {each["id"]: (each["state"], each["via"], each["rtt_s"]) for each in status["sessions"]}
        return {"sent": self._sent, "got": got, "paths": paths, "counters": status["counters"]}

    def _send(self) -> None:
        for to in self._to:
            number = self._sent.get(to, 0)
            self._sent[to] = number + 1
            with contextlib.suppress(BlockingIOError):  # lost, as on a full wire
                head = number.to_bytes(8) + time.monotonic_ns().to_bytes(8)
                self._socket.sendto(head + bytes(SIZE - len(head)), (to, PORT))

    def _receive(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                data, source = self._socket.recvfrom(65535)
                now = time.monotonic()
                number, sent = int.from_bytes(data[:8]), int.from_bytes(data[8:16])
                self._got.setdefault(source[0], []).append((number, 1e3 * now - sent / 1e6, now - self._began))


def main() -> None:
    socket = Socket(AF_PEER, bootstrap=sys.argv[1:], wrtc=None if os.environ.get("LAB_WRTC") else False)
    if not socket.peer.wait_connected(30):
        sys.exit("no relay can be reached")
    socket.bind(("", PORT))
    socket.setblocking(False)
    print(json.dumps({"id": socket.peer.id.hex()}), flush=True)
    Mesh(socket).run()
    socket.close()


if __name__ == "__main__":
    main()
