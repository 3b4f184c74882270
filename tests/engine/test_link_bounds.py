"""How many links strangers may have, and how many handshakes; those of crowds give way."""

from __future__ import annotations

import pytest

from peer_relay_socket.engine.effects import CloseLink, Note
from peer_relay_socket.limits import (
    LINK_HANDSHAKE_TIME,
    MAX_HALF_OPEN_LINKS,
    MAX_HALF_OPEN_PER_HOST,
    MAX_LINKS,
    MAX_LINKS_PER_HOST,
)
from tests.sim.bench import Bench, Node


def knock(node: Node, number: int, host: str) -> bool:
    """Open a connection that says nothing; return whether it was let stand."""
    node.engine.link_opened(number, url=None, remote_host=host, now=node.bench.now)
    closed = [effect for effect in node.engine.take_effects() if isinstance(effect, CloseLink)]
    return all(effect.link != number for effect in closed)


def test_half_open_links_of_one_host_are_bounded() -> None:
    bench = Bench()
    node = bench.node("node", serves=True)
    stood = sum(knock(node, number, "8.8.8.8") for number in range(100))
    assert stood == MAX_HALF_OPEN_PER_HOST
    assert knock(node, 101, "8.8.4.4")
    assert node.engine.counters["link refused: too many handshakes from one host"] == 100 - stood
    node.engine.link_opened(102, url=None, remote_host="8.8.8.8", now=bench.now)
    (said,) = [effect for effect in node.engine.take_effects() if isinstance(effect, Note)]
    assert (said.level, said.text) == (10, "link from 8.8.8.8 refused: too many handshakes from one host")  # by now
    bench.advance(LINK_HANDSHAKE_TIME + 1)
    assert knock(node, 102, "8.8.8.8")


def test_half_open_links_of_one_ipv6_network_count_together() -> None:
    bench = Bench()
    node = bench.node("node", serves=True)
    assert sum(knock(node, n, f"2a00:1:2:3::{n:x}") for n in range(100)) == MAX_HALF_OPEN_PER_HOST
    assert knock(node, 101, "2a00:1:2:4::1")


def test_half_open_links_are_bounded_in_total() -> None:
    bench = Bench()
    node = bench.node("node", serves=True)
    stood = sum(knock(node, n, f"8.{n >> 8}.{n & 255}.1") for n in range(MAX_HALF_OPEN_LINKS + 50))
    assert stood == MAX_HALF_OPEN_LINKS
    assert len(node.engine._links.all) == MAX_HALF_OPEN_LINKS
    bench.advance(LINK_HANDSHAKE_TIME + 1)
    assert len(node.engine._links.all) == 0


@pytest.mark.slow
def test_links_of_one_host_and_in_total_are_bounded() -> None:
    bench = Bench()
    node = bench.node("node", serves=True)
    table = node.engine._links
    for n in range(MAX_LINKS_PER_HOST):
        assert knock(node, n, "8.8.8.8")
        proved(node)
    assert not knock(node, 9_000, "8.8.8.8")
    assert knock(node, 9_001, "127.0.0.1")
    for n in range(10_000, 10_000 + MAX_LINKS):
        knock(node, n, f"9.{n >> 8 & 255}.{n & 255}.1")
        proved(node)
    assert len(table.all) == MAX_LINKS


def proved(node: Node) -> None:
    """Have every half-open link of `node` count as one that has proved its key."""
    table = node.engine._links
    for link in table._half_open.values():
        table._opening.remove(link, link.crowd_host)
    table._half_open.clear()


@pytest.mark.parametrize(
    ("prefix", "most"),
    [
        ("2a00:1:2:3::{:x}", MAX_LINKS_PER_HOST),
        ("2a00:1:2:{:x}::1", 2 * MAX_LINKS_PER_HOST),
        ("2a00:1:2:{:x}00::1", 4 * MAX_LINKS_PER_HOST),
    ],
)
def test_links_of_one_prefix_are_bounded(prefix: str, most: int) -> None:
    node = Bench().node("node", serves=True)
    stood = 0
    for n in range(256):
        for m in range(6):
            stood += knock(node, 10 * n + m, prefix.format(n))
            proved(node)
    assert stood == min(most, 256 * 6)


@pytest.mark.slow
def test_a_full_table_has_room_for_an_honest_newcomer() -> None:
    node = Bench().node("node", serves=True)
    table = node.engine._links
    for n in range(MAX_LINKS + 500):  # eight /48, each full, and then some
        knock(node, n, f"2a00:1:{n % 16:x}:{n // 16 % 256:x}00::1")
        proved(node)
    assert len(table.all) == MAX_LINKS
    for n in range(20):
        assert knock(node, 20_000 + n, f"2600:{n:x}::1")
        proved(node)
    assert len(table.all) == MAX_LINKS
    assert not knock(node, 30_000, "2a00:1:3::1")
    assert node.engine.counters["link refused: too many links"] >= 1
    assert all(20_000 + n in table.all for n in range(20))


def test_half_open_links_of_a_crowd_give_way_too() -> None:
    node = Bench().node("node", serves=True)
    for n in range(2 * MAX_HALF_OPEN_LINKS):
        knock(node, n, f"2a00:1:{n % 32:x}:{n // 32 % 256:x}00::1")
    assert len(node.engine._links._half_open) == MAX_HALF_OPEN_LINKS
    assert knock(node, 9_000, "2600::1")
    assert 9_000 in node.engine._links.all
