"""Background threads, awaited from a loop."""

from __future__ import annotations

import asyncio

import pytest

from peer_relay_socket.bridge.threads import in_background
from peer_relay_socket.originals import thread


async def test_a_call_in_the_background_does_not_hold_up_the_loop() -> None:
    here, there, seen = thread.get_ident(), [], thread.allocate_lock()
    seen.acquire()

    def call() -> None:
        seen.acquire(timeout=60.0)  # until the loop runs on
        there.append(thread.get_ident())

    asyncio.get_running_loop().call_soon(seen.release)
    await in_background(call)
    assert there != [here]
    assert len(there) == 1


async def test_what_a_call_in_the_background_raises_reaches_who_waits() -> None:
    def call() -> None:
        raise LookupError("none")

    with pytest.raises(LookupError):
        await in_background(call)


def test_without_asyncio_the_call_is_made_at_once() -> None:
    there: list[int] = []
    with pytest.raises(StopIteration):
        in_background(lambda: there.append(thread.get_ident())).send(None)
    assert there == [thread.get_ident()]
