"""Programs of many kinds, each a few seconds: event libraries, adopted sockets, multicast, WebRTC, a local daemon."""

import socket
import time

import pytest

from tests.programs.program_hosts import READY, SCRIPTS, Network

pytestmark = pytest.mark.slow
FRAMES = 80
"""Of each universe: two seconds."""


@pytest.mark.needs("gevent", "eventlet")
@pytest.mark.forms("ip", "name")
def test_eventlet_is_answered_200_times_by_gevent(network: Network) -> None:
    port = network.port(9000)
    network.start("server", SCRIPTS / "gevent_server.py", network.anywhere, port, ready=READY)
    client = network.start("client", SCRIPTS / "eventlet_client.py", network.address("server"), port)
    network.finish(client, "^200 of 200 answers$")


@pytest.mark.needs("twisted")
@pytest.mark.forms("ip")
def test_twisted_adopts_a_socket_and_answers(network: Network) -> None:
    port = network.port(9000)
    network.start("server", SCRIPTS / "twisted_adopts.py", network.anywhere, port, ready=READY)
    client = network.start("client", SCRIPTS / "echo_client.py", network.address("server"), port, "text")
    network.finish(client, "answered 'TEXT'$")


@pytest.mark.needs("statsd")
@pytest.mark.forms("ip")
def test_statsd_is_a_daemon_of_this_machine_and_the_peer_is_not(network: Network) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as daemon:
        daemon.bind(("127.0.0.1", 0))
        daemon.settimeout(5)
        port = network.port(9000)
        network.real_udp = f"127.0.0.0/8:{daemon.getsockname()[1]}"
        network.start("server", SCRIPTS / "echo_server.py", network.anywhere, port, ready=READY)
        where = [network.address("server"), port, daemon.getsockname()[1]]
        network.finish(network.start("client", SCRIPTS / "statsd_client.py", *where), "^20 answers$")
        assert [daemon.recv(99) for _ in range(20)] == [b"answers:1|c"] * 20


@pytest.mark.needs("sacn")
@pytest.mark.forms("ip")
def test_sacn_loses_no_frame_of_three_universes(network: Network) -> None:
    receiver = network.start("receiver", SCRIPTS / "sacn_receiver.py", FRAMES, ready=READY)
    network.start("sender", SCRIPTS / "sacn_sender.py", 20, ready=READY)
    began = time.monotonic()
    network.finish(receiver, "^all$")
    assert time.monotonic() - began < 3 * FRAMES / 40 + 5  # one a second comes from a sender that sends no changes


@pytest.mark.needs("can", "msgpack")
@pytest.mark.forms("ip")
def test_can_bus_over_multicast_hears_and_is_heard(network: Network) -> None:
    listener = network.start("listener", SCRIPTS / "can_node.py", "listen", ready=READY)
    sender = network.start("sender", SCRIPTS / "can_node.py", "send")
    network.finish(listener, "heard b'hello'")
    network.finish(sender, "heard b'answer'")


@pytest.mark.needs("aiortc")
@pytest.mark.forms("ip")
def test_aiortc_carries_a_megabyte_over_a_data_channel(network: Network) -> None:
    offers = network.start("offers", SCRIPTS / "rtc_peer.py", "offer", ready=READY)
    answers = network.start("answers", SCRIPTS / "rtc_peer.py", "answer")
    network.finish(offers, "^1000000 bytes$")
    network.finish(answers, "^closed$")
