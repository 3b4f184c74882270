"""Peers on one link find each other by multicast: in namespaces on one bridge, with no relay and no Internet."""

from __future__ import annotations

import json
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.patience import LIMIT
from tests.processes import read_line

pytestmark = pytest.mark.slow

PEER = """
import json, socket, sys, time
import peer_relay
s = peer_relay.socket()
began = time.monotonic()
s.bind(("", 5000))
s.settimeout(0.05)
peer = s.peer
print(json.dumps({"id": peer.id.hex(), "address": s.getsockname()[0]}), flush=True)
told = None
heard = set()
to = sys.argv[1:]
while True:
    ids = sorted(each.hex() for each in peer.peers)
    if ids != told:
        told = ids
        print(json.dumps({"t": time.monotonic() - began, "peers": ids, "counters": peer.counters()}), flush=True)
    try:
        data, source = s.recvfrom(100)
    except TimeoutError:
        continue
    if data == b"stop":
        break
    print(json.dumps({"heard": data.decode(), "from": source[0]}), flush=True)
"""
WIRES = """
set -e
ip link add br0 type bridge mcast_snooping 0
ip link set br0 up
mount -t tmpfs tmpfs /run
for i in 1 2 3 4; do
    ip netns add n$i
    ip link add v$i type veth peer name eth0 netns n$i
    ip link set v$i master br0 up
    ip -n n$i link set lo up
    ip -n n$i addr add 192.168.7.$i/24 dev eth0
    ip -n n$i link set eth0 up
done
echo ready
exec sleep 1000
"""


class Link:
    """Four machines on one wire; the last may send what it likes."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen(
            ["unshare", "-r", "-n", "-m", "sh", "-c", WIRES],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.ready = read_line(self._holder.stdout) == "ready\n"
        self._peers: list[subprocess.Popen[bytes]] = []

    def start(self, machine: int, code: str = PEER, **environ: str) -> subprocess.Popen[bytes]:
        inside = ["nsenter", "-t", str(self._holder.pid), "-U", "-n", "-m", "--preserve-credentials"]
        inside += ["nsenter", f"--net=/run/netns/n{machine}", "env", "-u", "PEER_RELAY_BOOTSTRAP"]
        settings = [f"{name}={value}" for name, value in {"PEER_RELAY_LAN": "1", **environ}.items()]
        peer = subprocess.Popen([*inside, *settings, sys.executable, "-c", code], stdout=subprocess.PIPE, bufsize=0)
        self._peers.append(peer)
        return peer

    def close(self) -> None:
        for process in [*self._peers, self._holder]:
            process.kill()
            process.communicate()


@pytest.fixture
def wire() -> Iterator[Link]:
    if any(shutil.which(tool, path="/usr/sbin:/sbin:/usr/bin:/bin") is None for tool in ("unshare", "nsenter", "ip")):
        pytest.skip("needs lab: no unshare, nsenter and ip here")
    link = Link()
    try:
        if not link.ready:
            pytest.skip("needs lab: network namespaces are not permitted here")
        yield link
    finally:
        link.close()


def told(peer: subprocess.Popen[bytes], limit: float = LIMIT) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(read_line(peer.stdout, limit))
    return found


def linked(peer: subprocess.Popen[bytes], ids: set[str]) -> dict[str, Any]:
    """Return what a peer says once it is linked to `ids`, all of them and no other."""
    end = time.monotonic() + LIMIT
    while True:
        said = told(peer, end - time.monotonic())
        if set(said["peers"]) == ids:
            return said


def test_peers_on_one_link_find_each_other_within_three_seconds(wire: Link) -> None:
    peers = [wire.start(i) for i in (1, 2, 3)]
    ids = [told(peer)["id"] for peer in peers]
    took = [linked(peer, set(ids) - {own})["t"] for peer, own in zip(peers, ids, strict=True)]
    print("seconds:", took)
    assert max(took) < 3.0
    late = wire.start(1)  # another program on a machine that has one
    own = told(late)["id"]
    assert linked(late, set(ids))["t"] < 3.0
    assert linked(peers[2], {*ids, own} - {ids[2]})


def test_with_a_network_key_only_its_holders_are_answered(wire: Link) -> None:
    holders = [wire.start(i, PEER_RELAY_NETWORK_KEY="a secret of theirs") for i in (1, 2)]
    ids = [told(peer)["id"] for peer in holders]
    strangers = [wire.start(3), wire.start(3)]
    theirs = [told(peer)["id"] for peer in strangers]
    for peers, own in ((holders, ids), (strangers, theirs)):
        for peer, each in zip(peers, own, strict=True):
            assert linked(peer, set(own) - {each})["t"] < 3.0
    spy = wire.start(4, SPY)
    heard = told(spy)
    assert heard["answers"] == 0
    assert heard["questions"] > 0
    for peer in (*holders, *strangers):
        assert not select.select([peer.stdout], [], [], 0)[0]  # no other link came


SPY = """
import json, os, socket, struct, sys, time
from peer_relay_socket.bridge.lan import GROUP, PORT
from peer_relay_socket.codec.lan import FRAME, TOKEN, LanFrame, LanKind, lan_frame
group = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
group.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
group.bind((GROUP, PORT))
group.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + socket.inet_aton("192.168.7.4"))
own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
own.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
own.bind(("192.168.7.4", 0))
group.settimeout(30)
question, _ = group.recvfrom(2000)  # a holder's or a stranger's: said again it is no news
own.settimeout(1.5)
for key in (os.urandom(32), bytes(32)):
    frame = LanFrame(LanKind.QUESTION, os.urandom(TOKEN), os.urandom(20), 80, False)
    own.sendto(lan_frame(key, os.urandom(TOKEN), frame), (GROUP, PORT))
own.sendto(question, (GROUP, PORT))
own.sendto(b"x" * FRAME, (GROUP, PORT))
answers = 0
try:
    while True:
        own.recvfrom(2000)
        answers += 1
except TimeoutError:
    pass
print(json.dumps({"answers": answers, "questions": 1}), flush=True)
"""

FAR = """
import json, os, socket, sys, time
from peer_relay_socket.address import DEFAULT_IPV4_NETWORK
from peer_relay_socket.bridge.lan import GROUP, PORT, _PURPOSE
from peer_relay_socket.codec.lan import TOKEN, LanFrame, LanKind, lan_frame
from peer_relay_socket.engine.core import Core, EngineConfig
from peer_relay_socket.identity import Identity
from random import Random
key = Core(Identity.generate(), EngineConfig(), Random(), os.urandom, 0.0).network_key(_PURPOSE)
own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
own.bind(("192.168.7.4", 0))
told = {}
for hops in (255, 64, 1):
    own.settimeout(30 if hops == 255 else 1.5)
    own.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, hops)
    frame = LanFrame(LanKind.QUESTION, os.urandom(TOKEN), os.urandom(20), 80, False)
    own.sendto(lan_frame(key, os.urandom(TOKEN), frame), (GROUP, PORT))
    try:
        told[hops] = own.recvfrom(2000)[1][0]
    except TimeoutError:
        told[hops] = None
print(json.dumps(told), flush=True)
"""


def test_a_question_that_passed_a_router_is_not_answered(wire: Link) -> None:
    peer = wire.start(1)
    told(peer)
    assert told(wire.start(4, FAR)) == {"255": "192.168.7.1", "64": None, "1": None}
