"""A steady stream one way, and what arrived of it when.

flow.py receive URL          print the own id; at each line on stdin {"received", "twice", "wrong", "median", "p95":
                             milliseconds one way} of what came since the last "anew"
flow.py send URL ID          wait for a direct path, print {"reached", "transport"}; at each line on stdin, SIZE RATE
                             SECONDS, send that, and print {"sent"}; at RATE 0 as fast as can be
flow.py send-relayed URL ID  as `send`, by the relay; prints also {"lane": the state of the link's datagram lane}
flow.py receive-tcp PORT     print "ready"; at each line on stdin {"bytes"} that have come since the last
flow.py send-tcp HOST PORT   at each line on stdin, SECONDS, send by TCP as fast as can be, and print {"sent"}
flow.py receive-udp PORT     the same over plain UDP; prints "ready"
flow.py send-udp HOST PORT   likewise

Both ends are on one machine, so their clocks are one. LAB_CHANNEL=1 hides what aiortc does not show, so that datagrams
take its data channel.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket as kernel
import statistics
import sys
import threading
import time
from typing import Any

from peer_relay_socket import AF_PEER, Socket

PORT = 5000


class Shown:
    """What the browsers' API has of a connection, and nothing else of it."""

    def __init__(self, connection: Any) -> None:
        for name in ("createDataChannel", "createOffer", "createAnswer", "setLocalDescription", "setRemoteDescription"):
            setattr(self, name, getattr(connection, name))
        self.on, self.close = connection.on, connection.close
        self._connection = connection

    @property
    def localDescription(self) -> Any:  # noqa: N802
        return self._connection.localDescription

    @property
    def connectionState(self) -> str:  # noqa: N802
        return str(self._connection.connectionState)


def shown_only(servers: Any) -> Shown:
    """A `wrtc` factory."""
    import aiortc

    ice = [aiortc.RTCIceServer(urls=server.url) for server in servers]
    return Shown(aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=ice)))


def ours(url: str) -> Socket:
    wrtc = shown_only if os.environ.get("LAB_CHANNEL") else None
    if wrtc is not None:
        import aiortc  # noqa: F401  # here, not on the loop's thread while others wait
    socket = Socket(AF_PEER, bootstrap=[url], wrtc=wrtc)
    if not socket.peer.wait_connected(60):
        sys.exit("the relay cannot be reached")
    return socket


def filling(number: int, size: int) -> bytes:
    return bytes((number % 251,)) * (size - 16)


class Arrivals:
    """What has come: noted by a thread that does nothing else."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._seen: set[int] = set()
        self._delays: list[float] = []
        self._twice = self._wrong = 0
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        while True:
            data, source = self._socket.recvfrom(65535)
            now = time.monotonic_ns()
            number, sent = int.from_bytes(data[:8]), int.from_bytes(data[8:16])
            if not number:  # answered, for a program that says nothing to a peer does not meet it directly
                self._socket.sendto(data, source)
                continue
            self._twice += number in self._seen
            self._wrong += data[16:] != filling(number, len(data))
            self._seen.add(number)
            self._delays.append((now - sent) / 1e6)

    def forget(self) -> None:
        self._delays = []

    def report(self) -> dict[str, float]:
        told = {"received": len(self._delays), "twice": self._twice, "wrong": self._wrong}
        delays = sorted(self._delays) or [0.0]
        return told | {"median": statistics.median(delays), "p95": delays[round(0.95 * (len(delays) - 1))]}


def receive(socket: Any) -> None:
    arrivals = Arrivals(socket)
    for line in sys.stdin:
        if line == "anew\n":
            arrivals.forget()
        print(json.dumps(arrivals.report()), flush=True)
    os._exit(0)  # its thread waits in the socket


def send(socket: Any, to: Any) -> None:
    number = 0
    for line in sys.stdin:
        size, rate, seconds = map(float, line.split())
        began, count = time.monotonic(), int(rate * seconds)
        if not rate:
            count = flood(socket, to, int(size), began + seconds, number)
            number += count
        for position in range(1, count + 1 if rate else 1):
            number += 1
            head = number.to_bytes(8) + time.monotonic_ns().to_bytes(8)
            with contextlib.suppress(BlockingIOError):  # lost, as on a full wire
                socket.sendto(head + filling(number, int(size)), to)
            while (left := began + position / rate - time.monotonic()) > 0:
                time.sleep(left)
        links = socket.peer.status()["links"] if isinstance(socket, Socket) else []
        print(json.dumps({"sent": count, "lane": links[0]["lane"] if links else None}), flush=True)


def flood(socket: Any, to: Any, size: int, end: float, number: int) -> int:
    """Send as fast as the socket takes it; return how many datagrams that were."""
    socket.setblocking(True)
    began = number
    while time.monotonic() < end:
        number += 1
        socket.sendto(number.to_bytes(8) + time.monotonic_ns().to_bytes(8) + filling(number, size), to)
    socket.setblocking(False)
    return number - began


def receive_tcp(port: int) -> None:
    got = [0]

    def take(listener: kernel.socket) -> None:
        stream, _ = listener.accept()
        while data := stream.recv(1 << 16):
            got[0] += len(data)

    listener = kernel.create_server(("0.0.0.0", port))
    threading.Thread(target=take, args=(listener,), daemon=True).start()
    print("ready", flush=True)
    seen = 0
    for _ in sys.stdin:
        print(json.dumps({"bytes": got[0] - seen}), flush=True)
        seen = got[0]


def send_tcp(host: str, port: int) -> None:
    stream = kernel.create_connection((host, port))
    for line in sys.stdin:
        end = time.monotonic() + float(line)
        sent = 0
        while time.monotonic() < end:
            sent += stream.send(bytes(1 << 14))
        print(json.dumps({"sent": sent}), flush=True)


def wait_for_a_direct_path(socket: Socket, to: str) -> None:
    end = time.monotonic() + 55
    while (path := socket.peer.path(to)).reached != "direct":
        if time.monotonic() > end:
            sys.exit(f"no direct path: {path}")
        with contextlib.suppress(BlockingIOError):  # much waits for the path already
            socket.sendto(bytes(16), (to, PORT))
        time.sleep(0.02)
    print(json.dumps({"reached": path.reached, "transport": path.transport}), flush=True)


def main() -> None:
    role, *rest = sys.argv[1:]
    if role == "receive":
        socket = ours(rest[0])
        socket.bind(("", PORT))
        print(socket.peer.id.hex(), flush=True)
        receive(socket)
    elif role == "receive-udp":
        plain = kernel.socket(kernel.AF_INET, kernel.SOCK_DGRAM)
        plain.bind(("0.0.0.0", int(rest[0])))
        print("ready", flush=True)
        receive(plain)
    elif role == "receive-tcp":
        receive_tcp(int(rest[0]))
    elif role == "send-tcp":
        send_tcp(rest[0], int(rest[1]))
    elif role == "send-udp":
        send(kernel.socket(kernel.AF_INET, kernel.SOCK_DGRAM), (rest[0], int(rest[1])))
    else:
        socket = ours(rest[0])
        socket.setblocking(False)
        if role == "send":
            wait_for_a_direct_path(socket, rest[1])
        send(socket, (rest[1], PORT))
        socket.close()


if __name__ == "__main__":
    main()
