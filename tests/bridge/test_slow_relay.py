"""A sender learns why it is slow: its relay reads no more from it, and says so."""

from __future__ import annotations

import logging
import os
import socket
import time

import pytest

from peer_relay_socket.limits import LINK_BYTES_RATE
from peer_relay_socket.surface.udp_socket import Socket
from tests.bridge.test_flood import own_address, process
from tests.processes import read_line

LIMIT = 60.0


@pytest.mark.slow
def test_who_sends_more_than_its_relay_reads_is_told_in_log_and_counters(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "peer_relay")
    with process("-m", "peer_relay", "node", "--host", own_address()) as node:
        _, relay, _, url = read_line(node.stdout).split()
        with (
            Socket(socket.AF_INET, socket.SOCK_DGRAM, bootstrap=url, wrtc=False) as a,
            Socket(socket.AF_INET, socket.SOCK_DGRAM, bootstrap=url, wrtc=False) as b,
        ):
            b.bind(("", 5000))
            assert a.peer.wait_connected(LIMIT)
            assert b.peer.wait_connected(LIMIT)
            said = f"{relay[:8]} reads at most 10000 packets/s and {LINK_BYTES_RATE:.0f} bytes/s from us"
            payload, end = os.urandom(60_000), time.monotonic() + LIMIT
            while said not in [record.getMessage() for record in caplog.records]:
                assert time.monotonic() < end
                a.sendto(payload, (b.peer.id.hex(), 5000))
            assert a.peer.counters()["links that read no faster (see the log)"] == 1
            assert "links that read no faster (see the log)" not in b.peer.counters()
