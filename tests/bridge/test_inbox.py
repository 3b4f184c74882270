from __future__ import annotations

import gc
import select
import socket
import threading
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator

import janus
import pytest

from peer_relay_socket.bridge import readiness
from peer_relay_socket.bridge.inbox import Inbox
from peer_relay_socket.bridge.runtime import Runtime, on_relay_thread
from peer_relay_socket.limits import DATAGRAM_OVERHEAD
from peer_relay_socket.surface.udp_socket import Socket
from tests.interruption import interrupted
from tests.patience import LIMIT, until

SOURCE = ("100.64.0.1", 7)


class Doorbell:
    """An inbox, the socket whose fd it drives, and the hidden end."""

    def __init__(self, bound: int = 1 << 20) -> None:
        fd, hidden = readiness.pair()
        self.sock = socket.socket(fileno=fd)
        self.inbox = Inbox(readiness.Readiness(hidden, lambda: self.sock), bound)

    def readable(self) -> bool:
        return bool(select.select([self.sock], [], [], 0)[0])

    def close(self) -> None:
        self.sock.close()
        self.inbox.close()
        self.inbox.readiness.close()


@pytest.fixture
def bell():
    bell = Doorbell()
    yield bell
    bell.close()


def test_inbox_keeps_order_and_boundaries(bell):
    bell.inbox.put(SOURCE, [b"one", b""])
    bell.inbox.put(None, [b"two"])
    assert list(bell.inbox.ready) == [(b"one", SOURCE), (b"", SOURCE), (b"two", None)]


def test_inbox_drops_and_counts_what_passes_its_bound():
    bell = Doorbell(bound=10 * (100 + DATAGRAM_OVERHEAD))
    bell.inbox.put(SOURCE, [bytes(100)] * 50)
    assert len(bell.inbox.ready) == 11  # the one that passes the bound is still taken
    assert bell.inbox.dropped == 39
    for _ in range(6):
        bell.inbox.ready.popleft()
    bell.inbox.put(SOURCE, [bytes(100)] * 50)
    assert len(bell.inbox.ready) == 11
    bell.close()


def test_fd_is_readable_exactly_while_something_waits(bell):
    inbox = bell.inbox
    inbox.put(SOURCE, [b"early"])
    assert not bell.readable()  # nobody looked yet
    inbox.observe(bell.sock)
    assert bell.readable()
    inbox.put(SOURCE, [b"more"] * 3)
    inbox.put(SOURCE, [b"more"])
    for left in (4, 3, 2, 1, 0):
        assert bell.readable()
        inbox.ready.popleft()
        inbox.update_fd(bell.sock)
        assert len(inbox.ready) == left
    assert not bell.readable()
    inbox.fail(111)
    assert bell.readable()
    assert inbox.take_error() == 111
    inbox.update_fd(bell.sock)
    assert not bell.readable()


def test_fd_gives_a_new_edge_for_each_batch(bell):
    bell.inbox.observe(bell.sock)
    with select.epoll() as epoll:
        epoll.register(bell.sock, select.EPOLLIN | select.EPOLLET)
        for _ in range(3):
            bell.inbox.put(SOURCE, [b"x"])
            assert epoll.poll(0)
            assert not epoll.poll(0)


def test_two_readers_get_every_datagram_once(bell):
    inbox, got = bell.inbox, [[], []]

    def read(mine: list[bytes]) -> None:
        while not inbox.closed:
            try:
                item = inbox.ready.popleft()
            except IndexError:
                item = inbox.take(None)
            if item is not None:
                mine.append(item[0])

    threads = [threading.Thread(target=read, args=(mine,)) for mine in got]
    for thread in threads:
        thread.start()
    sent = [b"%d" % number for number in range(3000)]
    for start in range(0, 3000, 30):
        inbox.put(SOURCE, sent[start : start + 30])
    until(lambda: not inbox.ready)
    inbox.close()
    for thread in threads:
        thread.join(5)
    assert not any(thread.is_alive() for thread in threads)
    assert sorted(got[0] + got[1]) == sorted(sent)


def test_wait_ends_at_its_timeout(bell):
    assert bell.inbox.take(0.01) is None


# --- what crosses from the relay thread ------------------------------------------------------------------------------


class Crossings:
    """Datagrams that the relay thread put, and the sizes of the janus items that it put them in."""

    def __init__(self) -> None:
        self.datagrams = 0
        self.items: list[int] = []


@pytest.fixture
def crossings(monkeypatch: pytest.MonkeyPatch) -> Iterator[Crossings]:
    counted = Crossings()
    proxy = type(janus.Queue[None]().async_q)
    put_item, put = proxy.put_nowait, Inbox.put

    def counting_item(self, item):
        counted.items.append(len(item))
        put_item(self, item)

    def counting(self, source, datagrams, mark=None):
        counted.datagrams += len(datagrams) * on_relay_thread()
        return put(self, source, datagrams, mark)

    monkeypatch.setattr(proxy, "put_nowait", counting_item)
    monkeypatch.setattr(Inbox, "put", counting)
    return counted


def burst(asking: Socket, answering: Socket, where: tuple[str, int]) -> None:
    """Send 50 datagrams there and back."""
    for number in range(50):
        asking.sendto(bytes((number,)) * 800, where)
    for number in range(50):
        data, source = answering.recvfrom(1000)
        assert data[0] == number
        answering.sendto(data, source)
    for number in range(50):
        assert asking.recv(1000)[0] == number


def test_every_datagram_crosses_in_an_item_when_the_main_thread_blocks(ends, crossings):
    for _ in range(40):
        burst(*ends)
    assert crossings.datagrams > 0
    assert sum(crossings.items) == crossings.datagrams
    assert 0 < len(crossings.items) < crossings.datagrams
    assert min(crossings.items) > 0


def test_every_datagram_crosses_in_an_item_when_other_threads_block(ends, crossings):
    asking, answering, where = ends
    received: list[bytes] = []

    def read() -> None:
        while received.append(answering.recv(100)) or received[-1] != b"end":
            pass

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    sent = [b"%d" % number for number in range(3000)]
    for start in range(0, 3000, 30):
        for data in sent[start : start + 30]:
            asking.sendto(data, where)
        until(lambda done=start + 30: len(received) >= done)
    for _ in readers:
        asking.sendto(b"end", where)
    for reader in readers:
        reader.join(LIMIT)
    assert Counter(received) == Counter(sent + [b"end"] * 3)
    assert sum(crossings.items) == crossings.datagrams
    assert min(crossings.items) > 0


def test_a_socket_that_is_polled_has_no_bridge(crossings):
    with (
        Socket(port=0, host="127.0.0.1", wrtc=False) as polled,
        Socket(bootstrap=polled.peer.url, wrtc=False) as asking,
    ):
        polled.bind(("", 9000))
        polled.setblocking(False)
        where = polled.peer.id.hex(), 9000
        for number in range(20):
            asking.sendto(bytes((number,)), where)
            assert select.select([polled], [], [], LIMIT)[0]
            assert polled.recv(10) == bytes((number,))
    assert crossings.datagrams == 20
    assert crossings.items == []


def on_the_relay_thread(call: Callable[[], None]) -> None:
    async def made() -> None:
        call()

    Runtime.current().submit(made()).result(LIMIT)


def on_a_thread(call: Callable[[], None]) -> None:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(LIMIT)
    assert not thread.is_alive()


@pytest.mark.slow
@pytest.mark.parametrize("somewhere", [on_the_relay_thread, on_a_thread])
@pytest.mark.parametrize("what", ["sends", "fails", "closes"])
def test_finalizers_may_use_sockets_amid_a_put(somewhere, what):
    """As the garbage collector does it: at every instruction of ours, those that janus runs under its lock included."""
    for instruction in range(5, 400, 3):
        bell = Doorbell()
        inbox = bell.inbox
        got: list[bytes] = []

        def read(inbox: Inbox = inbox, got: list[bytes] = got) -> None:
            while not inbox.closed:
                item = inbox.ready.popleft() if inbox.ready else inbox.take(LIMIT)
                if item is not None:
                    got.append(item[0])

        def finalize(inbox: Inbox = inbox, done: list[int] = []) -> None:  # noqa: B006
            done.append(0)
            if what == "sends":
                inbox.put(SOURCE, [b"from a finalizer"])
            elif what == "fails":
                inbox.fail(111)
            else:
                inbox.close()

        def put(inbox: Inbox = inbox, instruction: int = instruction, act: Callable[[], None] = finalize) -> None:
            with interrupted(instruction, act):
                inbox.put(SOURCE, [b"one", b"two"])

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        until(lambda inbox=inbox: inbox.blocked)
        somewhere(put)
        if what != "closes":
            until(lambda got=got: len(got) >= 2)
            assert [data for data in got if data != b"from a finalizer"] == [b"one", b"two"]
        bell.close()
        reader.join(LIMIT)
        assert not reader.is_alive()


def test_a_thread_that_looks_leaves_the_datagram_to_others():
    with Socket() as sock, Socket() as sender:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(LIMIT)
        seen: list[bytes] = []
        looking = threading.Thread(target=lambda: seen.append(sock.recv(100, socket.MSG_PEEK)))
        looking.start()
        until(lambda: sock._endpoint.inbox.blocked)
        sender.sendto(b"there", sock.getsockname())
        looking.join(LIMIT)
        assert seen == [b"there"]
        assert select.select([sock], [], [], 0)[0]
        assert sock.recv(100) == b"there"
        assert not select.select([sock], [], [], 0)[0]


def test_a_socket_that_waits_costs_at_most_8_kb_more():
    socks = [Socket() for _ in range(100)]
    for sock in socks:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(0.001)

    def wait(sock: Socket) -> None:
        with pytest.raises(TimeoutError):
            sock.recv(1)

    wait(socks[0])
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for sock in socks[1:]:
            wait(sock)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    for sock in socks:
        sock.close()
    assert (after - before) / 99 < 8 * 1024
