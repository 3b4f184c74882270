"""A short soak: what ten minutes of 300 peers show (tests/sim/README.md) must hold in half a minute of 40, too."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.soak.soak import Plan, Soak

pytestmark = pytest.mark.slow


def test_real_peers_that_come_and_go_and_are_killed_stay_reachable_and_leave_nothing_behind(
    tmp_path: Path,
) -> None:
    plan = Plan(peers=40, processes=4, seconds=20.0, ramp=4.0, replace_every=1.0, kill_every=10.0)
    outcome = asyncio.run(Soak(plan, tmp_path).run())
    assert outcome.sent > 100
    assert outcome.misdelivered == outcome.errors == 0
    assert outcome.share >= 0.99
    assert outcome.left > 5
    assert outcome.killed >= 10
    assert len(outcome.reached) > 10
    assert outcome.unreached == 0
    assert not outcome.leaked
    assert outcome.after.kilobytes < 1.5 * outcome.before.kilobytes
