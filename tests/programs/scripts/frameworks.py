"""One echo server, and clients on everything that polls a socket for others: run as it is, or under peer-relay run."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import logging.handlers
import select
import selectors
import socket
import socketserver
import sys
import threading

import anyio
import trio

ROUNDS = 20
LIMIT = 30.0


def new(port: int = 0) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", port))
    sock.settimeout(LIMIT)
    return sock


def echo(server: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while (data := server.recvfrom(2000)) and data[0] != b"stop":
            server.sendto(data[0].upper(), data[1])


async def on_trio(where) -> None:
    theirs = trio.socket.from_stdlib_socket(new())
    for number in range(ROUNDS):
        await theirs.sendto(b"x%d" % number, where)
        assert await theirs.recvfrom(100) == (b"X%d" % number, where)
    with trio.move_on_after(0.01) as scope:
        await theirs.recvfrom(10)
    assert scope.cancelled_caught
    theirs.close()
    own = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
    await own.connect(where)
    await own.send(b"y")
    assert await own.recv(10) == b"Y"
    own.close()


async def on_anyio(where) -> None:
    async with await anyio.create_udp_socket(local_host="127.0.0.1") as sock:
        await sock.sendto(b"q", *where)
        assert await sock.receive() == (b"Q", where)
    async with await anyio.create_connected_udp_socket(*where) as sock:
        await sock.send(b"q")
        assert await sock.receive() == b"Q"


class Protocol(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.heard: asyncio.Queue = asyncio.Queue()
        self.errors: asyncio.Queue = asyncio.Queue()

    def datagram_received(self, data, addr) -> None:
        self.heard.put_nowait((data, addr))

    def error_received(self, error) -> None:
        self.errors.put_nowait(error)


async def on_asyncio(where) -> None:
    loop = asyncio.get_running_loop()
    for how in ({"local_addr": ("127.0.0.1", 0)}, {"remote_addr": where}, {"sock": new()}):
        transport, protocol = await loop.create_datagram_endpoint(Protocol, **how)
        for number in range(ROUNDS):
            transport.sendto(b"z%d" % number, None if "remote_addr" in how else where)
            assert await asyncio.wait_for(protocol.heard.get(), LIMIT) == (b"Z%d" % number, where)
        transport.close()
    sock = new()
    sock.setblocking(False)
    await loop.sock_sendto(sock, b"a", where)
    assert await loop.sock_recvfrom(sock, 10) == (b"A", where)
    await loop.sock_sendto(sock, b"a", where)
    buffer = bytearray(5)
    assert await loop.sock_recvfrom_into(sock, buffer) == (1, where)
    sock.close()
    dead = new()
    transport, protocol = await loop.create_datagram_endpoint(Protocol, remote_addr=dead.getsockname())
    dead.close()
    transport.sendto(b"x")
    assert isinstance(await asyncio.wait_for(protocol.errors.get(), LIMIT), ConnectionRefusedError)
    transport.close()


def on_edges(where) -> None:
    """Edge-triggered epoll must tell of each batch, and poll by number the truth."""
    with new() as sock, select.epoll() as epoll:
        sock.setblocking(False)
        epoll.register(sock.fileno(), select.EPOLLIN | select.EPOLLET | select.EPOLLOUT)
        assert epoll.poll(LIMIT) == [(sock.fileno(), select.EPOLLOUT)]
        for _ in range(ROUNDS):
            wanted = 3
            for _ in range(wanted):
                sock.sendto(b"e", where)
            while wanted:
                assert epoll.poll(LIMIT)
                with contextlib.suppress(BlockingIOError):
                    while sock.recvfrom(10):
                        wanted -= 1
        poll = select.poll()
        poll.register(sock.fileno(), select.POLLIN)
        assert poll.poll(0) == []
        sock.sendto(b"p", where)
        assert poll.poll(LIMIT * 1000) == [(sock.fileno(), select.POLLIN)]
        assert sock.recv(9) == b"P"
        assert poll.poll(0) == []


def on_logging() -> None:
    with new() as sock:
        logger = logging.getLogger("frameworks")
        logger.propagate = False
        for handler in (
            logging.handlers.DatagramHandler(*sock.getsockname()),
            logging.handlers.SysLogHandler(sock.getsockname()),
        ):
            logger.addHandler(handler)
            logger.warning("a line")
            assert b"a line" in sock.recv(5000)
            logger.removeHandler(handler)
            handler.close()


class Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        data, sock = self.request
        sock.sendto(data.upper(), self.client_address)


def on_socketserver() -> None:
    for kind in (socketserver.UDPServer, socketserver.ThreadingUDPServer, socketserver.ForkingUDPServer):
        with kind(("127.0.0.1", 0), Handler) as server, new() as sock:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            for number in range(3):
                sock.sendto(b"h%d" % number, server.server_address)
                assert sock.recv(10) == b"H%d" % number
            server.shutdown()
            thread.join()


def on_twisted(reactor_name: str, where) -> None:
    importlib.import_module(f"twisted.internet.{reactor_name}").install()
    from twisted.internet import protocol, reactor

    class Client(protocol.DatagramProtocol):
        said = 0

        def startProtocol(self) -> None:  # noqa: N802
            self.transport.connect(*where)
            self.transport.write(b"t0")

        def datagramReceived(self, data, addr) -> None:  # noqa: N802
            assert (data, addr) == (b"T%d" % self.said, where)
            self.said += 1
            if self.said == ROUNDS:
                reactor.stop()
            else:
                self.transport.write(b"t%d" % self.said)

    client = Client()
    reactor.listenUDP(0, client)
    group = reactor.listenMulticast(0, protocol.DatagramProtocol())
    group.joinGroup("239.5.5.5", "127.0.0.1")
    group.setTTL(3)
    assert group.getTTL() == 3
    group.leaveGroup("239.5.5.5", "127.0.0.1")
    reactor.callLater(LIMIT, reactor.stop)
    reactor.run()
    assert client.said == ROUNDS


def main() -> None:
    server = new()
    where = server.getsockname()
    thread = threading.Thread(target=echo, args=(server,))
    thread.start()
    try:
        if sys.argv[1:]:
            on_twisted(sys.argv[1], where)
            return
        trio.run(on_trio, where)
        for backend in ("asyncio", "trio"):
            anyio.run(on_anyio, where, backend=backend)
        for selector in (selectors.SelectSelector, selectors.PollSelector, selectors.EpollSelector):
            with contextlib.closing(asyncio.SelectorEventLoop(selector())) as loop:
                loop.run_until_complete(on_asyncio(where))
        on_edges(where)
        on_logging()
        on_socketserver()
    finally:
        with new() as stopper:
            stopper.sendto(b"stop", where)
        thread.join()
        server.close()


main()
