"""A hostile npm peer at a relay of ours: node processes behind it live on."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from websockets.sync.client import connect

from tests.npm.conftest import Listening
from tests.npm.npm_nodes import PATIENCE, NodePeer

pytestmark = pytest.mark.slow
LIAR = "0b" * 20


@pytest.mark.parametrize("wrtc", [False, True])
def test_what_ends_a_node_process_does_not_get_past_our_relay(
    wrtc: bool, node_peer: Callable[..., NodePeer], our_peer: Callable[..., Listening]
) -> None:
    relay = our_peer(port=0, host="127.0.0.1")
    node = node_peer(bootstrap=[relay.url], wrtc=wrtc)
    node.wait("peer", id=relay.peer.id)

    def envelope(**changes: object) -> str:
        whole: dict[str, object] = {"to": node.id.hex(), "from": LIAR, "path": [LIAR], "nonce": str(id(changes))}
        return json.dumps(whole | {"data": {"type": "user", "data": "x"}} | changes)

    def content(kind: str, **data: object) -> str:
        return envelope(nonce=f"{kind}{len(data)}".replace("-", ""), data={"type": kind, **data})

    with connect(relay.url, proxy=None) as evil:
        evil.send(json.dumps(LIAR))
        evil.send(content("handshake-offer"))  # its answer says whether it can be signalled at all
        while "handshake-answer" not in str(evil.recv(PATIENCE)):
            """What was there before."""
        for text in (
            *("no JSON", "null", "7", '"x"', "[]", "{}", "[" * 100_000),
            *(envelope(path=None), envelope(nonce=5), envelope(to=None), envelope(data=None)),
            *(content("findPeers"), content("foundPeers"), content("foundPeers", data=None), content("user")),
            *(
                content("handshake-answer", data={"ws": "http:// nonsense"}),
                content("handshake-answer", data={"ws": 7}),
            ),
            *(content("signal", data={"type": "offer", "sdp": "x"}), content("signal"), content("user", data=None)),
            *(content("signal", data={"type": kind, "sdp": "x"}) for kind in ("nonsense", None, 7)),
            *(content("signal", data={"candidate": value}) for value in ("x", {}, {"candidate": 7})),
            envelope(data={"type": "user", "data": float("nan")}),
            envelope(nonce="9" * 1000),
        ):
            evil.send(text)
        evil.send(envelope(nonce="77", data={"type": "user", "data": "the last"}))
        assert node.wait("message")["data"] == "the last"
    node.do("send", id=relay.peer.id, data="alive")
    assert relay.message() == ("alive", node.id)
