"""Signal handlers make socket calls in the middle of socket calls, as they may on a kernel socket."""

from __future__ import annotations

import signal
import time

import pytest

from peer_relay_socket.bridge.host import Host
from peer_relay_socket.bridge.inline_io import LoopLock
from peer_relay_socket.bridge.outbox import LoopEnd
from peer_relay_socket.surface.udp_socket import Socket

FAR = "100.127.255.1"
LONG_ENOUGH = 0.4


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """No network: what goes to other peers stays in the outbox."""
    monkeypatch.setattr(Host, "start", lambda self: None)


class Interruptions:
    """Calls `act` from a signal handler, 1000 times a second, until the block ends; never from itself."""

    def __init__(self, act) -> None:
        self.act = act
        self.count = 0
        self.busy = False

    def __enter__(self) -> Interruptions:
        self.before = signal.signal(signal.SIGALRM, self.handle)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        return self

    def __exit__(self, *exc: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self.before)

    def handle(self, number, frame) -> None:
        if not self.busy:
            self.busy = True
            try:
                self.act()
                self.count += 1
            finally:
                self.busy = False


def test_handlers_send_while_their_thread_sends():
    with Socket(bootstrap="ws://127.0.0.1:9") as sock:
        outbox = sock.peer._host.outbox
        outbox.open(LoopEnd(lambda: None, lambda *_: False, lambda *_: None, None, LoopLock()))
        sock.setblocking(False)
        received: list[bytes] = []
        sent = 0

        def take() -> None:
            for flow in outbox.take():
                received.extend(flow.take(1 << 20))

        with Interruptions(lambda: [sock.sendto(b"handler", (FAR, port)) for port in (1, 2, 3)]) as interruptions:
            end = time.monotonic() + LONG_ENOUGH
            while time.monotonic() < end:
                sock.sendto(b"main", (FAR, 9))
                sent += 1
                take()
        take()
        assert interruptions.count
        assert received.count(b"main") == sent
        assert received.count(b"handler") == 3 * interruptions.count


def test_handlers_send_to_their_own_thread_that_waits():
    with Socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(0.0005)
        here = sock.getsockname()
        received = 0
        with Interruptions(lambda: sock.sendto(b"x", here)) as interruptions:
            end = time.monotonic() + LONG_ENOUGH
            while time.monotonic() < end:
                try:
                    sock.recv(10)
                except TimeoutError:
                    continue
                received += 1
        sock.setblocking(False)
        while received < interruptions.count:
            sock.recv(10)
            received += 1
        with pytest.raises(BlockingIOError):
            sock.recv(10)


def test_handler_receives_while_its_thread_waits():
    with Socket() as sock, Socket() as other:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)
        got = []

        def handle(number, frame):
            other.sendto(b"for the handler", sock.getsockname())
            got.append(sock.recv(100))
            other.sendto(b"for the waiter", sock.getsockname())

        before = signal.signal(signal.SIGALRM, handle)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            assert sock.recv(100) == b"for the waiter"
        finally:
            signal.signal(signal.SIGALRM, before)
        assert got == [b"for the handler"]


def test_handler_closes_the_socket_its_thread_waits_in():
    sock = Socket()
    sock.settimeout(5)
    before = signal.signal(signal.SIGALRM, lambda number, frame: sock.close())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(OSError, match="Bad file descriptor"):
            sock.recv(1)
    finally:
        signal.signal(signal.SIGALRM, before)
