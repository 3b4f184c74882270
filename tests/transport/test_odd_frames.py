"""Odd frames: fragments and texts, on a real connection."""

from __future__ import annotations

from websockets.frames import Frame, Opcode

from tests.transport.links import Recorder, raw_client, serving


async def test_one_read_is_delivered_in_one_call_when_frames_of_all_kinds_are_mixed() -> None:
    server = Recorder()
    async with serving(server) as listener, raw_client(listener.port) as raw:
        await raw.upgrade()
        frames = [
            Frame(Opcode.BINARY, b"one"),
            Frame(Opcode.PING, b"?"),
            Frame(Opcode.BINARY, b"tw", fin=False),
            Frame(Opcode.PING, b"??"),
            Frame(Opcode.CONT, b"", fin=False),
            Frame(Opcode.CONT, b"o"),
            Frame(Opcode.BINARY, b""),
        ]
        raw.write(b"".join(frame.serialize(mask=True) for frame in frames))
        await server.wait(lambda: bool(server.batches))
        assert server.batches == [[b"one", b"two", b""]]
        pongs = await raw.read_frames(2)
        assert [(pong.opcode, bytes(pong.data)) for pong in pongs] == [(Opcode.PONG, b"?"), (Opcode.PONG, b"??")]


async def test_text_that_is_not_utf8_closes_with_1007() -> None:
    server = Recorder()
    async with serving(server) as listener, raw_client(listener.port) as raw:
        await raw.upgrade()
        raw.frame(Opcode.TEXT, b"\xff\xfe")
        [close] = await raw.read_frames(1)
        assert (close.opcode, close.data[:2]) == (Opcode.CLOSE, (1007).to_bytes(2))
        raw.frame(Opcode.CLOSE, close.data)
        await server.wait(lambda: bool(server.closed))
        assert server.texts == []


async def test_the_rest_of_a_message_that_comes_after_our_goodbye_completes_nothing() -> None:
    server = Recorder()
    async with serving(server) as listener, raw_client(listener.port) as raw:
        await raw.upgrade()
        raw.frame(Opcode.BINARY, b"be", fin=False)
        raw.frame(Opcode.PING, b"")
        await raw.read_frames(1)
        server.links[0].close()
        [close] = await raw.read_frames(1)
        raw.frame(Opcode.CONT, b"gun", fin=False)
        raw.frame(Opcode.CONT, b"")
        raw.frame(Opcode.CLOSE, close.data)
        await server.wait(lambda: bool(server.closed))
        assert server.bundles == []
        assert server.reasons == ["closed here: 1000"]
