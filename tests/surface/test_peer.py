"""Peer over real WebSockets on loopback: messages, events, life and death."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable, Iterator
from queue import Empty, Queue

import pytest

from peer_relay_socket.errors import ConfigError, IdentityError, PeerClosedError
from peer_relay_socket.surface.peer import Peer
from tests.loopback import free_port
from tests.patience import LIMIT, until


@pytest.fixture
def make() -> Iterator[Callable[..., Peer]]:
    peers: list[Peer] = []

    def peer(**options: object) -> Peer:
        made = Peer(**options)  # type: ignore[arg-type]
        peers.append(made)
        return made

    yield peer
    for made in reversed(peers):
        made.destroy()


def relay(make: Callable[..., Peer]) -> tuple[Peer, str]:
    node = make(port=0, host="127.0.0.1")
    assert node.url is not None
    return node, node.url


def test_messages_cross_a_relay_both_ways(make: Callable[..., Peer]) -> None:
    _, url = relay(make)
    a, b = make(bootstrap=[url]), make(bootstrap=url)
    heard: Queue[tuple[object, bytes]] = Queue()
    for peer in (a, b):
        peer.on("message", lambda data, sender: heard.put((data, sender)))
        assert peer.wait_connected(LIMIT)
    data = {"text": "naïve ☃", "list": [1, 2.5, None, True]}
    a.send(b.id, data)  # type: ignore[arg-type]
    assert heard.get(timeout=LIMIT) == (data, a.id)
    b.send(a.id.hex(), ["back"])
    assert heard.get(timeout=LIMIT) == (["back"], b.id)


def test_a_message_sent_before_the_link_is_up_arrives(make: Callable[..., Peer]) -> None:
    _, url = relay(make)
    b = make(bootstrap=[url])
    heard: Queue[object] = Queue()
    b.on("message", lambda data, sender: heard.put(data))
    assert b.wait_connected(LIMIT)
    make(bootstrap=[url]).send(b.id, "early")
    assert heard.get(timeout=LIMIT) == "early"


def test_peer_event_names_each_neighbour_and_connect_makes_a_direct_link(make: Callable[..., Peer]) -> None:
    _, url = relay(make)
    a = make(bootstrap=[url])
    b = make(bootstrap=[url], port=0, host="127.0.0.1")
    met: Queue[bytes] = Queue()
    a.on("peer", met.put)
    a.connect(b.id)
    seen = set()
    while b.id not in seen:
        seen.add(met.get(timeout=LIMIT))
    assert b.id in a.peers
    a.disconnect(b.id)
    b_gone = threading.Event()
    for _ in range(1000):
        if b.id not in a.peers:
            b_gone.set()
            break
        b_gone.wait(0.01)
    assert b_gone.is_set()


def test_a_peer_that_serves_reports_a_port_in_use(make: Callable[..., Peer]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(OSError, match="in use") as caught:
            Peer(port=taken.getsockname()[1], host="127.0.0.1")
        assert caught.value.errno == errno.EADDRINUSE


def test_listeners_run_off_the_relay_thread_and_off_removes_them(make: Callable[..., Peer]) -> None:
    _, url = relay(make)
    a, b = make(bootstrap=[url]), make(bootstrap=[url])
    names: Queue[str] = Queue()

    def listener(data: object, sender: bytes) -> None:
        names.put(threading.current_thread().name)

    b.once("message", listener)
    assert a.wait_connected(LIMIT)
    assert b.wait_connected(LIMIT)
    a.send(b.id, 1)
    assert names.get(timeout=LIMIT) != "peer-relay"
    done: Queue[object] = Queue()
    b.on("message", lambda data, sender: done.put(data))
    a.send(b.id, 2)
    assert done.get(timeout=LIMIT) == 2
    with pytest.raises(Empty):
        names.get_nowait()


def test_destroy_calls_back_and_ends_the_peer(make: Callable[..., Peer]) -> None:
    _, url = relay(make)
    a = make(bootstrap=[url])
    assert a.wait_connected(LIMIT)
    called = threading.Event()
    a.destroy(called.set)
    assert called.is_set()
    assert a.destroyed
    with pytest.raises(PeerClosedError):
        a.send(a.id, 1)
    a.destroy()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"bootstrap": "http://127.0.0.1/"}, ConfigError),
        ({"bootstrap": "ws://"}, ConfigError),
        ({"port": 70000}, ConfigError),
        ({"ipv4_network": "10.0.0.0/30"}, ConfigError),
        ({"identity": "/nonexistent/directory/key"}, IdentityError),
    ],
)
def test_settings_that_mean_nothing_are_refused(options: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        Peer(**options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_an_unreachable_bootstrap_is_one_log_line(make: Callable[..., Peer], caplog: pytest.LogCaptureFixture) -> None:
    url = f"ws://127.0.0.1:{free_port()}"
    lonely = make(bootstrap=[url])
    until(lambda: lonely.status()["bootstrap"][0]["failures"] >= 2)
    assert not lonely.wait_connected(0)
    lines = [record for record in caplog.records if url in record.getMessage()]
    assert len(lines) == 1
    assert lines[0].levelname == "WARNING"


def test_sends_that_cannot_be_are_refused_at_once(make: Callable[..., Peer]) -> None:
    _, url = relay(make)
    a = make(bootstrap=[url])
    with pytest.raises(ValueError, match="not a peer id"):
        a.send("abcd", 1)
    with pytest.raises(TypeError):
        a.send(bytes(20), object())  # type: ignore[arg-type]
    with pytest.raises(OSError, match="65536 bytes"):
        a.send(bytes(20), "x" * 70_000)
    with pytest.raises(ValueError, match="no such event"):
        a.on("nothing", print)


@pytest.mark.slow
def test_a_peer_without_the_network_key_is_kept_out_and_told_why_once(
    make: Callable[..., Peer], caplog: pytest.LogCaptureFixture
) -> None:
    node = make(port=0, host="127.0.0.1", network_key="sesame")
    inside, outside = (make(bootstrap=node.url, network_key=key) for key in ("sesame", None))
    assert inside.wait_connected(LIMIT)
    until(lambda: outside.status()["bootstrap"][0]["failures"] >= 2)
    assert not outside.wait_connected(0)
    assert node.peers == [inside.id]
    hints = [record.getMessage() for record in caplog.records if "network key" in record.getMessage()]
    assert len(hints) == 1
