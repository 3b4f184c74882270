"""What doctor reads out of a running peer's record, and what it takes from whatever answers in a relay's place."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any

import pytest

from peer_relay_socket import Peer
from peer_relay_socket.config import peer_config
from peer_relay_socket.limits import CHECK_TIME
from peer_relay_socket.observe.checks import Finding, relays, running


def test_the_home_relay_of_a_running_peer_is_named_with_its_round_trip() -> None:
    with Peer(wrtc=False, bootstrap="ws://127.0.0.1:1") as peer:
        peer.start()
        record: dict[str, Any] = dict(peer.status())
    link = {"id": "ab" * 20, "role": "home", "rtt_s": 0.0412}
    away = {"id": "cd" * 20, "role": None, "rtt_s": 0.001}
    found = running(record | {"links": [away, link]})
    assert Finding("home", record["id"][:8], "good", "abababab, 41 ms away") in found


@pytest.mark.parametrize(
    "links", [[], [{"id": "ab" * 20, "role": "home", "rtt_s": None}]], ids=["no link", "unmeasured"]
)
def test_without_a_measured_home_relay_none_is_named(links: list[dict[str, Any]]) -> None:
    with Peer(wrtc=False, bootstrap="ws://127.0.0.1:1") as peer:
        peer.start()
        record: dict[str, Any] = dict(peer.status())
    assert [finding for finding in running(record | {"links": links}) if finding.check == "home"] == []


def test_lanes_of_a_running_peer_and_those_that_failed_are_named() -> None:
    with Peer(wrtc=False, bootstrap="ws://127.0.0.1:1") as peer:
        peer.start()
        record: dict[str, Any] = dict(peer.status())
    lane = {"state": "live", "rtt_s": 0.02, "lost": 0.031, "rate_bytes": 1_250_000}
    links = [{"id": f"{number:040x}", "role": None, "rtt_s": None, "lane": lane} for number in range(5)]
    links += [
        {"id": "ab" * 20, "role": None, "rtt_s": None, "lane": lane | {"state": "probing"}},
        {"id": "cd" * 20, "role": None, "rtt_s": None, "lane": None},
        {"id": "ef" * 20, "role": None, "rtt_s": None},
    ]
    name = record["id"][:8]
    found = running(record | {"links": links})
    shown = "00000000 (3.1% lost), 00000000 (3.1% lost), 00000000 (3.1% lost), ..."
    assert [each for each in found if each.check == "lane"] == [
        Finding("lane", name, "good", f"small packets go by UDP on 5 links: {shown}")
    ]
    found = running(record | {"counters": {"datagram lanes left: no probe was answered": 2}})
    (failed,) = [each for each in found if each.check == "lane"]
    assert (failed.state, failed.detail) == (
        "warning",
        "UDP did not come through to a relay (tries: 2): packets there take TCP",
    )
    assert "let UDP through to the relay's port" in failed.cure
    assert [each for each in running(record) if each.check == "lane"] == []


def test_sessions_that_chose_a_relay_are_counted() -> None:
    with Peer(wrtc=False, bootstrap="ws://127.0.0.1:1") as peer:
        peer.start()
        record: dict[str, Any] = dict(peer.status())
    session = {"id": "ab" * 20, "state": "relayed", "chosen": True, "why": None, "why_not_direct": None}
    found = running(record | {"sessions": [session, session | {"chosen": False}, session]})
    detail = "2 sessions take the relay with the shortest round trip for both ends"
    assert Finding("relay choice", record["id"][:8], "good", detail) in found
    assert [each for each in running(record) if each.check == "relay choice"] == []


class Answering:
    """A server that says the same to whoever connects, piece by piece."""

    def __init__(self, *pieces: bytes, pause: float = 0.0) -> None:
        self._pieces, self._pause = pieces, pause
        self._over = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while not self._over.is_set():
                answered, _ = self._socket.accept()
                with answered, contextlib.suppress(OSError):
                    answered.recv(4096)  # else closing it may reset the connection, and with it what was said
                    for piece in self._pieces:
                        answered.sendall(piece)
                        self._over.wait(self._pause)

    def __enter__(self) -> Answering:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


@pytest.mark.parametrize(
    ("answer", "state", "detail"),
    [
        (b"HTTP/1.1 200 OK\r\nDate: Tue, 01 Dec 99999999999999 10:00:00 GMT\r\n\r\n", None, ""),
        (b"HTTP/1.1 200 OK\r\nDate: \x1b[2J\r\n\r\n", None, ""),
        (b"HTTP/1.1 200 OK\r\ndate: Tue, 01 Dec 2020 10:00:00 GMT\r\n\r\n", "warning", ""),
        (b"\x1b[31mred\x1b]0;title\x07" * 9, "failed", "it says '?[31mred?]0;title?"),
        (b"X: " + bytes(200_000), "failed", "it says 'X: ???"),
        (b"", "failed", "it closes"),
    ],
    ids=["a year that is none", "a date that is none", "a clock that is wrong", "escapes", "no end", "nothing"],
)
def test_what_answers_in_a_relays_place_puts_nothing_on_the_screen(answer: bytes, state: str, detail: str) -> None:
    with Answering(answer) as there:
        found = relays(peer_config(bootstrap=there.url), link=False)
    assert all(each.detail.isprintable() for each in found)
    told = [each for each in found if each.check in ("HTTP", "clock")]
    assert [each.state for each in told] == [state] * (state is not None)
    assert all(detail in each.detail for each in told)


@pytest.mark.slow
def test_a_relay_that_answers_byte_by_byte_is_waited_for_no_longer_than_another() -> None:
    with Answering(b"HTTP/1.1 200 OK\r\nX: ", *[b"a"] * 1_000, pause=0.1) as there:
        began = time.monotonic()
        found = {each.check: each for each in relays(peer_config(bootstrap=there.url), link=False)}
        assert time.monotonic() - began < 10 * CHECK_TIME
    assert (found["HTTP"].state, "timed out" in found["HTTP"].detail) == ("failed", True)
