"""What a Peer tells beside messages and links: "error", "close"; and every way to name a peer."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path as File
from queue import Queue
from typing import Any

import pytest

from peer_relay_socket import AF_PEER, Peer, PeerClosedError, PeerRelayError, Socket
from peer_relay_socket.bridge.runtime import on_relay_thread
from tests.loopback import free_port
from tests.patience import LIMIT, until


@pytest.fixture
def relay() -> Iterator[Peer]:
    with Peer(port=0, host="127.0.0.1", wrtc=False) as node:
        yield node


def nobody() -> str:
    """Return a URL at which nobody listens."""
    return f"ws://127.0.0.1:{free_port()}"


# --- "error" -------------------------------------------------------------------------------------------------------


def refused_by_a_closed_port(relay: Peer, _folder: File) -> dict[str, Any]:
    return {"bootstrap": nobody()}


def without_the_network_key(relay: Peer, _folder: File) -> dict[str, Any]:
    return {"bootstrap": relay.url, "network_key": "theirs"}


def in_another_ipv4_network(relay: Peer, _folder: File) -> dict[str, Any]:
    return {"bootstrap": relay.url, "ipv4_network": "10.0.0.0/8"}


def held_by_another_peer(relay: Peer, _folder: File) -> dict[str, Any]:
    return {"bootstrap": f"{relay.url}#{'ab' * 20}"}


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (held_by_another_peer, "expected abababab, but"),
        (refused_by_a_closed_port, "cannot reach"),
        (without_the_network_key, "network key"),
        (in_another_ipv4_network, "the IPv4 networks differ"),
    ],
)
def test_a_bootstrap_that_cannot_be_joined_is_an_error(
    relay: Peer, tmp_path: File, settings: Callable[[Peer, File], dict[str, Any]], text: str
) -> None:
    told: Queue[tuple[Exception, int, bool]] = Queue()
    options = settings(relay, tmp_path)
    with Peer(wrtc=False, **options) as peer:
        peer.on("error", lambda error: told.put((error, threading.get_ident(), on_relay_thread())))
        error, thread, is_relays = told.get(timeout=LIMIT)
        assert isinstance(error, PeerRelayError)
        assert text in str(error)
        assert options["bootstrap"] in str(error)
        assert (thread == threading.get_ident(), is_relays) == (False, False)


def test_a_bootstrap_url_may_name_the_peer_that_must_be_there(relay: Peer) -> None:
    for name in (relay.id.hex(), relay.id.hex().upper(), f"{relay.id.hex()}.peer"):
        with Peer(bootstrap=f"{relay.url}/#{name}", wrtc=False) as peer:
            assert peer.wait_connected(LIMIT)
            assert peer.peers == [relay.id]


def test_an_impostor_at_a_bootstrap_url_is_linked_to_by_nobody(relay: Peer) -> None:
    told: Queue[Exception] = Queue()
    with Peer(port=0, host="127.0.0.1", wrtc=False) as impostor:
        names = [f"{impostor.url}#{relay.id.hex()}", f"{relay.url}#{relay.id.hex()}"]
        with Peer(bootstrap=names, wrtc=False) as peer:
            peer.on("error", told.put)
            assert "expected" in str(told.get(timeout=LIMIT))
            until(lambda: relay.id in peer.peers)
            assert impostor.id not in peer.peers


def test_a_twin_with_our_key_is_an_error(relay: Peer, tmp_path: File) -> None:
    twins, told = [], Queue[Exception]()
    for _ in range(2):
        twins.append(Peer(bootstrap=relay.url or "", identity=tmp_path / "key", wrtc=False))
        twins[-1].on("error", told.put)
    try:
        assert "another process uses our key" in str(told.get(timeout=LIMIT))
    finally:
        for twin in twins:
            twin.destroy()


def test_an_error_without_a_listener_is_a_log_line_and_the_peer_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "peer_relay"), Peer(bootstrap=nobody()) as peer:
        until(lambda: "cannot reach" in caplog.text)
        assert not peer.destroyed
        assert "Traceback" not in caplog.text


# --- "close", and the end of a peer ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("started", [True, False])
def test_close_is_told_once_whatever_thread_destroys_the_peer(relay: Peer, started: bool) -> None:
    closed: Queue[str] = Queue()
    sock = Socket(AF_PEER, bootstrap=relay.url or "") if started else Socket(AF_PEER)
    peer = sock.peer
    peer.on("close", lambda: closed.put("close"))
    thread = threading.Thread(target=peer.destroy)
    thread.start()
    thread.join(LIMIT)
    assert closed.get(timeout=LIMIT) == "close"
    peer.destroy()
    sock.close()
    peer.off("close", print)
    assert closed.empty()


def test_a_peer_is_an_async_context_manager_that_leaves_the_loop_free(relay: Peer) -> None:
    async def program() -> int:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        async with Peer(bootstrap=relay.url or "") as peer:
            assert await asyncio.to_thread(peer.wait_connected, LIMIT)
            ticking = asyncio.create_task(tick())
            await asyncio.sleep(0)
            before = ticks
        ticking.cancel()
        assert peer.destroyed
        await peer.aclose()
        return ticks - before

    assert asyncio.run(program()) > 0


def test_aclose_without_asyncio_destroys_at_once(relay: Peer) -> None:
    peer = Peer(bootstrap=relay.url or "")
    with pytest.raises(StopIteration):
        peer.aclose().send(None)
    assert peer.destroyed


# --- naming a peer ---------------------------------------------------------------------------------------------------

NAMES: list[Callable[[bytes], Any]] = [
    bytes,
    bytearray,
    memoryview,
    bytes.hex,
    lambda peer_id: peer_id.hex().upper(),
    lambda peer_id: f"{peer_id.hex()}.peer",
    lambda peer_id: f"{peer_id.hex()}.PEER.",
]


@pytest.mark.parametrize("name", NAMES)
def test_every_form_of_an_id_is_taken_wherever_an_id_is(relay: Peer, name: Callable[[bytes], Any]) -> None:
    heard: Queue[Any] = Queue()
    with Socket(AF_PEER, bootstrap=relay.url or "", wrtc=False) as sock:
        relay.on("message", lambda data, _sender: heard.put(data))
        sock.peer.send(name(relay.id), "hello")
        assert heard.get(timeout=LIMIT) == "hello"
        sock.peer.connect(name(relay.id))
        until(lambda: sock.peer.path(name(relay.id)).reached == "direct")
        sock.peer.disconnect(name(relay.id))


@pytest.mark.parametrize("family", [AF_PEER, socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("name", [bytes, bytearray, bytes.hex, lambda peer_id: f"{peer_id.hex()}.peer"])
def test_every_form_of_an_id_is_an_address(family: int, name: Callable[[bytes], Any]) -> None:
    with Socket(family) as one, Socket(family) as other:
        one.bind(("", 0))
        one.settimeout(LIMIT)
        where = (name(one.peer.id), one.getsockname()[1])
        other.sendto(b"to", where)
        other.connect(where)
        other.send(b"connected")
        assert [one.recv(100), one.recv(100)] == [b"to", b"connected"]


@pytest.mark.parametrize("wrong", [b"short", "no id", "ab" * 21, bytes(21)])
def test_what_is_no_id_is_refused(relay: Peer, wrong: Any) -> None:
    for call in (relay.connect, relay.disconnect, relay.path, lambda peer: relay.send(peer, 1)):
        with pytest.raises(ValueError, match="not a peer id"):
            call(wrong)


@pytest.mark.parametrize("wrong", [20, None, [1], 1.5])
def test_what_is_neither_bytes_nor_a_string_is_a_type_error(relay: Peer, wrong: Any) -> None:
    for call in (relay.connect, relay.disconnect, relay.path, lambda peer: relay.send(peer, 1)):
        with pytest.raises(TypeError, match="peer id is bytes or a string"):
            call(wrong)


def test_path_takes_an_address(relay: Peer) -> None:
    with Peer(bootstrap=relay.url or "", wrtc=False) as peer:
        assert peer.path(peer.address).reached == peer.path(peer.ipv6).reached == "own"
        assert peer.path("100.64.0.9").reached == "unknown"
        assert peer.wait_connected(LIMIT)
        for address in (relay.address, relay.ipv6, f"::ffff:{relay.address}"):
            until(lambda address=address: peer.path(address).reached == "direct")  # type: ignore[misc]
        for wrong in ("8.8.8.8", "localhost", "", "239.1.2.3"):
            with pytest.raises(ValueError, match="not a peer id, name or address"):
                peer.path(wrong)
    with pytest.raises(PeerClosedError):
        peer.path(relay.address)
