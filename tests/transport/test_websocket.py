"""Open links on loopback: what goes in at one end comes out at the other, and every ending is told once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.frames import Frame, Opcode

from peer_relay_socket import limits
from peer_relay_socket.transport.websocket import Link, dial
from tests.transport.links import PATIENCE, Echo, Recorder, anywhere, filled, pair, raw_client, serving

pytestmark = pytest.mark.usefixtures("reading")

SIZES = [0, 1, 2, 125, 126, 127, 200, 1200, 65_535, 65_536, 100_000, limits.MAX_BUNDLE - 1, limits.MAX_BUNDLE]


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


async def test_a_crowd_of_messages_is_read_in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Recorder()
    monkeypatch.setattr(limits, "LINK_READ_MOST", 200_000)
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


async def test_a_link_is_read_for_eight_times_as_many_texts_as_other_odd_frames(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "ODD_FRAMES_RATE", 25.0)
    text, after = (Frame(Opcode.TEXT, data).serialize(mask=True) for data in (b"text", b"after"))
    server = Recorder()
    async with serving(server) as listener, raw_client(listener.port) as raw:
        await raw.upgrade()
        for number in range(1, 9):  # 200 in all: a second's worth at once
            raw.write(text * 25)
            await server.wait(lambda count=25 * number: len(server.texts) == count)
            assert server.links[0]._held is None
        began = asyncio.get_running_loop().time()
        raw.write(text * 240)
        await server.wait(lambda: len(server.texts) == 440)
        raw.write(after)
        await server.wait(lambda: server.texts[-1] == "after")
        assert asyncio.get_running_loop().time() - began > 0.15  # 240 at 200 a second, less a second's worth at once
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
    monkeypatch.setattr(limits, "ODD_FRAMES_AT_ONCE", 1e9)
    monkeypatch.setattr(limits, "LINK_BACKLOG_MAX", 2 * limits.LINK_HIGH_WATER)  # a second of pings less

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
