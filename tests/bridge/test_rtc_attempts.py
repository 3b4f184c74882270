"""WebRTC attempts where aiortc is not installed: each ends, and one line says why."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest

from peer_relay_socket.bridge import rtc_attempts
from peer_relay_socket.bridge.own_networks import OwnNetworks
from peer_relay_socket.bridge.rtc_attempts import RtcAttempts
from peer_relay_socket.config import peer_config
from peer_relay_socket.engine.effects import Describe
from peer_relay_socket.scope import Scope
from tests.patience import holds


class Failures:
    """An owner, and an engine of which only one input is used."""

    running_engine = None

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def run(self, act: Callable[[Any, float], object]) -> None:
        act(self, 0.0)

    def direct_failed(self, attempt: int, reason: str, now: float) -> None:
        self.reasons.append(reason)


async def test_attempts_fail_and_one_line_says_so_without_aiortc(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "aiortc", None)  # as where it is not installed: ImportError
    monkeypatch.setattr(rtc_attempts, "_said", set())
    owner = Failures()
    attempts = RtcAttempts(owner, peer_config(), OwnNetworks(list))  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING, "peer_relay"):
        for attempt in (1, 2):
            attempts.describe(Describe(attempt, bytes(20), None, Scope.PRIVATE))
        await holds(lambda: len(owner.reasons) == 2 and caplog.records)
        await attempts.stop(1.0)
    assert all("aiortc cannot be imported" in reason for reason in owner.reasons)
    assert [record.getMessage() for record in caplog.records if "no direct WebRTC" in record.getMessage()] == [
        f"! no direct WebRTC, datagrams go by relays: {owner.reasons[0]}"
    ]
