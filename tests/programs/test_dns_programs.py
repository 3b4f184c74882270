"""PyPI dnslib (a threading socketserver) asked by PyPI dnspython (non-blocking with selectors; asyncio; trio)."""

import pytest

from tests.programs.program_hosts import READY, SCRIPTS, Network

pytestmark = [pytest.mark.slow, pytest.mark.needs("dnslib", "dns", "trio")]


@pytest.mark.forms("ip", "name", "ip6")
def test_dnspython_gets_every_answer_when_it_asks_dnslib_in_three_ways(network: Network) -> None:
    port = network.port(53)
    network.start("server", SCRIPTS / "dns_server.py", network.anywhere, port, ready=READY)
    client = network.start("client", SCRIPTS / "dns_client.py", network.address("server"), port)
    network.finish(client, "^done$")
