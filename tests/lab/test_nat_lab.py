"""Two peers behind every pair of NATs: direct exactly where theory says so, relayed otherwise, and what breaks mends.

`python -m pytest -m slow -s tests/lab` prints the tables.
"""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations_with_replacement
from typing import Any

import pytest

from tests.lab.nat_lab import MODES, Lab, LabError, Talker

PARALLEL = 4
"""Labs at once: a pair mostly waits."""


@pytest.fixture(scope="module", autouse=True)
def lab_is_possible() -> None:
    reason = Lab.missing()
    if reason is not None:
        pytest.skip(reason)


pytestmark = pytest.mark.slow


def can_meet(one: str, other: str) -> bool:
    """Ford, Srisuresh and Kegel 2005, and RFC 5128: a symmetric NAT's new port is let in only by a NAT that looks at
    addresses alone."""
    if {one, other} & {"noudp", "webonly"}:
        return False
    return {one, other} not in ({"symmetric", "port"}, {"symmetric"})


def settled(told: dict[str, Any]) -> bool:
    """Whether a talker's line says how the attempt ended."""
    why = told.get("why") or ""
    return told["reached"] == "direct" or bool(why and not why.startswith(("being tried", "too little")))


def meet(pair: tuple[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Let two peers talk until they meet or give up; what the talker said of it, and its account."""
    with Lab() as lab:
        for side, mode in zip("ab", pair, strict=True):
            lab.nat(side, mode)
        lab.serve()
        talker, _ = lab.conversation(LAB_ICE_TIME="4")
        told = talker.until(settled, 60)
        account = talker.finish()
        assert lab.complaints() == ""
        return told, account


def test_pairs_of_nats_meet_where_theory_says_so() -> None:
    pairs = list(combinations_with_replacement(MODES, 2))
    with ThreadPoolExecutor(PARALLEL) as pool:
        results = dict(zip(pairs, pool.map(meet, pairs), strict=True))
    wrong = []
    print(f"\n{'':10}" + "".join(f"{mode:>18}" for mode in MODES))
    for one in MODES:
        row = ""
        for other in MODES:
            told, account = results.get((one, other)) or ({}, {})
            row += f"{told['reached']:>10}{told['t']:6.1f} s" if told else f"{'':18}"
            if told and (told["reached"] == "direct") is not can_meet(one, other):
                wrong.append((one, other, told))
            if told and account["received"] < 0.97 * account["sent"] - 5:
                wrong.append((one, other, account))
        print(f"{one:10}{row}")
    assert not wrong


def directly(lab: Lab, a: str, b: str) -> Talker:
    """Return a talker that talks directly."""
    lab.nat("a", a)
    lab.nat("b", b)
    talker, _ = lab.conversation()
    talker.until(lambda told: told["reached"] == "direct", 30)
    return talker


def quiet(talker: Talker, seconds: float) -> None:
    """Let it go on for a while, in which the path stays as it is."""
    with pytest.raises(LabError, match="nothing was said"):
        talker.until(lambda told: True, seconds)


def account(what: str, lab: Lab, talker: Talker, most: float) -> None:
    """Print and judge what a talker tells at the end."""
    told = talker.finish()
    assert "Traceback" not in lab.complaints()
    print(f"\n{what:20} longest silence {told['gap']:.2f} s, {told['received']} of {told['sent']} answered")
    assert told["gap"] < most
    assert told["received"] > told["sent"] - 50 * (most + 0.2)


def test_traffic_is_on_the_relay_within_three_seconds_when_udp_is_cut() -> None:
    with Lab() as lab:
        lab.serve()
        talker = directly(lab, "port", "full")
        lab.cut_udp("a")
        talker.until(lambda told: told["reached"] == "relayed", 5)
        quiet(talker, 1)
        account("UDP cut", lab, talker, 3.0)


@pytest.mark.parametrize("mode", ["port", "symmetric"])
def test_traffic_goes_on_within_three_seconds_when_mappings_are_lost(mode: str) -> None:
    with Lab() as lab:
        lab.serve()
        talker = directly(lab, mode, "full")
        lab.forget("a")
        with contextlib.suppress(LabError):  # the path may change, or mend by itself
            talker.until(lambda told: told["reached"] == "relayed", 4)
        quiet(talker, 1)
        account(f"mappings lost, {mode}", lab, talker, 3.0)


def test_a_direct_path_does_not_care_that_the_relay_is_killed() -> None:
    with Lab() as lab:
        relay = lab.serve()
        talker = directly(lab, "port", "full")
        relay.process.kill()
        quiet(talker, 4)
        account("relay killed", lab, talker, 0.5)
