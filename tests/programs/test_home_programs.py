"""Programs of buildings, homes and games: KNX by multicast, BACnet, devices that are found by broadcast."""

import pytest

from tests.programs.program_hosts import READY, SCRIPTS, Network

pytestmark = [pytest.mark.slow, pytest.mark.forms("ip")]


def on_kernel(network: Network) -> bool:
    return network.name == "kernel"


@pytest.mark.needs("xknx")
def test_xknx_routes_a_question_and_its_answer(network: Network) -> None:
    local = ["127.0.0.1"] if on_kernel(network) else []
    listener = network.start("listener", SCRIPTS / "knx_node.py", "listen", *local, ready=READY)
    sender = network.start("sender", SCRIPTS / "knx_node.py", "send", *local)
    network.finish(listener, "^asked$")
    network.finish(sender, "^answered$")


@pytest.mark.needs("bacpypes3")
def test_bacpypes3_finds_a_device_and_reads_from_it(network: Network) -> None:
    port, other = network.port(47808), network.port(47808)
    bits = 32 if on_kernel(network) else 10  # with 10 it binds the overlay's broadcast address, too
    device = network.address("device")
    network.start("device", SCRIPTS / "bacnet_node.py", "serve", f"{device}/{bits}:{port}", ready=READY)
    own = f"{network.address('client')}/{bits}:{other}"
    client = network.start("client", SCRIPTS / "bacnet_node.py", "ask", own, f"{device}:{port}")
    network.finish(client, "^device 100 reads 21.5$")


@pytest.mark.needs("mcstatus")
@pytest.mark.forms("ip", "name")
def test_mcstatus_asks_a_game_server(network: Network) -> None:
    port = network.port(19132)
    network.start("server", SCRIPTS / "bedrock_server.py", network.anywhere, port, ready=READY)
    client = network.start("client", SCRIPTS / "bedrock_client.py", network.address("server"), port)
    network.finish(client, "^players 3 of 10$")


@pytest.mark.needs("kasa")
def test_kasa_finds_a_plug_by_broadcast(network: Network) -> None:
    port = network.port(9999)
    network.start("plug", SCRIPTS / "kasa_device.py", port, ready=READY)
    everywhere = "127.255.255.255" if on_kernel(network) else "255.255.255.255"
    finder = network.start("finder", SCRIPTS / "kasa_finds.py", everywhere, port)
    network.finish(finder, "^found lamp HS100$")
