from __future__ import annotations

import errno
import select
import socket
import threading

import pytest

from peer_relay_socket.address import AF_PEER
from peer_relay_socket.bridge.host import Host
from peer_relay_socket.bridge.inline_io import LoopLock
from peer_relay_socket.bridge.outbox import LoopEnd
from peer_relay_socket.surface.udp_socket import Socket
from peer_relay_socket.system import AF_UNIX
from tests.patience import until

FAR = "100.127.255.1"


@pytest.fixture
def pair():
    with Socket() as server, Socket() as client:
        server.bind(("127.0.0.1", 0))
        client.bind(("127.0.0.1", 0))
        yield client, server


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """No network: what goes to other peers stays in the outbox."""
    monkeypatch.setattr(Host, "start", lambda self: None)
    monkeypatch.setattr(Host, "settle", lambda self, timeout: self.peer_id)


def own(family: int = socket.AF_INET) -> str:
    with Socket(family) as sock:
        spelling, peer_id = sock.peer._host.spelling, sock.peer._host.peer_id
    return {socket.AF_INET: spelling.ipv4, socket.AF_INET6: spelling.ipv6, AF_PEER: bytes.hex}[family](peer_id)


def test_socket_is_a_socket(pair):
    client, _ = pair
    assert isinstance(client, socket.socket)
    assert (client.family, client.type, client.proto) == (socket.AF_INET, socket.SOCK_DGRAM, 0)


def test_sendto_of_own_virtual_address_arrives_from_it():
    with Socket() as server, Socket() as client:
        server.bind(("", 0))
        client.sendto(b"x", (own(), server.getsockname()[1]))
        data, source = server.recvfrom(10)
        assert (data, source) == (b"x", (own(), client.getsockname()[1]))


def test_every_spelling_of_this_host_reaches_the_same_port():
    with Socket(AF_PEER) as server:
        server.bind(("", 0))
        port = server.getsockname()[1]
        for family in (socket.AF_INET, socket.AF_INET6, AF_PEER):
            for host in (own(family), own(AF_PEER), own(AF_PEER) + ".peer", "localhost"):
                with Socket(family) as client:
                    client.sendto(host.encode(), (host, port))
                assert server.recv(100) == host.encode()


def test_connect_to_anywhere_tells_the_own_virtual_address():
    for host in ("8.8.8.8", FAR):
        with Socket() as sock:
            sock.connect((host, 53))
            assert sock.getsockname()[0] == own()
            assert sock.getpeername() == (host, 53)


def test_foreign_addresses_are_dropped_and_counted_or_refused():
    with Socket() as sock:
        host = sock.peer._host
        before = host.foreign_drops
        assert sock.sendto(b"x", ("8.8.8.8", 53)) == 1
        assert host.foreign_drops == before + 1
    with Socket(direct="error") as sock:
        with pytest.raises(OSError, match="unreachable") as caught:
            sock.sendto(b"x", ("8.8.8.8", 53))
        assert caught.value.errno == errno.ENETUNREACH


def test_remote_datagrams_wait_in_the_outbox_in_order():
    with Socket(bootstrap="ws://127.0.0.1:9") as sock:
        outbox = sock.peer._host.outbox
        outbox.open(LoopEnd(lambda: None, lambda *_: False, lambda *_: None, None, LoopLock()))
        for number in range(3):
            sock.sendto(b"%d" % number, (FAR, 7))
        (flow,) = outbox.take()
        assert flow.take(1000) == [b"0", b"1", b"2"]
        assert (flow.port, flow.form, flow.source_port) == (7, 4, sock.getsockname()[1])


def test_send_buffer_makes_senders_wait_or_say_so():
    with Socket(bootstrap="ws://127.0.0.1:9") as sock:
        outbox = sock.peer._host.outbox
        outbox.open(LoopEnd(lambda: None, lambda *_: False, lambda *_: None, None, LoopLock()))
        sock.connect((FAR, 7))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 5000)
        sock.setblocking(False)
        for _ in range(9):
            sock.send(bytes(1000))
        with pytest.raises(BlockingIOError):
            sock.send(bytes(1000))
        assert AF_UNIX is None or not select.select([], [sock], [], 0)[1]
        sock.settimeout(0.01)
        with pytest.raises(TimeoutError, match="timed out"):
            sock.send(b"")
        sock.settimeout(5)
        thread = threading.Thread(target=sock.send, args=(b"last",))
        thread.start()
        (flow,) = outbox.take()
        assert len(flow.take(9000)) == 9
        thread.join(5)
        assert select.select([], [sock], [], 0)[1]
        assert flow.take(9000) == [b"last"]


def test_close_wakes_a_blocked_recv():
    sock = Socket()
    caught = []

    def read() -> None:
        try:
            sock.recv(1)
        except OSError as error:
            caught.append(error.errno)

    thread = threading.Thread(target=read)
    thread.start()
    until(lambda inbox=sock._endpoint.inbox: inbox.blocked)
    sock.close()
    thread.join(5)
    assert caught == [errno.EBADF]


def test_private_peer_ends_with_the_last_duplicate():
    sock = Socket(bootstrap="ws://127.0.0.1:9")
    endpoint = sock._endpoint
    ended = []
    endpoint._on_close = lambda: ended.append(True)
    twin = sock.dup()
    sock.close()
    assert not ended
    twin.close()
    assert ended == [True]


def test_unclosed_socket_warns_and_frees_its_port():
    sock = Socket()
    sock.bind(("", 4444))
    with pytest.warns(ResourceWarning, match="unclosed"):
        del sock
    with Socket() as again:
        again.bind(("", 4444))


def test_stream_sockets_stay_the_standard_librarys():
    with Socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with socket.create_connection(server.getsockname()) as client:
            accepted, address = server.accept()
            with accepted:
                assert type(accepted) is Socket
                assert address == client.getsockname()
                client.sendall(b"hello")
                assert accepted.recv(5) == b"hello"


def test_disconnect_frees_the_choice_of_peer(pair):
    client, server = pair
    client.connect(server.getsockname())
    client.disconnect()
    with pytest.raises(OSError, match="Destination address required"):
        client.send(b"x")
    assert client.sendto(b"x", server.getsockname()) == 1
