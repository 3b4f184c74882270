"""How links end: what was sent is flushed, nothing follows, and both ends are told once, and why."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from websockets.frames import Frame, Opcode

from peer_relay_socket import limits
from peer_relay_socket.transport.websocket import Link, dial
from tests.transport.links import PATIENCE, RawClient, Recorder, anywhere, filled, pair, raw_client, serving

pytestmark = pytest.mark.usefixtures("reading")


async def test_close_flushes_what_was_sent_and_is_told_once_at_both_ends() -> None:
    server, client = Recorder(), Recorder()
    async with pair(server, client) as (_, outer):
        bundle = filled(60_000)
        sent = 0
        while not outer.backlog:
            outer.send(bundle)
            sent += 1
        outer.close(4001, "enough \N{SNOWMAN} " + "x" * 200)
        outer.close(4002)
        outer.send(b"too late")
        outer.send_text("too late")
        await server.wait(lambda: bool(server.closed))
        await client.wait(lambda: bool(client.closed))
        assert server.bundles == [bundle] * sent
        assert server.reasons[0].startswith("closed by the other end: 4001 (private use) enough")
        assert client.reasons[0].startswith("closed here: 4001 enough")
        outer.close()
        outer.send(b"later still")
        outer.abort()
        assert outer.backlog == 0
    assert (len(server.closed), len(client.closed)) == (1, 1)


async def test_close_refuses_a_code_that_no_endpoint_may_send() -> None:
    async with pair(Recorder(), Recorder()) as (_, outer):
        with pytest.raises(ValueError, match="status code"):
            outer.close(1006)
        outer.send(b"still open")


async def test_nothing_is_delivered_after_close() -> None:
    class Closer(Recorder):
        def bundles_received(self, link: Link, bundles: list[bytes]) -> None:
            super().bundles_received(link, bundles)
            link.close()

    server = Closer()
    async with serving(server) as listener, raw_client(listener.port) as raw:
        await raw.upgrade()
        raw.write(b"".join(Frame(Opcode.BINARY, b"a").serialize(mask=True) for _ in range(3)))
        raw.frame(Opcode.TEXT, b"after")
        raw.frame(Opcode.BINARY, b"after")
        [close] = await raw.read_frames(1)
        raw.frame(Opcode.BINARY, b"after")
        raw.frame(Opcode.CLOSE, close.data)
        await server.wait(lambda: bool(server.closed))
        assert server.batches == [[b"a"] * 3]
        assert server.texts == []
        assert server.reasons == ["closed here: 1000"]


async def test_abort_is_told_once_and_not_from_inside_abort() -> None:
    server, client = Recorder(), Recorder()
    async with pair(server, client) as (inner, outer):
        inner.abort()
        inner.abort()
        assert server.closed == []
        await server.wait(lambda: bool(server.closed))
        await client.wait(lambda: bool(client.closed))
        assert server.reasons == ["aborted here"]
        assert outer is client.closed[0][0]


async def test_link_whose_other_end_never_says_goodbye_is_dropped_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LINK_CLOSE_TIMEOUT", 0.05)

    server = Recorder()
    async with serving(server) as listener, raw_client(listener.port) as raw:
        await raw.upgrade()
        server.links[0].close()
        await server.wait(lambda: bool(server.closed))
        assert server.reasons == ["closed here: 1000"]


@pytest.mark.parametrize("opcode", [Opcode.BINARY, Opcode.TEXT])
async def test_link_that_was_closed_is_dropped_if_its_other_end_only_goes_on_to_send(
    monkeypatch: pytest.MonkeyPatch, opcode: Opcode
) -> None:
    monkeypatch.setattr(limits, "LINK_CLOSE_TIMEOUT", 10 * PATIENCE)
    server = Recorder()
    async with serving(server) as listener, raw_client(listener.port) as raw:
        await raw.upgrade()
        await server.wait(lambda: bool(server.links))
        server.links[0].close()
        many = Frame(opcode, bytes(150)).serialize(mask=True) * 100
        with contextlib.suppress(ConnectionError):
            for _ in range(3 * limits.LINK_CLOSING_MOST // limits.LINK_CLOSING_MESSAGE // 100):
                raw.write(many)
                await asyncio.wait_for(raw.writer.drain(), PATIENCE)
        await server.wait(lambda: bool(server.closed))


async def test_killed_peer_is_told_once() -> None:
    server = Recorder()
    async with serving(server) as listener:
        raw = await RawClient.connect(listener.port)
        await raw.upgrade()
        raw.reset()
        await server.wait(lambda: bool(server.closed))
        assert server.reasons == ["connection lost: [Errno 104] Connection reset by peer"]
        server.links[0].send(b"nobody")
        server.links[0].close()


async def test_vanished_peer_is_told_once() -> None:
    server = Recorder()
    async with serving(server) as listener, raw_client(listener.port) as raw:
        await raw.upgrade()
        raw.frame(Opcode.BINARY, b"last words")
        raw.write(b"\x82\xff")  # and the beginning of more
        raw.writer.write_eof()
        await server.wait(lambda: bool(server.closed))
        assert server.bundles == [b"last words"]
        assert server.reasons == ["connection ended without a goodbye"]


async def test_goodbye_of_the_other_end_is_one_line_whatever_it_says() -> None:
    server = Recorder()
    async with serving(server) as listener, raw_client(listener.port) as raw:
        await raw.upgrade()
        raw.frame(Opcode.CLOSE, (1001).to_bytes(2) + b"a\r\nb\x1b[31m")
        await server.wait(lambda: bool(server.closed))
        assert server.reasons == ["closed by the other end: 1001 (going away) a??b?[31m"]


@pytest.mark.parametrize("call", ["link_opened", "bundles_received", "text_received", "link_writable", "link_closed"])
async def test_failing_handler_closes_its_link_and_is_reported(call: str) -> None:
    reported: list[dict[str, Any]] = []

    class Failing(Recorder):
        def __getattribute__(self, name: str) -> Any:
            if name != call:
                return super().__getattribute__(name)
            method = super().__getattribute__(name)

            def fail(*arguments: Any) -> None:
                method(*arguments)
                raise RuntimeError(f"{call} failed")

            return fail

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: reported.append(context))
    server, client = Failing(), Recorder()
    async with serving(server) as listener:
        outer = await dial(client, f"ws://127.0.0.1:{listener.port}/", timeout=PATIENCE, allow=anywhere)
        await server.wait(lambda: bool(server.links))
        outer.send(b"x")
        outer.send_text("x")
        if call == "link_writable":
            outer.pause_reading()
            while not server.links[0].full:
                server.links[0].send(bytes(60_000))
            outer.resume_reading()
        if call == "link_closed":
            outer.close()
        await server.wait(lambda: bool(server.closed))
        await client.wait(lambda: bool(client.closed))
        assert [str(context["exception"]) for context in reported] == [f"{call} failed"]
        if call != "link_closed":
            assert server.reasons == [f"the handler failed: RuntimeError('{call} failed')"]
            assert client.reasons == ["closed by the other end: 1011 (internal error)"]


async def test_paused_link_says_goodbye_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LINK_CLOSE_TIMEOUT", 2 * PATIENCE)

    server, client = Recorder(), Recorder()
    async with pair(server, client) as (inner, outer):
        inner.pause_reading()
        outer.send(b"x")
        inner.close()
        await server.wait(lambda: bool(server.closed))
        await client.wait(lambda: bool(client.closed))
        assert server.batches == []
        assert client.reasons == ["closed by the other end: 1000 (OK)"]
