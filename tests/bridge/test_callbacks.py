"""What waits for a program's listeners is bounded, and costs the relay thread nothing where there are none."""

from __future__ import annotations

import json
import threading
from collections import Counter

import pytest

from peer_relay_socket import Peer
from peer_relay_socket.bridge.callbacks import BACKLOG_FULL, Listeners
from peer_relay_socket.limits import LISTENER_BACKLOG, MAX_MESSAGE
from tests.patience import LIMIT, until

SOURCE = bytes(20)
TEXT = json.dumps("x" * (MAX_MESSAGE - 2)).encode()


def test_messages_beyond_the_backlog_are_dropped_and_counted_while_a_listener_is_slow():
    counts: Counter[str] = Counter()
    listeners = Listeners(lambda reason: counts.update((reason,)))
    go_on, heard = threading.Event(), []

    def slow(data: object, source: bytes) -> None:
        assert go_on.wait(LIMIT)
        heard.append(len(str(data)))

    listeners.on("message", slow)
    sent = 3 * LISTENER_BACKLOG // len(TEXT)
    for _ in range(sent):
        listeners.message(SOURCE, TEXT)
    dropped = counts[BACKLOG_FULL]
    assert 0 < (sent - dropped) * len(TEXT) <= LISTENER_BACKLOG
    go_on.set()
    until(lambda: len(heard) == sent - dropped)
    listeners.message(SOURCE, b"1")
    until(lambda: heard[-1] == 1)
    assert counts[BACKLOG_FULL] == dropped


def test_other_events_are_heard_while_messages_are_dropped():
    listeners = Listeners(lambda _reason: None)
    heard: list[str] = []
    listeners.on("message", lambda *_: None)
    listeners.on("close", lambda: heard.append("close"))
    for _ in range(3 * LISTENER_BACKLOG // len(TEXT)):
        listeners.message(SOURCE, TEXT)
    listeners.emit("close")
    until(lambda: heard)


@pytest.mark.parametrize("listens", [True, False])
def test_json_is_read_on_the_callbacks_thread_and_only_where_something_listens(monkeypatch, listens):
    read_on: list[int] = []
    loads = json.loads

    def recording(text: bytes) -> object:
        read_on.append(threading.get_ident())
        return loads(text)

    monkeypatch.setattr(json, "loads", recording)
    heard_on: list[int] = []
    with Peer(port=0, host="127.0.0.1", wrtc=False) as receiver, Peer(bootstrap=receiver.url, wrtc=False) as sender:
        if listens:
            receiver.on("message", lambda *_: heard_on.append(threading.get_ident()))
        last = threading.Event()
        sender.on("message", lambda *_: last.set())
        assert sender.wait_connected(LIMIT)
        for number in range(20):
            sender.send(receiver.id, [number])
        receiver.send(sender.id, "over")  # on the same session: what came before it has been taken in
        assert last.wait(LIMIT)
        if listens:
            until(lambda: len(heard_on) == 20)
            assert set(heard_on) == set(read_on)
        assert len(read_on) == 20 * listens + 1


def test_text_that_is_no_json_reaches_no_listener():
    listeners = Listeners(lambda _reason: None)
    heard: list[object] = []
    listeners.on("message", lambda data, _source: heard.append(data))
    for text in (b"{", b"\xff", b"[" * 60_000, b'"good"'):
        listeners.message(SOURCE, text)
    until(lambda: heard)
    assert heard == ["good"]
