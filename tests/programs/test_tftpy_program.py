"""PyPI tftpy: a blocking client with a timeout, a select() server that answers each transfer from a new port."""

import random
from pathlib import Path

import pytest

from tests.programs.program_hosts import READY, SCRIPTS, Network

pytestmark = [pytest.mark.slow, pytest.mark.needs("tftpy")]


@pytest.mark.forms("ip", "name")
def test_tftpy_moves_8_megabytes_unharmed_when_blocks_are_512_to_60000_bytes(network: Network, tmp_path: Path) -> None:
    served = tmp_path / "served"
    served.mkdir()
    big, small = random.Random(1).randbytes(3_000_000), random.Random(2).randbytes(1_000_000)
    (served / "big").write_bytes(big)
    (tmp_path / "small").write_bytes(small)
    port = network.port(69)
    network.start("server", SCRIPTS / "tftp_server.py", network.anywhere, port, served, ready=READY)
    transfers = ["get:1428:big:big-1428", "get:60000:big:big-60000", "put:1428:small:small", "get:512:small:small-back"]
    client = network.start("client", SCRIPTS / "tftp_client.py", network.address("server"), port, *transfers)
    network.finish(client, "^done$")
    assert (tmp_path / "big-1428").read_bytes() == big
    assert (tmp_path / "big-60000").read_bytes() == big
    assert (served / "small").read_bytes() == small
    assert (tmp_path / "small-back").read_bytes() == small
