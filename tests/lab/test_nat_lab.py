"""Two peers behind every pair of NATs: direct exactly where theory says so, relayed otherwise, nothing lost between.

`python -m pytest -m slow -s tests/lab` prints the tables.
"""

from __future__ import annotations

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations_with_replacement
from typing import Any

import pytest

from tests.lab.nat_lab import HERE, MODES, RELAY, TURN, URL, Lab, LabError

PARALLEL = 6
"""Labs at once: a pair mostly waits."""


pytestmark = pytest.mark.slow


def can_meet(one: str, other: str) -> bool:
    """Ford, Srisuresh and Kegel 2005, and RFC 5128: a symmetric NAT's new port is let in only by a NAT that looks at
    addresses alone."""
    if {one, other} & {"noudp", "webonly", "proxy"}:
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
        talker, _ = lab.conversation(**({} if can_meet(*pair) else {"LAB_ICE_TIME": "2"}))
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
            if told and account["received"] != account["sent"]:  # moving to another path loses nothing
                wrong.append((one, other, account))
        print(f"{one:10}{row}")
    assert not wrong


def test_a_turn_server_carries_what_cannot_meet() -> None:
    if shutil.which("turnserver") is None:
        pytest.skip("the TURN test needs the command turnserver (Debian: coturn)")
    with Lab() as lab:
        lab.nat("a", "symmetric")
        lab.nat("b", "symmetric")
        lab.serve()
        lab.serve_turn()
        talker, _ = lab.conversation(PEER_RELAY_ICE_SERVERS=f"stun:{RELAY}:3478,{TURN}")
        told = talker.until(settled, 60)
        print(f"\nsymmetric, symmetric, TURN: {told}")
        assert (told["reached"], told["by"], told["turn"], told["why"]) == ("direct", "webrtc", RELAY, None)
        account = talker.finish()
        assert account["received"] == account["sent"]
        assert lab.complaints() == ""


def test_a_peer_behind_a_nat_advertises_its_port_only_if_that_is_forwarded() -> None:
    with Lab() as lab:
        lab.forward("a", 7000)
        lab.serve()
        lab.serve_second()
        forwarded = lab.start("host-a", str(HERE / "talker.py"), "listen", URL, "7000")
        closed = lab.start("host-b", str(HERE / "talker.py"), "listen", URL, "7000")
        forwarded.until(lambda told: told["advertised"] == ["ws://203.0.113.10:7000"], 60)
        end = time.monotonic() + 60
        while "could not dial us back" not in lab.complaints() and time.monotonic() < end:
            time.sleep(0.1)
        assert lab.complaints().count("could not dial us back at ws://*:7000") == 1
        assert json.loads(closed.line(10)) == {"advertised": []}
        with pytest.raises(LabError, match="nothing was said"):
            closed.line(0.5)
