"""dial: to whom it goes, to whom it does not, and the one clear line when it fails."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.utils import accept_key

from peer_relay_socket.meeting import Meeting
from peer_relay_socket.transport.websocket import LinkError, dial
from tests.loopback import free_port
from tests.transport.links import PATIENCE, RawClient, Recorder, anywhere, raw_server, serving

pytestmark = pytest.mark.usefixtures("reading")


async def failure(url: str, *, wait: float = PATIENCE, **options: object) -> OSError:
    """The error that dialling ends in."""
    client = Recorder()
    allow = options.pop("allow", anywhere)
    with pytest.raises(OSError) as caught:  # noqa: PT011  # which one is for the test to say
        await dial(client, url, timeout=wait, allow=allow, **options)  # type: ignore[arg-type]
    assert client.links == client.closed == []
    assert "\n" not in str(caught.value)
    return caught.value


@asynccontextmanager
async def answering(answer: bytes, *, then_close: bool = True) -> AsyncIterator[int]:
    """A server that answers every request with the same bytes."""

    async def talk(client: RawClient) -> None:
        await client.reader.readuntil(b"\r\n\r\n")
        client.write(answer)
        if not then_close:
            await client.read_all()

    async with raw_server(talk) as port:
        yield port


async def test_dial_raises_connection_refused_where_nobody_listens() -> None:
    assert type(await failure(f"ws://127.0.0.1:{free_port()}/")) is ConnectionRefusedError


@pytest.mark.parametrize("status", [200, 301, 302, 307, 403, 404, 503])
async def test_dial_says_what_http_answered_and_follows_no_redirect(status: int) -> None:
    async with serving(Recorder()) as elsewhere:
        location = f"Location: ws://127.0.0.1:{elsewhere.port}/".encode()
        answer = f"HTTP/1.1 {status} Whatever\r\n".encode() + location + b"\r\nContent-Length: 99999\r\n\r\n..."
        async with answering(answer, then_close=False) as port:  # the body never comes
            error = await failure(f"ws://127.0.0.1:{port}/")
            assert type(error) is LinkError
            assert str(error) == f"127.0.0.1:{port}: answered HTTP {status}, not a WebSocket"


KEY_OF_NOBODY = accept_key("dGhlIHNhbXBsZSBub25jZQ==")


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "the connection ended before the WebSocket handshake was done"),
        (b"HTTP/1.1 10", "the connection ended before the WebSocket handshake was done"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "answered, but not as a WebSocket: "),
        (b"\x00" * 20_000, "answered, but not as a WebSocket: "),
        (
            b"HTTP/1.1 101 x\r\n" + b"A: " + b"b" * 8000 + b"\r\n" + b"A: " + b"b" * 8000 + b"\r\n" + b"C" * 1000,
            "16384",
        ),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "answered, but not as a WebSocket: "),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + KEY_OF_NOBODY.encode() + b"\r\n\r\n",
            "Sec-WebSocket-Accept",
        ),
    ],
    ids=["nothing", "half a line", "ssh", "zeros", "too large", "bare 101", "wrong key"],
)
async def test_dial_says_when_the_answer_is_no_websocket(answer: bytes, text: str) -> None:
    async with answering(answer) as port:
        error = await failure(f"ws://127.0.0.1:{port}/")
        assert type(error) is LinkError
        assert str(error).startswith(f"127.0.0.1:{port}: ")
        assert text in str(error)


@pytest.mark.parametrize("name", ["X-Peer-Relay-Meeting", "Date", "Upgrade", "Sec-WebSocket-Accept"])
async def test_a_header_that_comes_twice_is_no_proof_and_raises_nothing(name: str) -> None:
    meeting = Meeting(b"k" * 32, 0)

    async def talk(client: RawClient) -> None:
        request = await client.reader.readuntil(b"\r\n\r\n")
        key = re.findall(rb"(?i)sec-websocket-key: (\S+)", request)[0].decode()
        answer = (
            f"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept_key(key)}"
        )
        client.write(f"{answer}\r\n{name}: x\r\n{name}: y\r\n\r\n".encode())

    async with raw_server(talk) as port:
        error = await failure(f"ws://127.0.0.1:{port}/", meeting=meeting)
        assert type(error) is LinkError


async def test_dial_times_out_when_the_server_says_nothing() -> None:
    async def silent(client: RawClient) -> None:
        await client.read_all()

    async with raw_server(silent) as port:
        error = await failure(f"ws://127.0.0.1:{port}/", wait=0.05)
        assert type(error) is TimeoutError
        assert str(error) == f"127.0.0.1:{port}: no answer within 0.05 s"
        error = await failure(f"wss://127.0.0.1:{port}/", wait=0.05)
        assert type(error) is TimeoutError


@pytest.mark.slow
async def test_dial_gives_each_address_its_share_of_the_time() -> None:
    asked: list[str] = []

    async def silent(client: RawClient) -> None:
        await client.read_all()

    client = Recorder()
    async with serving(client, host="127.0.0.1") as listener:
        loop = asyncio.get_running_loop()
        resolve = loop.getaddrinfo

        async def two_addresses(host: str, port: int, **options: object) -> list[object]:
            found = [*await resolve("127.0.0.9", port), *await resolve("127.0.0.1", port)]
            return list(found)

        loop.getaddrinfo = two_addresses  # type: ignore[method-assign, assignment]
        with socket.create_server(("127.0.0.9", listener.port), backlog=1):
            # accepts by backlog, says nothing
            dialled = Recorder()
            link = await dial(
                dialled,
                f"ws://somewhere.example:{listener.port}/",
                timeout=4.0,
                allow=lambda host: asked.append(host) is None,
                proxy=None,
            )
            assert asked == ["127.0.0.9", "127.0.0.1"]
            assert link.remote_host == "127.0.0.1"
            link.close()
            await dialled.wait(lambda: bool(dialled.closed))
            await client.wait(lambda: bool(client.closed))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/",
        "ws://",
        "ws:///path",
        "127.0.0.1:80",
        "",
        "ws://127.0.0.1:99999/",
        "ws://127.0.0.1:x/",
        "ws://127.0.0.1/#fragment",
        "ws://127.0.0.1/a b",
        "ws://127.0.0.1/a\r\nX: y",
        "ws://[::1/",
        "ws://user@127.0.0.1/",
        "ws://127.0.0.1/" + "x" * 3000,
        "ws://\N{SNOWMAN}" + "x" * 100 + ".example/",
    ],
)
async def test_dial_refuses_what_is_no_websocket_url(url: str) -> None:
    error = await failure(url)
    assert type(error) is LinkError
    assert len(str(error)) < 400


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 70 + ".invalid", "a..b"])
async def test_dial_says_when_a_name_cannot_be_resolved(host: str) -> None:
    error = await failure(f"ws://{host}/", proxy=None)
    assert type(error) is LinkError
    assert "cannot resolve" in str(error)


@pytest.mark.parametrize(
    ("host", "meant"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("[::ffff:127.0.0.1]", "127.0.0.1"),
        ("[::ffff:7f00:1]", "127.0.0.1"),
        ("[::1]", "::1"),
        ("localhost", "127.0.0.1"),
        ("169.254.1.1", "169.254.1.1"),
        ("[fe80::1]", "fe80::1"),
    ],
)
async def test_dial_asks_about_the_address_that_a_host_means_in_any_spelling(host: str, meant: str) -> None:
    asked: list[str] = []

    def nowhere(address: str) -> bool:
        asked.append(address)
        return False

    async with serving(Recorder(), host="") as listener:
        error = await failure(f"ws://{host}:{listener.port}/", allow=nowhere)
        assert type(error) is LinkError
        assert "no link may go to" in str(error)
        assert meant in asked


async def test_dial_takes_an_ipv6_literal() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("needs ipv6")

    server, client = Recorder(), Recorder()
    async with serving(server, host="::1") as listener:
        link = await dial(client, f"ws://[::1]:{listener.port}/", timeout=PATIENCE, allow=anywhere)
        assert link.remote_host == "::1"
        link.close()
        await client.wait(lambda: bool(client.closed))
        await server.wait(lambda: bool(server.closed))


async def test_cancelled_dial_leaves_nothing_behind() -> None:
    came, gone = asyncio.Event(), asyncio.Event()

    async def silent(client: RawClient) -> None:
        came.set()
        await client.read_all()
        gone.set()

    async with raw_server(silent) as port:
        client = Recorder()
        dialling = dial(client, f"ws://127.0.0.1:{port}/", timeout=PATIENCE, allow=anywhere)
        task = asyncio.ensure_future(dialling)
        await came.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await gone.wait()
        assert client.links == client.closed == []


def test_a_process_that_is_ending_says_that_it_looks_up_no_name_any_more() -> None:
    code = """
import asyncio, atexit
from peer_relay_socket.transport.link import LinkError
from peer_relay_socket.meeting import Meeting
from peer_relay_socket.transport.websocket import dial
async def try_it():
    try:
        await dial(None, "ws://name.invalid:1", timeout=30, allow=lambda _: True, proxy=None)
    except LinkError as error:
        print(error)
atexit.register(lambda: asyncio.run(try_it()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    assert done.stdout.startswith("name.invalid:1: cannot resolve name.invalid: ")
