"""Strangers at the door: who gets in, what the others are told, and what they can cost."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer_relay_socket import limits
from peer_relay_socket.meeting import Meeting
from peer_relay_socket.transport.websocket import LinkError, dial, listen
from tests.patience import holds
from tests.transport.links import PATIENCE, RawClient, Recorder, anywhere, raw_client, run, serving, upgrade_request

pytestmark = pytest.mark.usefixtures("reading")


def one_answer(request: bytes, *, expect_links: int = 0, **options: Any) -> bytes:
    """What a listener answers to some bytes followed by the end of the stream."""
    answers: list[bytes] = []

    async def scenario() -> None:
        server = Recorder()
        async with serving(server, **options) as listener, raw_client(listener.port) as raw:
            raw.write(request)
            raw.writer.write_eof()
            answers.append(await raw.read_all())
            assert len(server.links) == expect_links
            await server.wait(lambda: len(server.closed) == expect_links)

    run(scenario())
    return answers[0]


def test_request_from_a_web_page_is_refused() -> None:
    answer = one_answer(upgrade_request("Origin: http://localhost:8000"))
    assert answer.startswith(b"HTTP/1.1 403 ")


def test_request_from_an_allowed_web_page_is_accepted() -> None:
    origin = "https://example.org"
    answer = one_answer(upgrade_request(f"Origin: {origin}"), expect_links=1, origins=[origin])
    assert answer.startswith(b"HTTP/1.1 101 ")
    answer = one_answer(upgrade_request(f"Origin: {origin}.evil.example"), origins=[origin])
    assert answer.startswith(b"HTTP/1.1 403 ")
    answer = one_answer(upgrade_request("Origin: null"), origins=[origin])
    assert answer.startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 426),
        (b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (upgrade_request().replace(b"13", b"12"), 400),
        (upgrade_request().replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"short"), 400),
        (upgrade_request("Sec-WebSocket-Protocol: ,"), 400),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200, 431),
        (b"GET / HTTP/1.1\r\n" + (b"X: " + b"y" * 8000 + b"\r\n") * 3, 431),
        (upgrade_request().replace(b"HTTP/1.1", b"HTTP/1.0"), 505),
    ],
)
def test_http_that_is_no_websocket_gets_a_small_answer(request_bytes: bytes, status: int) -> None:
    answer = one_answer(request_bytes)
    assert answer.startswith((f"HTTP/1.1 {status} ".encode(), b"HTTP/1.1 400 "))  # older websockets know fewer codes
    assert b"\r\nConnection: close\r\n" in answer
    assert answer.count(b"HTTP/1.1") == 1
    assert len(answer) < 1000


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", b"\r\n", b"SSH-2.0-x\r\n", b""]
)
def test_garbage_is_closed_without_an_answer(garbage: bytes) -> None:
    assert one_answer(garbage) == b""


@pytest.mark.parametrize("name", ["X-Peer-Relay-Meeting", "Origin", "Upgrade", "Sec-WebSocket-Version"])
def test_a_header_that_comes_twice_raises_nothing_where_the_programs_of_a_user_meet(name: str) -> None:
    request = upgrade_request(f"{name}: x\r\n{name}: y")
    assert one_answer(request, meeting=Meeting(b"k" * 32, 0)).startswith(b"HTTP/1.1 403 ")


@given(
    st.one_of(
        st.binary(max_size=400),
        st.binary(max_size=100).map(lambda tail: upgrade_request() + tail),
        st.binary(max_size=100).map(lambda middle: upgrade_request()[:60] + middle + upgrade_request()[60:]),
        st.text(max_size=60).map(lambda text: f"GET /{text} HTTP/1.1\r\n{text}: {text}\r\n\r\n".encode()),
    )
)
def test_nothing_that_a_stranger_sends_raises(stream: bytes) -> None:
    async def scenario() -> None:
        server = Recorder()
        async with serving(server) as listener, raw_client(listener.port) as raw:
            raw.write(stream)
            raw.writer.write_eof()
            await raw.read_all()
            await server.wait(lambda: len(server.closed) == len(server.links))

    run(scenario())


async def test_early_frames_after_the_request_are_delivered_after_link_opened() -> None:
    server = Recorder()
    async with serving(server) as listener, raw_client(listener.port) as raw:
        raw.write(upgrade_request() + b"\x82\x81\0\0\0\0x")
        await server.wait(lambda: server.bundles == [b"x"])
        assert (await raw.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize("start", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n"])
async def test_stalled_handshake_is_dropped_in_time(start: bytes) -> None:
    server = Recorder()
    async with serving(server, open_timeout=0.05) as listener, raw_client(listener.port) as raw:
        raw.write(start)
        async with asyncio.timeout(PATIENCE):
            assert await raw.read_all() == b""
        assert server.links == server.closed == []


async def test_refused_client_that_stays_is_dropped_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LINK_CLOSE_TIMEOUT", 0.05)

    async with serving(Recorder(), half_open_max=1) as listener, raw_client(listener.port) as raw:
        raw.write(upgrade_request("Origin: http://page.example"))
        assert b" 403 " in await raw.read_all()  # the stream's end is half-closed: we stay
        while not (await probe(listener.port)).startswith(b"HTTP/1.1 101"):
            pass


async def probe(port: int, host: str = "127.0.0.1", **options: Any) -> bytes:
    """The first line that a new connection with a good request gets; empty if it is dropped."""
    async with raw_client(port, host=host, **options) as raw:
        raw.write(upgrade_request())
        try:
            return await raw.reader.readline()
        except ConnectionError:
            return b""


async def test_half_open_connections_are_limited_in_total() -> None:
    async with serving(Recorder(), half_open_max=3, half_open_per_host=100) as listener:
        stalled = [await RawClient.connect(listener.port) for _ in range(3)]
        assert await probe(listener.port) == b""
        await stalled.pop().close()
        while not (await probe(listener.port)).startswith(b"HTTP/1.1 101"):
            pass
        for raw in stalled:
            await raw.upgrade()  # those were unharmed
            await raw.close()


async def test_half_open_connections_are_limited_per_address() -> None:
    async with serving(Recorder(), host="0.0.0.0", half_open_max=100, half_open_per_host=2) as listener:
        stalled = [await RawClient.connect(listener.port) for _ in range(2)]
        assert await probe(listener.port) == b""
        elsewhere = await probe(listener.port, local_addr=("127.0.0.2", 0))
        assert elsewhere.startswith(b"HTTP/1.1 101")
        for raw in stalled:
            await raw.upgrade()
        assert (await probe(listener.port)).startswith(b"HTTP/1.1 101")
        for raw in stalled:
            await raw.close()


async def test_connections_are_accepted_at_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ACCEPT_RATE", 20.0)

    server = Recorder()
    async with serving(server) as listener:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(31):
            assert (await probe(listener.port)).startswith(b"HTTP/1.1 101")
        assert loop.time() - began > 0.4  # 20 at once, and 11 more at 20 a second


async def test_a_host_that_connects_too_often_is_turned_away_and_others_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "ACCEPT_PER_HOST_AT_ONCE", 5.0)
    monkeypatch.setattr(limits, "ACCEPT_PER_HOST", 0.5)
    monkeypatch.setattr(limits, "ACCEPT_HOSTS", 2)
    hosts = iter(["8.0.0.1"] * 7 + ["8.0.0.2", "2600::1", "8.0.0.3"])

    class Elsewhere(socket.socket):
        """A connection from the next host of the list."""

        def accept(self) -> tuple[socket.socket, Any]:
            client, address = super().accept()
            return client, (next(hosts), *address[1:])

    server = Recorder()
    async with serving(server) as listener:
        inner = listener.sockets[0]
        listener.serve([Elsewhere(fileno=inner.detach())])
        answers = [await probe(listener.port) for _ in range(10)]
        assert [answer[:12] for answer in answers[:5]] == [b"HTTP/1.1 101"] * 5
        assert answers[5:7] == [b"", b""]
        assert [answer[:12] for answer in answers[7:]] == [b"HTTP/1.1 101"] * 3
        assert len(listener._rates) == 2


async def test_hosts_of_one_prefix_are_turned_away_together_and_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ACCEPT_PER_HOST_AT_ONCE", 2.0)
    monkeypatch.setattr(limits, "ACCEPT_PER_HOST", 0.001)
    hosts = iter([f"2600:1:2:{n:x}00::1" for n in range(9)] + ["2600:1:3::1"])

    class Elsewhere(socket.socket):
        """A connection from the next host of the list."""

        def accept(self) -> tuple[socket.socket, Any]:
            client, address = super().accept()
            return client, (next(hosts), *address[1:])

    async with serving(Recorder()) as listener:
        inner = listener.sockets[0]
        listener.serve([Elsewhere(fileno=inner.detach())])
        answers = [await probe(listener.port) for _ in range(10)]
        assert [answer[:12] for answer in answers[:8]] == [b"HTTP/1.1 101"] * 8
        assert answers[8] == b""
        assert answers[9][:12] == b"HTTP/1.1 101"


async def test_of_half_open_connections_a_crowd_gives_way_to_a_newcomer() -> None:
    async def connect(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", port, local_addr=(host, 0))

    server = Recorder()
    async with serving(server, half_open_max=3) as listener:
        crowd = [await connect(f"127.0.1.{n}", listener.port) for n in (1, 2, 3)]
        await holds(lambda: len(listener._half_open) == 3)
        reader, writer = await connect("127.0.2.1", listener.port)
        writer.write(upgrade_request())
        async with asyncio.timeout(PATIENCE):
            assert (await reader.readline()).startswith(b"HTTP/1.1 101")
            assert await crowd[2][0].read() == b""
        for _, each in [*crowd, (reader, writer)]:
            each.close()


async def test_admit_is_asked_with_the_address_and_its_refusal_is_told() -> None:
    asked: list[str] = []

    def admit(host: str) -> str | None:
        asked.append(host)
        return "too many links\r\nX: y"

    server = Recorder()
    async with serving(server, admit=admit) as listener:
        url = f"ws://127.0.0.1:{listener.port}/"
        with pytest.raises(LinkError, match="answered HTTP 503, not a WebSocket"):
            await dial(Recorder(), url, timeout=PATIENCE, allow=anywhere)
        async with raw_client(listener.port) as raw:
            answer = await raw.read_all()
        assert answer.startswith(b"HTTP/1.1 503 too many links??X: y\r\n")
        assert asked == ["127.0.0.1"] * 2
        assert server.links == []


async def test_failing_admit_refuses_and_is_reported() -> None:
    reported: list[dict[str, Any]] = []

    def admit(host: str) -> str | None:
        raise RuntimeError("admit")

    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))
    async with serving(Recorder(), admit=admit) as listener:
        assert await probe(listener.port) == b""
    assert [str(context["exception"]) for context in reported] == ["admit"]


async def test_closed_listener_refuses_drops_the_half_open_and_leaves_open_links() -> None:
    server, client = Recorder(), Recorder()
    listener = await listen(server, "127.0.0.1", 0)
    url = f"ws://127.0.0.1:{listener.port}/"
    link = await dial(client, url, timeout=PATIENCE, allow=anywhere)
    async with raw_client(listener.port) as raw:
        raw.write(b"GET")
        await server.wait(lambda: bool(server.links))
        await listener.close()
        await listener.close()
        assert await raw.read_all() == b""
    with pytest.raises(ConnectionRefusedError):
        await dial(client, url, timeout=PATIENCE, allow=anywhere)
    link.send(b"still here")
    await server.wait(lambda: server.bundles == [b"still here"])
    link.close()
    await server.wait(lambda: bool(server.closed))
    await client.wait(lambda: bool(client.closed))


async def test_a_connection_that_comes_as_the_listener_closes_is_closed_too() -> None:
    for turns in range(6):  # of the loop between the connection and the end
        listener = await listen(Recorder(), "127.0.0.1", 0)
        with socket.create_connection(("127.0.0.1", listener.port), PATIENCE) as client:
            for _ in range(turns):
                await asyncio.sleep(0)
            await listener.close()
            client.settimeout(PATIENCE)
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.to_thread(client.recv, 1) == b""
    gc.collect()  # a socket that nobody closed warns, and that is an error


async def test_listener_takes_a_port_once() -> None:
    async with serving(Recorder()) as listener:
        with pytest.raises(OSError, match="in use") as caught:
            await listen(Recorder(), "127.0.0.1", listener.port)
        assert caught.value.errno == 98


async def test_listener_on_a_name_serves_all_its_addresses_on_one_port() -> None:
    async with serving(Recorder(), host="localhost") as listener:
        found = await asyncio.get_running_loop().getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)
        for address in {entry[4][0] for entry in found}:
            try:
                with socket.create_server(
                    (str(address), 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET
                ):
                    pass
            except OSError:  # named in /etc/hosts, not there
                continue
            assert (await probe(listener.port, host=str(address))).startswith(b"HTTP/1.1 101")


async def test_listener_on_all_interfaces_takes_both_families_and_calls_ipv4_by_its_name() -> None:
    server = Recorder()
    async with serving(server, host="") as listener:
        assert (await probe(listener.port)).startswith(b"HTTP/1.1 101")
        assert [link.remote_host for link in server.links] == ["127.0.0.1"]
        if socket.has_dualstack_ipv6():
            assert (await probe(listener.port, host="::1")).startswith(b"HTTP/1.1 101")
            assert server.links[-1].remote_host == "::1"
        await server.wait(lambda: len(server.closed) == len(server.links))


def test_a_process_that_is_ending_can_still_begin_to_listen() -> None:
    """It starts no thread any more, and looking up a literal needs none: its last datagrams may want that."""
    code = """
import asyncio, atexit
from peer_relay_socket.transport.websocket import listen
async def serve():
    listener = await listen(None, "127.0.0.1", 0)
    print("listens", listener.port > 0)
    await listener.close()
atexit.register(lambda: asyncio.run(serve()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("listens True\n", "")
