"""Ways into a network beside the URLs that a peer was given: relays that worked before, peers on the same link.

Lives here: when those ways are taken, what the peer keeps for its next run. May not live here: which relays to be
linked to (engine), files (state_file.py).

Law: nothing here holds up a start, and an end by STATE_TIME at most; a way that is not to be had is none.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from ..limits import STATE_EVERY, STATE_FIRST, STATE_TIME
from ..originals import time
from . import lan

if TYPE_CHECKING:
    from types import ModuleType

    from ..config import PeerConfig
    from ..engine.engine import Engine


class Owner(lan.Owner, Protocol):
    """The driver, as far as joining needs it."""


class Joining:
    """The further ways of one peer into its network. Loop thread only, but for `__init__`."""

    def __init__(self, owner: Owner, config: PeerConfig, report: Callable[[str], None]) -> None:
        """Args: report: told what the program should know of."""
        self._owner = owner
        self._report = report
        self._config = config
        self._tasks: set[asyncio.Task[None]] = set()
        self._path: str | None = None
        self._lan: lan.Lan | None = None
        self._file: ModuleType | None = None
        """state_file, 3 ms to load with json, which nothing else here needs. When modules are torn down none loads."""

    def start(self, engine: Engine) -> None:
        """An engine has started: this peer's first, or one under another identity."""
        config = self._config
        if config.remember and config.bootstrap and not config.embedded:
            from . import state_file

            self._path = state_file.path_for(engine.network_key(b"relays that worked"), config.bootstrap)
            if self._path is not None:
                self._file = state_file
                if not self._tasks:
                    self._run(self._keep_memory())
                self._run(self._recall())
        if config.lan and self._lan is None:
            try:
                self._lan = lan.Lan(self._owner, tls=config.tls_cert is not None)
            except OSError as error:
                self._report(f"peers on this link cannot be looked for: {error.strerror or error}")
            else:
                self._run(self._lan.announce())

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self, engine: Engine | None, limit: float) -> None:
        """Keep what is worth it, end everything, within `limit` seconds."""
        for task in list(self._tasks):
            task.cancel()
        if self._lan is not None:
            self._lan.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=limit)
        if engine is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._save(engine), min(limit, STATE_TIME))

    # --- relays that worked --------------------------------------------------------------------------------------

    async def _recall(self) -> None:
        relays = [] if self._file is None else await _beside(self._file.read, self._path, time.time())
        self._owner.run(lambda engine, now: engine.recall(relays, now))

    async def _keep_memory(self) -> None:
        wait = STATE_FIRST
        while True:
            await asyncio.sleep(wait)
            wait = STATE_EVERY
            engine = self._owner.running_engine
            if engine is not None:
                await self._save(engine)

    async def _save(self, engine: Engine) -> None:
        if self._file is None:
            return
        relays, disproved = engine.remembered(asyncio.get_running_loop().time())
        if relays or disproved:
            await _beside(self._file.write, self._path, relays, disproved, time.time())


async def _beside(work: Callable[..., Any], *args: object) -> Any:
    """Return what `work` returns, called on a thread beside the loop if one is to be had: a file server may not
    answer."""
    try:
        return await asyncio.get_running_loop().run_in_executor(None, partial(work, *args))
    except RuntimeError:  # the interpreter is ending
        return work(*args)
