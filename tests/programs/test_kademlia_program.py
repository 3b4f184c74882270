"""PyPI kademlia: asyncio endpoints bound to the wildcard; nodes pass addresses of others on in their messages."""

import pytest

from tests.programs.program_hosts import READY, SCRIPTS, Network

pytestmark = [pytest.mark.slow, pytest.mark.needs("kademlia")]
NODE = SCRIPTS / "kademlia_node.py"


@pytest.mark.forms("ip", "name", "ip6")
def test_kademlia_reads_every_value_when_six_nodes_joined_through_each_other(network: Network) -> None:
    ports = [network.port(8468) for _ in range(6)]

    def join(through: int) -> list[object]:
        return ["--join", network.address(f"dht{through}"), ports[through]]

    network.start("dht0", NODE, network.anywhere, ports[0], ready=READY)
    network.start("dht1", NODE, network.anywhere, ports[1], *join(0), "--store", "red", ready=READY)
    network.start("dht2", NODE, network.anywhere, ports[2], *join(0), "--store", "green", ready=READY)
    network.start("dht3", NODE, network.anywhere, ports[3], *join(1), "--store", "blue", ready=READY)
    network.start("dht4", NODE, network.anywhere, ports[4], *join(2), ready=READY)
    reader = network.start("dht5", NODE, network.anywhere, ports[5], *join(4), "--read", "red,green,blue")
    network.finish(reader, "^read 30 of 30 values, [2-5] neighbours$")
