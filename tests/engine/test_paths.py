"""Which relay the traffic of a pair takes, in virtual time: found, kept, left, and what liars can do about it."""

from __future__ import annotations

from peer_relay_socket import limits
from peer_relay_socket.codec import control
from peer_relay_socket.codec import packet as wire
from peer_relay_socket.codec.packet import Kind, Record
from peer_relay_socket.engine.effects import Deliver
from tests.sim.network import Host, Network

FAR = 0.06
NEAR = "r7"
"""The relay between the two peers; all others are FAR to one side."""


def world(seed: int = 19, *, far: float = FAR, latency: float = 0.002) -> tuple[Network, Host, Host, Host]:
    """Eight relays, and two peers of whom neither can be dialled; returns the near relay and the peers, settled."""
    network = Network(seed, latency=latency)
    for number in range(8):
        name = f"r{number}"
        relay = network.host(name, bootstrap=() if name == "r0" else ("r0",), serves=True, start=False)
        relay.place = (0.0, 0.0) if name == NEAR else (0.0, far * (1 + number / 60))
        relay.start()
    a, b = (network.host(name, bootstrap=("r0",), start=False) for name in "ab")
    a.place, b.place = (-far / 6, 0.0), (far / 6, 0.0)
    a.start()
    b.start()
    network.run(30.0)
    return network, network.hosts[NEAR], a, b


def talk(network: Network, a: Host, b: Host, seconds: float, *, both: bool = True, rate: int = 20) -> None:
    """Send numbers from `a` to `b`, and back, for a while."""
    for number in range(round(seconds * rate)):
        for one, other in ((a, b), (b, a))[: 1 + both]:
            network.at(network.now + number / rate, one.send, other.peer_id, 7, f"{network.now} {number}".encode())
    network.run(seconds)


def arrived(host: Host) -> list[bytes]:
    """Return what arrived at `host`, and forget it."""
    found = [data for effect in host.received if isinstance(effect, Deliver) for data in effect.datagrams]
    host.received.clear()
    return found


def via(one: Host, other: Host) -> bytes | None:
    """Return the relay by which `one` reaches `other`."""
    return one.engine.path(other.peer_id)[0].via


def drop_what_is_passed_on(relay: Host) -> None:
    """Let a relay accept and drop what is sealed between others."""

    def intercept(host: Host, _number: int, data: bytes) -> bytes:
        if data[0] == wire.LINK_HANDSHAKE:
            return data
        kept, offset = b"", 0
        while offset < len(data):
            header = wire.read_header(data, offset)
            if header.kind != Kind.SEALED or header.to == host.peer_id:
                kept += data[offset : header.end]
            offset = header.end
        return kept

    relay.intercept = intercept


def test_traffic_that_lasts_moves_to_the_relay_between_without_loss_or_repetition() -> None:
    network, near, a, b = world()
    assert near.peer_id not in (*a.engine.neighbours, *b.engine.neighbours)
    talk(network, a, b, 6.0)
    network.run(1.0)
    assert via(a, b) == via(b, a) == near.peer_id
    (session,) = [each for each in a.engine.status(network.now).sessions if each.destination == b.peer_id]
    assert (session.via, session.chosen) == (near.peer_id, True)
    for host in (a, b):
        found = arrived(host)
        assert len(found) == len(set(found)) == 120
    rtt = a.engine.path(b.peer_id)[0].rtt
    assert rtt is not None
    assert 0.0479 < rtt < 0.0481  # twice two links of 2 ms and 10 ms


def test_links_for_a_path_go_when_the_traffic_has_ended() -> None:
    network, near, a, b = world()
    talk(network, a, b, 6.0)
    assert near.peer_id in a.engine.neighbours
    assert max(len(host.engine.neighbours) for host in (a, b)) > limits.ORDINARY_LINKS
    network.run(2 * limits.PATH_IDLE + 30.0)
    for host in (a, b):
        assert len(host.engine.neighbours) <= limits.ORDINARY_LINKS


def test_nothing_is_measured_for_a_few_datagrams_nor_where_nothing_can_be_gained() -> None:
    network, _near, a, b = world()
    dialled = len(network.hosts[NEAR].engine.neighbours)
    for _ in range(4):
        talk(network, a, b, 0.1)  # a question and its answer, twice
        network.run(2 * limits.PATH_GAP)
    assert len(network.hosts[NEAR].engine.neighbours) == dialled
    assert len(arrived(b)) == 8
    network, near, a, b = world(far=0.001, latency=0.0005)
    talk(network, a, b, 10.0)
    assert near.peer_id not in (*a.engine.neighbours, *b.engine.neighbours)


def test_a_peer_whose_program_said_nothing_tells_no_stranger_where_it_is() -> None:
    network, _near, a, b = world()
    b.config.candidates = "auto"
    before = set(b.engine.neighbours)
    talk(network, a, b, 10.0, both=False)
    network.run(1.0)
    assert set(b.engine.neighbours) == before
    assert len(arrived(b)) == 200


def test_traffic_is_on_another_relay_at_once_when_the_chosen_one_is_killed() -> None:
    network, near, a, b = world()
    talk(network, a, b, 6.0)
    assert via(a, b) == near.peer_id
    arrived(b)
    near.crash()
    talk(network, a, b, 3.0)
    network.run(1.0)
    assert len(arrived(b)) >= 58  # what was on its way


def test_what_a_relay_answers_from_which_we_part_counts_for_nothing() -> None:
    network, near, a, b = world()
    for number in range(60):
        for one, other in ((a, b), (b, a)):
            network.at(network.now + number / 20, one.send, other.peer_id, 7, b"%d" % number)
    pairs, end = a.engine._paths._pairs, network.now + 6.0

    def said_at() -> float:
        trials = pairs[b.peer_id].trials.values() if b.peer_id in pairs else ()
        return next((at for relay, at in trials if relay == near.peer_id), end)

    while network.now < said_at() + 0.04:  # its answer is on the last link
        assert network.now < end
        network.run(0.001)
    a.engine._links.part(a.engine._links.by_id[near.peer_id], "no more room")
    network.run(0.02)
    assert near.peer_id not in pairs[b.peer_id].answered
    network.run(3.0)
    assert len(arrived(b)) > 50


def test_a_relay_that_answered_and_is_gone_before_the_others_answer_is_not_chosen() -> None:
    network, near, a, b = world()
    for number in range(120):
        for one, other in ((a, b), (b, a)):
            network.at(network.now + number / 20, one.send, other.peer_id, 7, b"%d" % number)
    pairs, end = a.engine._paths._pairs, network.now + 6.0

    def run_until(name: str) -> None:
        while b.peer_id not in pairs or not getattr(pairs[b.peer_id], name):
            assert network.now < end
            network.run(0.001)

    run_until("tried")
    for host in network.hosts.values():
        if host not in (near, a, b):
            drop_what_is_passed_on(host)
    run_until("answered")
    assert pairs[b.peer_id].answered.keys() == {near.peer_id}
    assert len(pairs[b.peer_id].answered) < len(pairs[b.peer_id].tried)
    near.crash()
    network.run(3.0)
    assert via(a, b) != near.peer_id


def test_a_relay_that_is_chosen_and_then_drops_costs_seconds_and_is_not_chosen_again() -> None:
    network, near, a, b = world()
    talk(network, a, b, 6.0)
    assert via(a, b) == via(b, a) == near.peer_id
    arrived(b)
    drop_what_is_passed_on(near)
    talk(network, a, b, 10.0)
    network.run(1.0)
    assert len(arrived(b)) >= 20 * (10 - 3)
    assert via(a, b) != near.peer_id
    arrived(b)
    talk(network, a, b, 60.0)
    network.run(1.0)
    assert len(arrived(b)) == 1200
    assert near.peer_id not in (via(a, b), via(b, a))


def test_a_relay_that_drops_from_the_beginning_is_never_chosen() -> None:
    network, near, a, b = world()
    drop_what_is_passed_on(near)
    talk(network, a, b, 20.0)
    network.run(1.0)
    assert len(arrived(b)) == 400
    assert via(a, b) != near.peer_id


def test_nothing_flaps_where_delays_vary() -> None:
    network, _near, a, b = world()
    network.wobble = 0.1
    talk(network, a, b, 90.0)
    network.run(1.0)
    assert len(arrived(b)) == 1800
    changes = a.engine.counters.get("paths changed", 0) + b.engine.counters.get("paths changed", 0)
    assert changes <= 1


def test_a_friend_that_names_relays_without_end_makes_no_more_work_than_one_that_names_some() -> None:
    network, _near, a, b = world()
    talk(network, a, b, 2.0)
    session = b.engine._table.get(a.peer_id)
    assert session is not None
    link = next(iter(b.engine._links.by_id.values()))
    for number in range(300):
        named = [(number.to_bytes(18) + each.to_bytes(2), 0.001) for each in range(limits.MAX_ROUND_TRIPS)]
        b.engine._paths.heard(session, Record.ROUND_TRIPS, control.round_trips(named), link)
    measured = b.engine._paths._round_trips
    assert len(measured._waiting) <= limits.MAX_ROUND_TRIPS_KNOWN
    assert len(measured._then) == 1


def test_of_two_relays_as_near_a_pair_takes_the_one_that_passes_on_less() -> None:
    network, near, a, b = world()
    other = network.host("as near", bootstrap=("r0",), serves=True, start=False)
    other.place = near.place
    other.start()
    network.run(30.0)
    relays = [near, other]

    def pass_on() -> None:
        relays[0].engine._core.forwarded_packets += 1000
        network.at(network.now + 1.0, pass_on)

    pass_on()
    for _ in range(2):
        relays.reverse()
        network.run(700.0)  # what was measured before is believed no more, and the pair is forgotten
        talk(network, a, b, 6.0)
        assert via(a, b) == via(b, a) == relays[1].peer_id


def test_a_relay_says_how_much_it_passes_on_and_when_it_is_near_its_limits() -> None:
    core = world()[1].engine._core
    core.now += 10.0
    core.load(1)
    core.now += 10.0
    core.forwarded_packets += 10 * 1000
    assert core.load(1) == 10  # less than 2**10 a second
    core.now += limits.LOAD_TIME / 2
    assert core.load(1) == 10
    assert core.load(limits.CROWDED_LINKS) == 255
    core.now += limits.LOAD_TIME
    assert core.load(1) == 0
