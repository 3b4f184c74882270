"""The links that nearness of ids does not choose, in virtual time."""

from __future__ import annotations

from peer_relay_socket import limits
from tests.sim.network import Host, Network


def world(*, one_network: bool = False, spread: float = 0.0) -> tuple[Network, Host]:
    """Twelve relays, each `spread` seconds farther away than the one before, and one ordinary peer, settled."""
    network = Network(3)
    for number in range(12):
        address = f"8.8.8.{number + 1}" if one_network and number else f"8.8.{number + 1}.1"
        bootstrap = () if number == 0 else ("r0",)
        relay = network.host(f"r{number}", bootstrap=bootstrap, serves=True, address=address)
        relay.place = (spread * number, 0.0)
    peer = network.host("peer", bootstrap=("r0",))
    network.run(60.0)
    return network, peer


def nearest(network: Network, peer: Host) -> list[bytes]:
    """Return the ids of all relays, nearest to `peer` first."""
    relays = [host.peer_id for host in network.hosts.values() if host.config.serves and host.alive]
    return sorted(relays, key=lambda relay: int.from_bytes(relay) ^ int.from_bytes(peer.peer_id))


def test_a_link_stays_whoever_comes_nearer() -> None:
    network, peer = world()
    closest = nearest(network, peer)[: limits.CLOSEST_LINKS]
    kept = set(peer.engine.neighbours) - set(closest)
    assert 1 <= len(kept) <= 2
    for number in range(12, 30):
        network.host(f"r{number}", bootstrap=("r0",), serves=True, address=f"8.8.{number + 1}.1")
    network.run(60.0)
    assert set(nearest(network, peer)[: limits.CLOSEST_LINKS]) <= set(peer.engine.neighbours)
    assert kept & set(peer.engine.neighbours)
    assert len(peer.engine.neighbours) <= limits.ORDINARY_LINKS


def test_the_record_names_home_which_is_no_bootstrap_node_until_it_is_gone() -> None:
    network, peer = world()
    (home,) = [link for link in peer.engine.status(network.now).links if link.role == "home"]
    assert home.url != "r0"
    assert home.relays
    (host,) = [host for host in network.hosts.values() if host.peer_id == home.peer_id]
    host.crash()
    network.run(10.0)
    (other,) = [link for link in peer.engine.status(network.now).links if link.role == "home"]
    assert other.peer_id != home.peer_id


def test_a_home_that_has_more_to_do_than_others_is_left() -> None:
    network, peer = world(spread=0.001)
    home = home_of(network, peer)
    assert home is not None
    for number in range(limits.NEVER_CROWDED + 20):
        crowd = network.host(f"p{number}", bootstrap=("r0",))
        crowd.engine.connect(home, network.now)
    network.run(10.0)
    assert home_of(network, peer) == home  # nothing was heard of them so far
    network.run(1.5 * limits.REFRESH_MAX)
    assert home_of(network, peer) not in (None, home)


def home_of(network: Network, peer: Host) -> bytes | None:
    """Return the id of the peer's home."""
    return next((link.peer_id for link in peer.engine.status(network.now).links if link.role == "home"), None)


def test_a_retry_goes_by_the_relay_drawn_by_chance_and_then_by_home() -> None:
    network, peer = world(spread=0.001)
    roles = {link.role: link.peer_id for link in peer.engine.status(network.now).links}
    router = peer.engine._router
    for number in range(20):
        target = network.random.randbytes(20)
        ways = [router.next_hop(target, alternate) for alternate in range(3)]
        assert None not in ways
        used = [link.peer_id for link in ways if link is not None]
        assert len(set(used)) == 3
        assert roles["chance"] in used[:2], number
        assert roles["home"] in used, number
