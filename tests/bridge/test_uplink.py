"""Links from an address that is gone end at once, and no others: in a namespace whose addresses the test takes away."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from contextlib import closing
from typing import Any

import pytest

from peer_relay_socket.bridge.uplink import Uplink
from peer_relay_socket.limits import LINK_ANSWER
from tests.patience import LIMIT
from tests.transport.links import Recorder, pair

COMMON = """
import json, logging, subprocess, sys, time
from peer_relay_socket import Peer

def ip(*words):
    subprocess.run(["ip", *words], check=True)

said = []
class Lines(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())
logging.getLogger("peer_relay").setLevel(logging.INFO)
logging.getLogger("peer_relay").addHandler(Lines())

def until(what):
    began = time.monotonic()
    while not what():
        assert time.monotonic() < began + LIMIT, said
        time.sleep(0.01)
    return time.monotonic() - began

ip("link", "set", "lo", "up")
ip("link", "add", "d0", "type", "veth", "peer", "name", "d1")
ip("link", "set", "d1", "up")
ip("link", "set", "d0", "up")
"""

MOVES = """
there, first, second, *more = sys.argv[1:]
shown = f"[{there}]" if ":" in there else there
for address in (there, first, second):
    ip("addr", "add", address + ("/64" if ":" in there else "/24"), "dev", "d0", *more)
toward = ["route", "replace", "local", there, "dev", "lo" if ":" in there else "d0", "table", "local"]
if ":" in there:
    ip("-6", "route", "del", "local", there, "dev", "d0", "table", "local")
ip(*toward, "src", first)
with Peer(host=there, port=0, wrtc=False) as relay:
    url = f"ws://{shown}:{relay.url.rpartition(':')[2]}"
    with Peer(bootstrap=[url], wrtc=False) as peer:
        assert peer.wait_connected(LIMIT)
        def status():
            return sorted((link["host"], link["id"]) for link in relay.status()["links"])
        until(lambda: [host for host, _ in status()] == [first])
        ip(*toward, "src", second)
        time.sleep(LOOKS)
        before = status()
        ip("addr", "del", first + ("/64" if ":" in there else "/24"), "dev", "d0")
        took = until(lambda: second in [host for host, _ in status()] and peer.peers)
        until(lambda: any(first in line for line in said))
print(json.dumps({"before": [host for host, _ in before], "took": took, "said": said}))
"""


COMES = """
with Peer(host="0.0.0.0", port=0, wrtc=False) as relay:
    url = f"ws://10.9.0.1:{relay.url.rpartition(':')[2]}"
    with Peer(bootstrap=[url], wrtc=False) as peer:
        until(lambda: peer.status()["bootstrap"][0]["failures"] >= FAILURES)
        ip("addr", "add", "10.9.0.1/24", "dev", "d0")
        ip("route", "add", "default", "dev", "d0")
        took = until(lambda: peer.peers)
print(json.dumps({"took": took}))
"""


def in_namespace(script: str, *arguments: str) -> dict[str, Any]:
    """Run a script that may change addresses; return what it prints."""
    inside = ["unshare", "-r", "-n", sys.executable, "-c"]
    if shutil.which("unshare") is None or subprocess.run([*inside, ""], capture_output=True, check=False).returncode:
        pytest.skip("needs lab: network namespaces are not permitted here")
    script = (COMMON + script).replace("LIMIT", str(LIMIT))
    done = subprocess.run([*inside, script, *arguments], capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.slow
def test_a_peer_that_began_without_a_network_links_once_there_is_one() -> None:
    told = in_namespace(COMES.replace("FAILURES", "8"))  # after which the next dial waits for 4 to 8 s
    assert told["took"] < 3.8


@pytest.mark.slow
@pytest.mark.parametrize(
    "addresses",
    [("10.9.0.1", "10.9.0.2", "10.9.0.3"), ("fd09::1", "fd09::2", "fd09::3", "nodad")],
    ids=["ipv4", "ipv6"],
)
def test_a_peer_whose_address_is_gone_links_anew_from_another(addresses: tuple[str, ...]) -> None:
    told = in_namespace(MOVES.replace("LOOKS", "2.5"), *addresses)
    assert told["before"] == [addresses[1]], "a route that changes ends no link whose address is there"
    assert told["took"] < LINK_ANSWER, "its silence was what told"
    assert [line for line in told["said"] if "not this machine's" in line] == [
        f"= {addresses[1]} is not this machine's any more: links from it end"
    ]


class Timerless(asyncio.SelectorEventLoop):
    """A loop on which nothing may be put off."""

    def call_later(self, *_: object, **__: object) -> asyncio.TimerHandle:
        raise AssertionError("a look")


class Nobody:
    """Has no engine and dials nothing."""

    expects_links = False

    def network_changed(self) -> None:
        raise AssertionError("a change")

    def run(self, act: object) -> None:
        raise AssertionError("a change")


async def test_what_stays_on_this_machine_or_was_accepted_is_not_looked_at() -> None:
    server, client = Recorder(), Recorder()
    async with pair(server, client):
        links = dict(enumerate([*server.links, *client.links]))
        assert [link.left_from is None for link in links.values()] == [True, False]
        with closing(Timerless()) as loop:
            uplink = Uplink(Nobody(), loop, links, Nobody())
            for link in links.values():
                uplink.link_opened(link)
