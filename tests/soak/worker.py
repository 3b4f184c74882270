"""One process of a soak: some peers, each with one socket, told by lines on stdin what to do, telling on stdout.

Commands: start, stop, send, usage; one JSON object a line. Events: up (also when an id changes), got, usage.
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import sys
import threading
from typing import Any

from peer_relay_socket import Socket

PORT = 7
_TICK = 0.05


class Worker:
    """The peers of this process."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
        self.sockets: dict[str, Socket] = {}
        self.told: dict[str, bytes] = {}
        """Ids of the peers that are linked, as they were told."""
        self._commands = b""

    def run(self) -> None:
        """Obey until stdin ends."""
        while True:
            for key, _ in self.selector.select(_TICK):
                if key.data is None:
                    if not self._obey():
                        return
                elif key.data in self.sockets:  # a command just read may have closed it
                    self._receive(key.data)
            self._look()

    def _obey(self) -> bool:
        data = os.read(sys.stdin.fileno(), 1 << 16)
        *lines, self._commands = (self._commands + data).split(b"\n")
        for line in lines:
            command = json.loads(line)
            getattr(self, command.pop("do"))(**command)
        return bool(data)

    def start(self, name: str, relay: bool, bootstrap: list[str]) -> None:
        try:
            sock = Socket(port=0 if relay else None, bootstrap=bootstrap, wrtc=False)
        except TimeoutError:  # too much else to do; not told, so it never counts as up
            tell(event="late", name=name)
            return
        sock.bind(("", PORT))
        sock.setblocking(False)
        self.sockets[name] = sock
        self.selector.register(sock, selectors.EVENT_READ, name)
        if relay and not bootstrap:  # the first has nobody to be linked to
            self._tell_up(name)

    def stop(self, name: str) -> None:
        sock = self.sockets.pop(name, None)
        if sock is None:
            return
        self.told.pop(name, None)
        self.selector.unregister(sock)
        sock.close()

    def send(self, name: str, to: str, number: int) -> None:
        try:
            self.sockets[name].sendto(number.to_bytes(8), (to, PORT))
        except (OSError, KeyError) as error:
            tell(event="error", error=str(error))

    def usage(self) -> None:
        gc.collect()
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[1])
        tell(
            event="usage",
            fds=len(os.listdir("/proc/self/fd")) - 1,
            threads=threading.active_count(),
            kilobytes=pages * os.sysconf("SC_PAGE_SIZE") // 1024,
            peers=len(self.sockets),
        )

    def _receive(self, name: str) -> None:
        while True:
            try:
                data, source = self.sockets[name].recvfrom(64)
            except OSError:
                return
            tell(event="got", number=int.from_bytes(data), name=name, source=source[0])

    def _look(self) -> None:
        for name, sock in self.sockets.items():
            if (sock.peer.peers or name in self.told) and self.told.get(name) != sock.peer.id:
                self._tell_up(name)

    def _tell_up(self, name: str) -> None:
        peer = self.sockets[name].peer
        self.told[name] = peer.id
        names = [peer.address, peer.id.hex()]
        tell(event="up", name=name, names=names, url=peer.url)


def tell(**event: Any) -> None:
    """Write one event."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    Worker().run()
