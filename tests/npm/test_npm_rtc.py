"""WebRTC links between peers of ours and npm's, in node with libwebrtc and in a browser, in a network of their own."""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.npm.npm_nodes import OURS, PATIENCE, NodePeer
from tests.npm.private_net import ADDRESS, PrivateNet
from tests.npm.test_npm_browser import SCRIPT
from tests.patience import until

pytestmark = pytest.mark.slow
SITE = "http://127.0.0.1:8080"
SHIM = """
const Real = window.RTCPeerConnection
// simple-peer of that age asks with a callback, which no browser takes any more, and never says that it is connected
const getStats = Real.prototype.getStats
Real.prototype.getStats = function (callback) {
  if (typeof callback === 'function') callback({ result: () => [] })
  else return getStats.apply(this, arguments)
}
// its STUN servers are on the internet
window.RTCPeerConnection = window.webkitRTCPeerConnection = function () { return new Real() }
"""
Start = Callable[..., NodePeer]


@pytest.fixture
def net() -> Iterator[PrivateNet]:
    """Return a network of the test's own."""
    try:
        net = PrivateNet()
    except OSError as error:
        pytest.skip(f"needs lab: {error}")
    yield net
    net.close()


@pytest.fixture
def start(net: PrivateNet, node_peer: Start) -> Start:
    """Start peers in that network: as `node_peer`."""
    return partial(node_peer, inside=net.inside)


@pytest.fixture
def page(net: PrivateNet, start: Start, tmp_path: Path, npm_folder: Path) -> Iterator[Callable[[str], NodePeer]]:
    """Open a page with the package's bundle in Chromium, which joins at a URL."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs chromium")
    shutil.copy(npm_folder / "node_modules" / "peer-relay" / "bundle.js", tmp_path)
    (tmp_path / "shim.js").write_text(SHIM)
    (tmp_path / "index.html").write_text(
        '<!doctype html><script src="shim.js"></script><script src="bundle.js"></script>'
    )
    command = [sys.executable, "-m", "http.server", "8080", "--bind", "127.0.0.1", "--directory", str(tmp_path)]
    server = subprocess.Popen([*net.inside, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield lambda url: start(script=SCRIPT, page=SITE, bootstrap=url, chromium=chromium)
    server.kill()
    server.wait()


def hub_of(kind: str, start: Start) -> NodePeer:
    if kind == "ours":
        return start(script=OURS, port=0, host=ADDRESS, origins=SITE, wrtc=False)
    hub = start(port=0)
    hub.url = hub.url.replace("localhost", ADDRESS)
    return hub


def wait_linked(ours: NodePeer, theirs: NodePeer) -> None:
    """Wait until both count each other among their neighbours, by a data channel."""
    try:
        until(lambda: ours.id in theirs.peers() and theirs.id in ours.peers(), 2 * PATIENCE)
    except AssertionError as error:
        ours.do("counters")
        raise AssertionError((ours.wait("counters"), ours.peers(), theirs.peers())) from error
    ours.do("path", id=theirs.id)
    assert ours.wait("path")["transport"] == "webrtc"


def exchange(ours: NodePeer, theirs: NodePeer) -> None:
    """Have datagrams sent to an npm peer that sends them back."""
    dice = random.Random(1)
    for size in (0, 1, 1200, 60_000, 65_507):
        data = dice.randbytes(size)
        ours.do("datagram", id=theirs.id, port=7, data=data)
        theirs.wait("datagram", size=size, address=ours.id)
        told = ours.wait("datagram", digest=hashlib.sha256(data).hexdigest())
        assert told["address"] == theirs.id.hex()


@pytest.mark.parametrize("asks", ["ours", "node"])
@pytest.mark.parametrize("hub", ["ours", "node"])
def test_a_node_peer_with_webrtc_and_ours_link_by_a_data_channel(hub: str, asks: str, start: Start) -> None:
    relay = hub_of(hub, start)
    ours = start("socket", script=OURS, bootstrap=relay.url)
    node = start("socket", bootstrap=[relay.url], wrtc=True)
    node.do("echo")
    node.wait("echoing")
    for peer in (ours, node):
        peer.wait("peer", id=relay.id)
    asking, asked = (ours, node) if asks == "ours" else (node, ours)
    asking.do("connect", id=asked.id)
    wait_linked(ours, node)
    exchange(ours, node)


@pytest.mark.parametrize("asks", ["ours", "page"])
def test_a_page_and_ours_link_by_a_data_channel(asks: str, start: Start, page: Callable[[str], NodePeer]) -> None:
    relay = hub_of("ours", start)
    ours = start("socket", script=OURS, bootstrap=relay.url)
    theirs = page(relay.url)
    for peer in (ours, theirs):
        peer.wait("peer", id=relay.id)
    asking, asked = (ours, theirs) if asks == "ours" else (theirs, ours)
    asking.do("connect", id=asked.id)
    wait_linked(ours, theirs)
    exchange(ours, theirs)


@pytest.mark.parametrize("hub", ["ours", "node"])
def test_a_peer_that_keeps_a_dead_channel_to_us_is_still_spoken_with(hub: str, start: Start) -> None:
    """npm's peers never forget a WebRTC link that was lost, and send into it."""
    relay = hub_of(hub, start)
    ours = start("socket", script=OURS, bootstrap=relay.url)
    node = start("socket", bootstrap=[relay.url], wrtc=True)
    node.do("echo")
    node.wait("echoing")
    for peer in (ours, node):
        peer.wait("peer", id=relay.id)
    ours.do("connect", id=node.id)
    wait_linked(ours, node)
    ours.do("disconnect", id=node.id)
    until(lambda: node.id not in ours.peers())
    dice = random.Random(2)
    for size in (5, 1200, 60_000):
        data = dice.randbytes(size)
        ours.do("datagram", id=node.id, port=7, data=data)
        told = node.wait("datagram", size=size)
        assert int(told["address"], 16) ^ int.from_bytes(ours.id) == 1
        assert ours.wait("datagram", digest=hashlib.sha256(data).hexdigest())["address"] == node.id.hex()
    assert ours.id in node.peers()
