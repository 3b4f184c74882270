"""One peer of ours in a process of its own, told and telling as agent.js is.

python agent.py '{"kind": "peer" or "socket", "port": N or absent, "host": H, "bootstrap": [URL, ...], "bind": N, ...}'
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Callable
from typing import Any

from peer_relay_socket import AF_PEER, Peer, Socket

_guard = threading.Lock()


def tell(event: str, **members: Any) -> None:
    with _guard:
        print(json.dumps({"event": event, **members}), flush=True)


def receive(sock: Socket, echo: threading.Event) -> None:
    while True:
        data, (host, port) = sock.recvfrom(65_535)
        tell("datagram", size=len(data), digest=hashlib.sha256(data).hexdigest(), address=str(host), port=port)
        if echo.is_set():
            sock.sendto(data, (host, port))


def main() -> None:
    settings = json.loads(sys.argv[1])
    kind, bind = settings.pop("kind"), settings.pop("bind", 0)
    echo = threading.Event()
    if kind == "socket":
        sock = Socket(AF_PEER, npm_peers=True, **settings)
        peer = sock.peer
        sock.bind(("", bind))
        threading.Thread(target=receive, args=(sock, echo), daemon=True).start()
    else:
        peer = Peer(npm_peers=True, **settings)
    peer.on("message", lambda data, source: tell("message", data=data, **{"from": source.hex()}))
    peer.on("peer", lambda peer_id: tell("peer", id=peer_id.hex()))
    for peer_id in peer.peers:  # before anybody listened
        tell("peer", id=peer_id.hex())
    tell("ready", id=peer.id.hex(), url=peer.url)

    def say_echo(command: dict[str, Any]) -> None:
        echo.set()
        tell("echoing")

    commands: dict[str, Callable[[dict[str, Any]], object]] = {
        "send": lambda command: peer.send(command["id"], command["data"]),
        "connect": lambda command: peer.connect(command["id"]),
        "disconnect": lambda command: peer.disconnect(command["id"]),
        "datagram": lambda command: sock.sendto(bytes.fromhex(command["data"]), (command["id"], command["port"])),
        "echo": say_echo,
        "peers": lambda command: tell("peers", ids=[peer_id.hex() for peer_id in peer.peers]),
        "path": lambda command: tell("path", **peer.path(command["id"])._asdict() | {"via": None}),
        "counters": lambda command: tell("counters", **peer.counters()),
    }
    for line in sys.stdin:
        command = json.loads(line)
        commands[command["do"]](command)
    peer.destroy()


if __name__ == "__main__":
    main()
