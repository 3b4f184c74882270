"""FastPath datagrams leave from the thread that sends them; bursts go by the loop; neither overtakes the other."""

from __future__ import annotations

import gc
import random
import signal
import socket
import threading
import time

from peer_relay_socket.bridge.runtime import LoopLock
from peer_relay_socket.surface.udp_socket import Socket
from tests.patience import LIMIT


def test_turn_is_lent_while_the_loop_sleeps_and_comes_back_whatever_is_raised() -> None:
    loop_lock = LoopLock()
    loop_lock.take()
    assert not loop_lock.hold(0)
    loop_lock.give()
    release = loop_lock.hold(0)
    assert release
    assert not loop_lock.hold(0)
    release()
    assert loop_lock.hold(0)


def test_loop_goes_on_without_a_borrower_that_is_held_up() -> None:
    loop_lock = LoopLock()
    loop_lock.take()
    awake = threading.Event()

    def wake() -> None:
        loop_lock.take()
        awake.set()

    loop = threading.Thread(target=wake)
    loop_lock.give()

    release = loop_lock.hold(0)
    assert release
    loop.start()
    assert awake.wait(LIMIT)
    release()
    assert not loop_lock.hold(0), "it is the loop's"
    loop_lock.give()
    assert loop_lock.hold(0)
    loop.join(LIMIT)


def test_what_interrupts_a_lone_datagram_may_wait_for_the_loop(ends: tuple[Socket, Socket, tuple[str, int]]) -> None:
    asking, answering, where = ends
    outbox = asking.peer._host.outbox
    waited: list[object] = []
    end = outbox.loop_end
    assert end is not None

    def interrupted(*arguments: object) -> bool:
        """As if a signal handler, or the garbage collector, came first."""
        if not waited:
            waited.append(None)
            asking.sendto(b"from the handler", where)
            waited.append(answering.recvfrom(100)[0])
            waited.append(asking.peer.path(answering.peer.id))
        return bool(end.send_now(*arguments))

    outbox.open(end._replace(send_now=interrupted))
    deadline = time.monotonic() + LIMIT
    while not waited and time.monotonic() < deadline:
        asking.sendto(b"interrupted", where)
        if not waited:
            assert answering.recvfrom(100)[0] == b"interrupted"
    assert waited[1] == b"from the handler"
    assert answering.recvfrom(100)[0] == b"interrupted"
    asking.sendto(b"after", where)
    assert answering.recvfrom(100)[0] == b"after"


def test_answers_leave_from_the_thread_that_gives_them(ends: tuple[Socket, Socket, tuple[str, int]]) -> None:
    asking, answering, where = ends
    outbox = asking.peer._host.outbox
    posts = 0
    end = outbox.loop_end
    assert end is not None

    def count() -> None:
        nonlocal posts
        posts += 1
        end.wake()

    outbox.open(end._replace(wake=count))
    for number in range(200):
        asking.sendto(bytes((number,)), where)
        data, source = answering.recvfrom(100)
        answering.sendto(data, source)
        assert asking.recvfrom(100)[0] == bytes((number,))
    assert posts < 100  # the loop may be awake now and then, and timers want setting


def test_nothing_overtakes_between_lone_datagrams_and_bursts(ends: tuple[Socket, Socket, tuple[str, int]]) -> None:
    asking, answering, where = ends
    dice = random.Random(5)
    total = 3000
    received: list[int] = []

    def read() -> None:
        while len(received) < total:
            received.append(int.from_bytes(answering.recvfrom(5000)[0][:4]))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    number = 0
    while number < total:
        for _ in range(min(dice.choice((1, 1, 1, 2, 30)), total - number)):
            asking.sendto(number.to_bytes(4) + bytes(dice.choice((0, 1200, 4000))), where)
            number += 1
        if dice.random() < 0.5:
            time.sleep(dice.random() * 2e-4)
    reader.join(LIMIT)
    assert received == list(range(total))


class InterruptError(Exception):
    pass


def test_handlers_that_raise_amid_sendto_break_nothing(ends: tuple[Socket, Socket, tuple[str, int]]) -> None:
    asking, answering, where = ends
    answering.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
    armed = False

    def handle(_number: int, _frame: object) -> None:
        nonlocal armed
        if armed:
            armed = False  # a second one amid what the first left to do ends the connection
            raise InterruptError

    before = signal.signal(signal.SIGALRM, handle)
    interrupted = attempts = 0
    gc.collect()
    gc.disable()  # a finalizer that the alarm strikes swallows it
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
        while interrupted < 100 and attempts < 5000:  # as many as the receive buffer holds
            attempts += 1
            try:
                armed = True
                asking.sendto(attempts.to_bytes(4) + bytes(1000), where)
                armed = False
            except InterruptError:
                armed = False
                interrupted += 1
            time.sleep(6e-5)
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()
    assert interrupted >= 10
    asking.sendto(b"last", where)
    numbers = []
    while (data := answering.recvfrom(2000)[0]) != b"last":
        assert data[4:] == bytes(1000)
        numbers.append(int.from_bytes(data[:4]))
    assert numbers == sorted(set(numbers))
    assert len(numbers) >= attempts - interrupted
    assert answering.peer._host.counters().get("dropped: did not open", 0) == 0
