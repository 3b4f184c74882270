"""What relays that lie, and peers that lie about relays, cost a pair that talks: each a bounded time, in virtual time.

``pytest -s tests/engine/test_path_lies.py`` prints the table of tests/sim/README.md.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from peer_relay_socket.address import PeerId
from peer_relay_socket.engine.effects import Deliver
from tests.engine.test_paths import arrived, drop_what_is_passed_on, talk, via, world
from tests.sim.network import Host, Network

RATE = 20
"""Datagrams a second, each way; so 0.05 s lie between two where nothing is wrong."""
BEGUN = 6.0
"""Seconds after which the pair has chosen the relay between its ends, if that is honest so far."""

Lie = Callable[[Network, Host, Host], None]
"""What the near relay does from now on, or the second peer."""


def _nothing(_network: Network, _near: Host, _b: Host) -> None:
    pass


def _drops(_network: Network, near: Host, _b: Host) -> None:
    drop_what_is_passed_on(near)


def _is_answered_for(network: Network, near: Host, _b: Host) -> None:
    """At its URL another relay answers, with a key of its own."""
    _lead(network, near, network.hosts["r3"])


def _is_not_there(network: Network, near: Host, _b: Host) -> None:
    """Its URL leads nowhere."""
    _lead(network, near, None)


def _lead(network: Network, relay: Host, to: Host | None) -> None:
    for url in [url for url, host in network.by_url.items() if host is relay]:
        if to is None:
            del network.by_url[url]
        else:
            network.by_url[url] = to


class _NearToAll:
    """Says of each relay that it is next door."""

    def __init__(self, honest: object) -> None:
        self._honest = honest

    def __getattr__(self, name: str) -> object:
        return getattr(self._honest, name)

    def nearest(self, count: int) -> list[tuple[PeerId, float]]:
        """Return them."""
        return [(relay, 0.0001) for relay, _ in self._honest.nearest(99)][-count:]  # type: ignore[attr-defined]

    def of(self, _peer_id: PeerId) -> float:
        """Return that."""
        return 0.0001


def _lies_about_round_trips(_network: Network, _near: Host, b: Host) -> None:
    """The other end names its farthest relays as its nearest."""
    b.engine._paths._round_trips = _NearToAll(b.engine._round_trips)  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("name", "lie", "at", "most", "lost"),
    [
        ("nothing is wrong", _nothing, 0.0, 0.1, 0),
        ("a relay drops from the beginning", _drops, 0.0, 0.1, 0),
        ("a relay is chosen, and then drops", _drops, BEGUN, 3.0, 3 * RATE),
        ("another relay answers at its URL", _is_answered_for, 0.0, 0.1, 0),
        ("its URL leads nowhere", _is_not_there, 0.0, 0.1, 0),
        ("the other end lies about round trips", _lies_about_round_trips, 0.0, 0.1, 0),
    ],
)
def test_a_lie_costs_a_bounded_time(name: str, lie: Lie, at: float, most: float, lost: int) -> None:
    network, near, a, b = world()
    times: list[float] = []

    def delivered(host: Host, _effect: Deliver) -> None:
        if host is b:
            times.append(network.now)

    network.on_deliver = delivered
    talk(network, a, b, at)
    lie(network, near, b)
    talk(network, a, b, 20.0 - at)
    network.run(1.0)
    gap = max(later - earlier for earlier, later in pairwise(times[1:]))
    missing = 20 * RATE - len(arrived(b))
    rtt = a.engine.path(b.peer_id)[0].rtt or 0.0
    print(f"\n| {name} | {gap:.2f} s | {missing} of {20 * RATE} | {1000 * rtt:.0f} ms | {via(a, b) == near.peer_id} |")
    assert gap <= most
    assert missing <= lost
    assert (via(a, b) == near.peer_id) == (lie in (_nothing, _lies_about_round_trips))
