"""Which of our addresses another peer learns, by what the programs said and what a relay sees."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.packet import LinkOp, Record, Signal
from peer_relay_socket.engine.effects import Describe
from peer_relay_socket.engine.link import host_of
from peer_relay_socket.limits import NEAR_TIME
from peer_relay_socket.scope import Scope
from tests.sim.bench import Bench, Node

FAR = ("81.2.69.142", "198.41.0.4")
"""Where the relay sees us, and them: two places on the Internet."""


class Trio:
    """A relay that both dialled, us, and them."""

    def __init__(self, places: tuple[str, str] = FAR, candidates: Literal["auto", "all", "public"] = "auto") -> None:
        self.bench = Bench()
        self.relay = self.bench.node("relay", serves=True)
        self.us, self.them = self.bench.node("us"), self.bench.node("them")
        for node, place in zip((self.us, self.them), places, strict=True):
            node.config.direct = node.config.webrtc = True
            node.config.candidates = candidates
            link = self.relay.engine._links.all[self.bench.join(node, self.relay).number(self.relay)]
            link.remote_host, link.scope = place, Scope.of(place) or Scope.GLOBAL
            link.host = host_of(place, link.scope)
        self.bench.flow()
        self.bench.advance(1.0)

    def say(self, *words: tuple[Node, Node]) -> None:
        """Have programs send datagrams, in this order."""
        for sender, receiver in words:
            sender.send(receiver, b"word")
            self.bench.flow()

    def offered(self) -> list[Describe]:
        """Have them offer, and return what we describe."""
        self.us.effects.clear()
        offer = bytes((Signal.OFFER,)) + b"\x07" * 8 + b"an offer"
        self.them.engine._sessions.send(self.us.peer_id, wire.record(Record.SIGNAL, offer))
        self.bench.flow()
        return self.us.take(Describe)

    def shown(self) -> list[Scope]:
        return [effect.shows for effect in self.offered()]


def they_ask(trio: Trio) -> None:
    trio.say((trio.them, trio.us))


def we_answer(trio: Trio) -> None:
    trio.say((trio.them, trio.us), (trio.us, trio.them))


def we_ask(trio: Trio) -> None:
    trio.say((trio.us, trio.them), (trio.them, trio.us))


ONE_NAT = ("81.2.69.142", "81.2.69.142")
ONE_LAN = ("192.168.7.2", "192.168.7.3")
ONE_IPV6 = ("2600:1:2:3::5", "2600:1:2:3::6")
ONE_CGNAT = ("100.64.0.7", "100.64.0.8")
TWO_LANS = ("192.168.7.2", "192.168.8.2")
HIDDEN = ("", "")


@pytest.mark.parametrize(
    ("programs", "places", "candidates", "shown"),
    [
        (they_ask, FAR, "auto", []),
        (they_ask, ONE_NAT, "auto", []),
        (they_ask, FAR, "public", [Scope.GLOBAL]),
        (they_ask, FAR, "all", [Scope.PRIVATE]),
        (we_answer, FAR, "auto", [Scope.GLOBAL]),
        (we_answer, FAR, "public", [Scope.GLOBAL]),
        (we_answer, ONE_NAT, "public", [Scope.GLOBAL]),
        (we_answer, ONE_NAT, "auto", [Scope.PRIVATE]),
        (we_answer, ONE_LAN, "auto", [Scope.PRIVATE]),
        (we_answer, ONE_IPV6, "auto", [Scope.PRIVATE]),
        (we_answer, ONE_CGNAT, "auto", [Scope.GLOBAL]),
        (we_answer, TWO_LANS, "auto", [Scope.GLOBAL]),
        (we_answer, HIDDEN, "auto", [Scope.GLOBAL]),
        (we_answer, ("81.2.69.142", "192.168.7.2"), "auto", [Scope.GLOBAL]),
        (we_ask, FAR, "auto", [Scope.PRIVATE]),
        (we_ask, FAR, "public", [Scope.GLOBAL]),
    ],
)
def test_what_is_shown_to_one_that_offers(
    programs: Any, places: tuple[str, str], candidates: Any, shown: list[Scope]
) -> None:
    trio = Trio(places, candidates)
    programs(trio)
    assert trio.shown() == shown


def test_an_attempt_that_is_refused_says_why() -> None:
    trio = Trio()
    trio.them.config.candidates = "all"  # they do not mind
    for _ in range(40):
        trio.say((trio.them, trio.us))
    trio.bench.advance(3.0)
    [offer] = trio.them.take(Describe)
    trio.them.engine.described(offer.attempt, "an offer", trio.bench.now)
    trio.bench.flow()
    path, _ = trio.them.engine.path(trio.us.peer_id)
    assert path.why_not_direct == "the other side refuses: its program has sent you nothing"
    assert trio.us.take(Describe) == []


def test_a_program_that_only_listens_offers_nothing_either() -> None:
    trio = Trio()
    for _ in range(60):
        trio.say((trio.them, trio.us))
    trio.bench.advance(3.0)
    assert trio.us.take(Describe) == []


@pytest.mark.parametrize("listens", [True, False])
def test_a_wish_for_a_link_counts_where_the_program_listens_for_links(listens: bool) -> None:
    trio = Trio()
    trio.us.config.welcomes_links = lambda: listens
    trio.them.engine.connect(trio.us.peer_id, trio.bench.now)
    trio.bench.flow()
    assert trio.shown() == ([Scope.GLOBAL] if listens else [])


def test_a_relay_that_dialled_us_is_not_asked() -> None:
    trio = Trio(ONE_NAT)
    we_answer(trio)
    for link in trio.us.engine._links.by_id.values():
        link.url = None
    assert trio.shown() == [Scope.GLOBAL]


def test_a_relay_that_is_silent_is_not_waited_for() -> None:
    trio = Trio(ONE_NAT)
    we_answer(trio)
    trio.relay.engine._direct.signalling.near_asked = lambda _link, _operand: None  # type: ignore[method-assign]
    assert trio.shown() == []
    trio.bench.advance(NEAR_TIME + 0.1)
    assert [effect.shows for effect in trio.us.take(Describe)] == [Scope.GLOBAL]


def test_only_the_relay_that_was_asked_can_say_that_a_peer_is_near() -> None:
    trio = Trio()
    we_answer(trio)
    trio.relay.engine._direct.signalling.near_asked = lambda _link, _operand: None  # type: ignore[method-assign]
    assert trio.shown() == []
    link = trio.relay.engine._links.by_id[trio.us.peer_id]
    trio.relay.engine._links.tell(link, LinkOp.NEARNESS, b"\0\0\0\0\1")
    trio.bench.flow()
    assert trio.us.take(Describe) == []
    trio.bench.advance(NEAR_TIME + 0.1)
    assert [effect.shows for effect in trio.us.take(Describe)] == [Scope.GLOBAL]
