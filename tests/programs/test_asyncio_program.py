"""CPython's own tests of asyncio's datagram endpoints and socket methods, on the select, poll and epoll loops."""

import pytest

from tests.programs.program_hosts import Network

MODULES = [f"test.test_asyncio.{name}" for name in ("test_events", "test_sock_lowlevel", "test_base_events")]
PATTERNS = ["recvfrom", "sendto", "datagram", "DatagramSelect", "udp"]

pytestmark = [pytest.mark.slow, pytest.mark.needs("test.test_asyncio")]


@pytest.mark.forms("ip")
def test_asyncio_passes_its_own_datagram_tests_when_its_sockets_are_ours(network: Network) -> None:
    chosen = [word for pattern in PATTERNS for word in ("-k", pattern)]
    tests = network.start("tests", "-m", "unittest", "-q", *chosen, *MODULES)
    network.finish(tests, r"^Ran [3-9]\d tests in ")
