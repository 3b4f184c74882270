"""Two peers behind every pair of NATs: direct exactly where theory says so, relayed otherwise, nothing lost between.

`python -m pytest -m slow -s tests/lab` prints the tables.
"""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations_with_replacement
from typing import Any

import pytest

from tests.lab.nat_lab import HERE, MODES, RELAY, TURN, URL, Lab, LabError
from tests.patience import until

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


class Linked:
    """Two peers behind NATs, linked on request."""

    def __init__(self, lab: Lab, wrtc: tuple[bool, bool] = (True, True)) -> None:
        self.ends = [
            lab.start(f"host-{side}", str(HERE / "talker.py"), "link", URL, LAB_WRTC=str(int(able)))
            for side, able in zip("ab", wrtc, strict=True)
        ]
        self.ids = [json.loads(end.line())["id"] for end in self.ends]

    def ask(self, end: int, word: str) -> dict[str, Any]:
        """Have one end connect to, disconnect from, or look at the other."""
        return self.ends[end].ask(f"{word} {self.ids[1 - end]}", 10)

    def linked(self) -> list[bool]:
        return [self.ids[1 - end] in self.ask(end, "look")["peers"] for end in (0, 1)]


def test_connect_links_two_peers_behind_nats_and_disconnect_ends_it_for_good() -> None:
    with Lab() as lab:
        lab.serve()
        pair = Linked(lab)
        pair.ask(0, "connect")
        until(lambda: pair.linked() == [True, True], 60)
        for end in (0, 1):
            until(lambda end=end: pair.ask(end, "look")["up"].count(pair.ids[1 - end]) == 1, 20)  # type: ignore[misc]
            told = pair.ask(end, "look")
            assert (told["reached"], told["by"], told["why"]) == ("direct", "webrtc", None)
        pair.ask(1, "disconnect")
        until(lambda: pair.linked() == [False, False])
        with pytest.raises(AssertionError):
            until(lambda: True in pair.linked(), 15)
        assert pair.ask(0, "look")["why"] == "the other side's program disconnected it"
        pair.ask(0, "connect")
        until(lambda: pair.linked() == [True, True], 60)
        assert lab.complaints() == ""


@pytest.mark.parametrize(
    ("wrtc", "why"),
    [((False, True), "WebRTC is turned off here"), ((True, False), "the other side refuses: WebRTC is turned off")],
)
def test_connect_says_why_there_is_no_link_where_one_side_lacks_webrtc(wrtc: tuple[bool, bool], why: str) -> None:
    with Lab() as lab:
        lab.serve()
        pair = Linked(lab, wrtc)
        pair.ask(0, "connect")
        until(lambda: pair.ask(0, "look")["why"] == why)
        until(lambda: f"no link to {pair.ids[1][:8]}: {why}" in lab.complaints())
        assert pair.linked() == [False, False]


def test_doctor_says_where_a_relay_sees_this_network() -> None:
    with Lab() as lab:
        lab.serve()
        for cut, state, told in ((False, "good", "the relay sees 203.0.113.10 port "), (True, "warning", "no answer")):
            if cut:
                lab.cut_udp("a")
            doctor = lab.start("host-a", "-m", "peer_relay", "doctor", "--json", "--bootstrap", URL)
            found = [
                each for each in json.loads(doctor.line())["checks"] if (each["check"], each["target"]) == ("NAT", URL)
            ]
            assert [each["state"] for each in found] == [state]
            assert told in found[0]["detail"]


def test_a_turn_server_carries_what_cannot_meet() -> None:
    if shutil.which("turnserver") is None:
        pytest.skip("needs turnserver (Debian: coturn)")
    with Lab() as lab:
        lab.nat("a", "symmetric")
        lab.nat("b", "symmetric")
        lab.serve()
        lab.serve_turn()
        talker, _ = lab.conversation(PEER_RELAY_ICE_SERVERS=TURN)
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
        until(lambda: "could not dial us back" in lab.complaints(), 60)
        assert lab.complaints().count("could not dial us back at ws://*:7000") == 1
        assert json.loads(closed.line(10)) == {"advertised": []}
        with pytest.raises(LabError, match="nothing was said"):
            closed.line(0.5)
