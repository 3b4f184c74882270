"""Several peers with one address: the one that relays knew first has it."""

from __future__ import annotations

from itertools import combinations

import pytest

from peer_relay_socket.codec.control import read_resolve, read_resolved
from peer_relay_socket.codec.packet import HEADER_BYTES, Kind
from peer_relay_socket.engine.effects import Deliver
from peer_relay_socket.engine.seniority import Seniority
from peer_relay_socket.limits import CLOSEST_LINKS, MAX_SENIORS_GONE, SENIORITY, SENIORITY_KEPT
from tests.engine import test_address_claims as small
from tests.sim.bench import Bench, Node, kind_of

_CLIENTS = 8


class Street:
    """Relays, each linked to each, a server, and later a thief with the server's address that relays as well."""

    def __init__(self, seed: int, *, apart: float = 2 * SENIORITY, relays: int = 12) -> None:
        self.bench = bench = Bench(seed)
        self.relays = [small.node(bench, f"relay{number}", serves=True) for number in range(relays)]
        for one, other in combinations(self.relays, 2):
            bench.join(one, other)
        bench.flow()
        while True:
            self.server = small.node(bench, "server")
            if all(small.address(each) != small.address(self.server) for each in self.relays):
                break
            bench.nodes.remove(self.server)
        for relay in self.near(self.server):
            bench.join(self.server, relay)
        bench.advance(apart)
        self.thief = small.node(bench, "thief", small.twin_of(self.server.peer_id, bench), serves=True)
        for relay in self.relays:
            bench.join(self.thief, relay)
        self.relays.append(self.thief)
        bench.advance(10.0)
        quiet = (Kind.SEALED, Kind.HANDSHAKE)
        bench.gate = (
            lambda sender, _far, data: (  # what the thief carries for others it swallows
                None if sender is self.thief and kind_of(data) in quiet and data[28:48] != self.thief.peer_id else data
            )
        )

    def near(self, peer: Node) -> list[Node]:
        """Return the relays that `peer` links to."""
        goal = int.from_bytes(peer.peer_id)
        return sorted(self.relays, key=lambda each: int.from_bytes(each.peer_id) ^ goal)[:CLOSEST_LINKS]

    def client(self) -> Node:
        """Return a client that has just joined."""
        while True:
            client = small.node(self.bench, "client")
            if all(small.address(each) != small.address(client) for each in self.bench.nodes if each is not client):
                break
            self.bench.nodes.remove(client)
        for relay in self.near(client):
            self.bench.join(client, relay)
        self.bench.advance(1.0)
        return client

    def ask(self, client: Node, seconds: float = 4.0) -> list[str]:
        """Let a client send to the address; return who heard it."""
        small.by_address(client, self.server, b"hello")
        self.bench.advance(seconds)
        heard = [node.name for node in (self.server, self.thief) if node.heard()]
        for cable in list(client.cables.values()):
            cable.cut()
        self.bench.nodes.remove(client)
        return heard


@pytest.mark.parametrize("seed", range(3))
def test_every_fresh_client_reaches_the_server_that_was_there_first(seed: int) -> None:
    street = Street(seed)
    assert [street.ask(street.client()) for _ in range(_CLIENTS)] == [["server"]] * _CLIENTS


def test_one_relay_that_lies_about_ages_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    street = Street(4)
    liar = street.near(street.server)[1]
    honest = Seniority.age

    def age(self: Seniority, peer_id: bytes) -> float:
        if self._core.peer_id != liar.peer_id:
            return honest(self, peer_id)
        return 1e6 if peer_id == street.thief.peer_id else 1.0

    monkeypatch.setattr(Seniority, "age", age)
    assert [street.ask(street.client()) for _ in range(_CLIENTS)] == [["server"]] * _CLIENTS


def test_an_address_is_refused_where_no_relay_knew_one_peer_a_minute_earlier() -> None:
    street = Street(5, apart=SENIORITY / 2)
    assert [street.ask(street.client()) for _ in range(3)] == [[]] * 3


def test_what_is_heard_from_the_first_is_heard_and_from_the_other_is_not() -> None:
    street = Street(6)
    client = street.client()
    small.by_address(client, street.server, b"hello")
    street.bench.advance(2.0)
    for peer in (street.server, street.thief):
        peer.send(client, peer.name.encode())
    street.bench.advance(2.0)
    heard = {bytes(effect.datagrams[0]): effect.address_conflict for effect in client.take(Deliver)}
    assert heard == {b"server": False, b"thief": True}


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_an_answer_that_is_lost_costs_a_fraction_of_a_second(lost: int) -> None:
    street = Street(7)
    client = street.client()
    swallow = street.bench.gate
    gone = []

    def lose(sender: Node, receiver: Node, data: bytes) -> object:
        if receiver is client and kind_of(data) == Kind.RESOLVED and len(gone) < lost:
            gone.append(data)
            return None
        return swallow(sender, receiver, data)

    street.bench.gate = lose  # type: ignore[assignment]
    assert street.ask(client, 0.6) == ["server"]
    assert len(gone) == lost


def test_a_claimant_is_never_asked_and_a_relay_that_knows_all_asks_no_other() -> None:
    street = Street(8)
    asked: list[tuple[str, str]] = []
    swallow = street.bench.gate

    def watch(sender: Node, receiver: Node, data: bytes) -> object:
        if kind_of(data) == Kind.RESOLVE and read_resolve(data[HEADER_BYTES:]).claimants:
            asked.append((sender.name, receiver.name))
        return swallow(sender, receiver, data)

    street.bench.gate = watch  # type: ignore[assignment]
    assert street.ask(street.client()) == ["server"]
    assert asked
    assert "thief" not in {name for pair in asked for name in pair}
    knowing = {relay.name for relay in street.near(street.server)}
    assert not [pair for pair in asked if pair[0] in knowing]


def test_an_honest_address_is_found_without_a_comparison() -> None:
    street = Street(9)
    street.bench.seen.clear()
    client = street.client()
    other = street.client()
    small.by_address(client, other, b"hello")
    street.bench.advance(2.0)
    assert other.heard() == [b"hello"]
    answers = [read_resolved(data[HEADER_BYTES:]) for data in street.bench.sent(Kind.RESOLVED)]
    assert answers
    assert not any(answer.ages for answer in answers)


# --- what a relay remembers --------------------------------------------------------------------------------------


def _pair() -> tuple[Bench, Node, Node]:
    bench = Bench(1)
    relay, peer = bench.node("relay", serves=True), bench.node("peer")
    bench.join(peer, relay)
    bench.flow()
    return bench, relay, peer


def _age(relay: Node, peer: Node) -> float:
    relay.engine.handle_timer(relay.bench.now)
    return relay.engine._seniority.age(peer.peer_id)


@pytest.mark.parametrize(("stayed", "away", "known"), [(70.0, 1000.0, True), (50.0, 1.0, False)])
def test_a_peer_that_comes_back_is_as_old_as_it_was_if_it_had_stayed(stayed: float, away: float, known: bool) -> None:
    bench, relay, peer = _pair()
    bench.advance(stayed)
    for cable in list(peer.cables.values()):
        cable.cut()
    bench.advance(away)
    assert bool(_age(relay, peer)) is known
    bench.join(peer, relay)
    bench.advance(1.0)
    assert _age(relay, peer) == pytest.approx(stayed + away + 1.0 if known else 1.0, abs=0.1)


def test_a_peer_that_left_is_forgotten_after_a_day() -> None:
    bench, relay, peer = _pair()
    bench.advance(100.0)
    for cable in list(peer.cables.values()):
        cable.cut()
    bench.nodes.remove(peer)
    bench.advance(SENIORITY_KEPT + 1.0)
    assert _age(relay, peer) == 0.0


def test_peers_that_come_and_go_fill_no_memory() -> None:
    bench, relay, peer = _pair()
    seniority, link = relay.engine._seniority, next(iter(relay.engine._links.by_id.values()))
    relay.engine._links.by_id.clear()
    for number in range(MAX_SENIORS_GONE + 100):
        link.peer_id = number.to_bytes(20)
        relay.engine._core.now += SENIORITY + 1.0
        seniority.link_up(link)
        relay.engine._core.now += SENIORITY + 1.0
        seniority.link_down(link)
    assert len(seniority._since) <= MAX_SENIORS_GONE + 1
    assert len(seniority._gone) == MAX_SENIORS_GONE
    assert peer.peer_id not in seniority._gone
    assert bench.nodes
