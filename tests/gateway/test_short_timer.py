"""Waits shorter than a millisecond."""

from __future__ import annotations

import asyncio
import os
import time

from peer_relay_socket.gateway import short_timer
from peer_relay_socket.gateway.short_timer import ShortTimer


async def calls_back_once_for_each_start_and_not_early() -> None:
    called: asyncio.Queue[float] = asyncio.Queue()
    timer = ShortTimer(asyncio.get_running_loop(), lambda: called.put_nowait(time.monotonic()))
    try:
        for seconds in (0.0001, 0.02):
            began = time.monotonic()
            timer.start(seconds)
            assert await asyncio.wait_for(called.get(), 20) >= began + seconds
            assert called.empty()
    finally:
        timer.close()


async def never_calls_back_once_closed() -> None:
    loop, called = asyncio.get_running_loop(), []
    timer = ShortTimer(loop, lambda: called.append(True))
    timer.start(0.0)
    timer.close()
    timer.close()
    await asyncio.sleep(0)
    assert not called


def test_timer_calls_back_once_for_each_start_and_not_early() -> None:
    asyncio.run(calls_back_once_for_each_start_and_not_early())


def test_closed_timer_never_calls_back() -> None:
    asyncio.run(never_calls_back_once_closed())


def test_flags_are_what_the_kernel_calls_by_their_names() -> None:
    assert os.O_NONBLOCK | os.O_CLOEXEC == short_timer._FLAGS
