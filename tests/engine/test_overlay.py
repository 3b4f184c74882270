"""Small networks of real engines in virtual time: who reaches whom, and what happens when something dies."""

from __future__ import annotations

import pytest

from peer_relay_socket.address import Spelling
from peer_relay_socket.engine.effects import Unreachable
from tests.sim.network import Host, Network

SPELL = Spelling()


def line_of(network: Network, *names: str) -> list[Host]:
    """Make a, r1, ..., b, of whom only neighbours in this order can dial each other."""
    place = {name: number for number, name in enumerate(names)}
    network.blocked = lambda one, other: abs(place[one.name] - place[other.name]) != 1
    relays = names[1:-1]
    for number, name in enumerate(relays):
        network.host(name, serves=True, bootstrap=relays[number - 1 : number])
    network.host(names[0], bootstrap=relays[:1])
    network.host(names[-1], bootstrap=relays[-1:])
    network.run(2.0)
    return [network.hosts[name] for name in names]


@pytest.mark.parametrize("spelled", ["id", "ipv4", "ipv6"])
def test_peers_reach_each_other_through_one_relay(spelled: str) -> None:
    network = Network(1)
    network.host("relay", serves=True)
    a, b = network.host("a", bootstrap=("relay",)), network.host("b", bootstrap=("relay",))
    network.run(1.0)
    text = {"id": b.peer_id.hex(), "ipv4": SPELL.ipv4(b.peer_id), "ipv6": SPELL.ipv6(b.peer_id)}[spelled]
    destination = SPELL.parse(text)
    assert not hasattr(destination, "name")
    a.send(destination, 5, b"one", b"", b"three")  # type: ignore[arg-type]
    assert network.run(1.0, lambda: bool(b.received))
    (got,) = b.received
    assert (got.source, got.source_port, got.port, got.datagrams) == (a.peer_id, 9, 5, [b"one", b"", b"three"])


@pytest.mark.parametrize("seed", range(8))
def test_datagrams_cross_a_line_of_relays_whatever_their_ids(seed: int) -> None:
    network = Network(seed)
    a, *_, b = line_of(network, "a", "r1", "r2", "r3", "r4", "b")
    a.send(b.peer_id, 5, b"there")
    assert network.run(3.0, lambda: bool(b.received))
    b.send(a.peer_id, 5, b"and back")
    assert network.run(3.0, lambda: bool(a.received))


@pytest.mark.parametrize("seed", range(8))
def test_a_line_mends_when_its_middle_restarts(seed: int) -> None:
    network = Network(seed)
    a, _, middle, _, b = line_of(network, "a", "r1", "r2", "r3", "b")
    a.send(b.peer_id, 5, b"before")
    assert network.run(3.0, lambda: bool(b.received))
    middle.crash()
    network.run(3.0)
    middle.start()
    network.run(2.0)
    before = len(b.received)
    for _ in range(20):  # datagrams may be lost while the path is found again, as UDP's are
        a.send(b.peer_id, 5, b"again")
        if network.run(0.25, lambda: len(b.received) > before):
            break
    assert len(b.received) > before


def test_traffic_takes_the_other_path_when_a_relay_is_killed() -> None:
    network = Network(3)
    network.host("r1", serves=True)
    network.host("r2", serves=True, bootstrap=("r1",))
    a, b = (network.host(name, bootstrap=("r1", "r2")) for name in "ab")
    network.run(2.0)
    a.send(b.peer_id, 5, b"before")
    assert network.run(1.0, lambda: bool(b.received))
    network.hosts["r1"].crash()
    network.run(0.5)
    a.send(b.peer_id, 5, b"after")
    assert network.run(0.5, lambda: len(b.received) == 2)


def test_a_restarted_peer_is_reachable_within_a_second() -> None:
    network = Network(4)
    network.host("relay", serves=True)
    a, b = network.host("a", bootstrap=("relay",)), network.host("b", bootstrap=("relay",))
    network.run(1.0)
    a.send(b.peer_id, 5, b"before")
    assert network.run(1.0, lambda: bool(b.received))
    b.crash()
    network.run(0.2)
    b.start()
    network.run(0.2)
    before = len(b.received)
    for _ in range(20):
        a.send(b.peer_id, 5, b"after")
        if network.run(0.05, lambda: len(b.received) > before):
            break
    assert len(b.received) > before


def test_an_address_that_nobody_has_is_reported_unreachable() -> None:
    network = Network(5)
    network.host("relay", serves=True)
    a = network.host("a", bootstrap=("relay",))
    network.run(1.0)
    nobody = SPELL.parse("100.64.1.1")
    a.send(nobody, 5, b"hello?")  # type: ignore[arg-type]
    why = "nobody has this address in the network of the 1 relay we are linked to"
    assert network.run(5.0, lambda: Unreachable(nobody, why) in a.effects)  # type: ignore[arg-type]
    assert a.engine.counters["dropped: no peer has this address"] == 1


def test_the_same_seed_gives_the_same_run() -> None:
    digests = set()
    for _ in range(2):
        network = Network(6)
        a, *_, b = line_of(network, "a", "r1", "r2", "b")
        a.send(b.peer_id, 5, b"x")
        network.run(5.0)
        digests.add(network.trace.hexdigest())
    assert len(digests) == 1
