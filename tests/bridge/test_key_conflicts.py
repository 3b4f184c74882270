"""Two live processes with one key: they are told, and leave each other more and more time."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from peer_relay_socket import Peer
from peer_relay_socket.bridge.key_conflicts import KeyConflicts
from peer_relay_socket.limits import KEY_CONFLICT_MEMORY, KEY_CONFLICT_URLS, KEY_CONFLICT_WAIT


def test_once_or_twice_is_nothing() -> None:
    rivals = KeyConflicts()
    assert [rivals.superseded("ws://a", 1.0), rivals.superseded("ws://a", 2.0)] == [False, False]
    assert rivals.wait("ws://a", 2.0) == 0.0
    assert rivals.superseded("ws://b", 3.0) is False  # each URL by itself


def test_again_and_again_waits_ever_longer() -> None:
    rivals = KeyConflicts()
    waits = []
    now = 0.0
    for _ in range(12):
        rivals.superseded("ws://a", now)
        waits.append(rivals.wait("ws://a", now))
        now += waits[-1]
    assert waits[:2] == [0.0, 0.0]
    for wait, longest in zip(waits[2:], [1, 2, 4, 8, 16, 32, 60, 60, 60, 60], strict=True):
        assert longest / 2 <= wait <= longest
    assert KEY_CONFLICT_WAIT == 60.0
    assert rivals.wait("ws://b", now) == 0.0


def test_it_is_said_at_the_third_time_and_ever_less_often() -> None:
    rivals = KeyConflicts()
    said = [second for second in range(2000) if rivals.superseded("ws://a", float(second))]
    assert said == [2, 122, 362, 842, 1802]


def test_a_rival_that_is_gone_is_forgotten() -> None:
    rivals = KeyConflicts()
    for second in range(10):
        rivals.superseded("ws://a", float(second))
    later = 9.0 + KEY_CONFLICT_MEMORY + 1.0
    assert rivals.wait("ws://a", later) == 0.0
    rivals.superseded("ws://a", later)
    assert rivals.wait("ws://a", later) == 0.0


def test_only_so_many_urls_are_remembered() -> None:
    rivals = KeyConflicts()
    for i in range(KEY_CONFLICT_URLS + 1):
        for _ in range(3):
            rivals.superseded(f"ws://{i}", 0.0)
    assert rivals.wait("ws://0", 0.0) == 0.0
    assert rivals.wait("ws://1", 0.0) > 0.0


def test_two_peers_with_one_key_are_told(tmp_path: Path) -> None:
    warned = threading.Event()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "another process uses our key" in record.getMessage():
                warned.set()

    handler = Handler()
    logger = logging.getLogger("peer_relay")
    logger.addHandler(handler)
    key = str(tmp_path / "key")
    try:
        with Peer(host="127.0.0.1", port=0) as relay:
            assert relay.url is not None
            with Peer(bootstrap=[relay.url], identity=key) as one, Peer(bootstrap=[relay.url], identity=key) as other:
                assert one.id == other.id
                assert warned.wait(20)
    finally:
        logger.removeHandler(handler)


@pytest.mark.parametrize("count", [6])
def test_peers_that_link_to_each_other_at_once_are_no_rivals(count: int, caplog: pytest.LogCaptureFixture) -> None:
    with Peer(host="127.0.0.1", port=0) as first:
        assert first.url is not None
        peers = [Peer(host="127.0.0.1", port=0, bootstrap=[first.url]) for _ in range(count)]
        for peer in peers:
            assert peer.wait_connected(20)
        for peer in peers:
            for other in peers:
                if other is not peer:
                    peer.connect(other.id)
        for peer in peers:
            peer.destroy()
    assert "another process" not in caplog.text
