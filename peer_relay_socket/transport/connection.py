"""One WebSocket connection on asyncio: websockets' sans-I/O core between a byte stream and a `LinkHandler`.

Lives here: messages in and out, back-pressure and the two endings of a connection, the same for both directions. May
not live here: how a connection comes about (inbound.py, outbound.py), how its bytes are read and written (stream.py),
what is no plain frame (odd_frames.py), what is said of an ending (endings.py), what bundles mean, logging.

Law: nothing a peer sends raises out of here, and everything a peer can make grow is bounded by limits.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from abc import abstractmethod
from typing import cast

from websockets.exceptions import ProtocolError
from websockets.frames import CloseCode
from websockets.http11 import Request, Response
from websockets.protocol import OPEN, SEND_EOF, Protocol

from .. import limits
from ..foreign_text import one_line
from ..rate import TokenBucket
from ..scope import unmapped
from .endings import why_closed, why_not_opened
from .frames import binary_frame
from .link import LinkHandler
from .lone_messages import LoneMessages
from .odd_frames import OddFrames
from .versions import judged

_TEXT = 0x81  # the first byte of a whole text
SILENT = logging.Logger("websockets", level=logging.CRITICAL + 1)  # noqa: LOG001  # outside the tree, on purpose
"""For the core, which logs: nothing reaches a program's handlers. Only the driver logs."""


class Connection(LoneMessages):
    """A `Link` over one TCP or TLS connection; the subclasses know how the opening handshake goes."""

    def __init__(self, handler: LinkHandler, core: Protocol, *, outbound: bool, url: str | None, tls: bool) -> None:
        super().__init__(handler, outbound=outbound)
        self._core = core
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._odd = OddFrames(core)
        self._head: bytearray | None = bytearray()  # what came before the link opened; LINK_HANDSHAKE_MAX ends it
        self._early = b""  # what came in one flight with the end of the TLS handshake; one read
        self._opened = False  # link_opened was called, so link_closed is owed
        self._closing = False
        self._read_since = 0  # while it closes: LINK_CLOSING_MOST ends it
        self._gone = False
        self._held: asyncio.TimerHandle | None = None  # while it is not read because of odd frames
        self._paused = False  # by the handler
        self._odd_frames = TokenBucket(limits.ODD_FRAMES_RATE, self._loop.time())
        self._reason = ""
        self.url = url
        self.tls = tls
        self.remote_host = ""
        self.remote_port = 0
        self.left_from: tuple[str | int, ...] | None = None
        self.ours = False
        self.other_version: str | None = None
        self.full = False
        self.dropped = 0
        self.clock_skew: float | None = None
        """Seconds by which our wall clock is ahead of the other end's, to half a second and a round trip, where it told
        the time as the link was opened."""

    # --- what the subclasses add -------------------------------------------------------------------------------

    @abstractmethod
    def _arrived(self, raw: asyncio.Transport) -> bool:
        """The TCP connection is there. False refuses it."""

    @abstractmethod
    async def _start_tls(self, raw: asyncio.Transport) -> asyncio.Transport | None:
        """Make TLS of `raw`."""

    @abstractmethod
    def _begin(self) -> None:
        """Bytes can flow: say what this end says first."""

    @abstractmethod
    def _handshake(self, event: Request | Response) -> bool:
        """The other end's half of the opening handshake. True opens the link."""

    @abstractmethod
    def _handshake_stuck(self, head: bytearray) -> None:
        """A read ended without the other end's half; `head` is all that has come so far."""

    @abstractmethod
    def _settled(self, error: OSError | None) -> None:
        """The opening handshake came to its end; called once per connection."""

    # --- Link ----------------------------------------------------------------------------------------------------

    def send(self, bundle: bytes | bytearray | memoryview, /) -> None:
        """See `Link.send`."""
        if self._open and self._core.state is OPEN:  # not once their close frame was read, before it is acted on
            if self._overfull() or len(bundle) > limits.MAX_BUNDLE:
                self.dropped += 1
            elif self._transport is not None and not self._transport.is_closing() and not self._torn():
                self._write(binary_frame(bundle, masked=self.outbound))

    def _torn(self) -> bool:
        """Whether `send_now` was interrupted twice, and so a frame may be half out: then the connection ends."""
        if self._midway:
            self._end("interrupted amid a frame")
            self._drop()
        return self._midway

    def send_text(self, text: str, /) -> None:
        """See `Link.send_text`."""
        if self._open and self._core.state is OPEN:
            data = text.encode("utf-8", "replace")
            if self._overfull() or len(data) > limits.MAX_BUNDLE:
                self.dropped += 1
            else:
                self._core.send_text(data)
                self._flush()

    def pause_reading(self) -> None:
        """See `Link.pause_reading`."""
        if self._open and self._transport is not None:
            self._paused = True
            self._stop_reading()

    def resume_reading(self) -> None:
        """See `Link.resume_reading`."""
        self._paused = False
        if self._open and self._transport is not None and self._held is None:
            self._start_reading()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """See `Link.close`. Raises ValueError for a code that RFC 6455 lets no endpoint send."""
        if not self._open:
            return
        try:
            if self._core.state is OPEN:
                self._core.send_close(code, reason.encode("utf-8", "replace")[:123].decode("utf-8", "ignore"))
        except ProtocolError as error:
            raise ValueError(str(error)) from None
        self._end(f"closed here: {code} {reason}".rstrip())
        self._flush()

    def abort(self) -> None:
        """See `Link.abort`."""
        self._end("aborted here")
        self._drop()

    # --- asyncio's side ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The TCP connection stands; TLS, if any, comes next."""
        transport = cast("asyncio.Transport", transport)  # uvloop's is none by class
        self._raw = transport
        address = transport.get_extra_info("peername")
        if not address:  # gone before we looked
            self._drop()
            return
        self.remote_host, self.remote_port = unmapped(address[0]), address[1]
        # asyncio does so itself only where the socket object names TCP; one accepted from create_server's does not.
        with contextlib.suppress(OSError):
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self._arrived(transport):
            return
        if self.tls:
            transport.pause_reading()  # else bytes may come before start_tls has put itself between
            self._task = self._loop.create_task(self._secure(transport))
        else:
            self._transport = transport
            self._begin()

    async def _secure(self, raw: asyncio.Transport) -> None:
        try:
            transport = await self._start_tls(raw)
        except OSError as error:
            # Before TLS stands, asyncio reports a lost connection only here; asyncio's own errors may have no text.
            self.connection_lost(error if error.args else None)
            return
        except asyncio.CancelledError:
            self.connection_lost(None)
            return
        if transport is None or self._gone:
            raw.abort()
            self.connection_lost(None)
            return
        self._transport = transport
        self._begin()
        early, self._early = self._early, b""
        if early:
            self._handshake_bytes(memoryview(early))

    def buffer_updated(self, nbytes: int) -> None:
        """One read's worth of bytes."""
        if self._head is None:
            self._frame_bytes(self._view[:nbytes])
        elif self._transport is None:
            self._early += bytes(self._view[:nbytes])
            if len(self._early) > limits.LINK_HANDSHAKE_MAX:
                self._drop()
        else:
            self._handshake_bytes(self._view[:nbytes])

    def eof_received(self) -> bool:
        """The other end sends no more: so do we, then asyncio closes."""
        self._core.receive_eof()
        if self._transport is not None:
            self._flush()
        return False

    def pause_writing(self) -> None:
        """The backlog passed the high-water mark."""
        self.full = True

    def resume_writing(self) -> None:
        """The backlog fell below the low-water mark."""
        self.full = False
        if self._open:
            try:
                self._handler.link_writable(self)
            except Exception as error:
                self._handler_failed(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of every connection."""
        if self._gone:
            return
        self._gone = True
        self._core.receive_eof()
        self._open = self._calm = False
        self._end_reading()
        self._stop_timer()
        if self._held is not None:
            self._held.cancel()
        self._transport = self._raw = None
        if not self._opened:
            self._settled(why_not_opened(exc))
            return
        reason = one_line(self._reason or why_closed(self._core, exc or self._lost))
        try:
            self._handler.link_closed(self, reason)
        except Exception as error:
            self._report(error)

    # --- inside --------------------------------------------------------------------------------------------------

    def _frame_bytes(self, data: memoryview) -> None:
        """Bytes of an open connection, or of one that says goodbye."""
        bundles, odd = self._reader.feed(data)
        messages = len(bundles) + len(odd)
        if messages > limits.LINK_READ_MOST or (len(odd) > limits.ODD_FRAMES_AT_ONCE and _too_many(odd)):
            self._flooded()
            return
        if self._closing:
            self._read_since += len(data) + messages * limits.LINK_CLOSING_MESSAGE
            if self._read_since > limits.LINK_CLOSING_MOST:
                self._drop()
                return
        self._free = self._view[: limits.LINK_READ_SMALL] if messages > limits.LINK_READ_CROWD else self._view
        small = not odd and 0 < messages <= limits.FAST_PATH_CROWD and len(data) <= limits.LINK_READ_SMALL
        self._calm = small and self._open and self._reader.between
        if not odd:
            if bundles:
                self._deliver(bundles)
            return
        plain, bundles, start = bundles, [], 0
        for position, raw in odd:
            bundles += plain[start:position]
            start = position
            for message, is_text in self._odd.messages(raw):
                if is_text:
                    self._deliver(bundles)
                    self._deliver_text(message)
                    bundles = []
                else:
                    bundles.append(message)
            if self._core.state is not OPEN:  # what follows a goodbye, theirs or the core's, does not count
                start = len(plain)
        self._deliver(bundles + plain[start:])
        self._flush()
        if self._open and self._core.state is not OPEN:
            self._end("")
        elif self._open:
            self._count_odd(odd)

    def _flooded(self) -> None:
        """One read brought more messages than an honest neighbour sends: let go before they take the loop's time."""
        if self._open:
            self.close(CloseCode.POLICY_VIOLATION, "too many messages at once")
        else:
            self._drop()

    def _count_odd(self, odd: list[tuple[int, bytes]]) -> None:
        """Do not read for a while where ODD_FRAMES_RATE is passed."""
        cost = len(odd) - (1.0 - limits.TEXT_SHARE) * _texts(odd)
        wait = self._odd_frames.charge(self._loop.time(), cost)
        if wait > 0.0 and self._held is None and self._transport is not None:
            self._stop_reading()
            self._held = self._loop.call_later(wait, self._let_go)

    def _let_go(self) -> None:
        self._held = None
        if self._open and self._transport is not None and not self._paused:
            self._start_reading()

    def _handshake_bytes(self, data: memoryview) -> None:
        """Bytes of the opening handshake; the frames that may follow in the same read begin after the empty line."""
        core, head = self._core, self._head
        assert head is not None
        before = len(head)
        head += data
        end = head.find(b"\r\n\r\n", max(0, before - 3))
        used = len(data) if end < 0 else end + 4 - before
        core.receive_data(bytes(data[:used]))
        for event in core.events_received():
            assert isinstance(event, Request | Response)
            if self._handshake(event):
                self.ours, self.other_version = judged(core.subprotocol or "")
                self._open_up()
        if self._head is not None and not self._closing:
            self._handshake_stuck(head)
        self._flush()
        if self._head is None and used < len(data):
            self._frame_bytes(data[used:])

    def _deliver(self, bundles: list[bytes]) -> None:
        if bundles and self._open:  # asked anew each time: a handler may close the link
            try:
                self._handler.bundles_received(self, bundles)
            except Exception as error:
                self._handler_failed(error)

    def _deliver_text(self, message: bytes) -> None:
        if not self._open:
            return
        try:
            text = message.decode()
        except UnicodeDecodeError:
            self.close(CloseCode.INVALID_DATA, "text that is not UTF-8")
            return
        try:
            self._handler.text_received(self, text)
        except Exception as error:
            self._handler_failed(error)

    def _open_up(self) -> None:
        assert self._transport is not None
        self._stop_timer()
        self._open = self._opened = True
        self._head = None
        self._flush()
        self._take_over()
        self._transport.set_write_buffer_limits(limits.LINK_HIGH_WATER, limits.LINK_LOW_WATER)
        self._settled(None)
        try:
            self._handler.link_opened(self)
        except Exception as error:
            self._handler_failed(error)

    def _overfull(self) -> bool:
        return self.full and self.backlog > limits.LINK_BACKLOG_MAX

    def _flush(self) -> None:
        """Give the transport what the core wants sent."""
        transport = self._transport
        if transport is None or self._torn():
            return
        room = limits.LINK_BACKLOG_MAX - self.backlog if self.full and not self._closing else limits.LINK_BACKLOG_MAX
        chunks: list[bytes] = []  # one write for all: from 3.12 on each costs asyncio a walk over what waits
        for data in self._core.data_to_send():
            if data == SEND_EOF:
                if chunks:
                    self._write(b"".join(chunks))
                    chunks.clear()
                self._half_close(transport)
            elif room < 0:
                self.dropped += 1  # answers to pings; `send` asked before
            else:
                chunks.append(data)
                room -= len(data)
        if chunks:
            self._write(chunks[0] if len(chunks) == 1 else b"".join(chunks))

    def _half_close(self, transport: asyncio.Transport) -> None:
        """Say that nothing more comes.

        Where the other end may still be sending, go on reading: closing with bytes unread makes the kernel send RST,
        which can destroy the goodbye on its way.
        """
        if transport.is_closing():
            return
        if self._core.close_rcvd is None and transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()

    def _end(self, reason: str) -> None:
        """Stop delivering; give the goodbye LINK_CLOSE_TIMEOUT seconds."""
        if self._closing:
            return
        self._closing = True
        self._open = self._calm = False
        self._reason = reason
        self._odd.forget()
        self._stop_timer()
        self._timer = self._loop.call_later(limits.LINK_CLOSE_TIMEOUT, self._drop)
        if self._transport is not None:
            self._start_reading()

    def _drop(self) -> None:
        """Let go of the connection, whatever state it is in; connection_lost follows."""
        self._calm = False
        if self._transport is not None:
            self._transport.abort()
        elif self._task is not None and not self._task.done():
            self._task.cancel()
        elif self._raw is not None:
            self._raw.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _handler_failed(self, error: Exception) -> None:
        self._report(error)
        self.close(CloseCode.INTERNAL_ERROR)
        self._reason = f"the handler failed: {error!r}"

    def _report(self, error: Exception) -> None:
        message = f"link handler {type(self._handler).__name__} failed"
        self._loop.call_exception_handler({"message": message, "exception": error, "protocol": self})


def _too_many(odd: list[tuple[int, bytes]]) -> bool:
    """Return whether one read brought more texts, or other frames that are no plain ones, than an honest neighbour
    sends: on the legacy wire messages are texts, and thousands may wait while it is not read."""
    texts = _texts(odd)
    return texts > limits.TEXTS_AT_ONCE or len(odd) - texts > limits.ODD_FRAMES_AT_ONCE


def _texts(odd: list[tuple[int, bytes]]) -> int:
    return sum(frame[0] == _TEXT for _, frame in odd)
