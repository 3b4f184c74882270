"""PyPI aioquic: the client is a dual-stack AF_INET6 socket (::ffff:a.b.c.d), the server asyncio's on the wildcard."""

import pytest

from tests.programs.program_hosts import READY, SCRIPTS, Network

pytestmark = [pytest.mark.slow, pytest.mark.needs("aioquic")]


def transfer(network: Network, kind: str) -> None:
    port = network.port(4433)
    network.start("server", SCRIPTS / "quic_server.py", network.anywhere, port, ready=READY)
    client = network.start("client", SCRIPTS / "quic_client.py", kind, network.address("server"), port)
    network.finish(client, f"^{kind}: 6000000 bytes unharmed$")


@pytest.mark.forms("ip", "name", "ip6")
def test_aioquic_moves_6_megabytes_unharmed_when_four_streams_share_a_connection(network: Network) -> None:
    transfer(network, "streams")


@pytest.mark.forms("ip", "name", "ip6")
def test_http3_moves_6_megabytes_unharmed_when_four_requests_share_a_connection(network: Network) -> None:
    transfer(network, "h3")
