"""dial through a proxy: a small real one, on loopback."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from peer_relay_socket.transport.websocket import LinkError, dial
from tests.transport.links import PATIENCE, Echo, RawClient, Recorder, anywhere, raw_server, serving


class Proxy:
    """An HTTP proxy that does CONNECT, and brings every target to one port on loopback."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.requests: list[bytes] = []
        self.answer: Callable[[bytes], bytes] = lambda request: b"HTTP/1.1 200 Connected\r\n\r\n"
        self.url = ""

    async def talk(self, client: RawClient) -> None:
        request = await client.reader.readuntil(b"\r\n\r\n")
        self.requests.append(request)
        answer = self.answer(request)
        for i in range(0, len(answer), 7):
            client.write(answer[i : i + 7])
            await asyncio.sleep(0)
        if not answer.startswith(b"HTTP/1.1 200 "):
            return
        onward = await RawClient.connect(self.target_port)

        async def pump(source: RawClient, sink: RawClient) -> None:
            while data := await source.reader.read(65_536):
                sink.write(data)
                await sink.writer.drain()
            if sink.writer.can_write_eof():
                sink.writer.write_eof()

        try:
            await asyncio.gather(pump(client, onward), pump(onward, client))
        finally:
            await onward.close()


@asynccontextmanager
async def proxying(target_port: int) -> AsyncIterator[Proxy]:
    proxy = Proxy(target_port)
    async with raw_server(proxy.talk) as port:
        proxy.url = f"http://127.0.0.1:{port}"
        yield proxy


async def echo_once(url: str, **options: Any) -> None:
    client = Recorder()
    link = await dial(client, url, timeout=PATIENCE, **{"allow": anywhere, **options})
    link.send(b"x" * 100_000)
    await client.wait(lambda: client.bundles == [b"x" * 100_000])
    link.close()
    await client.wait(lambda: bool(client.closed))


@pytest.fixture(autouse=True)
def _no_system_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ws", "wss", "http", "https", "socks", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)


async def test_dial_tunnels_through_the_proxy_it_is_given_and_lets_it_resolve() -> None:
    def nowhere(host: str) -> bool:
        raise AssertionError("nothing to ask about a name that the proxy resolves")

    server = Echo()
    async with serving(server) as listener, proxying(listener.port) as proxy:
        await echo_once("ws://relay.example:1234/p", proxy=proxy.url, allow=nowhere)
        await server.wait(lambda: bool(server.closed))
        assert proxy.requests == [b"CONNECT relay.example:1234 HTTP/1.1\r\nHost: relay.example:1234\r\n\r\n"]


async def test_dial_takes_the_proxy_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Echo()
    async with serving(server) as listener, proxying(listener.port) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url.replace("http://", "http://me:secret@"))
        monkeypatch.setenv("no_proxy", "other.example")
        await echo_once("ws://relay.example/")
        await server.wait(lambda: bool(server.closed))
        credentials = base64.b64encode(b"me:secret")
        assert proxy.requests[0].startswith(b"CONNECT relay.example:80 HTTP/1.1\r\n")
        assert b"\r\nProxy-Authorization: Basic " + credentials + b"\r\n" in proxy.requests[0]
        with pytest.raises(LinkError, match="cannot resolve"):
            await echo_once("ws://other.example/")
        with pytest.raises(LinkError, match="cannot resolve"):
            await echo_once("ws://relay.example.invalid/", proxy=None)
        assert len(proxy.requests) == 1


async def test_dial_asks_about_literals_before_it_hands_them_to_a_proxy() -> None:
    server = Echo()
    async with serving(server) as listener, proxying(listener.port) as proxy:
        with pytest.raises(LinkError, match=r"no link may go to 10\.0\.0\.1"):
            await echo_once("ws://0x0a000001/", proxy=proxy.url, allow=lambda host: host != "10.0.0.1")
        assert proxy.requests == []
        await echo_once("ws://0x0a000001:99/", proxy=proxy.url)
        assert proxy.requests[0].startswith(b"CONNECT 10.0.0.1:99 ")
        await server.wait(lambda: bool(server.closed))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1", "[::ffff:127.0.0.1]"])
async def test_loopback_is_never_reached_by_proxy(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Echo()
    async with serving(server) as listener, proxying(listener.port) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        await echo_once(f"ws://{host}:{listener.port}/")
        await echo_once(f"ws://{host}:{listener.port}/", proxy=proxy.url)
        assert proxy.requests == []
        await server.wait(lambda: len(server.closed) == 2)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "the proxy refused with HTTP 407"),
        (b"SSH-2.0-x\r\n\r\n", "the proxy's answer is not HTTP"),
        (b"", "the proxy closed the connection"),
        (b"HTTP/1.1 200 " + b"x" * 20_000, "the proxy answered with more than 16384 bytes"),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", "the proxy sent bytes of its own into the tunnel"),
    ],
)
async def test_dial_says_what_the_proxy_did(answer: bytes, text: str) -> None:
    async with serving(Recorder()) as listener, proxying(listener.port) as proxy:
        proxy.answer = lambda request: answer
        with pytest.raises(LinkError, match=text) as caught:
            await echo_once("ws://relay.example/", proxy=proxy.url)
        assert str(caught.value).startswith("relay.example:80: ")


@pytest.mark.parametrize("proxy", ["ftp://127.0.0.1:1", "https://127.0.0.1:1", "http://", "nonsense", "http://x:99999"])
async def test_dial_refuses_a_proxy_it_cannot_use(proxy: str) -> None:
    with pytest.raises(LinkError, match="prox"):
        await echo_once("ws://relay.example/", proxy=proxy)


async def test_dial_says_when_the_proxy_cannot_be_reached() -> None:
    async with proxying(0) as proxy:
        pass
    with pytest.raises(ConnectionRefusedError):
        await echo_once("ws://relay.example/", proxy=proxy.url)


async def test_dial_times_out_while_the_proxy_says_nothing() -> None:
    async def silent(client: RawClient) -> None:
        await client.read_all()

    async with raw_server(silent) as port:
        with pytest.raises(TimeoutError, match="no answer within"):
            await dial(
                Recorder(), "ws://relay.example/", timeout=0.05, allow=anywhere, proxy=f"http://127.0.0.1:{port}"
            )
