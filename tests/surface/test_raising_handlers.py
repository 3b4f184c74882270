"""What a signal handler raises comes out of a socket call at any instruction of it, and leaves the sockets working."""

from __future__ import annotations

import contextlib
import gc
import random
import signal
from collections.abc import Callable, Iterator

from peer_relay_socket.surface.peer import Peer
from peer_relay_socket.surface.udp_socket import Socket
from tests.echoing import echoing
from tests.patience import LIMIT

ROUNDS = 600


class AlarmError(Exception):
    pass


@contextlib.contextmanager
def alarms(latest: float = 1000e-6) -> Iterator[Callable[[Callable[[], object]], None]]:
    """Give a function that calls `act` again and again until an alarm interrupts it, somewhere."""
    armed = False

    def handle(*_: object) -> None:
        nonlocal armed
        if armed:
            armed = False
            raise AlarmError

    def interrupted(act: Callable[[], object]) -> None:
        nonlocal armed
        try:
            armed = True
            signal.setitimer(signal.ITIMER_REAL, dice.uniform(20e-6, latest))
            while True:
                act()
        except AlarmError:
            return

    dice = random.Random(7)
    gc.collect()
    gc.disable()  # a finalizer that the alarm strikes swallows it
    before = signal.signal(signal.SIGALRM, handle)
    try:
        yield interrupted
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()


def last_words(client: Socket, address: tuple[str, int]) -> None:
    """Check that a datagram still goes there and back."""
    client.sendto(b"last", address)
    while client.recv(100) != b"last":
        pass


def test_sending_survives_what_handlers_raise():
    node = Peer(port=0, host="127.0.0.1")
    with Socket(bootstrap=node.url) as server, Socket(bootstrap=node.url) as client, alarms(200e-6) as interrupted:
        for sock in (server, client):
            sock.bind(("", 5000))
            sock.settimeout(LIMIT)
        host = server.peer.id.hex()
        ports = range(5001, 5100)  # each a flow of its own, so that the loop is rung often

        with echoing(server):
            last_words(client, (host, 5000))
            for _ in range(2 * ROUNDS):
                interrupted(lambda: [client.sendto(b"x", (host, port)) for port in ports])
            last_words(client, (host, 5000))
    node.destroy()


def test_waiting_survives_what_handlers_raise():
    node = Peer(port=0, host="127.0.0.1")
    with Socket(bootstrap=node.url) as server, Socket(bootstrap=node.url) as client, alarms() as interrupted:
        for sock in (server, client):
            sock.bind(("", 5000))
            sock.settimeout(LIMIT)
        with echoing(server):
            last_words(client, (server.peer.id.hex(), 5000))
            for _ in range(ROUNDS):
                interrupted(lambda: last_words(client, (server.peer.id.hex(), 5000)))
            last_words(client, (server.peer.id.hex(), 5000))
    node.destroy()


def test_waking_another_thread_survives_what_handlers_raise():
    with Socket() as server, Socket() as client, alarms() as interrupted:
        server.bind(("127.0.0.1", 0))
        client.settimeout(LIMIT)
        here = server.getsockname()
        with echoing(server):
            for _ in range(ROUNDS):
                interrupted(lambda: last_words(client, here))
            last_words(client, here)
