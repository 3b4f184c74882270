"""Twisted names: its own command line as the server, its resolver as the client, both on the epoll reactor."""

import pytest

from tests.programs.program_hosts import SCRIPTS, Network

pytestmark = [pytest.mark.slow, pytest.mark.needs("twisted")]


@pytest.mark.forms("ip")  # Twisted's datagram ports take IP literals only
def test_twisted_answers_200_lookups_when_both_ends_are_twisted(network: Network) -> None:
    port = network.port(53)
    server = ["-m", "twisted", "dns", "--interface", network.anywhere, "--port", port, "--pyzone", SCRIPTS / "zone.py"]
    network.start("server", *server, ready="DNSDatagramProtocol starting on")
    client = network.start("client", SCRIPTS / "twisted_client.py", network.address("server"), port)
    network.finish(client, "^200 of 200 answers$")
