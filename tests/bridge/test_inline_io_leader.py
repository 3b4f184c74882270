"""A thread that waits for a datagram reads the links itself, and nobody is the worse for it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import os
import random
import resource
import select
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from typing import TypeAlias

import pytest

from peer_relay_socket.bridge.endpoint import open_endpoint
from peer_relay_socket.bridge.inline_io import Leader
from peer_relay_socket.bridge.runtime import Runtime
from peer_relay_socket.limits import LEADER_AFTER, LEADER_KEPT
from peer_relay_socket.surface.peer import Peer
from peer_relay_socket.surface.udp_socket import Socket
from peer_relay_socket.system import select as system_select
from tests.echoing import echoing
from tests.patience import LIMIT, until

pytestmark = pytest.mark.skipif(not hasattr(system_select, "epoll"), reason="where there is no epoll, the loop reads")
Ends: TypeAlias = tuple[Socket, Socket, tuple[str, int]]


@pytest.fixture
def lead() -> Leader:
    lead = Runtime.current().leader
    assert lead is not None
    return lead


class InterruptError(Exception):
    pass


def ask(asking: Socket, where: tuple[str, int], times: int) -> None:
    """Ask what `echoing` answers, one question at a time."""
    for number in range(times):
        asking.sendto(number.to_bytes(4) + bytes(1000), where)
        assert int.from_bytes(asking.recvfrom(2000)[0][:4]) == number


def sibling(sock: Socket) -> Socket:
    """Return another socket of the same peer."""
    return on(sock.peer)


def on(peer: Peer) -> Socket:
    """Return a new socket of `peer`."""
    fd, _ = open_endpoint(peer._host, peer, socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDP)
    return Socket(fileno=fd)


def test_who_waits_reads_the_link(ends: Ends, lead: Leader) -> None:
    asking, answering, where = ends
    before = lead.reads
    for number in range(300):
        asking.sendto(bytes((number % 256,)), where)
        data, source = answering.recvfrom(100)
        answering.sendto(data, source)
        assert asking.recvfrom(100)[0] == bytes((number % 256,))
    assert lead.reads - before > 300  # of 600; the loop may be awake now and then


def test_the_loop_reads_again_when_who_led_stays_away(ends: Ends) -> None:
    asking, answering, where = ends
    for _ in range(20):
        for _ in range(40):  # fast, so that the place is kept
            asking.sendto(b"x", where)
            answering.recvfrom(100)
        came = answering._endpoint.inbox.came  # type: ignore[union-attr]
        asking.sendto(b"unread", where)
        until(lambda: answering._endpoint.inbox.came == came + 1)  # type: ignore[union-attr]  # noqa: B023
        assert answering.recvfrom(100)[0] == b"unread"


def test_a_socket_that_is_polled_hears_while_another_thread_leads(ends: Ends) -> None:
    asking, answering, where = ends
    with sibling(answering) as other, echoing(answering):
        other.bind(("", 9001))
        for number in range(100):
            ask(asking, where, random.Random(number).randrange(4))
            asking.sendto(bytes((number,)), (where[0], 9001))
            assert select.select([other], [], [], LIMIT)[0]
            assert other.recv(100) == bytes((number,))


def test_threads_that_wait_for_different_sockets_all_hear() -> None:
    node = Peer(port=0, host="127.0.0.1")
    asking, answering = Peer(bootstrap=node.url, wrtc=False), Peer(bootstrap=node.url, wrtc=False)
    with contextlib.ExitStack() as stack:
        for port in range(9000, 9004):
            sock = stack.enter_context(on(answering))
            sock.bind(("", port))
            stack.enter_context(echoing(sock))

        def talk(port: int) -> None:
            dice = random.Random(port)
            with on(asking) as sock:
                sock.settimeout(LIMIT)
                for _ in range(60):
                    ask(sock, (answering.id.hex(), port), dice.choice((1, 1, 5, 20)))
                    time.sleep(dice.choice((0.0, 0.0, 2 * LEADER_KEPT)))
            done.append(port)

        done: list[int] = []
        threads = [threading.Thread(target=talk, args=(port,)) for port in range(9000, 9004)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(3 * LIMIT)
    for peer in (asking, answering, node):
        peer.destroy()
    assert sorted(done) == list(range(9000, 9004))


def test_bulk_and_questions_on_one_link_arrive_in_order(ends: Ends) -> None:
    asking, answering, where = ends
    dice = random.Random(9)
    sizes = [dice.choice((0, 10, 1200, 9000, 60_000)) for _ in range(2000)]
    room = threading.Semaphore(3)  # of these datagrams the receive buffer holds so many whatever their size

    def send() -> None:
        for number, size in enumerate(sizes):
            assert room.acquire(timeout=LIMIT)
            asking.sendto(number.to_bytes(4) + bytes(size), where)
            if dice.random() < 0.2:
                time.sleep(dice.random() * 1e-3)

    sender = threading.Thread(target=send)
    sender.start()
    heard = []
    for _ in sizes:
        heard.append(answering.recvfrom(65_000)[0])
        room.release()
    sender.join(LIMIT)
    assert [(int.from_bytes(data[:4]), len(data) - 4) for data in heard] == list(enumerate(sizes))


def lead_and_wait(asking: Socket, sock: Socket, lead: Leader) -> tuple[threading.Thread, list[object]]:
    """Have a thread wait in `sock.recvfrom` that leads; return what it got beside b"x", or was told."""
    got: list[object] = []

    def wait() -> None:
        try:
            while not got or got[0] == b"x":
                got[:] = [sock.recvfrom(100)[0]]
        except OSError as error:
            got[:] = [error]

    where = sock.peer.address, sock.getsockname()[1]
    thread = threading.Thread(target=wait)
    thread.start()
    deadline = time.monotonic() + LIMIT
    while not lead.taken:
        assert time.monotonic() < deadline
        asking.sendto(b"x", where)
        time.sleep(0.002)
    return thread, got


@pytest.mark.parametrize("end", ["close", "shutdown", "timeout", "datagram", "own datagram", "error"])
def test_what_ends_the_wait_of_who_leads(ends: Ends, lead: Leader, end: str) -> None:
    asking, answering, where = ends
    if end == "shutdown":
        answering.connect((asking.peer.address, asking.getsockname()[1]))
    answering.settimeout(0.3 if end == "timeout" else None)
    thread, got = lead_and_wait(asking, answering, lead)
    if end == "close":
        answering.close()
    elif end == "shutdown":
        answering.shutdown(socket.SHUT_RD)
    elif end == "datagram":
        asking.sendto(b"at last", where)
    elif end == "own datagram":
        with sibling(answering) as other:
            other.sendto(b"at last", where)
    elif end == "error":
        answering._endpoint.inbox.fail(errno.ECONNREFUSED)  # type: ignore[union-attr]
    thread.join(LIMIT)
    assert not thread.is_alive()
    if end in ("datagram", "own datagram"):
        assert got == [b"at last"]
    elif end == "shutdown":
        assert got == [b""]
    else:
        expected = {"close": OSError, "timeout": TimeoutError, "error": ConnectionRefusedError}[end]
        assert isinstance(got[0], expected)
    assert not lead.taken


def test_the_loop_leaves_the_bell_to_who_waits_for_it(ends: Ends, lead: Leader) -> None:
    runtime = Runtime.current()

    async def rung(waiting: bool) -> bool:
        """Have the loop hear the bell; return whether it rings on."""
        lead._waiting = waiting
        lead.release()
        lead.read_fast()
        lead._waiting = False
        try:
            os.eventfd_read(lead._bell)
        except BlockingIOError:
            return False
        finally:
            lead.attend_links()
        return True

    for waiting in (True, False, True):
        assert runtime.submit(rung(waiting)).result(LIMIT) is waiting


def test_one_look_after_who_leads_is_due_however_often_the_place_is_kept(lead: Leader) -> None:
    async def keep() -> int:
        for _ in range(20):
            lead._keep_place()
            lead._keeps_place = False
        lead.attend_links()
        scheduled = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
        return sum(handle._callback == lead._look_after for handle in scheduled if not handle.cancelled())

    assert Runtime.current().submit(keep()).result(LIMIT) == 1


def test_what_was_interrupted_amid_reading_is_read_by_the_loop(ends: Ends, lead: Leader) -> None:
    asking, _, _ = ends
    ours, theirs = os.pipe()
    readers = lead.readers

    class Link:
        def __init__(self) -> None:
            self.seen = threading.Event()

        def read_fast(self) -> bool:
            os.read(ours, 1)
            raise InterruptError

        def read(self) -> None:
            self.seen.set()

    link = Link()
    asking.settimeout(LIMIT)
    readers.fast_reads = LEADER_AFTER
    runtime = Runtime.current()
    runtime.submit(in_loop(lead._sleep.let_lead)).result(LIMIT)
    runtime.submit(in_loop(lambda: readers.add(ours, link))).result(LIMIT)

    def write() -> None:
        until(lambda: lead.taken)
        os.write(theirs, b"!")

    writer = threading.Thread(target=write)
    writer.start()
    with pytest.raises(InterruptError):
        asking.recvfrom(100)
    assert link.seen.wait(LIMIT)
    runtime.submit(in_loop(lambda: readers.remove(ours))).result(LIMIT)
    writer.join(LIMIT)
    os.close(ours)
    os.close(theirs)


async def in_loop(call: Callable[[], object]) -> None:
    call()


def test_who_waits_for_long_costs_nothing(ends: Ends, lead: Leader) -> None:
    asking, answering, where = ends
    with echoing(answering):
        ask(asking, where, 300)  # fast: the place is kept
        until(lambda: not lead._keeps_place)
        before = resource.getrusage(resource.RUSAGE_SELF)
        time.sleep(0.5)
        after = resource.getrusage(resource.RUSAGE_SELF)
        assert after.ru_nvcsw - before.ru_nvcsw < 40  # what ticks every LEADER_KEPT switches 160 times and more


def test_handlers_that_raise_while_links_are_read_cost_single_datagrams(ends: Ends) -> None:
    asking, answering, _ = ends
    rounds = 400
    source = asking.peer.address, asking.getsockname()[1]
    armed = False

    def handle(_number: int, _frame: object) -> None:
        nonlocal armed
        if armed:
            armed = False
            raise InterruptError

    stop = threading.Event()

    def send() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            answering.sendto(number.to_bytes(4) + bytes(1000), source)
            time.sleep(1e-4)
        answering.sendto(b"last", source)

    dice = random.Random(11)
    before = signal.signal(signal.SIGALRM, handle)
    heard: list[int] = []
    interrupted = 0
    gc.collect()
    gc.disable()  # a finalizer that the alarm strikes swallows it
    sender = threading.Thread(target=send)
    sender.start()
    try:
        while interrupted < rounds:
            try:
                armed = True
                signal.setitimer(signal.ITIMER_REAL, dice.uniform(1e-5, 1e-3))
                while True:
                    heard.append(int.from_bytes(asking.recvfrom(2000)[0][:4]))
            except InterruptError:
                interrupted += 1
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()
        stop.set()
    sender.join(LIMIT)
    while (data := asking.recvfrom(2000)[0]) != b"last":
        heard.append(int.from_bytes(data[:4]))
    assert heard == sorted(set(heard))
    assert heard[-1] - len(heard) <= rounds


def test_a_child_that_is_forked_meanwhile_leaves_the_parent_its_links(ends: Ends) -> None:
    asking, answering, where = ends
    with echoing(answering):
        ask(asking, where, 50)
        for _ in range(5):
            child = os.fork()
            if not child:
                os._exit(0)
            ask(asking, where, 20)
            os.waitpid(child, 0)
        ask(asking, where, 50)


def test_a_process_ends_while_a_thread_leads() -> None:
    program = """
        import socket, threading, sys
        from peer_relay_socket import Socket
        a = Socket(port=0, host="127.0.0.1", wrtc=False)
        a.bind(("", 9000))
        b = Socket(bootstrap=[a.peer.url], wrtc=False)
        b.settimeout(20)
        def echo():
            while True:
                data, source = a.recvfrom(100)
                a.sendto(data, source)
        threading.Thread(target=echo, daemon=True).start()
        for _ in range(100):
            b.sendto(b"x", (a.peer.address, 9000))
            b.recvfrom(100)
        print("done")
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60, check=False
    )
    # One peer may notice that the other is gone, and say so, before it goes itself.
    said = [line for line in ended.stderr.splitlines() if not line.startswith("! cannot reach")]
    assert (ended.returncode, ended.stdout, said) == (0, "done\n", [])
