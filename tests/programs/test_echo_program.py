"""The textbook pair, and the whole of `talk.sh`: what a newcomer runs first."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.programs.program_hosts import READY, SCRIPTS, Network, peer_relay_command

pytestmark = pytest.mark.slow


@pytest.mark.forms("ip", "name", "ip6")
def test_echo_answers_each_datagram_when_it_is_asked_blocking(network: Network) -> None:
    port = network.port(9000)
    network.start("server", SCRIPTS / "echo_server.py", network.anywhere, port, ready=READY)
    texts = [f"text {number}" for number in range(20)]
    client = network.start("client", SCRIPTS / "echo_client.py", network.address("server"), port, *texts)
    network.finish(client, "answered 'TEXT 19'$")
    assert len(client.lines) == len(texts), client.shown()


def test_talk_shows_both_ends_of_the_conversation_when_it_is_run() -> None:
    environment = os.environ | {"PATH": f"{Path(peer_relay_command()).parent}:{os.environ['PATH']}"}
    talk = Path(__file__).with_name("talk.sh")
    shown = subprocess.run(["sh", talk], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    for line in ("relay  | node ", "server | 'hello' from 100.", "client | 'hello' to 100."):
        assert f"\n{line}" in f"\n{shown.stdout}", shown.stdout
