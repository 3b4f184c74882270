"""bittorrent-dht, unmodified, over npm's Socket in node, and a Python program that speaks KRPC (BEP 5), by our node."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peer_relay_socket import AF_PEER, Socket
from tests.npm.conftest import Listening
from tests.npm.npm_nodes import NodePeer

pytestmark = pytest.mark.slow
OWN_NODE = b"P" * 20


def bencode(value: Any) -> bytes:
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, bytes):
        return b"%d:%b" % (len(value), value)
    return b"d" + b"".join(bencode(key) + bencode(value[key]) for key in sorted(value)) + b"e"


def bdecode(data: bytes) -> Any:
    def value(at: int) -> tuple[Any, int]:
        if data[at : at + 1] == b"i":
            end = data.index(b"e", at)
            return int(data[at + 1 : end]), end + 1
        if data[at : at + 1] in (b"l", b"d"):
            items, at = [], at + 1
            many = data[at - 1 : at] == b"d"
            while data[at : at + 1] != b"e":
                item, at = value(at)
                items.append(item)
            return (dict(zip(items[::2], items[1::2], strict=True)) if many else items), at + 1
        colon = data.index(b":", at)
        end = colon + 1 + int(data[at:colon])
        return data[colon + 1 : end], end

    return value(0)[0]


def ask(sock: Socket, address: tuple[str, int], query: bytes, **arguments: bytes | int) -> dict[bytes, Any]:
    """Send a query and return the answer to it; answer what is asked meanwhile."""
    named = {name.encode(): value for name, value in arguments.items()} | {b"id": OWN_NODE}
    sock.sendto(bencode({b"t": b"aa", b"y": b"q", b"q": query, b"a": named}), address)
    while True:
        message, source = heard(sock)
        if message[b"y"] == b"q":
            answer(sock, message, source)
        elif message[b"t"] == b"aa":
            assert message[b"y"] == b"r", message
            return dict(message[b"r"])


def heard(sock: Socket) -> tuple[dict[bytes, Any], tuple[str, int]]:
    data, source = sock.recvfrom(65_535)
    return bdecode(data), source


def answer(sock: Socket, message: dict[bytes, Any], source: tuple[str, int]) -> None:
    sock.sendto(bencode({b"t": message[b"t"], b"y": b"r", b"r": {b"id": OWN_NODE, b"nodes": b""}}), source)


def test_a_dht_in_node_and_a_program_of_ours_ask_and_answer_each_other(
    node_peer: Callable[..., NodePeer], our_peer: Callable[..., Listening], our_socket: Callable[..., Socket]
) -> None:
    relay = our_peer(port=0, host="127.0.0.1")
    sock = our_socket(AF_PEER, bootstrap=relay.url)
    dht = node_peer(script=Path(__file__).with_name("dht.js"), bootstrap=[relay.url])
    dht.wait("peer", id=relay.peer.id)
    address = (dht.id.hex(), 6881)
    node_id = ask(sock, address, b"ping")[b"id"]
    info_hash = b"H" * 20
    found = ask(sock, address, b"get_peers", info_hash=info_hash)
    assert found[b"id"] == node_id
    ask(sock, address, b"announce_peer", info_hash=info_hash, port=4711, token=found[b"token"])
    dht.wait("announce", hash=info_hash, port=4711)
    dht.do("add", id=sock.peer.id, port=sock.getsockname()[1])
    message, source = heard(sock)
    while message[b"y"] != b"q" or message[b"q"] != b"ping":
        message, source = heard(sock)
    answer(sock, message, source)
    dht.wait("node", id=OWN_NODE, host=sock.peer.id)
