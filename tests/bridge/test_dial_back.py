"""Dialling a neighbour back: what one such connection says, and to whom, on real sockets."""

from __future__ import annotations

import asyncio

import pytest

from peer_relay_socket import Peer
from peer_relay_socket.bridge.dial_back import dial_back
from peer_relay_socket.codec.control import proof
from peer_relay_socket.codec.packet import LINK_HANDSHAKE
from peer_relay_socket.engine.effects import DialBack
from peer_relay_socket.scope import Scope
from peer_relay_socket.transport.websocket import Link, listen
from tests.patience import until
from tests.transport.links import Recorder, run

NONCE = b"0123abcd"


class Acceptor(Recorder):
    """Says something to whoever connects, as an acceptor does."""

    def __init__(self, first: bytes | str) -> None:
        super().__init__()
        self.first = first

    def link_opened(self, link: Link) -> None:
        super().link_opened(link)
        if isinstance(self.first, str):
            link.send_text(self.first)
        else:
            link.send(self.first)


async def visit(acceptor: Acceptor, scope: Scope = Scope.LOOPBACK) -> None:
    """Have `acceptor` dialled back, and its link, if it came to one, ended."""
    async with asyncio.timeout(30):
        listener = await listen(acceptor, "127.0.0.1", 0)
        await dial_back(DialBack(f"ws://127.0.0.1:{listener.port}", scope, NONCE), scope.covers)
        await acceptor.wait(lambda: len(acceptor.closed) == len(acceptor.links))
        await listener.close()


def test_the_proof_is_said_once_the_acceptor_has_begun() -> None:
    acceptor = Acceptor(bytes((LINK_HANDSHAKE,)) + b"whatever")
    run(visit(acceptor))
    assert acceptor.bundles == [proof(NONCE)]


@pytest.mark.parametrize("first", [b"\x17\x03\x03 something else", "text, as npm's", b""])
def test_nothing_is_said_to_what_does_not_speak_our_wire(first: bytes | str) -> None:
    acceptor = Acceptor(first)
    run(visit(acceptor))
    assert len(acceptor.links) == 1
    assert acceptor.bundles == []


def test_an_address_nearer_than_the_asker_is_not_dialled() -> None:
    acceptor = Acceptor(bytes((LINK_HANDSHAKE,)))
    run(visit(acceptor, Scope.PRIVATE))
    assert acceptor.links == []


async def test_nobody_there_is_no_error() -> None:
    listener = await listen(Recorder(), "127.0.0.1", 0)
    await listener.close()
    effect = DialBack(f"ws://127.0.0.1:{listener.port}", Scope.LOOPBACK, NONCE)
    await dial_back(effect, effect.scope.covers)


def test_on_one_machine_a_peer_with_a_port_advertises_where_it_listens() -> None:
    with Peer(port=0, host="127.0.0.1") as first, Peer(port=0, bootstrap=[first.url or ""]) as second:
        assert second.wait_connected(30)
        until(lambda: second.advertised)
        assert second.advertised == (f"ws://*:{(second.url or '').rpartition(':')[2]}",)
        with Peer(bootstrap=[first.url or ""]) as third:
            assert third.wait_connected(30)
            assert third.advertised == ()


def test_public_url_is_advertised_untried() -> None:
    url = "wss://me.example/relay"
    with Peer(port=0, host="127.0.0.1") as first, Peer(port=0, bootstrap=[first.url or ""], public_url=url) as second:
        assert second.wait_connected(30)
        assert second.advertised == (url,)
