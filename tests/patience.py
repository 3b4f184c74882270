"""Waiting for something to become true, and running what may not run for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

LIMIT = 30.0


def until(what: Callable[[], object], limit: float = LIMIT) -> None:
    """Wait until `what` holds."""
    end = time.monotonic() + limit
    while not what():
        assert time.monotonic() < end, what
        time.sleep(0.005)


async def holds(what: Callable[[], object], limit: float = LIMIT) -> None:
    """Wait on a loop until `what` holds."""
    async with asyncio.timeout(limit):
        while not what():  # noqa: ASYNC110 - whatever is waited for sets no event
            await asyncio.sleep(0.005)


async def to_its_end(scenario: Coroutine[Any, Any, None]) -> None:
    """Run `scenario`; it fails if something reached the loop's exception handler or a task is left over."""
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    async with asyncio.timeout(2 * LIMIT):
        await scenario
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}, asyncio.all_tasks()
    assert reported == [], reported
