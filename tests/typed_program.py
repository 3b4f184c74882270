"""A program that uses every public name with types: mypy and pyright read it (test_types.py), nothing runs it."""

from __future__ import annotations

from typing import Any, Literal

import peer_relay
import peer_relay as socket
from peer_relay import dgram

import peer_relay_socket
from peer_relay_socket import AF_PEER, Path, Peer, PeerRelayError, Settings, Socket, SocketSettings

version: str = peer_relay_socket.__version__
settings: Settings = {"port": 0, "bootstrap": ["ws://a"], "wrtc": False, "allow_links": lambda peer_id: True}
socket_settings: SocketSettings = {"direct": "error", "npm_peers": True}


def heard(data: Any, sender: bytes) -> None:
    """Take a message."""
    print(data, peer_relay_socket.is_authenticated(sender))


def failed(error: PeerRelayError) -> None:
    """Take an error."""
    print(error.errno)


def peers() -> None:
    """Use `Peer`."""
    with Peer(**settings) as peer, Peer(identity="key", ice_servers=["stun:x"]) as other:
        peer.on("message", heard).once("peer", other.connect).on("error", failed).off("close", print)
        peer.send(other.id, {"a": [1, 2.5, None, True, "x"]})
        peer.send(f"{other.id.hex()}.peer", "x")
        path: Path = peer.path(other.address)
        reached: Literal["direct", "relayed", "own", "unknown"] = path.reached
        transport: Literal["websocket", "webrtc"] | None = path.transport
        print(reached, transport)


async def later() -> None:
    """Use `Peer` in an asyncio program."""
    async with Peer() as peer:
        await peer.aclose()


def sockets() -> None:
    """Use `Socket`, and what stands in for the standard library's."""
    with Socket(AF_PEER, **socket_settings) as sock:
        sock.sendto(b"x", (sock.peer.id.hex(), 5))
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM, direct="drop", port=0) as ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        data, _address = ours.recvfrom(10)
        print(data.upper(), ours.peer.address)
    for _family, _kind, _proto, _name, address in socket.getaddrinfo("a.peer", 5, socket.AF_INET, socket.SOCK_DGRAM):
        print(address[0])
    try:
        socket.create_connection(("a", 1)).close()
    except TimeoutError as error:
        print(error.errno, socket.gethostname())
    peer_relay.patch()
    peer_relay.unpatch()


def nodes() -> None:
    """Use `dgram`."""
    made = dgram.createSocket({"type": "udp4"}, bootstrap="ws://a")
    made.on("message", lambda data, rinfo: print(data, rinfo["address"]))
    made.bind(5000).send(b"x", 5000, made.peer.id)
