"""Who is believed to be behind a reverse proxy."""

from __future__ import annotations

import ipaddress

import pytest
from websockets.datastructures import Headers

from peer_relay_socket import limits
from peer_relay_socket.scope import Scope, host_group
from peer_relay_socket.transport.forwarded import Proxies
from tests.transport.links import Recorder, raw_client, serving, upgrade_request

pytestmark = pytest.mark.usefixtures("reading")

TRUSTED = [ipaddress.ip_network(network) for network in ("127.0.0.1", "10.9.0.0/16", "fd00::/8")]
XFF = "X-Forwarded-For"


@pytest.mark.parametrize(
    ("host", "headers", "client"),
    [
        # from a trusted proxy: the last address that is no proxy's
        ("127.0.0.1", [(XFF, "8.8.8.8")], "8.8.8.8"),
        ("127.0.0.1", [(XFF, "1.1.1.1, 8.8.8.8")], "8.8.8.8"),
        ("127.0.0.1", [(XFF, "1.1.1.1"), (XFF, "8.8.8.8")], "8.8.8.8"),
        ("127.0.0.1", [(XFF, "1.1.1.1, 8.8.8.8, 10.9.1.1")], "8.8.8.8"),
        ("10.9.3.4", [(XFF, "8.8.8.8,127.0.0.1 ,fd00::5")], "8.8.8.8"),
        ("fd00::1%eth0", [(XFF, "2600::1")], "2600::1"),
        ("127.0.0.1", [(XFF, "8.8.8.8:1234")], "8.8.8.8"),
        ("127.0.0.1", [(XFF, "[2600::1]:1234")], "2600::1"),
        ("127.0.0.1", [(XFF, "::ffff:8.8.8.8")], "8.8.8.8"),
        ("127.0.0.1", [(XFF, "192.168.1.7")], "192.168.1.7"),
        # which names nobody, or makes no sense
        ("127.0.0.1", [], ""),
        ("127.0.0.1", [(XFF, "")], ""),
        ("127.0.0.1", [(XFF, "8.8.8.8, unknown")], ""),
        ("127.0.0.1", [(XFF, "8.8.8.8, 8.8.8.8.8")], ""),
        ("127.0.0.1", [(XFF, "10.9.0.1")], ""),
        ("127.0.0.1", [("X-Real-IP", "8.8.8.8")], ""),
        # from anybody else: not believed, and no friend of the house any more
        ("8.8.4.4", [(XFF, "127.0.0.1")], "8.8.4.4"),
        ("8.8.4.4", [], "8.8.4.4"),
        ("127.0.0.2", [(XFF, "8.8.8.8")], ""),
        ("127.0.0.2", [("Forwarded", "for=8.8.8.8")], ""),
        ("192.168.1.1", [(XFF, "8.8.8.8")], "behind 192.168.1.1"),
        ("192.168.1.1", [("X-Real-IP", "8.8.8.8")], "behind 192.168.1.1"),
        ("fe80::1%eth0", [(XFF, "8.8.8.8")], "behind fe80::1%eth0"),
        ("192.168.1.1", [], "192.168.1.1"),
        ("127.0.0.2", [], "127.0.0.2"),
        ("::1", [], "::1"),
    ],
)
def test_a_header_is_believed_of_trusted_proxies_only(host: str, headers: list[tuple[str, str]], client: str) -> None:
    assert Proxies(TRUSTED).client(host, Headers(headers)) == client


def test_where_a_proxy_on_this_machine_hides_everybody_nobody_is_of_this_machine() -> None:
    hiding = Proxies(hiding=True)
    assert hiding.client("127.0.0.1", Headers()) == ""
    assert hiding.client("::1", Headers()) == ""
    assert hiding.client("192.168.1.1", Headers()) == "192.168.1.1"
    assert hiding.client("8.8.8.8", Headers()) == "8.8.8.8"


@pytest.mark.parametrize("host", ["192.168.1.1", "10.0.0.5", "fd00::1"])
def test_a_host_of_our_network_gains_no_place_by_a_header(host: str) -> None:
    known = Proxies().client(host, Headers([(XFF, "8.8.8.8")]))
    assert Scope.of(known) is None  # a stranger from anywhere, to which nothing near may be told
    assert host_group(known) not in ("", host_group(Proxies().client("10.9.9.9", Headers([(XFF, "8.8.8.8")]))))


async def test_links_are_known_by_whom_a_trusted_proxy_names_and_it_is_under_no_limit_per_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "ACCEPT_PER_HOST_AT_ONCE", 1.0)

    for proxies, known in ((Proxies(TRUSTED), "8.8.8.8"), (Proxies(), "")):
        server = Recorder()
        async with serving(server, proxies=proxies, half_open_per_host=3 if known else 100) as listener:
            waiting = []
            for _ in range(5):
                client = raw_client(listener.port)
                waiting.append((client, await client.__aenter__()))
            for _, raw in waiting:
                raw.write(upgrade_request(f"{XFF}: 1.2.3.4, 8.8.8.8"))
            await server.wait(lambda server=server: len(server.links) == 5)  # type: ignore[misc]
            assert {link.remote_host for link in server.links} == {known}
            for client, _ in waiting:
                await client.__aexit__(None, None, None)
