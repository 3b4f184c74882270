"""What doctor reads out of a running peer's record."""

from __future__ import annotations

from typing import Any

import pytest

from peer_relay_socket import Peer
from peer_relay_socket.observe.checks import Finding, running


def test_the_home_relay_of_a_running_peer_is_named_with_its_round_trip() -> None:
    with Peer(wrtc=False, bootstrap="ws://127.0.0.1:1") as peer:
        peer.start()
        record: dict[str, Any] = dict(peer.status())
    link = {"id": "ab" * 20, "role": "home", "rtt_s": 0.0412}
    away = {"id": "cd" * 20, "role": None, "rtt_s": 0.001}
    found = running(record | {"links": [away, link]})
    assert Finding("home", record["id"][:8], "good", "abababab, 41 ms away") in found


@pytest.mark.parametrize(
    "links", [[], [{"id": "ab" * 20, "role": "home", "rtt_s": None}]], ids=["no link", "unmeasured"]
)
def test_without_a_measured_home_relay_none_is_named(links: list[dict[str, Any]]) -> None:
    with Peer(wrtc=False, bootstrap="ws://127.0.0.1:1") as peer:
        peer.start()
        record: dict[str, Any] = dict(peer.status())
    assert [finding for finding in running(record | {"links": links}) if finding.check == "home"] == []
