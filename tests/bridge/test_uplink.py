"""Links from an address that is gone end at once, and no others: in a namespace whose addresses the test takes away."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from contextlib import closing

import pytest

from peer_relay_socket.bridge.uplink import Uplink
from peer_relay_socket.limits import LINK_ANSWER
from tests.patience import LIMIT
from tests.transport.links import Recorder, pair

INSIDE = """
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
        assert time.monotonic() < began + LIMIT, (status(), said)
        time.sleep(0.01)
    return time.monotonic() - began

there, first, second, *more = sys.argv[1:]
shown = f"[{there}]" if ":" in there else there
ip("link", "set", "lo", "up")
ip("link", "add", "d0", "type", "veth", "peer", "name", "d1")
ip("link", "set", "d1", "up")
ip("link", "set", "d0", "up")
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "addresses",
    [("10.9.0.1", "10.9.0.2", "10.9.0.3"), ("fd09::1", "fd09::2", "fd09::3", "nodad")],
    ids=["ipv4", "ipv6"],
)
def test_a_peer_whose_address_is_gone_links_anew_from_another(addresses: tuple[str, ...]) -> None:
    inside = ["unshare", "-r", "-n", sys.executable, "-c"]
    if shutil.which("unshare") is None or subprocess.run([*inside, ""], capture_output=True, check=False).returncode:
        pytest.skip("needs lab: network namespaces are not permitted here")
    script = INSIDE.replace("LIMIT", str(LIMIT)).replace("LOOKS", "2.5")
    done = subprocess.run([*inside, script, *addresses], capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
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
    """No engine."""

    def run(self, act: object) -> None:
        raise AssertionError("a change")


async def test_what_stays_on_this_machine_or_was_accepted_is_not_looked_at() -> None:
    server, client = Recorder(), Recorder()
    async with pair(server, client):
        links = dict(enumerate([*server.links, *client.links]))
        assert [link.left_from is None for link in links.values()] == [True, False]
        with closing(Timerless()) as loop:
            uplink = Uplink(Nobody(), loop, links, lambda: None)
            for link in links.values():
                uplink.link_opened(link)
