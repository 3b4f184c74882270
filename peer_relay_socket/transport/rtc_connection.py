"""One WebRTC connection, from description to end, whatever travels over it.

Lives here: descriptions, the time each step may take, closing. May not live here: how descriptions travel, when a
connection is tried (engine), channels and what they carry (webrtc.py), whose description may be trusted with what
(rtc_description.py), the implementation (rtc_implementation.py).

Law: `ended` is called exactly once, with one line that says why, whether or not the connection ever opened; after that
nothing of it is left, neither tasks nor sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Final, NotRequired, TypedDict, Unpack

from .. import limits
from ..foreign_text import one_line
from ..scope import Scope
from ..setting_values import IceServer
from .link import LinkError, LinkHandler
from .rtc_description import (
    Checks,
    Description,
    affordable_description,
    has_candidates,
    safe_description,
    shown_description,
)
from .rtc_implementation import (
    Factory,
    PeerConnection,
    aiortc_factory,
    checks_ended,
    local_address,
    look_from,
    remote_address,
    stop_asking,
    turn_server,
)


class RtcOptions(TypedDict):
    """What a connection is made with."""

    url: str | None
    """What to call it where this end offers, else None."""
    factory: Factory | None
    """None = aiortc."""
    ice_servers: Sequence[IceServer]
    allow: NotRequired[Callable[[str], bool]]
    """Asked with each IP literal at which the other end wants to be reached; by default all but this machine's and its
    wires' are."""
    shows: NotRequired[Scope]
    """How far an address reaches, at the least, that is shown to the other end; by default PRIVATE."""


class RtcConnection(ABC):
    """A connection that becomes a `Link` once it is open; what it carries is the subclass's. Loop thread only.

    The end that offers calls `offer`, has the text carried to the other end, and calls `accept` with what comes back;
    the other end calls `answer`. The handler is told of opened links only.

    A subclass makes its channels in `_prepare`, calls `_established` when it is open and `_end` when it fails.
    """

    ours = True
    other_version = None
    tls = True
    trickles = False
    """Whether the other end's candidates may follow its description, one by one."""

    @property
    def unit(self) -> int | None:
        """Bytes that the path carries at once; None where the link does not care."""
        return None

    def __init__(
        self, handler: LinkHandler, ended: Callable[[RtcConnection, str], object], **options: Unpack[RtcOptions]
    ) -> None:
        self.url = options["url"]
        self.outbound = self.url is not None
        self.remote_host = "0.0.0.0"
        self.remote_port = 0
        self.left_from: tuple[str | int, ...] | None = None
        self.turn: str | None = None
        """IP address of the TURN server in between, if there is one."""
        self._handler = handler
        self._ended = ended
        self._factory = options["factory"]
        self._ice_servers = tuple(options["ice_servers"])
        self._allow = options.get("allow", Scope.PRIVATE.covers)
        self._shows = options.get("shows", Scope.PRIVATE)
        self._loop = asyncio.get_running_loop()
        self._pc: PeerConnection | None = None
        self._checks = Checks()
        self._addresses = 1, 1
        """How many of ours look for a path, of IPv4 and of IPv6."""
        self._deadline: asyncio.TimerHandle | None = None
        self._closer: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()
        """Clear while a description is being made: to close the connection then leaves requests of aioice behind."""
        self._settled.set()
        self._opened = False
        self._closing = False

    # --- what a subclass adds ------------------------------------------------------------------------------------

    @abstractmethod
    def _prepare(self, pc: PeerConnection) -> None:
        """Make the channels of a new connection, before it is described."""

    @property
    @abstractmethod
    def backlog(self) -> int:
        """Bytes that were accepted and have not left."""

    async def _part(self) -> None:  # noqa: B027  # a subclass may have nothing to do
        """The connection is about to be closed, and what had time to leave has left: say goodbye, end every task."""

    def _release(self) -> None:  # noqa: B027  # likewise
        """The connection is closed: let go of what belonged to it."""

    # --- opening -------------------------------------------------------------------------------------------------

    async def offer(self) -> str:
        """Return this end's offer. Raises: OSError when there is none to make; `ended` follows."""
        return await self._describe(None)

    async def answer(self, offer: str) -> str:
        """Return the answer to the other end's offer. Raises: as `offer`, or when the offer is of no use."""
        return await self._describe(offer)

    async def accept(self, answer: str) -> None:
        """Take the other end's answer; opening, or the end, follows. Raises: OSError when it is of no use."""
        try:
            if self._pc is None or self._closing:
                raise LinkError("the connection is closed")
            self._limit()
            safe = safe_description(answer, self._allow, more=self.trickles)
            await self._pc.setRemoteDescription(Description(self._affordable(safe, len(answer)), "answer"))
        except Exception as error:
            raise self._unusable(error) from None

    async def candidate(self, text: str) -> None:  # noqa: B027  # likewise
        """Take one candidate of the other end's, where they come one by one."""

    async def _describe(self, offer: str | None) -> str:
        self._settled.clear()
        try:
            return await self._make_description(offer)
        finally:
            self._settled.set()

    async def _make_description(self, offer: str | None) -> str:
        try:
            remote = None if offer is None else safe_description(offer, self._allow, more=self.trickles)
            factory = self._factory or await aiortc_factory()
            if self._closing:
                raise LinkError("the connection is closed")
            pc = self._make(factory)
            patience = self._loop.call_later(limits.RTC_STUN_TIME, stop_asking, pc)
            async with asyncio.timeout(limits.RTC_GATHER_TIME):
                if remote is None:
                    await pc.setLocalDescription(await pc.createOffer())
                else:
                    remote = self._affordable(remote, len(offer or ""))
                    await pc.setRemoteDescription(Description(remote, "offer"))
                    await pc.setLocalDescription(await pc.createAnswer())
            sdp = str(pc.localDescription.sdp)
            patience.cancel()
            if not has_candidates(sdp):
                raise LinkError("this machine has no address that another could reach")
            sdp = shown_description(sdp, self._shows)
        except Exception as error:
            raise self._unusable(error) from None
        if remote is not None:
            self._limit()
        return sdp

    def _affordable(self, safe: str, size: int) -> str:
        """Return a safe description, `size` bytes long as it came, with as many candidates as that is worth."""
        self._checks = Checks(size, self._addresses)
        return affordable_description(safe, self._checks)

    def _unusable(self, error: Exception) -> OSError:
        """End the connection; return why. A stranger's description may make the implementation raise anything."""
        if not isinstance(error, OSError):  # its text may have theirs in it
            error = LinkError(one_line(f"WebRTC failed: {type(error).__name__}: {error}"))
        if isinstance(error, TimeoutError) and not str(error):
            error = LinkError("no session description could be made in time")
        self._end(str(error))
        return error

    def _limit(self) -> None:
        reason = f"no direct path was found within {limits.RTC_ICE_TIME:.0f} s"
        self._deadline = self._loop.call_later(limits.RTC_ICE_TIME, self._end, reason)

    def _make(self, factory: Factory) -> PeerConnection:
        pc: PeerConnection = factory(self._ice_servers)
        self._pc = pc
        self._prepare(pc)
        turns = sum(server.url.startswith("turn") for server in self._ice_servers)
        ipv4, ipv6 = look_from(pc, limits.RTC_ADDRESSES)
        self._addresses = ipv4 + turns, ipv6 + turns
        pc.on("connectionstatechange", self._state_changed)
        return pc

    def _state_changed(self) -> None:
        state = self._pc.connectionState if self._pc is not None else "closed"
        if state == "failed":
            self._end("no direct path was found" if not self._opened else "the path failed")
        elif state == "closed":
            self._end("closed by the other end")

    def _established(self) -> None:
        """Tell the handler that the link is open."""
        self._opened = True
        if self._deadline is not None:
            self._deadline.cancel()
        self.remote_host, self.remote_port = remote_address(self._pc)
        self.left_from = local_address(self._pc)
        self.turn = turn_server(self._pc)
        self._call(self._handler.link_opened)

    def _call(self, function: Callable[..., None], *args: object) -> None:
        try:
            function(self, *args)
        except Exception as error:
            message = f"link handler {type(self._handler).__name__} failed"
            self._loop.call_exception_handler({"message": message, "exception": error})
            self._end(f"the handler failed: {error!r}")

    # --- the end -------------------------------------------------------------------------------------------------

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close; what was sent has RTC_CLOSE_TIME seconds to leave. Idempotent."""
        self._end(reason or "closed by this end", linger=self._opened)

    def abort(self) -> None:
        """Drop the connection and what waits in it. Idempotent."""
        self._end("aborted by this end")

    def _end(self, reason: str, *, linger: bool = False) -> None:
        if self._closing:
            return
        self._closing = True
        if self._deadline is not None:
            self._deadline.cancel()
        self._closer = self._loop.create_task(self._close_down(reason, linger))
        _closers.add(self._closer)
        self._closer.add_done_callback(_closers.discard)

    async def _close_down(self, reason: str, linger: bool) -> None:
        pc = self._pc
        if linger:
            end = self._loop.time() + limits.RTC_CLOSE_TIME
            while self.backlog and self._loop.time() < end:  # noqa: ASYNC110  # SCTP's queue has no such event
                await asyncio.sleep(0.01)
        await self._part()
        if pc is not None:
            stop_asking(pc)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._settled.wait(), limits.RTC_CLOSE_TIME)
            with contextlib.suppress(Exception):  # nothing is left that could be done about it
                async with asyncio.timeout(limits.LINK_CLOSE_TIMEOUT):
                    await pc.close()
                    await checks_ended(pc)
        self._pc = None
        del pc
        self._release()
        if self._opened:
            self._call(self._handler.link_closed, reason)
        self._ended(self, reason)


_closers: Final[set[asyncio.Task[None]]] = set()
"""Connections being closed: the loop itself keeps no hold of its tasks."""
