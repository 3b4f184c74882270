"""A handler that remembers what links told it, and how to wait for that. Real sockets on loopback, no sleeping."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from peer_relay_socket.transport.websocket import Link, LinkHandler

PATIENCE = 10.0
"""Seconds before a wait fails; on a passing run none comes near."""


class Recorder(LinkHandler):
    """Remembers every call. `wait` returns once a condition over what it remembers holds."""

    def __init__(self) -> None:
        self.links: list[Link] = []
        self.batches: list[list[bytes]] = []
        self.texts: list[str] = []
        self.writable: list[Link] = []
        self.closed: list[tuple[Link, str]] = []
        self._waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    @property
    def bundles(self) -> list[bytes]:
        return [bundle for batch in self.batches for bundle in batch]

    @property
    def reasons(self) -> list[str]:
        return [reason for _, reason in self.closed]

    def link_opened(self, link: Link) -> None:
        self.links.append(link)
        self._happened()

    def bundles_received(self, link: Link, bundles: list[bytes]) -> None:
        self.batches.append(bundles)
        self._happened()

    def text_received(self, link: Link, text: str) -> None:
        self.texts.append(text)
        self._happened()

    def link_writable(self, link: Link) -> None:
        self.writable.append(link)
        self._happened()

    def link_closed(self, link: Link, reason: str) -> None:
        self.closed.append((link, reason))
        self._happened()

    def _happened(self) -> None:
        for condition, future in self._waiters:
            if not future.done() and condition():
                future.set_result(None)

    async def wait(self, condition: Callable[[], bool]) -> None:
        if condition():
            return
        future = asyncio.get_running_loop().create_future()
        waiter = (condition, future)
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(PATIENCE):
                await future
        finally:
            self._waiters.remove(waiter)


class Echo(Recorder):
    """Sends back what it receives."""

    def bundles_received(self, link: Link, bundles: list[bytes]) -> None:
        super().bundles_received(link, bundles)
        for bundle in bundles:
            link.send(bundle)

    def text_received(self, link: Link, text: str) -> None:
        super().text_received(link, text)
        link.send_text(text)


def anywhere(host: str) -> bool:
    return True


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """Run a scenario; it fails if anything reached the loop's exception handler or a task was left over."""
    reported: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))
        async with asyncio.timeout(60):
            await scenario
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(watched())
    assert reported == []
