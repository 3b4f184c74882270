"""Records of all peers, as several ask for them at once."""

from __future__ import annotations

import asyncio

from peer_relay_socket import Peer
from peer_relay_socket.observe.records import Records


def test_all_that_ask_first_get_the_same_records() -> None:
    async def ask() -> tuple[list[str], list[str]]:
        records = Records()
        one, other = await asyncio.gather(records.peers(), records.peers())
        return [each["id"] for each in one], [each["id"] for each in other]

    peer = Peer(port=0, host="127.0.0.1", wrtc=False)
    try:
        one, other = asyncio.run(ask())
        assert peer.id.hex() in one
        assert one == other
    finally:
        peer.destroy()
