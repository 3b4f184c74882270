"""One end of a conversation in the lab.

talker.py echo URL       print the own id, send everything back
talker.py talk URL ID    send 50 datagrams of 1200 bytes a second until stdin ends; print a JSON line whenever the path
                         changes, and at the end {"sent", "received", "gap": longest time without an answer, "at": when,
                         "lost": seconds from the first datagram that was not answered to the last}
talker.py link URL       print {"id"}; answer each line of stdin, "connect ID", "disconnect ID" or "look ID", with
                         {"peers": ids of all links, "up": ids of all "peer" events so far, "reached", "by", "why"}
talker.py listen URL PORT   serve on a port; print a JSON line {"advertised"} whenever that changes

LAB_ICE_TIME shortens the time for ICE, so that pairs that cannot meet are known sooner.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
import time

from peer_relay_socket import AF_PEER, Peer, Socket, limits

INTERVAL = 0.02
PATIENCE = 3.0
"""Seconds that answers may still take at the end."""


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
        self.arrived: set[int] = set()

    def collect(self, until: float) -> None:
        """Take what has come, and what comes until then."""
        while select.select([self._socket], [], [], max(0.0, until - time.monotonic()))[0]:
            data = self._socket.recv(65535)
            number = int.from_bytes(data[:8])
            assert number not in self.arrived, "a datagram came twice"
            self.arrived.add(number)
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
            told = {
                "t": t,
                "reached": path.reached,
                "why": path.why_not_direct,
                "by": path.transport,
                "turn": path.turn,
            }
            print(json.dumps(told), flush=True)
    account.silence()
    end = time.monotonic() + PATIENCE
    while len(account.arrived) < account.sent and time.monotonic() < end:
        account.collect(time.monotonic() + 0.1)
    missing = sorted(set(range(account.sent)) - account.arrived)
    told = {"sent": account.sent, "received": len(account.arrived), "gap": account.gap, "at": account.at}
    told["lost"] = (missing[-1] - missing[0] + 1) * INTERVAL if missing else 0.0
    print(json.dumps(told), flush=True)


def listen(url: str, port: int) -> None:
    peer = Peer(port=port, bootstrap=[url], wrtc=False)
    advertised = None
    while not select.select([sys.stdin], [], [], 0.05)[0]:
        if peer.advertised != advertised:
            advertised = peer.advertised
            print(json.dumps({"advertised": advertised}), flush=True)
    peer.destroy()


def link(url: str, wrtc: bool | None) -> None:
    up: list[str] = []
    with Peer(bootstrap=[url], wrtc=wrtc) as peer:
        peer.on("peer", lambda peer_id: up.append(peer_id.hex()))
        if not peer.wait_connected(60):
            sys.exit("the relay cannot be reached")
        print(json.dumps({"id": peer.id.hex()}), flush=True)
        for line in sys.stdin:
            word, to = line.split()
            if word in ("connect", "disconnect"):
                getattr(peer, word)(to)
            path = peer.path(to)
            told = {"peers": [each.hex() for each in peer.peers], "up": up, "reached": path.reached}
            print(json.dumps({**told, "by": path.transport, "why": path.why_not_direct}), flush=True)


def main() -> None:
    limits.RTC_ICE_TIME = float(os.environ.get("LAB_ICE_TIME", limits.RTC_ICE_TIME))  # type: ignore[misc]
    role, url, *rest = sys.argv[1:]
    if role == "listen":
        listen(url, int(rest[0]))
        return
    if role == "link":
        link(url, None if os.environ.get("LAB_WRTC", "1") == "1" else False)
        return
    socket = Socket(AF_PEER, bootstrap=[url])
    if not socket.peer.wait_connected(60):
        sys.exit("the relay cannot be reached")
    if role == "echo":
        echo(socket)
    talk(socket, *rest)
    socket.close()


if __name__ == "__main__":
    main()
