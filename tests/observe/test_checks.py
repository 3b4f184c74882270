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


def test_lanes_of_a_running_peer_and_those_that_failed_are_named() -> None:
    with Peer(wrtc=False, bootstrap="ws://127.0.0.1:1") as peer:
        peer.start()
        record: dict[str, Any] = dict(peer.status())
    lane = {"state": "live", "rtt_s": 0.02, "lost": 0.031, "rate_bytes": 1_250_000}
    links = [{"id": f"{number:040x}", "role": None, "rtt_s": None, "lane": lane} for number in range(5)]
    links += [
        {"id": "ab" * 20, "role": None, "rtt_s": None, "lane": lane | {"state": "probing"}},
        {"id": "cd" * 20, "role": None, "rtt_s": None, "lane": None},
        {"id": "ef" * 20, "role": None, "rtt_s": None},
    ]
    name = record["id"][:8]
    found = running(record | {"links": links})
    shown = "00000000 (3.1% lost), 00000000 (3.1% lost), 00000000 (3.1% lost), ..."
    assert [each for each in found if each.check == "lane"] == [
        Finding("lane", name, "good", f"small packets go by UDP on 5 links: {shown}")
    ]
    found = running(record | {"counters": {"datagram lanes left: no probe was answered": 2}})
    (failed,) = [each for each in found if each.check == "lane"]
    assert (failed.state, failed.detail) == (
        "warning",
        "UDP did not come through to a relay (tries: 2): packets there take TCP",
    )
    assert "let UDP through to the relay's port" in failed.cure
    assert [each for each in running(record) if each.check == "lane"] == []


def test_sessions_that_chose_a_relay_are_counted() -> None:
    with Peer(wrtc=False, bootstrap="ws://127.0.0.1:1") as peer:
        peer.start()
        record: dict[str, Any] = dict(peer.status())
    session = {"id": "ab" * 20, "state": "relayed", "chosen": True, "why": None, "why_not_direct": None}
    found = running(record | {"sessions": [session, session | {"chosen": False}, session]})
    detail = "2 sessions take the relay with the shortest round trip for both ends"
    assert Finding("relay choice", record["id"][:8], "good", detail) in found
    assert [each for each in running(record) if each.check == "relay choice"] == []
