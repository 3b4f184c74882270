"""The pages of a node's admin port, in a real Chromium. With `--basetemp FOLDER` their screenshots are kept there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from peer_relay_socket import Peer, Socket
from peer_relay_socket.address import PeerId, Spelling
from tests.cli.test_node_admin import Node, node
from tests.loopback import free_port
from tests.observe.browser import Page, browser
from tests.patience import LIMIT, until

pytestmark = pytest.mark.slow
SCREENS = {"desk": (1200, 1400, False), "phone": (390, 1800, True)}


def record(served: Node) -> dict[str, object]:
    (found,) = json.loads(served.get("/status")[1])["peers"]
    assert isinstance(found, dict)
    return found


def cards(page: Page) -> dict[str, str]:
    """Return the page's figures by name."""
    pairs = page.run(
        "[...document.querySelectorAll('.card')].map((c) => [c.lastChild.textContent, c.firstChild.textContent])"
    )
    return dict(pairs)


def test_the_page_shows_what_status_says_with_rates_and_losses(tmp_path: Path) -> None:
    with (
        node() as served,
        Socket(bootstrap=served.url, wrtc=False) as a,
        Socket(bootstrap=served.url, wrtc=False) as b,
        browser(tmp_path / "profile") as page,
    ):
        for sock in (a, b):
            sock.bind(("", 0))
            sock.settimeout(LIMIT)
            assert sock.peer.wait_connected(LIMIT)
        page.look_like(*SCREENS["desk"][:2], "light", mobile=False)
        page.go(f"http://127.0.0.1:{served.admin}/")
        until(lambda: cards(page).get("links") == "2")
        for _ in range(200):
            a.sendto(bytes(1000), (b.peer.address, b.getsockname()[1]))
            b.recv(2000)
        until(lambda: float(cards(page)["packets passed on"]) >= 200)
        said = record(served)
        until(lambda: cards(page)["packets passed on"] == str(record(served)["forwarded_packets"]))
        assert page.texts("#state") == ["ready"]
        assert str(said["id"]) in page.texts("article > p")[0]
        assert served.url in page.texts("article > p")[0]
        names = page.texts("table[aria-label=Links] td[data-name=peer]")
        assert sorted(names) == sorted(sock.peer.id.hex()[:8] for sock in (a, b))
        assert cards(page)["role"] == "relay"
        shown = dict(zip(names, page.texts("table[aria-label=Links] td[data-name=in]"), strict=True))
        links = {link["id"][:8]: link for link in said["links"]}  # type: ignore[attr-defined]
        assert shown[a.peer.id.hex()[:8]].split()[1] == "kB"
        assert links[a.peer.id.hex()[:8]]["rx_bytes"] > 200_000
        for name, (width, height, mobile) in SCREENS.items():
            for scheme in ("light", "dark"):
                page.look_like(width, height, scheme, mobile=mobile)
                page.screenshot(tmp_path / f"{name}-{scheme}.png")
                wide = page.run("document.documentElement.scrollWidth")
                assert wide <= width, f"{name}: the page is {wide} pixels wide"
        assert page.complaints == []


def test_the_page_follows_drops_and_is_used_by_keyboard(tmp_path: Path) -> None:
    with (
        node() as served,
        Peer(bootstrap=served.url, wrtc=False) as a,
        Peer(bootstrap=served.url, wrtc=False) as b,
        browser(tmp_path / "profile") as page,
    ):
        assert a.wait_connected(LIMIT)
        assert b.wait_connected(LIMIT)
        page.go(f"http://127.0.0.1:{served.admin}/")
        until(lambda: cards(page).get("links") == "2")
        page.run("document.body.focus()")
        focused = "document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent"
        page.press("Tab")
        first = page.run(focused)
        assert first[:8] in (a.id.hex()[:8], b.id.hex()[:8])
        assert page.texts(".note")[0].startswith(first[:8])
        page.press("ArrowRight")
        assert page.run(focused)[:8] not in (first[:8], "")
        page.press("Tab")
        assert page.run(focused) == "peer"
        page.press("Enter")
        page.press("Enter")
        names = page.texts("table[aria-label=Links] td[data-name=peer]")
        assert names == sorted(names)
        assert page.run("document.querySelector('[aria-sort=ascending]').textContent") == "peer"
        until(lambda: cards(page)["up"] != "0 s")
        assert page.run(focused) == "peer", "an event takes the focus away"
        assert page.texts(".losses h2") == ["Lost in the last ten minutes: 0"]
        served.process.kill()
        until(lambda: page.texts("#state") == ["no answer; still trying"])


def test_a_browser_joins_by_the_example_page(tmp_path: Path) -> None:
    admin = free_port()
    origin = f"http://127.0.0.1:{admin}"
    with (
        node("--npm-peers", "--origin", origin, admin=admin) as served,
        Socket(bootstrap=served.url, npm_peers=True, wrtc=False) as sock,
        browser(tmp_path / "profile") as page,
    ):
        sock.bind(("", 0))
        sock.settimeout(LIMIT)
        assert sock.peer.wait_connected(LIMIT)
        page.go(f"{origin}/")
        page.run("document.querySelector('footer a').click()")
        until(
            lambda: page.run("location.pathname") == "/join" and page.run("document.getElementById('url').value") != ""
        )
        page.run("document.querySelector('#join button').click()")
        until(lambda: page.texts("#state") == [f"joined node {served.id[:8]}"])
        page.run(f"document.getElementById('to').value = '{sock.peer.id.hex()}'")
        page.run("document.getElementById('text').value = 'from a browser: é'")
        page.run("document.querySelector('#send button').click()")
        data, source = sock.recvfrom(1000)
        assert data.decode() == "from a browser: é"
        assert source[0] == Spelling().ipv4(PeerId(bytes.fromhex(page.texts("#id")[0])))
        sock.sendto(b"back again", source)
        until(lambda: len(page.texts("#heard li")) == 1)
        assert page.texts("#heard li")[0].startswith(
            f"{sock.peer.id.hex()[:8]} port {sock.getsockname()[1]}, 10 bytes: back"
        )
        page.screenshot(tmp_path / "join.png")
        assert page.complaints == []


def test_a_page_that_a_node_does_not_admit_says_what_the_node_wants(tmp_path: Path) -> None:
    with node() as served, browser(tmp_path / "profile") as page:
        page.go(f"http://127.0.0.1:{served.admin}/join")
        until(lambda: page.run("document.getElementById('url').value") == served.url)
        page.run("document.querySelector('#join button').click()")
        until(lambda: "--npm-peers --origin" in page.texts("#state")[0])
