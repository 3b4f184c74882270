"""What a forged offer makes an honest peer send to a third party: ICE checks, counted where they leave the machine.

`python -m pytest -m slow -s tests/lab/test_reflection.py` prints the table.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from peer_relay_socket.limits import MAX_REFLECTION, RTC_ICE_TIME
from tests.lab.nat_lab import HERE, URL, Lab

pytestmark = pytest.mark.slow

THIRD = "203.0.113.77"
"""Nobody is there."""
_COUNT = f"""
table ip count {{
  chain sent {{
    type filter hook output priority 0;
    ip daddr {THIRD} counter
  }}
}}
"""


def sent_to_the_third(lab: Lab) -> tuple[int, int]:
    """Return packets and bytes, their IP headers counted."""
    rules = json.loads(lab.run("host-b", "nft", "-j", "list", "table", "ip", "count"))["nftables"]
    counter = next(
        part["counter"] for rule in rules if "rule" in rule for part in rule["rule"]["expr"] if "counter" in part
    )
    return counter["packets"], counter["bytes"]


CASES = {
    # candidates, offers, seconds between them, addresses of the honest peer, whether the shortest description
    "many candidates": (16, 1, 0.0, 1, ""),
    "many candidates, four addresses": (16, 1, 0.0, 4, ""),
    "few candidates, four addresses": (4, 1, 0.0, 4, ""),
    "short": (4, 1, 0.0, 1, "1"),
    "short, four addresses": (1, 1, 0.0, 4, "1"),
    "one after the other": (16, 20, 0.3, 4, ""),
}


def play(name: str) -> tuple[int, int, int]:
    """Return bytes of the offers, packets and bytes that a third party was sent."""
    candidates, offers, pause, addresses, short = CASES[name]
    with Lab() as lab:
        for number in range(1, addresses):
            lab.run("host-b", "ip", "addr", "add", f"10.{number}.0.2/24", "dev", "eth0")
        lab.run("host-b", "nft", "-f", "-", stdin=_COUNT)
        lab.serve()
        command = (str(HERE / "forger.py"), URL, lab.echo().line(), THIRD, *map(str, (candidates, offers, pause)))
        size = json.loads(lab.start("host-a", *command, LAB_SHORT=short).line(60))["bytes"]
        time.sleep(RTC_ICE_TIME + 2)
        return size, *sent_to_the_third(lab)


@pytest.fixture(scope="module")
def plays() -> Iterator[dict[str, Future[tuple[int, int, int]]]]:
    """All of them, three at a time: they mostly wait."""
    with ThreadPoolExecutor(3) as pool:
        yield {name: pool.submit(play, name) for name in CASES}


@pytest.mark.parametrize("name", CASES)
def test_a_forged_offer_is_answered_with_a_few_times_its_size(name: str, plays: Any) -> None:
    size, packets, got = plays[name].result()
    print(f"\n{name:34}{size:7} bytes of offers, {packets:4} packets, {got:6} bytes, {got / size:4.1f} times")
    assert packets > 0
    assert got <= MAX_REFLECTION * size
