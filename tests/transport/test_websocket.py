"""Open links on loopback: what goes in at one end comes out at the other, and every ending is told once."""

from __future__ import annotations

import asyncio
import random
import socket
from typing import Any

import pytest
from websockets.frames import Frame, Opcode

from peer_relay_socket import limits
from peer_relay_socket.transport.connection import Connection
from peer_relay_socket.transport.websocket import Link, dial
from tests.interruption import interrupted
from tests.transport.links import PATIENCE, Echo, RawClient, Recorder, anywhere, pair, raw_client, serving

pytestmark = pytest.mark.usefixtures("reading")

SIZES = [0, 1, 2, 125, 126, 127, 200, 1200, 65_535, 65_536, 100_000, limits.MAX_BUNDLE - 1, limits.MAX_BUNDLE]


def filled(size: int) -> bytes:
    return random.Random(size).randbytes(size)


async def test_link_echoes_bundles_of_every_size_in_order() -> None:
    server, client = Echo(), Recorder()
    async with pair(server, client) as (_, outer):
        sent = [filled(size) for size in SIZES]
        for bundle in sent:
            outer.send(bundle)
        await client.wait(lambda: len(client.bundles) == len(sent))
        assert client.bundles == server.bundles == sent
        assert all(type(bundle) is bytes for bundle in client.bundles + server.bundles)


async def test_link_sends_what_a_buffer_held_when_send_was_called() -> None:
    server, client = Recorder(), Recorder()
    async with pair(server, client) as ends:
        for link, other in zip(ends, (client, server), strict=True):
            buffer = bytearray(filled(500_000)[: limits.MAX_BUNDLE])
            sent = bytes(buffer)
            for _ in range(20):  # more than the kernel takes at once
                link.send(buffer)
            link.send(memoryview(buffer)[1000:2000])
            buffer[:] = bytes(len(buffer))
            await other.wait(lambda other=other: len(other.bundles) == 21)
            assert other.bundles == [sent] * 20 + [sent[1000:2000]]


async def test_link_tells_who_it_is() -> None:
    server, client = Recorder(), Recorder()
    async with serving(server) as listener:
        url = f"ws://127.0.0.1:{listener.port}/some/path?x=1"
        outer = await dial(client, url, timeout=PATIENCE, allow=anywhere)
        assert client.links == [outer]  # before dial returned
        await server.wait(lambda: bool(server.links))
        inner = server.links[0]
        assert (outer.outbound, outer.url, outer.ours, outer.tls) == (True, url, True, False)
        assert (inner.outbound, inner.url, inner.ours, inner.tls) == (False, None, True, False)
        assert (outer.remote_host, outer.remote_port) == ("127.0.0.1", listener.port)
        assert inner.remote_host == "127.0.0.1"
        outer.close()
        await server.wait(lambda: bool(server.closed))
        await client.wait(lambda: bool(client.closed))


async def test_bundles_keep_their_boundaries_when_they_come_byte_by_byte() -> None:
    server = Recorder()
    async with serving(server) as listener, raw_client(listener.port) as raw:
        for byte in b"GET / HTTP/1.1\r\n":
            raw.write(bytes([byte]))
            await raw.writer.drain()
            await asyncio.sleep(0)
        raw.write(b"Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n")
        raw.write(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        assert (await raw.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        sent = [b"", b"a", filled(130), filled(700)]
        for bundle in sent:
            for byte in Frame(Opcode.BINARY, bundle).serialize(mask=True):
                raw.write(bytes([byte]))
                await asyncio.sleep(0)
        await server.wait(lambda: len(server.bundles) == len(sent))
        assert server.bundles == sent


async def test_text_keeps_its_place_among_bundles() -> None:
    log: list[object] = []

    class Order(Recorder):
        def bundles_received(self, link: Link, bundles: list[bytes]) -> None:
            log.extend(bundles)
            super().bundles_received(link, bundles)

        def text_received(self, link: Link, text: str) -> None:
            log.append(text)
            super().text_received(link, text)

    server, client = Order(), Echo()
    async with pair(server, client) as (inner, outer):
        outer.send(b"1")
        outer.send_text("zwei é \N{SNOWMAN}")
        outer.send(b"3")
        await server.wait(lambda: len(log) == 3)
        assert log == [b"1", "zwei é \N{SNOWMAN}", b"3"]
        inner.send_text("")
        await server.wait(lambda: len(log) == 4)
        assert log[3] == ""


@pytest.mark.parametrize("fragmented", [False, True])
async def test_bundle_that_is_too_large_closes_with_1009_and_what_came_before_arrives(fragmented: bool) -> None:
    server = Recorder()
    async with serving(server) as listener, raw_client(listener.port) as raw:
        await raw.upgrade()
        raw.frame(Opcode.BINARY, b"before")
        if fragmented:
            raw.frame(Opcode.BINARY, bytes(limits.MAX_BUNDLE), fin=False)
            raw.frame(Opcode.CONT, b"!")
        else:
            raw.frame(Opcode.BINARY, bytes(limits.MAX_BUNDLE + 1))
        [close] = await raw.read_frames(1)
        assert (close.opcode, close.data[:2]) == (Opcode.CLOSE, (1009).to_bytes(2))
        await raw.close()
        await server.wait(lambda: bool(server.closed))
        assert server.bundles == [b"before"]
        assert len(server.reasons) == 1
        assert "1009" in server.reasons[0]


async def test_peer_in_the_middle_of_sending_still_reads_why_it_was_refused() -> None:
    server = Recorder()
    async with serving(server) as listener, raw_client(listener.port) as raw:
        await raw.upgrade()
        raw.write(b"\x82\xff" + (2**32).to_bytes(8) + bytes(4))
        for _ in range(200):  # far more than the server reads before it refuses
            raw.write(bytes(60_000))
            await raw.writer.drain()
        [close] = await raw.read_frames(1)
        assert close.data[:2] == (1009).to_bytes(2)
        await raw.close()
        await server.wait(lambda: bool(server.closed))


@pytest.mark.parametrize(
    "bad",
    [
        Frame(Opcode.BINARY, b"x").serialize(mask=False),
        Frame(Opcode.CONT, b"x").serialize(mask=True),
        b"\xc2\x80" + bytes(4),
        b"\x83\x80" + bytes(4),
        b"\x89\xfe\x01\x00" + bytes(260),
        b"\x88\x81" + bytes(5),
    ],
    ids=["unmasked", "continuation of nothing", "reserved bit", "reserved opcode", "long ping", "short close"],
)
async def test_frames_that_break_the_protocol_close_the_link_and_hide_what_follows(bad: bytes) -> None:
    server = Recorder()
    async with serving(server) as listener, raw_client(listener.port) as raw:
        await raw.upgrade()
        raw.write(bad + Frame(Opcode.BINARY, b"after").serialize(mask=True))
        [close] = await raw.read_frames(1)
        assert (close.opcode, close.data[:2]) == (Opcode.CLOSE, (1002).to_bytes(2))
        assert await raw.read_all() == b""
        await raw.close()
        await server.wait(lambda: bool(server.closed))
        assert server.bundles == []
        assert "\n" not in server.reasons[0]


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


async def test_link_says_full_when_the_peer_does_not_read_and_writable_when_it_does() -> None:
    server, client = Recorder(), Recorder()
    async with pair(server, client) as (inner, outer):
        inner.pause_reading()
        bundle = filled(60_000)
        sent = 0
        while not outer.full:
            outer.send(bundle)
            sent += 1
            assert sent < 10_000
        assert outer.backlog > limits.LINK_HIGH_WATER
        assert (client.writable, server.batches) == ([], [])
        inner.resume_reading()
        await client.wait(lambda: bool(client.writable))
        assert client.writable == [outer]
        assert not outer.full
        assert outer.backlog <= limits.LINK_LOW_WATER
        await server.wait(lambda: len(server.bundles) == sent)
        assert set(server.bundles) == {bundle}
        assert outer.dropped == 0


async def test_send_drops_and_counts_past_the_hard_limit() -> None:
    server, client = Recorder(), Recorder()
    async with pair(server, client) as (inner, outer):
        inner.pause_reading()
        bundle = filled(60_000)
        sent = 0
        while not outer.dropped:
            outer.send(bundle)
            sent += 1
            assert sent < 10_000
        assert outer.backlog <= limits.LINK_BACKLOG_MAX + len(bundle) + 14
        outer.send_text("dropped too")
        assert outer.dropped == 2
        inner.resume_reading()
        await server.wait(lambda: len(server.bundles) == sent - 1)
        outer.send(bytes(limits.MAX_BUNDLE + 1))
        assert outer.dropped == 3


async def test_a_crowd_of_messages_is_read_in_small_pieces() -> None:
    server = Recorder()
    count = 200_000
    async with serving(server) as listener, raw_client(listener.port) as raw:
        await raw.upgrade()
        raw.write(Frame(Opcode.BINARY, b"").serialize(mask=True) * count)
        await server.wait(lambda: len(server.bundles) == count)
        sizes = [len(batch) for batch in server.batches]
        assert max(sizes[1:]) <= limits.LINK_READ_SMALL // 6 + 1
        large = Frame(Opcode.BINARY, bytes(50_000)).serialize(mask=True) * 40
        raw.write(large)
        await server.wait(lambda: len(server.bundles) == count + 40)
        assert max(len(batch) for batch in server.batches[len(sizes) + 1 :]) > 1  # as before
        raw.reset()
        await server.wait(lambda: bool(server.closed))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pings", "fragments"])
async def test_link_that_sends_many_odd_frames_is_read_at_their_rate(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ODD_FRAMES_RATE", 50.0)
    many = Frame(Opcode.PING, b"").serialize(mask=True) * 100
    if kind == "fragments":
        middle = Frame(Opcode.CONT, b"", fin=False).serialize(mask=True) * 98
        many = Frame(Opcode.BINARY, b"", fin=False).serialize(mask=True) + middle
        many += Frame(Opcode.CONT, b"").serialize(mask=True)

    server = Recorder()
    async with serving(server) as listener, raw_client(listener.port) as raw:
        await raw.upgrade()
        loop = asyncio.get_running_loop()
        raw.write(many + Frame(Opcode.BINARY, b"before").serialize(mask=True))
        await server.wait(lambda: b"before" in server.bundles)
        (link,) = server.links
        link.pause_reading()  # what the handler wants is not forgotten over it
        link.resume_reading()
        began = loop.time()
        raw.write(Frame(Opcode.BINARY, b"after").serialize(mask=True))
        await server.wait(lambda: b"after" in server.bundles)
        assert loop.time() - began > 0.5  # 100 frames at 50 a second, less a second's worth at once
        raw.reset()
        await server.wait(lambda: bool(server.closed))


async def test_peer_that_pings_and_never_reads_costs_no_more_than_the_hard_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "ODD_FRAMES_RATE", 1e9)

    server = Recorder()
    async with serving(server) as listener, raw_client(listener.port) as raw:
        await raw.upgrade()
        raw.writer.transport.pause_reading()  # type: ignore[attr-defined]
        link: Any = server.links[0]
        pings = Frame(Opcode.PING, bytes(125)).serialize(mask=True) * 2000
        for _ in range(200):
            raw.write(pings)
            await raw.writer.drain()
            if link.dropped:
                break
        assert link.dropped
        assert link.backlog <= limits.LINK_BACKLOG_MAX + 200
        raw.reset()
        await server.wait(lambda: bool(server.closed))


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


async def test_paused_link_delivers_nothing_until_resumed() -> None:
    server, client = Recorder(), Recorder()
    async with pair(server, client) as (inner, outer):
        inner.pause_reading()
        inner.pause_reading()
        outer.send(b"x")
        for _ in range(20):
            await asyncio.sleep(0)
        assert server.batches == []
        inner.resume_reading()
        await server.wait(lambda: server.bundles == [b"x"])


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


async def test_prompt_links_send_from_another_thread_and_stop_being_prompt_when_the_kernel_is_full() -> None:
    server, client = Recorder(), Recorder()
    async with pair(server, client) as ends:
        for link, other in zip(ends, (client, server), strict=True):
            sent = []
            other.links[0].pause_reading()
            while link.prompt:  # the loop, which could be reading, is here: nothing else runs
                sent.append(filled(60_000 + len(sent)))
                await asyncio.to_thread(link.send_now, sent[-1])
            assert link.backlog > 0, "the last one went halfway"
            link.send(b"after")
            other.links[0].resume_reading()
            await other.wait(lambda other=other, sent=sent: len(other.bundles) == len(sent) + 1)
            assert other.bundles == [*sent, b"after"]
            assert link.prompt


async def test_small_messages_never_wait_for_acknowledgements_of_earlier_ones() -> None:
    """Both ends turn Nagle's algorithm off; with it a second small message waits up to 40 ms."""

    server, client = Recorder(), Recorder()
    async with pair(server, client) as ends:
        for link in ends:
            assert isinstance(link, Connection)
            assert link._raw is not None
            sock = link._raw.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


@pytest.mark.parametrize("ending", ["close", "abort"])
async def test_links_that_end_are_not_prompt(ending: str) -> None:
    server, client = Recorder(), Recorder()
    async with pair(server, client) as (_, outer):
        assert outer.prompt
        getattr(outer, ending)()
        assert not outer.prompt
        await client.wait(lambda: bool(client.closed))
        assert not outer.prompt


@pytest.mark.parametrize("instruction", range(1, 160, 3))
async def test_what_a_signal_handler_raises_into_send_now_leaves_the_stream_whole(instruction: int) -> None:
    server, client = Recorder(), Recorder()
    async with pair(server, client) as (_, outer):
        with interrupted(instruction):
            outer.send_now(filled(1000))
        outer.send(b"after")
        await server.wait(lambda: server.bundles[-1:] == [b"after"] or bool(client.closed))
        if client.closed:  # it came while the count was looked at: better no link than a frame of which half is out
            assert client.reasons == ["interrupted amid a frame"]
            assert server.bundles in ([], [filled(1000)])
        else:
            assert server.bundles in ([b"after"], [filled(1000), b"after"])
