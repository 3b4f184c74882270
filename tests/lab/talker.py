"""One end of a conversation in the lab.

talker.py echo URL       print the own id, send everything back
talker.py talk URL ID    send 50 datagrams of 1200 bytes a second until stdin ends; print a JSON line whenever the path
                         changes, and at the end {"sent", "received", "gap": longest time without an answer, "at": when}

LAB_ICE_TIME shortens the time for ICE, so that pairs that cannot meet are known sooner.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
import time

from peer_relay_socket import AF_PEER, Socket, limits

INTERVAL = 0.02


def echo(socket: Socket) -> None:
    socket.bind(("", 5000))
    print(socket.peer.id.hex(), flush=True)
    while True:
        data, source = socket.recvfrom(65535)
        socket.sendto(data, source)


class Account:
    """What came back, and the longest time in which nothing did."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self.began = self._heard = time.monotonic()
        self.sent = 0
        self.gap = self.at = 0.0
        self.arrived: set[bytes] = set()

    def collect(self, until: float) -> None:
        """Take what has come, and what comes until then."""
        while select.select([self._socket], [], [], max(0.0, until - time.monotonic()))[0]:
            data = self._socket.recv(65535)
            assert data[:8] not in self.arrived, "a datagram came twice"
            self.arrived.add(data[:8])
            self.silence()
            self._heard = time.monotonic()

    def silence(self) -> None:
        """Note how long nothing was heard."""
        if (gap := time.monotonic() - self._heard) > self.gap:
            self.gap, self.at = gap, self._heard - self.began


def talk(socket: Socket, to: str) -> None:
    socket.setblocking(False)
    account = Account(socket)
    shown = None
    while not select.select([sys.stdin], [], [], 0)[0]:
        account.collect(account.began + account.sent * INTERVAL)
        with contextlib.suppress(BlockingIOError):  # lost, as on a full wire
            socket.sendto(account.sent.to_bytes(8) + bytes(1192), (to, 5000))
        account.sent += 1
        path = socket.peer.path(to)
        if shown != (path.reached, path.why_not_direct):
            shown = path.reached, path.why_not_direct
            t = time.monotonic() - account.began
            print(json.dumps({"t": t, "reached": path.reached, "why": path.why_not_direct}), flush=True)
    account.silence()
    account.collect(time.monotonic() + 0.3)
    told = {"sent": account.sent, "received": len(account.arrived), "gap": account.gap, "at": account.at}
    print(json.dumps(told), flush=True)


def main() -> None:
    limits.RTC_ICE_TIME = float(os.environ.get("LAB_ICE_TIME", limits.RTC_ICE_TIME))  # type: ignore[misc]
    role, url, *rest = sys.argv[1:]
    socket = Socket(AF_PEER, bootstrap=[url])
    if not socket.peer.wait_connected(20):
        sys.exit("the relay cannot be reached")
    if role == "echo":
        echo(socket)
    talk(socket, *rest)
    socket.close()


if __name__ == "__main__":
    main()
