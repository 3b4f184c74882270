"""Scope: which host and which prefixes an address counts for. How far addresses reach is told by test_ssrf."""

from __future__ import annotations

import pytest

from peer_relay_socket.scope import host_group, prefix_groups


@pytest.mark.parametrize(
    ("host", "group", "prefixes"),
    [
        ("8.8.4.4", "8.8.4.4", ("8.8.4.0/24",)),
        ("::ffff:8.8.4.4", "8.8.4.4", ("8.8.4.0/24",)),
        ("2a00:1:2:3ff::1", "2a00:1:2:3ff::/64", ("2a00:1:2:300::/56", "2a00:1:2::/48")),
        ("fe80::1%eth0", "fe80::/64", ("fe80::/56", "fe80::/48")),
        ("", "", ()),
        ("memory", "memory", ()),
    ],
)
def test_an_address_counts_for_its_host_and_its_prefixes(host: str, group: str, prefixes: tuple[str, ...]) -> None:
    assert host_group(host) == group
    assert prefix_groups(host) == prefixes


def test_addresses_of_one_ipv6_network_are_one_host() -> None:
    assert len({host_group(f"2a00:1:2:3::{n:x}") for n in range(100)}) == 1
    assert len({host_group(f"2a00:1:2:{n:x}::1") for n in range(100)}) == 100
