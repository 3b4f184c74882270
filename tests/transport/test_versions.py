"""Versions of the wire, on real connections."""

from __future__ import annotations

import pytest

from peer_relay_socket.transport.versions import SUBPROTOCOL
from tests.transport.links import Recorder, raw_client, serving


@pytest.mark.parametrize(
    ("offered", "ours"),
    [((), False), ((SUBPROTOCOL,), True), (("chat", SUBPROTOCOL), True), (("chat",), False)],
)
async def test_listener_selects_our_subprotocol_where_it_is_offered(offered: tuple[str, ...], ours: bool) -> None:
    server = Recorder()
    async with serving(server) as listener, raw_client(listener.port) as raw:
        answer = await raw.upgrade(*(f"Sec-WebSocket-Protocol: {name}" for name in offered))
        assert answer.startswith(b"HTTP/1.1 101 ")
        assert (f"Sec-WebSocket-Protocol: {SUBPROTOCOL}".encode() in answer) is ours
        assert b"chat" not in answer
        assert b"Extensions" not in answer
        assert server.links[0].ours is ours
