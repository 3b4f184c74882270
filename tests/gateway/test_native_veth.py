"""`peer-relay run` without /dev/net/tun: the tests of native programs again, over a pair of Ethernet devices."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.gateway import test_native as native
from tests.gateway import test_native_programs as programs
from tests.gateway import test_native_tcp as tcp
from tests.gateway.conftest import COMMAND, LIMIT, Run
from tests.processes import environment

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")


@pytest.fixture(scope="module")
def run_command(node: str) -> list[str]:
    """The words before a program on a machine without the device; skips where this one permits no such thing."""
    spaces = "-m" if os.geteuid() == 0 else "-Urm"
    world = 'test -e /dev/net/tun && mount --bind /dev/null /dev/net/tun; exec "$@"'
    words = ["unshare", spaces, "sh", "-c", world, "sh", *COMMAND, "run", "--bootstrap", node]
    done = subprocess.run(
        [*words, "true"], env=environment(), capture_output=True, text=True, timeout=LIMIT, check=False
    )
    if done.returncode in (1, 2):
        pytest.skip(done.stderr.strip())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return words


def test_device_is_an_ethernet_one_and_its_other_half_is_out_of_reach(run: Run) -> None:
    done = run("sh", "-c", "cut -d : -f 1 /proc/net/dev; cat /proc/net/packet")
    assert [line.strip() for line in done.stdout.splitlines()[2:4]] == ["lo", "peer0"]
    assert len(done.stdout.splitlines()) == 6  # and of our packet sockets one is in this namespace


# What a TUN device gives, this gives.
test_every_size = native.test_static_program_asks_a_peer_in_every_size_and_both_ip_versions
test_privileged_port = native.test_peers_reach_a_native_server_on_a_privileged_port
test_two_programs = native.test_two_native_programs_talk
test_refusals = native.test_refusals_go_both_ways
test_burst = native.test_burst_arrives_whole_and_what_was_sent_last_leaves
test_flood = native.test_flooding_sender_waits_and_loses_nothing
test_standstill = native.test_sender_loses_nothing_while_we_stand_still
test_groups = native.test_broadcast_and_multicast_reach_and_are_heard
test_names = native.test_peer_names_are_found_and_others_are_refused
test_uid_and_capabilities = native.test_program_has_its_own_uid_no_capability_and_only_the_overlay
test_tcp_is_refused = native.test_tcp_is_refused_at_once
test_foreign_udp = native.test_foreign_udp_is_dropped_and_does_not_leak
test_end = native.test_every_descendant_is_killed_when_we_are
test_dig = programs.test_dig_asks_dnsmasq_by_name_both_unmodified
test_tcp_overlay = tcp.test_connections_carry_bytes_both_ways_and_reach_only_ports_that_are_named
