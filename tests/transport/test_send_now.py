"""Links that another thread than the loop's sends by: while nothing waits, and whole frames only."""

from __future__ import annotations

import asyncio
import socket

import pytest

from peer_relay_socket.transport.connection import Connection
from tests.interruption import interrupted
from tests.transport.links import Recorder, filled, pair

pytestmark = pytest.mark.usefixtures("reading")


async def test_prompt_links_send_from_another_thread_and_stop_being_prompt_when_the_kernel_is_full() -> None:
    server, client = Recorder(), Recorder()
    async with pair(server, client) as ends:
        for link, other in zip(ends, (client, server), strict=True):
            sent = []
            other.links[0].pause_reading()
            while link.prompt:  # the loop, which could be reading, is here: nothing else runs
                sent.append(filled(60_000 + len(sent)))
                assert await asyncio.to_thread(link.send_now, sent[-1])
            assert not link.send_now(b"not sent")
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
        assert not outer.send_now(b"x")
        await client.wait(lambda: bool(client.closed))
        assert not outer.prompt
        assert not outer.send_now(b"x")


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
