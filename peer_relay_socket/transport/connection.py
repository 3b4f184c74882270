"""One WebSocket connection on asyncio: websockets' sans-I/O core between a byte stream and a `LinkHandler`.

Lives here: reading, writing, back-pressure and the two endings of a connection, the same for both directions. May not
live here: how a connection comes about (websocket.py), what bundles mean, logging.

Law: nothing a peer sends raises out of here, and everything a peer can make grow is bounded by limits.py.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence

from websockets.exceptions import ProtocolError
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import OPEN, Event, Protocol

from .. import limits
from .link import LinkError, LinkHandler

BINARY, TEXT, CONT = Opcode.BINARY, Opcode.TEXT, Opcode.CONT

SILENT = logging.Logger("websockets", level=logging.CRITICAL + 1)  # noqa: LOG001  # outside the tree, on purpose
"""For the core, which logs: nothing reaches a program's handlers. Only the driver logs."""


class _ReadBuffer(threading.local):
    """What every link on this thread reads into: between `get_buffer` and `buffer_updated` no other link runs.

    Beside one buffer per link (5,000 idle links x 256 KiB) or one allocation per read (asyncio.Protocol).
    """

    def __init__(self) -> None:
        self.view = memoryview(bytearray(limits.LINK_READ_SIZE))


_read_buffer = _ReadBuffer()


def one_line(text: object) -> str:
    """`text` fit for one line of a log: control characters replaced, cut to 200 characters."""
    return "".join(c if c.isprintable() else "?" for c in str(text))[:200]


class Connection(asyncio.BufferedProtocol):
    """A `Link` over one TCP or TLS connection; the subclasses know how the opening handshake goes."""

    __slots__ = (
        "__weakref__",
        "_closing",
        "_core",
        "_gone",
        "_handler",
        "_head",
        "_loop",
        "_open",
        "_opened",
        "_partial",
        "_partial_is_text",
        "_raw",
        "_reason",
        "_task",
        "_timer",
        "_transport",
        "_view",
        "dropped",
        "full",
        "ours",
        "outbound",
        "remote_host",
        "remote_port",
        "tls",
        "url",
    )

    def __init__(self, handler: LinkHandler, core: Protocol, *, outbound: bool, url: str | None, tls: bool) -> None:
        self._handler = handler
        self._core = core
        self._loop = asyncio.get_running_loop()
        self._view = _read_buffer.view
        self._raw: asyncio.Transport | None = None
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._partial: bytearray | None = None  # a fragmented message; at most MAX_BUNDLE, which the core enforces
        self._partial_is_text = False
        self._head: bytearray | None = bytearray()  # what came before the link opened; LINK_HANDSHAKE_MAX ends it
        self._open = False  # between link_opened and the start of any ending
        self._opened = False  # link_opened was called, so link_closed is owed
        self._closing = False
        self._gone = False
        self._reason = ""
        self.outbound = outbound
        self.url = url
        self.tls = tls
        self.remote_host = ""
        self.remote_port = 0
        self.ours = False
        self.full = False
        self.dropped = 0

    # --- what the subclasses add -------------------------------------------------------------------------------

    def _arrived(self, raw: asyncio.Transport) -> bool:
        """The TCP connection is there. False refuses it."""
        raise NotImplementedError

    async def _start_tls(self, raw: asyncio.Transport) -> asyncio.Transport | None:
        """Make TLS of `raw`."""
        raise NotImplementedError

    def _begin(self) -> None:
        """Bytes can flow: say what this end says first."""
        raise NotImplementedError

    def _handshake(self, event: Request | Response) -> bool:
        """The other end's half of the opening handshake. True opens the link."""
        raise NotImplementedError

    def _handshake_stuck(self, head: bytearray) -> None:
        """A read ended without the other end's half; `head` is all that has come so far."""
        raise NotImplementedError

    def _settled(self, error: OSError | None) -> None:
        """The opening handshake came to its end; called once per connection."""
        raise NotImplementedError

    # --- Link ----------------------------------------------------------------------------------------------------

    @property
    def backlog(self) -> int:
        """See `Link.backlog`. Under TLS it counts encrypted bytes too, so it may be some kilobytes over."""
        if self._transport is None or self._raw is None:
            return 0
        size = self._transport.get_write_buffer_size()
        if self._raw is not self._transport:
            size += self._raw.get_write_buffer_size()
        return size

    def send(self, bundle: bytes | bytearray | memoryview, /) -> None:
        """See `Link.send`."""
        if self._open and self._core.state is OPEN:  # not once their close frame was read, before it is acted on
            if self._overfull() or len(bundle) > limits.MAX_BUNDLE:
                self.dropped += 1
            else:
                self._core.send_binary(bundle)
                self._flush()

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
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """See `Link.resume_reading`."""
        if self._open and self._transport is not None:
            self._transport.resume_reading()

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
        assert isinstance(transport, asyncio.Transport)
        self._raw = transport
        address = transport.get_extra_info("peername")
        if not address:  # gone before we looked
            self._drop()
            return
        self.remote_host, self.remote_port = unmapped(address[0]), address[1]
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
            # Before TLS stands asyncio tells nobody else that the connection is lost.
            self.connection_lost(error)
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
        self._received()  # what came in one flight with the end of the TLS handshake

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where asyncio reads into."""
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        """One read's worth of bytes."""
        self._core.receive_data(self._view[:nbytes])  # type: ignore[arg-type]  # it only appends to a bytearray
        if self._head is not None:
            self._head += self._view[:nbytes]
        if self._transport is not None:
            self._received()

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
        self._open = False
        self._stop_timer()
        self._transport = self._raw = None
        if not self._opened:
            self._settled(self._why_not_opened(exc))
            return
        reason = one_line(self._reason or self._why_closed(exc))
        try:
            self._handler.link_closed(self, reason)
        except Exception as error:
            self._report(error)

    # --- inside --------------------------------------------------------------------------------------------------

    def _received(self) -> None:
        """Act on what the core made of the bytes so far."""
        core = self._core
        events = core.events_received()
        if events:
            self._dispatch(events)
        if self._head is not None and not self._closing:
            self._handshake_stuck(self._head)
        self._flush()
        if self._open and core.state is not OPEN:
            self._end("")

    def _dispatch(self, events: Sequence[Event]) -> None:
        """Hand over what is complete. `_open` is asked anew each time: a handler may close the link."""
        bundles: list[bytes] = []
        for event in events:
            if not isinstance(event, Frame):
                if self._handshake(event):
                    self._open_up()
                continue
            opcode = event.opcode
            if opcode is BINARY and event.fin:
                bundles.append(bytes(event.data))
            elif opcode is BINARY or opcode is TEXT or opcode is CONT:
                if (message := self._join(event)) is None:
                    continue
                if self._partial_is_text:
                    bundles = self._deliver(bundles)
                    self._deliver_text(message)
                else:
                    bundles.append(message)
        self._deliver(bundles)

    def _join(self, frame: Frame) -> bytes | None:
        """Add a frame to the message it belongs to; the message if that completes it."""
        if frame.opcode is not CONT:
            self._partial_is_text = frame.opcode is TEXT
            if frame.fin:
                return bytes(frame.data)
            self._partial = bytearray()
        assert self._partial is not None  # the core refuses a continuation of nothing
        self._partial += frame.data
        if not frame.fin:
            return None
        message, self._partial = bytes(self._partial), None
        return message

    def _deliver(self, bundles: list[bytes]) -> list[bytes]:
        if bundles and self._open:
            try:
                self._handler.bundles_received(self, bundles)
            except Exception as error:
                self._handler_failed(error)
        return []

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
        if transport is None:
            return
        for data in self._core.data_to_send():
            if not data:
                self._half_close(transport)
            elif self.full and not self._closing and self._overfull():
                self.dropped += 1  # answers to pings; `send` asked before
            else:
                transport.write(data)

    def _half_close(self, transport: asyncio.Transport) -> None:
        """Say that nothing more comes, and go on reading: closing with bytes unread makes the kernel send RST,
        which can destroy the goodbye on its way."""
        if transport.is_closing():
            return
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()

    def _end(self, reason: str) -> None:
        """Stop delivering; give the goodbye LINK_CLOSE_TIMEOUT seconds."""
        if self._closing:
            return
        self._closing = True
        self._open = False
        self._reason = reason
        self._partial = None
        self._stop_timer()
        self._timer = self._loop.call_later(limits.LINK_CLOSE_TIMEOUT, self._drop)
        if self._transport is not None:
            self._transport.resume_reading()

    def _drop(self) -> None:
        """Let go of the connection, whatever state it is in; connection_lost follows."""
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

    def _why_closed(self, exc: Exception | None) -> str:
        core = self._core
        if core.parser_exc is not None and core.close_sent is not None:
            return f"refused what the other end sent: {core.close_sent}"
        if core.close_rcvd is not None:
            return f"closed by the other end: {core.close_rcvd}"
        if exc is not None:
            return f"connection lost: {exc}"
        return "connection ended without a goodbye"

    def _why_not_opened(self, exc: Exception | None) -> OSError:
        if isinstance(exc, OSError):
            return exc
        return LinkError("the connection ended before the WebSocket handshake was done")


def unmapped(host: str) -> str:
    """An IPv4-mapped IPv6 literal as the IPv4 one it means; any other host as it is."""
    return host[7:] if host.lower().startswith("::ffff:") and "." in host else host
