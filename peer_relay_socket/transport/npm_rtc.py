"""Links over WebRTC to peers of npm peer-relay: simple-peer's one data channel, each message one text.

Lives here: that channel, and candidates that come before, after or without the description they belong to. May not live
here: how a connection begins and ends (rtc_connection.py), what texts say (codec).

Law: the end that offers makes the channel, in band (RFC 8832), under any name; the other end takes the first that
comes. A channel that we make is reliable, for npm's peers say nothing twice, and unordered, so that a lost packet holds
up one message only.
Candidates of ours are all in the description: none follows, above all none after the channel is open, which npm's peers
take for a new connection.
"""

from __future__ import annotations

import contextlib
import secrets
from collections import deque
from collections.abc import Callable
from typing import Final, Unpack

from .. import limits
from .link import LinkHandler
from .rtc_connection import RtcConnection, RtcOptions
from .rtc_description import safe_candidate
from .rtc_implementation import DataChannel, PeerConnection, add_candidate

_SIGNAL: Final = 250
"""Bytes of a message with one candidate, at least: JSON with two ids."""


class LegacyRtcLink(RtcConnection):
    """One WebRTC connection to an npm peer; a `Link` once its channel is open. Loop thread only."""

    ours = False
    trickles = True

    def __init__(
        self, handler: LinkHandler, ended: Callable[[RtcConnection, str], object], **options: Unpack[RtcOptions]
    ) -> None:
        super().__init__(handler, ended, **options)
        self.full = False
        self.dropped = 0
        self._channel: DataChannel | None = None
        self.remote_candidates: list[str] = []
        """Those that are acted on, of the ones that came by themselves; at most RTC_CANDIDATES."""
        self._early: list[str] = []
        """Of these, what came before the description it belongs to."""
        self._described = False
        """Whether the connection has the other end's description."""
        self._inbox: deque[str] = deque()
        """What may not be delivered yet; at most LINK_BACKLOG_MAX characters."""
        self._inbox_size = 0
        self._paused = False

    # --- opening -------------------------------------------------------------------------------------------------

    def _prepare(self, pc: PeerConnection) -> None:
        if self.outbound:
            self._take(pc.createDataChannel(secrets.token_hex(20), ordered=False))
        else:
            pc.on("datachannel", self._take)

    def _take(self, channel: DataChannel) -> None:
        if self._channel is not None or self._closing:
            return
        self._channel = channel
        channel.bufferedAmountLowThreshold = limits.RTC_LOW_WATER
        channel.on("open", self._channel_opened)
        channel.on("message", self._message)
        channel.on("bufferedamountlow", self._relieved)
        channel.on("close", lambda: self._end("closed by the other end"))
        if channel.readyState == "open":
            self._channel_opened()

    def _channel_opened(self) -> None:
        if not self._closing and not self._opened:
            self._established()

    async def answer(self, offer: str) -> str:
        """See `RtcConnection.answer`."""
        sdp = await super().answer(offer)
        await self._add_early()
        return sdp

    async def accept(self, answer: str) -> None:
        """See `RtcConnection.accept`."""
        await super().accept(answer)
        await self._add_early()

    async def _add_early(self) -> None:
        self._described = True
        early, self._early = self._early, []
        for text in early:
            await self._add(text)

    async def candidate(self, text: str) -> None:
        """Take one candidate of the other end's, at any time: those that are unsafe to act on are left out."""
        safe = safe_candidate(text, self._allow)
        if safe is None or len(self.remote_candidates) >= limits.RTC_CANDIDATES or self._closing or self._opened:
            return
        self.remote_candidates.append(safe)
        if self._described:
            await self._add(safe)
        else:
            self._early.append(safe)

    async def _add(self, text: str) -> None:
        with contextlib.suppress(Exception):  # one candidate less: the implementation found something wrong with it
            paid = self._checks.take(text.split()[4], _SIGNAL)
            if self._pc is not None and not self._closing and paid:
                await add_candidate(self._pc, text)

    # --- receiving -----------------------------------------------------------------------------------------------

    def _message(self, message: object) -> None:
        if isinstance(message, bytes):  # JSON all the same
            message = message.decode("utf-8", "replace")
        if self._closing or not isinstance(message, str):
            return
        if self._inbox_size + len(message) > limits.LINK_BACKLOG_MAX:
            self._end("more arrived than is read")
            return
        self._inbox.append(message)
        self._inbox_size += len(message)
        self._deliver()

    def _deliver(self) -> None:
        while self._inbox and self._opened and not self._paused and not self._closing:
            text = self._inbox.popleft()
            self._inbox_size -= len(text)
            self._call(self._handler.text_received, text)

    def pause_reading(self) -> None:
        """Deliver nothing more until `resume_reading`; past LINK_BACKLOG_MAX the link ends: the other goes on."""
        self._paused = True

    def resume_reading(self) -> None:
        """Undo `pause_reading`."""
        self._paused = False
        self._loop.call_soon(self._deliver)

    # --- sending -------------------------------------------------------------------------------------------------

    @property
    def backlog(self) -> int:
        """Bytes that `send_text` accepted and that have not left."""
        return 0 if self._channel is None else self._channel.bufferedAmount

    prompt = False

    def send(self, bundle: bytes | bytearray | memoryview, /) -> None:
        """Nothing on this link is binary."""

    def send_now(self, bundle: bytes, /) -> bool:
        """Return False: this link is never `prompt`."""
        return False

    def send_text(self, text: str, /) -> None:
        """Send one message; longer than NPM_RTC_TEXT, or past LINK_BACKLOG_MAX, it is dropped."""
        channel = self._channel
        if self._closing or not self._opened or channel is None:
            return
        if len(text) > limits.NPM_RTC_TEXT or self.backlog > limits.LINK_BACKLOG_MAX:
            self.dropped += 1
            return
        try:
            channel.send(text)
        except Exception as error:  # whatever the implementation raises once its channel is gone
            self._loop.call_soon(self._end, f"the channel failed: {error!r}")
            return
        if channel.bufferedAmount > limits.RTC_HIGH_WATER:
            self.full = True

    def _relieved(self) -> None:
        if self.full and not self._closing:
            self.full = False
            self._call(self._handler.link_writable)

    # --- the end -------------------------------------------------------------------------------------------------

    def _release(self) -> None:
        self._channel = None
        self._inbox.clear()
