"""WebRTC attempts: what the engine asks for, carried out on connections that no peer can dial.

Lives here: which connection belongs to which attempt, and their tasks. May not live here: when to try (engine), how a
connection works (transport).

Law: every attempt that was begun ends with exactly one `direct_failed` to the engine, which knows whether that matters;
nothing here outlives `stop`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from ..address import PeerId
from ..engine.effects import Abandon, Accept, AddCandidate, Describe
from ..scope import Scope
from ..setting_values import IceServer
from ..transport.link import Link, LinkHandler, NoImplementationError
from .log import log
from .own_networks import OwnNetworks

if TYPE_CHECKING:
    from ..config import PeerConfig
    from ..engine.engine import Engine
    from ..transport.rtc_connection import RtcConnection


_said: set[str] = set()
"""Why aiortc does not load, once that was said."""


def _say_once(reason: str) -> None:
    if not _said:
        _said.add(reason)
        log.warning("! no direct WebRTC, datagrams go by relays: %s", reason)


class Owner(LinkHandler, Protocol):
    """The driver, as far as attempts need it."""

    @property
    def running_engine(self) -> Engine | None:
        """The engine; None before the start and after the end."""

    def run(self, act: Callable[[Engine, float], object]) -> None:
        """Call `act` with the engine and the time, if there is one."""


class RtcAttempts:
    """The WebRTC connections of one peer, from attempt to end. Loop thread only."""

    def __init__(self, owner: Owner, config: PeerConfig, own_networks: OwnNetworks) -> None:
        self._owner = owner
        self._own_networks = own_networks
        self._config = config
        self._links: dict[int, RtcConnection] = {}
        """By attempt. The engine bounds them: MAX_DIRECT_ATTEMPTS, and one link per peer."""
        self._attempts: dict[object, tuple[int, PeerId]] = {}
        self._forgotten: set[RtcConnection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._all_ended: asyncio.Event | None = None

    # --- what the engine asks for --------------------------------------------------------------------------------

    def describe(self, effect: Describe) -> None:
        """Make a connection and its description."""
        kind: type[RtcConnection]
        if effect.legacy:
            from ..transport.npm_rtc import LegacyRtcLink

            kind = LegacyRtcLink
        else:
            from ..transport.webrtc import RtcLink

            kind = RtcLink
        link = kind(
            self._owner,
            self._ended,
            url=f"webrtc:{effect.peer_id.hex()}" if effect.offer is None else None,
            factory=self._config.wrtc if callable(self._config.wrtc) else None,
            ice_servers=self._ice_servers(),
            allow=partial(self._own_networks.allows, effect.scope, effect.scope is not Scope.GLOBAL),
            shows=self._shown(effect),
        )
        self._links[effect.attempt] = link
        self._attempts[link] = effect.attempt, effect.peer_id
        self._start(self._describe(effect, link))

    def _ice_servers(self) -> tuple[IceServer, ...]:
        """Return the servers that are set, and a neighbour that answers STUN where none of those does."""
        servers, engine = self._config.ice_servers, self._owner.running_engine
        asked = any(server.url.startswith("stun") for server in servers)
        found = () if asked or engine is None else engine.stun_servers[:1]
        return (*servers, *(IceServer(f"stun:{place}") for place in found))

    def _shown(self, effect: Describe) -> Scope:
        """Return how far our addresses must reach that a description shows; the engine says so but for legacy links."""
        legacy = {"all": Scope.PRIVATE, "public": Scope.GLOBAL}.get(self._config.candidates, effect.scope)
        return legacy if effect.legacy else effect.shows

    async def _describe(self, effect: Describe, link: RtcConnection) -> None:
        sdp = await (link.offer() if effect.offer is None else link.answer(effect.offer))
        self._owner.run(lambda engine, now: engine.described(effect.attempt, sdp, now))

    def accept(self, effect: Accept) -> None:
        """The other side's answer is here."""
        link = self._links.get(effect.attempt)
        if link is not None:
            self._start(link.accept(effect.answer))

    def candidate(self, effect: AddCandidate) -> None:
        """One more candidate of the other side's is here."""
        link = self._links.get(effect.attempt)
        if link is not None:
            self._start(link.candidate(effect.candidate))

    def abandon(self, effect: Abandon) -> None:
        """The attempt is no longer wanted."""
        link = self._links.get(effect.attempt)
        if link is not None:
            link.abort()

    # --- what becomes of it --------------------------------------------------------------------------------------

    def peer_of(self, link: Link) -> tuple[PeerId | None, int | None]:
        """Return who must be at the other end of a link that opened, and its unit; (None, None) for a WebSocket."""
        attempt, peer_id = self._attempts.get(link, (0, None))
        return (None, None) if peer_id is None else (peer_id, self._links[attempt].unit)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(self._quietly(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _quietly(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except NoImplementationError as error:
            _say_once(str(error))
        except OSError:
            """The link ends with the same reason: `_ended` tells."""

    def _ended(self, link: RtcConnection, reason: str) -> None:
        if link in self._attempts:
            attempt, _ = self._attempts.pop(link)
            del self._links[attempt]
            self._owner.run(lambda engine, now: engine.direct_failed(attempt, reason, now))
        self._forgotten.discard(link)
        if self._all_ended is not None and not self._links and not self._forgotten:
            self._all_ended.set()

    def forget(self) -> None:
        """Another engine takes over: end every connection, and tell it nothing about them."""
        self._forgotten.update(self._links.values())
        self._links.clear()
        self._attempts.clear()
        for link in list(self._forgotten):
            link.abort()

    async def stop(self, limit: float) -> None:
        """End every connection that is left, within `limit` seconds."""
        self._all_ended = asyncio.Event()
        self.forget()
        if self._forgotten:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_ended.wait(), limit)
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=limit)
