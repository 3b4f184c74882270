"""Links that are read past asyncio, by the loop and by others in turn: what comes is delivered once and in order,
though a signal handler raises, or one reads amid another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import pairwise
from random import Random

import pytest
from websockets.frames import Frame, Opcode

from tests.interruption import interrupted
from tests.transport.fast_reads import PAST_ASYNCIO, Fussy, calm, message, put, readable, turns

pytestmark = PAST_ASYNCIO


async def test_what_a_signal_handler_raises_while_a_message_is_read_costs_that_one_at_most() -> None:
    server = Fussy()
    async with calm(server) as (raw, link):
        for instruction in range(1, 500):
            while not link._calm:  # two came at once
                put(raw, message(b"calm"))
                await server.wait(lambda: server.log[-1:] == [b"calm"])
                server.log.clear()
            put(raw, message(b"perhaps"))
            readable(link)
            done = False
            with interrupted(instruction):
                assert link.read_fast()
                done = True
            if not done:
                asyncio.get_running_loop().call_soon(link.read)
            put(raw, message(b"%d" % instruction))
            await server.wait(lambda last=b"%d" % instruction: server.log[-1:] == [last])
            assert server.log in ([b"perhaps", b"%d" % instruction], [b"%d" % instruction])
            server.log.clear()
            if done:
                assert instruction > 30, "it was over before it began"
                return
        raise AssertionError("always interrupted")


@pytest.mark.parametrize("again", [False, True])
async def test_a_message_that_the_loop_takes_amid_another_reading_is_delivered_in_order(again: bool) -> None:
    """As when who has borrowed the turn is held up, and the loop takes it back."""

    server = Fussy(lambda: False)  # who takes it has to see by itself whether it is a repetition
    async with calm(server) as (raw, link):
        for instruction in range(1, 500):
            put(raw, message(b"perhaps"))
            readable(link)
            amid: list[None] = []

            def act(amid: list[None] = amid) -> None:
                amid.append(None)
                for _ in range(1 + again):
                    link.read()

            with interrupted(instruction, act):
                if not link.read_fast():
                    asyncio.get_running_loop().call_soon(link.read)
            put(raw, message(b"%d" % instruction))
            await server.wait(lambda last=b"%d" % instruction: server.log[-1:] == [last])
            assert server.log == [b"perhaps", b"%d" % instruction]
            server.log.clear()
            if not amid:
                assert instruction > 30, "it was over before it began"
                return
        raise AssertionError("always interrupted")


def scattered(dice: Random) -> tuple[list[bytes | str], bytes]:
    """Messages of all kinds, and their bytes on the wire."""
    expected: list[bytes | str] = []
    stream = b""
    for number in range(dice.randint(20, 60)):
        kind = dice.choice("mmmmmmmmtfpl")
        data = number.to_bytes(2) + bytes(dice.choice((0, 0, 100, 123, 124, 125, 1200)))
        if kind == "p":
            stream += Frame(Opcode.PING, b"?").serialize(mask=True)
        elif kind == "t":
            expected.append(f"text {number}")
            stream += Frame(Opcode.TEXT, f"text {number}".encode()).serialize(mask=True)
        elif kind == "f":
            expected.append(data)
            at = dice.randint(0, len(data))
            stream += Frame(Opcode.BINARY, data[:at], fin=False).serialize(mask=True)
            stream += Frame(Opcode.CONT, data[at:]).serialize(mask=True)
        else:
            data += bytes(30_000) if kind == "l" else b""
            expected.append(data)
            stream += message(data)
    return expected, stream


def pieces(dice: Random, stream: bytes) -> Iterator[bytes]:
    """Cut it, mostly between frames."""
    edges = [0]
    while edges[-1] < len(stream):
        head = stream[edges[-1] + 1] & 127
        size = head if head < 126 else int.from_bytes(stream[edges[-1] + 2 : edges[-1] + 4]) + 2
        end = edges[-1] + 6 + size
        edges.append(end if dice.random() < 0.9 else dice.randint(edges[-1] + 1, end))
        if edges[-1] != end:
            edges.append(end)
    for start, end in pairwise(edges):
        yield stream[start:end]


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_comes_whoever_reads_and_whenever_it_is_paused_is_delivered_once_in_order(seed: int) -> None:
    dice = Random(seed)
    server = Fussy(lambda: dice.random() < 0.7)
    expected, stream = scattered(dice)
    async with calm(server) as (raw, link):
        for piece in pieces(dice, stream):
            put(raw, piece)
            readable(link)
            if dice.random() < (0.5 if server.paused else 0.1):
                if server.paused:
                    server.paused = False
                    link.resume_reading()
                else:
                    server.paused = True
                    link.pause_reading()
            if dice.random() < 0.4 and not link.read_fast():
                asyncio.get_running_loop().call_soon(link.read)
            if dice.random() < 0.5:
                await turns(dice.randint(1, 3))
        server.paused = False
        link.resume_reading()
        await server.wait(lambda: len(server.log) == len(expected))
        assert server.log == expected
