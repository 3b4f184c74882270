"""A peer without a key file whose IPv4 address is another peer's: how often it takes a new identity."""

from __future__ import annotations

import ipaddress
import logging
from pathlib import Path

import pytest

from peer_relay_socket import Peer
from peer_relay_socket.address import Spelling
from peer_relay_socket.identity import Identity
from peer_relay_socket.limits import ADDRESS_MOVES
from tests.patience import LIMIT, until

SMALLEST = "100.64.0.0/24"


@pytest.mark.slow
def test_a_newcomer_whose_every_address_is_taken_stays_after_some_moves_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "peer_relay")
    with (
        Peer(port=0, host="127.0.0.1", ipv4_network=SMALLEST, identity=tmp_path / "relay") as relay,
        Peer(bootstrap=[relay.url or ""], ipv4_network=SMALLEST, identity=tmp_path / "owner", wrtc=False) as owner,
    ):
        until(lambda: owner.id in relay.peers)
        taken = owner.address
        short = Spelling(ipaddress.IPv4Network(SMALLEST))
        made: list[Identity] = []
        generate = Identity.generate

        def unlucky() -> Identity:
            while True:
                identity = generate()
                if short.ipv4(identity.peer_id) == taken:
                    made.append(identity)
                    return identity

        monkeypatch.setattr(Identity, "generate", unlucky)
        with Peer(bootstrap=[relay.url or ""], ipv4_network=SMALLEST, wrtc=False) as newcomer:
            assert newcomer.wait_connected(LIMIT)
            until(lambda: any("has our IPv4 address too" in record.message for record in caplog.records))
            assert newcomer.address == taken
            assert len(made) == 1 + len(ADDRESS_MOVES)
            assert newcomer.id == made[-1].peer_id
