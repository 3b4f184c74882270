"""Whether others can dial us: what a peer that listens finds out and tells; engines in virtual time."""

from __future__ import annotations

from collections import Counter

import pytest

from peer_relay_socket.codec import control
from peer_relay_socket.codec.packet import LinkOp
from peer_relay_socket.engine.core import EngineConfig
from peer_relay_socket.engine.effects import DialBack, Effect, Note
from peer_relay_socket.limits import (
    DIAL_BACK_SPACING,
    DIAL_BACK_TIME,
    REACH_AGAIN,
    REACH_RETRY_FIRST,
    REACH_RETRY_MAX,
)
from tests.sim.bench import Bench, Node
from tests.sim.network import Host, Network


class World:
    """Some relays that know each other, a peer that listens, and a count of who dialled whom back."""

    def __init__(self, relays: int = 1, *, blocked: bool = False) -> None:
        self.network = Network(1)
        self.network.blocked = self._blocked
        self.behind_nat: set[Host] = set()
        self.asked: Counter[str] = Counter()
        self.relays: list[Host] = []
        for number in range(relays):
            names = tuple(relay.name for relay in self.relays)
            self.relays.append(self.network.host(f"r{number}", serves=True, bootstrap=names))
        self.network.run(5)
        self.peer = self.network.host("peer", listens=True, bootstrap=("r0",), start=False)
        if blocked:
            self.behind_nat.add(self.peer)
        dial_back = self.network.dial_back

        def counted(host: Host, effect: DialBack) -> None:
            self.asked[host.name] += 1
            dial_back(host, effect)

        self.network.dial_back = counted  # type: ignore[method-assign]

    def _blocked(self, dialler: Host, other: Host) -> bool:
        return other in self.behind_nat

    @property
    def advertised(self) -> tuple[str, ...]:
        return self.peer.engine.advertised

    def believed(self) -> set[bool]:
        """Return what the peer's neighbours take it for."""
        return {
            host.engine._links.by_id[self.peer.peer_id].serves
            for host in self.network.hosts.values()
            if self.peer.peer_id in host.engine._links.by_id
        }

    def notes(self) -> list[str]:
        return [
            e.text
            for e in self.peer.effects
            if isinstance(e, Note) and ("dial us back" in e.text or "reach us" in e.text)
        ]


def move(host: Host, address: str) -> None:
    """Let a host be seen at another address."""
    network = host.network
    host.address = address
    network.by_url[f"ws://{address}:80"] = network.by_url[f"ws://{address}:80/"] = host


# --- finding out -----------------------------------------------------------------------------------------------


def test_a_peer_that_one_neighbour_reaches_is_dialable_where_that_neighbour_sees_it() -> None:
    world = World()
    world.peer.start()
    assert not world.peer.config.serves
    world.network.run(2)
    assert world.peer.config.serves
    assert world.advertised == ("ws://*:80",)
    assert world.believed() == {True}
    assert world.asked == {"r0": 1}


def test_two_neighbours_that_agree_make_the_address_known() -> None:
    world = World(3)
    world.peer.start()
    world.network.run(20)
    assert world.advertised == (f"ws://{world.peer.address}:80",)
    assert world.peer.config.urls == world.advertised
    assert world.notes() == ["others in the global network reach us at ws://*:80"]


def test_a_peer_that_nobody_can_dial_advertises_nothing_and_relays_for_nobody() -> None:
    world = World(3, blocked=True)
    other = world.network.host("other", bootstrap=("r0",))
    world.peer.start()
    world.network.run(60)
    assert not world.peer.config.serves
    assert world.advertised == ()
    assert world.believed() == {False}
    assert len(world.notes()) == 1
    assert "could not dial us back at ws://*:80" in world.notes()[0]
    other.send(world.peer.peer_id, 5, b"it is reached all the same")
    world.network.run(2)
    assert [effect.datagrams for effect in world.peer.received] == [[b"it is reached all the same"]]


def test_a_peer_that_nobody_could_dial_finds_out_when_that_has_changed() -> None:
    world = World(3, blocked=True)
    world.peer.start()
    world.network.run(DIAL_BACK_TIME + DIAL_BACK_SPACING)
    assert world.advertised == ()
    world.behind_nat.clear()
    assert world.network.run(2.5 * REACH_RETRY_FIRST, lambda: world.peer.config.serves)
    world.network.run(1)
    assert world.advertised == (f"ws://{world.peer.address}:80",)
    assert world.believed() == {True}


def test_a_peer_that_becomes_undialable_finds_out_but_one_failure_is_forgiven() -> None:
    world = World(3)
    world.peer.start()
    world.network.run(20)
    world.behind_nat.add(world.peer)
    for link in list(world.peer.engine._links.by_id.values()):
        if link.url is None:  # the router started anew
            world.network.cut(world.peer, link.number)
    world.network.run(5)
    assert world.believed() == {True}
    asked = world.asked.total()
    assert world.network.run(1.3 * REACH_AGAIN, lambda: world.asked.total() > asked)
    world.network.run(DIAL_BACK_TIME + 1)
    assert world.peer.config.serves
    assert world.believed() == {True}
    world.network.run(2 * DIAL_BACK_SPACING + DIAL_BACK_TIME)
    assert not world.peer.config.serves
    assert world.advertised == ()
    assert world.believed() == {False}


def test_it_is_asked_about_ever_less_often() -> None:
    world = World(3, blocked=True)
    world.peer.start()
    world.network.run(12 * REACH_RETRY_MAX)
    assert 3 * 10 <= world.asked.total() <= 3 * 30


def test_who_dialled_us_knows_that_it_can_and_others_are_not_told() -> None:
    """A peer that is the way out of a network that nobody can dial into relays for those in there."""
    world = World(3)
    inside = world.network.host("inside", bootstrap=("peer",), start=False)
    move(inside, "8.9.9.9")
    world.network.blocked = lambda dialler, other: other is world.peer and dialler is not inside
    world.peer.start()
    inside.start()
    world.network.run(60)
    link = inside.engine._links.by_id[world.peer.peer_id]
    assert link.serves
    assert link.urls == (f"ws://{world.peer.address}:80",)
    assert all(world.peer.engine._links.by_id[relay.peer_id].url is not None for relay in world.relays[:1])
    for relay in world.relays:
        seen = relay.engine._links.by_id.get(world.peer.peer_id)
        assert seen is None or (seen.serves and seen.urls == ())
    world.relays[2].send(inside.peer_id, 5, b"inwards")
    world.network.run(2)
    assert [effect.datagrams for effect in inside.received] == [[b"inwards"]]


def test_who_dialled_us_and_cannot_be_dialled_from_does_not_count() -> None:
    network = Network(1)
    network.dial_back = lambda _host, _effect: None  # type: ignore[method-assign]
    first = network.host("first", listens=True)
    leaf = network.host("leaf", bootstrap=("first",))
    second = network.host("second", listens=True, bootstrap=("first",))
    third = network.host("third", bootstrap=("second",))
    network.run(60)
    assert first.config.serves
    assert leaf.engine._links.by_id[first.peer_id].urls == (f"ws://{first.address}:80",)
    assert not [e for e in first.effects if isinstance(e, Note) and "dial us back" in e.text]
    assert third.engine._links.by_id[second.peer_id].urls == (f"ws://{second.address}:80",)
    assert first.engine._links.by_id[second.peer_id].urls == ()


def test_neighbours_that_dialled_us_and_do_not_come_when_asked_leave_us_what_we_are() -> None:
    world = World()
    dial_back = world.network.dial_back
    world.network.dial_back = lambda host, effect: dial_back(host, effect) if host in world.relays else None  # type: ignore[method-assign]
    world.peer.start()
    world.network.run(2)
    for name in ("leaf", "other"):
        world.network.host(name, bootstrap=("peer",))
    world.network.run(3 * REACH_AGAIN)
    assert world.asked["r0"] > 2
    seen = world.relays[0].engine._links.by_id[world.peer.peer_id]
    assert seen.urls == (f"ws://{world.peer.address}:80",)


def test_two_neighbours_at_one_address_are_one_witness() -> None:
    world = World(2)
    world.relays[1].address = world.relays[0].address
    world.peer.config.bootstrap = ("ws://8.0.0.1:80/", "ws://8.0.0.2:80/")
    world.peer.start()
    world.network.run(60)
    assert len(world.peer.engine.neighbours) == 2
    assert world.advertised == ("ws://*:80",)


def test_the_rest_of_the_engine_is_told_when_we_relay_and_when_no_more() -> None:
    world = World(3)
    told: list[bool] = []
    world.peer.start()
    world.peer.engine._reachability._changed = lambda: told.append(world.peer.config.serves)
    world.network.run(20)
    world.behind_nat.add(world.peer)
    for link in list(world.peer.engine._links.by_id.values()):
        if link.url is None:
            world.network.cut(world.peer, link.number)
    world.network.run(1.5 * REACH_AGAIN)
    assert told == [True, False]


def test_on_one_machine_everybody_can_dial_and_nobody_is_asked() -> None:
    world = World()
    move(world.peer, "127.0.0.1")
    move(world.relays[0], "127.0.0.1")
    world.network.by_url["ws://127.0.0.1:80/"] = world.relays[0]
    world.relays[0].config.urls = world.peer.config.bootstrap = ("ws://127.0.0.1:80/",)
    world.peer.start()
    assert world.peer.config.serves
    world.network.run(30)
    assert world.advertised == ("ws://*:80",)
    assert not world.asked


@pytest.mark.parametrize(
    "addresses", [("10.0.0.1", "10.0.0.2"), ("192.168.1.1", "192.168.1.2"), ("fd00::1", "fd00::2")]
)
def test_a_private_network_is_a_network(addresses: tuple[str, str]) -> None:
    world = World()
    for host, address in zip((world.relays[0], world.peer), addresses, strict=True):
        move(host, address)
    seen = f"ws://[{addresses[1]}]:80" if ":" in addresses[1] else f"ws://{addresses[1]}:80"
    world.network.by_url[seen] = world.peer
    world.peer.start()
    world.network.run(2)
    assert world.advertised == ("ws://*:80",)
    assert world.relays[0].engine._links.by_id[world.peer.peer_id].urls == (seen,)


def test_a_peer_that_listens_on_loopback_only_does_not_ask_the_internet() -> None:
    world = World()
    world.peer.config.listens = ("ws://127.0.0.1:80",)
    world.peer.start()
    world.network.run(30)
    assert not world.asked
    assert world.believed() == {False}


def test_a_peer_whose_links_were_all_lost_is_told_of_only_when_it_was_reached_anew() -> None:
    world = World(3)
    world.peer.start()
    world.network.run(20)
    world.behind_nat.add(world.peer)
    before = world.peer.address
    for number in list(world.peer.connections):
        world.network.cut(world.peer, number)
    for relay in world.relays:
        for number, (connection, _) in list(relay.connections.items()):
            if any(end is world.peer for end, _ in connection.ends):
                world.network.cut(relay, number)
    move(world.peer, "8.77.77.77")
    world.network.run(DIAL_BACK_TIME + 2 * DIAL_BACK_SPACING)
    assert world.peer.engine.neighbours
    assert world.advertised == ()
    world.behind_nat.clear()
    world.network.run(2.5 * REACH_RETRY_FIRST)
    assert world.advertised == ("ws://8.77.77.77:80",)
    assert before not in str(world.advertised)


# --- liars -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("silent", "reachable"), [(1, True), (2, False)])
def test_neighbours_that_say_they_dial_and_do_not_are_outvoted(silent: int, reachable: bool) -> None:
    world = World(3)
    liars = world.relays[:silent]
    dial_back = world.network.dial_back
    world.network.dial_back = lambda host, effect: None if host in liars else dial_back(host, effect)  # type: ignore[method-assign]
    world.peer.start()
    world.network.run(60)
    assert bool(world.advertised) is reachable


def asker() -> tuple[Bench, Node, Node]:
    """Return a peer that listens, and its only neighbour, which was just asked to dial it back."""
    bench = Bench()
    neighbour, peer = bench.node("neighbour", serves=True), bench.node("peer")
    peer.engine._core.config.listens = ("ws://*:80",)
    peer.engine._core.config.bootstrap = ("ws://neighbour.example",)
    peer.engine._reachability.start()
    bench.join(peer, neighbour)
    bench.flow()
    bench.advance(0.01)
    return bench, neighbour, peer


def asked_again(bench: Bench, neighbour: Node) -> DialBack:
    """Let time pass until the neighbour is asked once more."""
    later: list[DialBack] = []
    while not later and bench.now < 3 * REACH_RETRY_FIRST:
        bench.advance(1.0)
        later = neighbour.take(DialBack)
    (again,) = later
    return again


def arrive(bench: Bench, peer: Node, proof: bytes, number: int = 999) -> None:
    """Let a stranger connect and say `proof`."""
    peer.engine.link_opened(number, url=None, remote_host="8.6.6.6", now=bench.now)
    peer.engine.receive(number, proof, bench.now)
    bench.flow()


def test_an_address_that_one_neighbour_claims_is_not_repeated_to_others() -> None:
    bench, neighbour, peer = asker()
    (errand,) = neighbour.take(DialBack)
    link = next(iter(neighbour.engine._links.by_id.values()))
    peer.engine._reachability.answered(
        next(iter(peer.engine._links.by_id.values())), control.dialling(errand.nonce, "ws://9.9.9.9:80")
    )
    arrive(bench, peer, control.proof(errand.nonce))
    assert peer.engine.advertised == ("ws://*:80",)
    assert peer.engine._core.config.urls == ()
    assert link.urls == ("ws://8.0.0.2:80",)


@pytest.mark.parametrize(
    "url",
    [
        *("ws://10.0.0.9:80", "ws://127.0.0.1:80", "ws://169.254.169.254:80", "ws://somebody.example:80"),
        *("ws://8.0.0.2:81", "wss://8.0.0.2:80", "http://8.0.0.2:80", "ws://8.0.0.2:80/x", "ws://a@8.0.0.2:80"),
        *("ws://[", "ws://[::1", "ws://[8.0.0.2]:80", "ws://:80", "//", "x", "ws://8.0.0.2:99999"),
    ],
)
def test_what_is_not_us_seen_from_where_the_neighbour_is_is_no_answer(url: str) -> None:
    bench, neighbour, peer = asker()
    (errand,) = neighbour.take(DialBack)
    back = neighbour.engine._links.by_id[peer.peer_id]
    neighbour.engine._links.tell(back, LinkOp.DIALLING, control.dialling(errand.nonce, url))
    bench.flow()
    arrive(bench, peer, control.proof(errand.nonce))
    bench.advance(1.0)
    assert peer.engine.advertised == ()


def test_a_guessed_proof_proves_nothing_and_costs_the_connection() -> None:
    bench, neighbour, peer = asker()
    (errand,) = neighbour.take(DialBack)
    for number, guess in enumerate((bytes(8), errand.nonce[::-1], errand.nonce[:7] + bytes((errand.nonce[7] ^ 1,)))):
        arrive(bench, peer, control.proof(guess), 1000 + number)
    assert peer.engine.counters["dropped: nobody asked to be dialled"] == 3
    assert len(peer.engine._links.all) == 1
    bench.advance(DIAL_BACK_TIME)
    assert peer.engine.advertised == ()


def test_a_proof_counts_once_and_only_in_time() -> None:
    bench, neighbour, peer = asker()
    (errand,) = neighbour.take(DialBack)
    bench.advance(DIAL_BACK_TIME + 0.1)
    arrive(bench, peer, control.proof(errand.nonce))
    assert peer.engine.advertised == ()
    assert not peer.engine._core.config.serves


def test_a_neighbour_that_will_not_dial_neither_proves_nor_disproves() -> None:
    bench, neighbour, peer = asker()
    (errand,) = neighbour.take(DialBack)
    link = next(iter(peer.engine._links.by_id.values()))
    peer.engine._reachability.answered(link, control.dialling(errand.nonce, ""))
    assert peer.engine._reachability._verdicts[link.scope].reachable is None
    bench.advance(2.0)
    assert neighbour.take(DialBack) == []
    again = asked_again(bench, neighbour)
    assert again.nonce != errand.nonce
    arrive(bench, peer, control.proof(again.nonce))
    assert peer.engine.advertised == ("ws://*:80",)


# --- many ------------------------------------------------------------------------------------------------------


def test_in_a_population_everybody_who_can_be_dialled_relays_and_nobody_else() -> None:
    network = Network(3, keep=False)
    effects: list[Effect] = []
    names = [f"h{number}" for number in range(24)]
    hosts = [network.host("first", listens=True)]
    hosts += [network.host(name, listens=True, bootstrap=("first",), start=False) for name in names]
    behind = set(hosts[1::3])
    network.blocked = lambda _dialler, other: other in behind
    network.on_effect = lambda _host, effect: effects.append(effect)
    for number, host in enumerate(hosts[1:]):
        network.at(1.0 + 0.2 * number, host.start)
    network.run(90)
    wrong = [host.name for host in hosts if host.config.serves is (host in behind)]
    assert wrong == []
    got: list[bytes] = []
    network.on_deliver = lambda _host, effect: got.extend(effect.datagrams)
    for number, host in enumerate(hosts):
        host.send(hosts[number - 1].peer_id, 5, bytes((number,)))
    network.run(5)
    assert sorted(got) == [bytes((number,)) for number in range(len(hosts))]


def test_without_anything_to_find_out_nobody_is_asked() -> None:
    network = Network(1)
    relay = network.host("relay", serves=True)
    told = EngineConfig(serves=True, urls=("wss://public.example",), bootstrap=(network.url("relay"),))
    host = network.host("peer", serves=True, bootstrap=("relay",), start=False)
    host.config = told
    host.engine = host._make()
    asked: list[DialBack] = []
    network.dial_back = lambda _host, effect: asked.append(effect)  # type: ignore[method-assign]
    host.start()
    network.run(30)
    assert {effect.url for effect in asked} == {"wss://public.example"}  # the relay tries it; the host asks nobody
    assert relay.engine._links.by_id[host.peer_id].urls == ("wss://public.example",)
