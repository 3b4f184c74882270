"""Scope: which host and which prefixes an address counts for, how far a URL reaches. test_ssrf has the addresses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer_relay_socket.scope import Crowds, Scope, crowd_groups, host_group, reach


@pytest.mark.parametrize(
    ("host", "groups"),
    [
        ("8.8.4.4", ("8.8.4.4", "8.8.4.0/24")),
        ("::ffff:8.8.4.4", ("8.8.4.4", "8.8.4.0/24")),
        ("2a00:1:2:3ff::1", ("2a00:1:2:3ff::/64", "2a00:1:2:300::/56", "2a00:1:2::/48")),
        ("fe80::1%eth0", ("fe80::/64", "fe80::/56", "fe80::/48")),
        ("behind 10.0.0.1", ("behind 10.0.0.1",)),
        ("", ()),
    ],
)
def test_an_address_counts_for_its_host_and_its_prefixes(host: str, groups: tuple[str, ...]) -> None:
    assert crowd_groups(host) == groups
    assert host_group(host) == (groups[0] if groups else "")


def test_addresses_of_one_ipv6_network_are_one_host() -> None:
    assert len({host_group(f"2a00:1:2:3::{n:x}") for n in range(100)}) == 1
    assert len({host_group(f"2a00:1:2:{n:x}::1") for n in range(100)}) == 100


@pytest.mark.parametrize(
    ("host", "fits"),
    [
        ("8.8.4.4", 5),
        ("8.8.4.{}", 10),
        ("2a00:1:2:3::{:x}", 5),
        ("2a00:1:2:{:x}::1", 10),
        ("2a00:1:2:{:x}00::1", 20),
        ("", 50),
    ],
)
def test_a_host_and_its_prefixes_have_limits(host: str, fits: int) -> None:
    crowds = Crowds[int](5)
    for member in range(50):
        if not crowds.is_full(host.format(member)):
            crowds.add(member, host.format(member))
        else:
            assert member == fits
            break
    else:
        assert fits == 50
    for member in range(fits):
        crowds.remove(member, host.format(member))
    assert len(crowds) == 0


def test_the_newest_of_the_most_crowded_prefix_gives_way_to_one_from_elsewhere() -> None:
    crowds = Crowds[int](50)
    for member in range(10):
        crowds.add(member, f"2a00:1:2:{member:x}00::1")
    crowds.add(10, "8.8.8.8")
    assert crowds.to_give_way("8.8.8.8", lambda _member: True) == 9
    assert crowds.to_give_way("2600::1", lambda member: member != 9) == 8
    assert crowds.to_give_way("2a00:1:2:f00::1", lambda _member: True) is None
    assert crowds.to_give_way("", lambda _member: True) == 9
    assert Crowds[int](5).to_give_way("8.8.8.8", lambda _member: True) is None


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(0, 3)), max_size=60))
def test_crowds_agree_with_a_count(steps: list[tuple[bool, int, int]]) -> None:
    crowds, kept = Crowds[int](100), dict[int, str]()
    for comes, member, site in steps:
        if comes and member not in kept:
            kept[member] = f"8.8.{site}.{member}"
            crowds.add(member, kept[member])
        elif not comes:
            crowds.remove(member, kept.pop(member, "8.8.4.4"))
    sites = [host.rpartition(".")[0] for host in kept.values()]
    most = max(map(sites.count, sites), default=0)
    chosen = crowds.to_give_way("2600::1", lambda _member: True)
    assert (chosen is not None) == (most > 1)
    assert chosen is None or sites.count(kept[chosen].rpartition(".")[0]) == most
    for member, host in kept.items():
        crowds.remove(member, host)
    assert len(crowds) == 0


@pytest.mark.parametrize(
    ("url", "scope"),
    [
        ("ws://8.8.8.8:1/", Scope.GLOBAL),
        ("ws://example.org", Scope.GLOBAL),
        ("ws://10.0.0.1", Scope.PRIVATE),
        ("ws://192.168.1.1", Scope.PRIVATE),
        ("ws://169.254.169.254/", Scope.LINK),
        ("ws://100.64.0.1", Scope.PRIVATE),
        ("ws://[fe80::1]", Scope.LINK),
        ("ws://[fd00::1]", Scope.PRIVATE),
        ("ws://127.0.0.1", Scope.LOOPBACK),
        ("ws://127.9.9.9", Scope.LOOPBACK),
        ("ws://[::1]:5", Scope.LOOPBACK),
        ("ws://[::ffff:127.0.0.1]", Scope.LOOPBACK),
        ("ws://[::ffff:10.1.1.1]", Scope.PRIVATE),
        ("ws://localhost", Scope.LOOPBACK),
        ("ws://LOCALHOST", Scope.LOOPBACK),
        ("ws://localhost.", Scope.LOOPBACK),
        ("ws://a.localhost", Scope.LOOPBACK),
        ("ws://2130706433", Scope.LOOPBACK),  # 127.0.0.1 in decimal
        ("ws://0x7f000001", Scope.LOOPBACK),
        ("ws://127.1", Scope.LOOPBACK),
        ("ws://0177.0.0.1", Scope.LOOPBACK),
        ("ws://0.0.0.0", Scope.LOOPBACK),
        ("ws://[::]", Scope.LOOPBACK),
        ("ws://224.0.0.1", Scope.LOOPBACK),
        ("ws://", Scope.LOOPBACK),
        ("ws://[::1", Scope.LOOPBACK),
    ],
)
def test_reach_of_a_url_is_never_overrated(url: str, scope: Scope) -> None:
    assert reach(url) is scope
