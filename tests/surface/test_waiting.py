"""Waiting on a socket in every way there is, as a contract: the kernel's socket keeps it, so must ours."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import selectors
import signal
import socket
import socketserver
import threading
import time

import pytest

from peer_relay_socket.surface.udp_socket import Socket

pytestmark = pytest.mark.parametrize("make", [socket.socket, Socket], ids=["kernel", "ours"])


@pytest.fixture
def pair(make):
    """A sender and a receiver, connected to each other."""
    with make(socket.AF_INET, socket.SOCK_DGRAM) as sender, make(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        sender.bind(("127.0.0.1", 0))
        sender.connect(receiver.getsockname())
        receiver.connect(sender.getsockname())
        yield sender, receiver


def poll_with(kind):
    """Return a function that says whether a bare fd is readable."""

    def by_select(fd):
        return bool(select.select([fd], [], [], 0.1)[0])

    def by_poll(fd):
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(100))

    def by_epoll(fd):
        with select.epoll() as epoll:
            epoll.register(fd, select.EPOLLIN)
            return bool(epoll.poll(0.1))

    def by_selectors(fd):
        with selectors.DefaultSelector() as selector:
            selector.register(fd, selectors.EVENT_READ)
            return bool(selector.select(0.1))

    return {"select": by_select, "poll": by_poll, "epoll": by_epoll, "selectors": by_selectors}[kind]


@pytest.mark.parametrize("kind", ["select", "poll", "epoll", "selectors"])
def test_readable_exactly_while_something_waits(pair, kind):
    sender, receiver = pair
    readable = poll_with(kind)
    fd = receiver.fileno()
    assert not readable(fd)
    for data in (b"one", b"", b"three"):
        sender.send(data)
    for left in (3, 2, 1):
        assert readable(fd), left
        receiver.recv(10, socket.MSG_PEEK)
        assert readable(fd), left
        receiver.recv(10)
    assert not readable(fd)


def test_pending_error_is_readable_until_told(pair):
    sender, receiver = pair
    receiver.close()
    sender.send(b"x")
    assert select.select([sender], [], [], 0.1)[0]
    with pytest.raises(ConnectionRefusedError):
        sender.recv(1)
    assert not select.select([sender], [], [], 0)[0]


def test_writable_and_without_news_when_idle(pair):
    sender, _ = pair
    poll = select.poll()
    poll.register(sender, select.POLLIN | select.POLLOUT | select.POLLPRI)
    assert poll.poll(0) == [(sender.fileno(), select.POLLOUT)]


def test_edge_triggered_epoll_tells_of_each_arrival(pair):
    sender, receiver = pair
    receiver.setblocking(False)
    with select.epoll() as epoll:
        epoll.register(receiver, select.EPOLLIN | select.EPOLLET)
        for burst in (1, 3, 1):
            for _ in range(burst):
                sender.send(b"x")
            assert epoll.poll(0.1)
            assert not epoll.poll(0)
            for _ in range(burst):
                receiver.recv(1)
            with pytest.raises(BlockingIOError):
                receiver.recv(1)
            assert not epoll.poll(0)


def test_edge_triggered_epoll_tells_a_slow_reader_again(pair):
    sender, receiver = pair
    with select.epoll() as epoll:
        epoll.register(receiver, select.EPOLLIN | select.EPOLLET)
        for _ in range(20):
            sender.send(b"x")
            assert epoll.poll(0.1)
        for _ in range(20):
            receiver.recv(1)
        sender.send(b"y")
        assert epoll.poll(0.1)


def test_two_threads_share_one_socket(pair):
    sender, receiver = pair
    got, bounds = [[], []], 400

    def read(mine):
        while (data := receiver.recv(10)) != b"end":
            mine.append(data)

    threads = [threading.Thread(target=read, args=(mine,)) for mine in got]
    for thread in threads:
        thread.start()
    for number in range(bounds):
        sender.send(b"%d" % number)
        if number % 50 == 0:
            time.sleep(0)
    for _ in threads:
        sender.send(b"end")
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    assert sorted(got[0] + got[1]) == sorted(b"%d" % number for number in range(bounds))


def test_two_threads_poll_one_socket_and_lose_nothing(pair):
    sender, receiver = pair
    receiver.setblocking(False)
    got: list[bytes] = []

    def read():
        while len(got) < 300:
            select.select([receiver], [], [], 0.05)
            with contextlib.suppress(BlockingIOError):
                got.append(receiver.recv(10))

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(300):
        sender.send(b"%d" % number)
        if number % 20 == 0:
            time.sleep(0)
    for thread in threads:
        thread.join(10)
    assert sorted(got) == sorted(b"%d" % number for number in range(300))
    assert not select.select([receiver], [], [], 0)[0]


class AlarmError(Exception):
    pass


def raise_alarm(number, frame):
    raise AlarmError


@pytest.mark.parametrize("timeout", [None, 5.0])
@pytest.mark.parametrize("method", ["recv", "recvfrom", "recvmsg"])
def test_signal_handlers_raise_out_of_a_blocked_receive(pair, method, timeout):
    _, receiver = pair
    receiver.settimeout(timeout)
    before = signal.signal(signal.SIGALRM, raise_alarm)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(AlarmError):
            getattr(receiver, method)(1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_blocked_receive_goes_on_after_a_signal(pair):
    sender, receiver = pair
    before = signal.signal(signal.SIGALRM, lambda number, frame: sender.send(b"from the handler"))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        receiver.settimeout(5)
        assert receiver.recv(100) == b"from the handler"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("loop_selector", [selectors.SelectSelector, selectors.PollSelector, selectors.EpollSelector])
def test_asyncio_serves_it(pair, loop_selector):
    sender, receiver = pair
    for sock in pair:
        sock.setblocking(False)

    async def talk():
        loop = asyncio.get_running_loop()
        waiting = loop.create_task(loop.sock_recv(receiver, 10))
        await asyncio.sleep(0)
        await loop.sock_sendall(sender, b"1")
        assert await waiting == b"1"
        waiting = loop.create_task(loop.sock_recvfrom(receiver, 10))
        await asyncio.sleep(0)
        sender.send(b"2")
        assert (await waiting)[0] == b"2"

        class Echo(asyncio.DatagramProtocol):
            def connection_made(self, transport):
                self.transport = transport

            def datagram_received(self, data, address):
                self.transport.sendto(data.upper())

        transport, _ = await loop.create_datagram_endpoint(Echo, sock=receiver)
        for data in (b"a", b"b", b"c"):
            sender.send(data)
            assert await loop.sock_recv(sender, 10) == data.upper()
        transport.close()
        await asyncio.sleep(0)

    loop = asyncio.SelectorEventLoop(loop_selector())
    try:
        loop.run_until_complete(asyncio.wait_for(talk(), 5))
    finally:
        loop.close()


def test_socketserver_serves_on_it(make):
    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            data, sock = self.request
            sock.sendto(data.upper(), self.client_address)

    class Server(socketserver.ThreadingUDPServer):
        daemon_threads = False

        def __init__(self):
            socketserver.BaseServer.__init__(self, ("127.0.0.1", 0), Handler)
            self.socket = make(socket.AF_INET, socket.SOCK_DGRAM)
            self.server_bind()
            self.server_activate()

    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        with make(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(5)
            for data in (b"one", b"two"):
                client.sendto(data, server.server_address)
                assert client.recvfrom(10) == (data.upper(), server.server_address)
        server.shutdown()
        thread.join(5)


def test_overflow_drops_the_newest(pair):
    sender, receiver = pair
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    receiver.setblocking(False)
    for number in range(1000):
        sender.send(b"%d" % number)
    got = []
    while select.select([receiver], [], [], 0)[0]:
        got.append(int(receiver.recv(10)))
    assert got == list(range(len(got)))
    assert 1 <= len(got) < 100
    sender.send(b"again")
    assert select.select([receiver], [], [], 0.1)[0]
    assert receiver.recv(10) == b"again"


def test_dup_of_the_bare_fd_is_the_same_socket(pair, make):
    sender, receiver = pair
    twin = make(fileno=os.dup(receiver.fileno()))
    with twin:
        receiver.close()
        sender.send(b"x")
        assert twin.recv(1) == b"x"
        assert twin.getsockname() == sender.getpeername()
        assert (twin.family, twin.type) == (socket.AF_INET, socket.SOCK_DGRAM)
