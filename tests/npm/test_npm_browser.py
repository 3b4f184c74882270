"""The npm package's own bundle.js in a headless Chromium, which reaches a socket of ours through a node of ours."""

from __future__ import annotations

import http.server
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from peer_relay_socket import Socket
from tests.npm.conftest import Listening
from tests.npm.npm_nodes import NodePeer

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).with_name("browser.js")


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves the page and the bundle, and says nothing."""

    def log_message(self, format: str, *args: object) -> None:
        """Not now."""


@pytest.fixture
def site(tmp_path: Path, npm_folder: Path) -> Iterator[str]:
    """Serve a page with the bundle, and return its origin."""
    shutil.copy(npm_folder / "node_modules" / "peer-relay" / "bundle.js", tmp_path)
    (tmp_path / "index.html").write_text('<!doctype html><script src="bundle.js"></script>')
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def chromium() -> str:
    """Return where Chromium is."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("needs chromium")
    return found


def test_a_page_and_a_socket_of_ours_exchange_datagrams_through_our_node(
    site: str,
    chromium: str,
    node_peer: Callable[..., NodePeer],
    our_peer: Callable[..., Listening],
    our_socket: Callable[..., Socket],
) -> None:
    relay = our_peer(port=0, host="127.0.0.1", origins=site)
    sock = our_socket(bootstrap=relay.url)
    page = node_peer(script=SCRIPT, page=site, bootstrap=relay.url, chromium=chromium)
    page.wait("peer", id=relay.peer.id)
    for size in (0, 5, 1200, 60_000):
        payload = random.Random(size).randbytes(size)
        sock.sendto(payload, (page.id.hex(), 7))
        told = page.wait("datagram", size=size)
        assert (told["address"], told["port"]) == (sock.peer.id.hex(), sock.getsockname()[1])
        assert sock.recvfrom(65_535)[0] == payload


def test_a_page_that_was_not_named_is_not_let_in(
    site: str, chromium: str, node_peer: Callable[..., NodePeer], our_peer: Callable[..., Listening]
) -> None:
    relay = our_peer(port=0, host="127.0.0.1", origins="https://example.org")
    page = node_peer(script=SCRIPT, page=site, bootstrap=relay.url, chromium=chromium)
    while "403" not in page.wait("console")["text"]:
        pass  # the page's other complaints
    assert relay.peer.peers == []
