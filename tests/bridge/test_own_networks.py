"""This machine's own networks, as the kernel tells them and as a portable library does."""

from __future__ import annotations

import ipaddress

import ifaddr
import pytest

from peer_relay_socket.bridge import own_networks
from peer_relay_socket.bridge.own_networks import OwnNetworks
from peer_relay_socket.originals import time
from peer_relay_socket.scope import Scope


def interfaces() -> list[ipaddress.IPv4Interface | ipaddress.IPv6Interface]:
    found = [ip for adapter in ifaddr.get_adapters() for ip in adapter.ips]
    return [
        ipaddress.ip_interface((ip.ip if isinstance(ip.ip, str) else ip.ip[0].partition("%")[0], ip.network_prefix))
        for ip in found
    ]


@pytest.mark.parametrize("portably", [False, True])
def test_every_address_of_this_machine_and_its_wires_is_held(portably: bool) -> None:
    read = [ipaddress.ip_network(pair, strict=False) for pair in own_networks._portably()] if portably else None
    own = OwnNetworks(None if read is None else lambda: read)
    assert interfaces()
    for interface in interfaces():
        assert own.holds(str(interface.ip)), interface
        assert interface.is_loopback or own.holds(str(interface.network[-1])), interface
    for far in ("8.8.8.8", "2600::1", "::ffff:8.8.8.8", "", "no address", "8.8.8.8:80"):
        assert not own.holds(far), far


def test_networks_are_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = [ipaddress.ip_network("81.2.69.0/24")]
    now = time.monotonic()
    monkeypatch.setattr(own_networks, "OWN_NETWORKS_AGE", 0.0)
    own = OwnNetworks(lambda: networks)
    assert own.holds("81.2.69.1")
    networks[:] = [ipaddress.ip_network("81.2.70.0/24")]
    assert not own.holds("81.2.69.1")
    assert own.holds("81.2.70.1")
    assert time.monotonic() >= now


def test_networks_are_looked_at_again_at_once_when_they_are_forgotten() -> None:
    networks = [ipaddress.ip_network("81.2.69.0/24")]
    own = OwnNetworks(lambda: networks)
    assert own.holds("81.2.69.1")
    networks[:] = []
    assert own.holds("81.2.69.1")
    own.forget()
    assert not own.holds("81.2.69.1")


def test_a_default_route_is_no_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_networks, "_addresses", lambda: [("0.0.0.0", 0), ("2600::5", 3), ("81.2.69.7", 24)])
    own = OwnNetworks()
    assert [own.holds(host) for host in ("8.8.8.8", "2600::6", "2600::5", "81.2.69.9")] == [False, False, True, True]


@pytest.mark.parametrize(
    ("scope", "nearby", "host", "allowed"),
    [
        (Scope.GLOBAL, False, "8.8.8.8", True),
        (Scope.GLOBAL, False, "81.2.69.7", False),
        (Scope.GLOBAL, True, "81.2.69.7", True),
        (Scope.PRIVATE, False, "81.2.69.7", False),
        (Scope.PRIVATE, False, "10.0.0.1", True),
        (Scope.GLOBAL, True, "10.0.0.1", False),
    ],
)
def test_what_may_be_tried(scope: Scope, nearby: bool, host: str, allowed: bool) -> None:
    own = OwnNetworks(lambda: [ipaddress.ip_network("81.2.69.0/24"), ipaddress.ip_network("10.0.0.0/8")])
    assert own.allows(scope, nearby, host) is allowed
