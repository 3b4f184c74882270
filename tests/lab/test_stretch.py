"""Relayed datagrams take about the best single relay, on real sockets, with distances between real processes.

`python -m tests.lab.stretch` prints the same as a table.
"""

from __future__ import annotations

import pytest

from tests.lab.stretch import PLANS, measure, table

pytestmark = [pytest.mark.slow, pytest.mark.alone]

LEARNING = 15.0
"""Seconds: on a busy machine the first measurement may mislead, and the second comes ten seconds later."""
ENOUGH = 1.25
# On two cores that do other work, the twelve peers of "plane" measure the machine: .ci/long runs them.


@pytest.mark.parametrize("name", ["star", pytest.param("plane", marks=pytest.mark.long)])
def test_relayed_pairs_come_to_about_the_best_relay(name: str) -> None:
    result = measure(PLANS[name](1), LEARNING)
    print("\n" + table(result))
    assert result.twice == 0
    assert result.lost == 0 or result.overrun > 0
    stretch = result.stretch()
    assert stretch[int(0.95 * (len(stretch) - 1))] <= ENOUGH
