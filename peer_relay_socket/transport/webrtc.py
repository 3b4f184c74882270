"""Links over WebRTC: two peers that cannot dial each other, connected by descriptions that somebody carries for them.

Lives here: one connection's life, from description to goodbye. May not live here: how descriptions travel, when a link
is tried (engine), the bytes of frames (rtc_frames.py), whose description may be trusted with what (rtc_description.py).

Law: aiortc is imported when the first connection is made, never before, and not on the loop's thread. What must arrive
(the link handshake, LINK packets) takes a reliable, ordered data channel; everything else goes as frames that the path
may lose, in DTLS records beside SCTP where both ends can, else over an unreliable data channel. A link that is open has
carried a frame of the size it uses, and one that hears nothing for RTC_STRIKES ticks is dead.

Why beside SCTP (400 datagrams/s of 1200 bytes for 8 s between two hosts of tests/lab; median one way, share that was
answered, the answers meeting the same fate): 25 ms of delay with 10 ms of jitter: 26.8 ms, 100 %; over the unreliable
channel 566 ms, 19 %. 50 ms with 1 % of loss each way: 51.3 ms, 97.9 %; over the channel 684 ms, 17 %.

A `wrtc` factory replaces aiortc: it is called with the ICE servers and returns something that has what `PeerConnection`
names, as the browsers' RTCPeerConnection does.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

from .. import limits
from ..codec.packet import LINK_HANDSHAKE, must_arrive
from ..config import IceServer
from .link import LinkError, LinkHandler
from .rtc_description import Description, has_candidates, safe_description
from .rtc_frames import GOODBYE, PART, PING, PONG, WHOLE, Rejoiner, ping, pong, read_pong, split

_HELLO: Final = 0xB5
"""First byte of the first message each end sends over the reliable channel; the second says what it can: bit 0, take
frames beside SCTP."""
_SEND_BURST: Final = 32
"""Frames sent before the loop looks at something else."""


class DataChannel(Protocol):
    """What is used of a data channel."""

    readyState: str  # noqa: N815
    bufferedAmount: int  # noqa: N815

    def send(self, data: bytes, /) -> None:
        """Queue one message."""

    def on(self, event: str, listener: Callable[..., object], /) -> object:
        """Call `listener` at "open", "message" (bytes) and "close"."""


class PeerConnection(Protocol):
    """What is used of a connection. Descriptions have `sdp` and `type`; the local one names every candidate as soon as
    `setLocalDescription` has returned."""

    localDescription: Any  # noqa: N815
    connectionState: str  # noqa: N815

    def createDataChannel(self, label: str, **options: Any) -> Any:  # noqa: N802
        """Return a `DataChannel`; options: negotiated, id, ordered, maxRetransmits."""

    def createOffer(self) -> Awaitable[Any]:  # noqa: N802
        """Return a description."""

    def createAnswer(self) -> Awaitable[Any]:  # noqa: N802
        """Return a description."""

    def setLocalDescription(self, description: Any, /) -> Awaitable[Any]:  # noqa: N802
        """Take what createOffer or createAnswer returned."""

    def setRemoteDescription(self, description: Any, /) -> Awaitable[Any]:  # noqa: N802
        """Take the other end's."""

    def on(self, event: str, listener: Callable[..., object], /) -> object:
        """Call `listener` at "connectionstatechange"."""

    def close(self) -> Awaitable[Any]:
        """End the connection."""


Factory = Callable[[Sequence[IceServer]], Any]
"""Returns a `PeerConnection` that uses the ICE servers given and no others. Called on the loop's thread."""


async def aiortc_factory() -> Factory:
    """Import aiortc (0.25 to 0.5 s) beside the loop. Raises: LinkError when it is not installed or does not load."""

    def load() -> Factory:
        import aiortc

        def connection(servers: Sequence[IceServer]) -> Any:
            ice = [aiortc.RTCIceServer(urls=s.url, username=s.username, credential=s.credential) for s in servers]
            return aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=ice))

        return connection

    try:
        return await asyncio.get_running_loop().run_in_executor(None, load)
    except ImportError as error:
        raise LinkError(f"aiortc cannot be imported: {error}") from None


class RtcLink:
    """One WebRTC connection; a `Link` once it is open. Loop thread only.

    The end that offers calls `offer`, has the text carried to the other end, and calls `accept` with what comes back;
    the other end calls `answer`. `ended` is called exactly once, with one line that says why, whether or not it ever
    opened; the handler is told of opened links only.
    """

    ours = True
    tls = True

    def __init__(
        self,
        handler: LinkHandler,
        ended: Callable[[RtcLink, str], object],
        *,
        url: str | None,
        factory: Factory | None,
        ice_servers: Sequence[IceServer],
    ) -> None:
        """Args: url: what to call it where this end offers, else None. factory: None = aiortc."""
        self.outbound = url is not None
        self.url = url
        self.remote_host = "0.0.0.0"
        self.remote_port = 0
        self.full = False
        self.dropped = 0
        self.unit = limits.RTC_UNIT_SMALL
        """Largest frame the path has carried."""
        self.rtt: float | None = None
        """Seconds, of the last ping that was answered."""
        self._handler = handler
        self._ended = ended
        self._factory = factory
        self._ice_servers = tuple(ice_servers)
        self._loop = asyncio.get_running_loop()
        self._pc: PeerConnection | None = None
        self._control: DataChannel | None = None
        self._lossy: DataChannel | None = None
        self._beside: _Beside | None = None
        """Where frames go; None = over the unreliable channel."""
        self._can_beside: _Beside | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._closer: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()
        """Clear while a description is being made: to close the connection then leaves requests of aioice behind."""
        self._settled.set()
        self._opened = False
        self._closing = False
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._wake = asyncio.Event()
        self._number = 0
        self._rejoiner = Rejoiner()
        self._inbox: list[bytes] = []
        """What is to be delivered in the next turn; at most LINK_BACKLOG_MAX bytes while it may not be."""
        self._inbox_size = 0
        self._gated: list[bytes] | None = None if self.outbound else []
        """Frames' bundles that overtook the end of the link handshake; None once it is over."""
        self._paused = False
        self._flushing = False
        self._pings: dict[int, float] = {}
        self._stamp = 0
        self._probes = 0
        self._small_passes = False
        self._heard = False
        self._strikes = 0

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
            await self._pc.setRemoteDescription(Description(safe_description(answer), "answer"))
        except Exception as error:
            raise self._unusable(error) from None

    async def _describe(self, offer: str | None) -> str:
        self._settled.clear()
        try:
            return await self._make_description(offer)
        finally:
            self._settled.set()

    async def _make_description(self, offer: str | None) -> str:
        try:
            remote = None if offer is None else safe_description(offer)
            factory = self._factory or await aiortc_factory()
            if self._closing:
                raise LinkError("the connection is closed")
            pc = self._prepare(factory)
            patience = self._loop.call_later(limits.RTC_STUN_TIME, _stop_asking, pc)
            async with asyncio.timeout(limits.RTC_GATHER_TIME):
                if remote is None:
                    await pc.setLocalDescription(await pc.createOffer())
                else:
                    await pc.setRemoteDescription(Description(remote, "offer"))
                    await pc.setLocalDescription(await pc.createAnswer())
            sdp = str(pc.localDescription.sdp)
            patience.cancel()
            if not has_candidates(sdp):
                raise LinkError("this machine has no address that another could reach")
        except Exception as error:
            raise self._unusable(error) from None
        if remote is not None:
            self._limit()
        return sdp

    def _unusable(self, error: Exception) -> OSError:
        """End the connection; return why. A stranger's description may make the implementation raise anything."""
        if not isinstance(error, OSError):
            error = LinkError(f"WebRTC failed: {type(error).__name__}: {error}")
        if isinstance(error, TimeoutError) and not str(error):
            error = LinkError("no session description could be made in time")
        self._end(str(error))
        return error

    def _limit(self) -> None:
        reason = f"no direct path was found within {limits.RTC_ICE_TIME:.0f} s"
        self._deadline = self._loop.call_later(limits.RTC_ICE_TIME, self._end, reason)

    def _prepare(self, factory: Factory) -> PeerConnection:
        pc: PeerConnection = factory(self._ice_servers)
        self._pc = pc
        control = self._control = pc.createDataChannel("peer-relay", negotiated=True, id=0, ordered=True)
        lossy = self._lossy = pc.createDataChannel(
            "peer-relay frames", negotiated=True, id=1, ordered=False, maxRetransmits=0
        )
        control.on("open", self._control_opened)
        control.on("message", self._control_heard)
        control.on("close", lambda: self._end("closed by the other end"))
        lossy.on("message", self._frame_heard)
        pc.on("connectionstatechange", self._state_changed)
        return pc

    def _state_changed(self) -> None:
        state = self._pc.connectionState if self._pc is not None else "closed"
        if state == "failed":
            self._end("no direct path was found" if not self._opened else "the path failed")
        elif state == "closed":
            self._end("closed by the other end")

    def _control_opened(self) -> None:
        if self._closing or self._control is None:
            return
        self._can_beside = _Beside.of(self._pc, self._frame_heard)
        self._control.send(bytes((_HELLO, int(self._can_beside is not None))))

    def _greeted(self, abilities: int) -> None:
        if abilities & 1:
            self._beside = self._can_beside
        self._task = self._loop.create_task(self._send_frames())
        self._probe()

    def _probe(self) -> None:
        """Find out what passes, then open."""
        if self._small_passes and self._probes >= limits.RTC_PROBES_LARGE:
            self._open(limits.RTC_UNIT_SMALL)
            return
        self._probes += 1
        self._ping(limits.RTC_UNIT_SMALL)
        if self._beside is not None:
            self._ping(limits.RTC_UNIT)
        self._timer = self._loop.call_later(limits.RTC_PROBE, self._probe)

    def _proven(self, size: int) -> None:
        if size >= limits.RTC_UNIT or (self._beside is None and size >= limits.RTC_UNIT_SMALL):
            self._open(size)
        elif size >= limits.RTC_UNIT_SMALL:
            self._small_passes = True

    def _open(self, unit: int) -> None:
        self._opened = True
        self.unit = unit
        if self._deadline is not None:
            self._deadline.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(limits.RTC_TICK, self._tick)
        self.remote_host, self.remote_port = _remote_address(self._pc)
        self._call(self._handler.link_opened)
        self._flush_soon()

    # --- keepalive -----------------------------------------------------------------------------------------------

    def _ping(self, size: int = 0) -> None:
        self._stamp = self._stamp + 1 & 0xFFFFFFFF
        self._pings[self._stamp] = self._loop.time()
        while len(self._pings) > 16:
            del self._pings[next(iter(self._pings))]
        self._put(ping(self._stamp, size))

    def _tick(self) -> None:
        if self._heard:
            self._heard = False
            self._strikes = 0
        else:
            self._strikes += 1
            if self._strikes >= limits.RTC_STRIKES:
                self._end(f"nothing heard for {limits.RTC_STRIKES * limits.RTC_TICK:.0f} s")
                return
            self._ping()
        self._timer = self._loop.call_later(limits.RTC_TICK, self._tick)

    # --- receiving -----------------------------------------------------------------------------------------------

    def _control_heard(self, message: object) -> None:
        if self._closing or not isinstance(message, bytes) or not message:
            return
        self._heard = True
        if message[0] == _HELLO:
            if self._task is None and len(message) > 1:
                self._greeted(message[1])
            return
        if self._inbox_size > limits.LINK_BACKLOG_MAX:
            self._end("more arrived than is read")
            return
        self._got(message)
        if self._gated is not None and message[0] != LINK_HANDSHAKE:
            gated, self._gated = self._gated, None
            for bundle in gated:
                self._got(bundle)

    def _frame_heard(self, frame: object) -> None:
        if self._closing or not isinstance(frame, bytes) or not frame:
            return
        self._heard = True
        kind = frame[0]
        if kind == WHOLE:
            self._bundle_heard(frame[1:])
        elif kind == PART:
            bundle = self._rejoiner.add(frame, self._loop.time())
            if bundle is not None:
                self._bundle_heard(bundle)
        elif kind == PING:
            self._put(pong(frame))
        elif kind == PONG:
            stamp, size = read_pong(frame)
            sent = self._pings.pop(stamp, None)
            if sent is not None:
                self.rtt = self._loop.time() - sent
                if not self._opened:
                    self._proven(size)
        elif kind == GOODBYE:
            self._end("closed by the other end")

    def _bundle_heard(self, bundle: bytes) -> None:
        if self._gated is not None:
            if sum(map(len, self._gated)) + len(bundle) <= limits.MAX_BUNDLE:
                self._gated.append(bundle)
            return
        if self._inbox_size + len(bundle) <= limits.LINK_BACKLOG_MAX:
            self._got(bundle)

    def _got(self, bundle: bytes) -> None:
        self._inbox.append(bundle)
        self._inbox_size += len(bundle)
        self._flush_soon()

    def _flush_soon(self) -> None:
        """Deliver in the next turn, together with whatever else this turn brings."""
        if self._inbox and self._opened and not self._paused and not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        self._flushing = False
        if self._closing or self._paused or not self._inbox:
            return
        bundles, self._inbox, self._inbox_size = self._inbox, [], 0
        self._call(self._handler.bundles_received, bundles)

    def _call(self, function: Callable[..., None], *args: object) -> None:
        try:
            function(self, *args)
        except Exception as error:
            message = f"link handler {type(self._handler).__name__} failed"
            self._loop.call_exception_handler({"message": message, "exception": error})
            self._end(f"the handler failed: {error!r}")

    # --- sending -------------------------------------------------------------------------------------------------

    @property
    def backlog(self) -> int:
        """Bytes that `send` accepted and that have not left."""
        return self._queued + (self._control.bufferedAmount if self._control is not None else 0)

    def send(self, bundle: bytes | bytearray | memoryview, /) -> None:
        """Send one bundle; the bytes are taken before it returns. Never blocks, never raises."""
        if self._closing or not self._opened:
            return
        data = bytes(bundle)
        if self.backlog > limits.LINK_BACKLOG_MAX or len(data) > limits.MAX_BUNDLE:
            self.dropped += 1
        elif must_arrive(data):
            self._say(data)
        else:
            self._number += 1
            for frame in split(data, self._number, self.unit):
                self._put(frame)
            if self._queued > limits.RTC_HIGH_WATER:
                self.full = True

    def send_text(self, text: str, /) -> None:
        """Nothing on this link is text."""

    def _say(self, data: bytes) -> None:
        assert self._control is not None
        try:
            self._control.send(data)
        except Exception as error:  # whatever the implementation raises once its channel is gone
            self._loop.call_soon(self._end, f"the channel failed: {error!r}")

    def _put(self, frame: bytes) -> None:
        self._queue.append(frame)
        self._queued += len(frame)
        self._wake.set()

    async def _send_frames(self) -> None:
        """Send what is queued, for as long as the link lives."""
        try:
            while True:
                for _ in range(min(_SEND_BURST, len(self._queue))):
                    frame = self._queue.popleft()
                    self._queued -= len(frame)
                    await self._carry(frame)
                if self.full and self._queued < limits.RTC_LOW_WATER:
                    self.full = False
                    self._call(self._handler.link_writable)
                if self._queue:
                    await asyncio.sleep(0)
                elif self._closing:
                    return
                else:
                    self._wake.clear()
                    await self._wake.wait()
        except Exception as error:  # whatever the implementation raises once its transport is gone
            self._end(f"the path failed: {error!r}")

    async def _carry(self, frame: bytes) -> None:
        if self._beside is not None:
            await self._beside.send(frame)
        elif self._lossy is None or self._lossy.readyState != "open":
            raise LinkError("the data channel is closed")
        elif self._lossy.bufferedAmount > limits.RTC_CHANNEL_BUFFER:
            self.dropped += 1
        else:
            self._lossy.send(frame)

    def pause_reading(self) -> None:
        """Deliver nothing more until `resume_reading`; past LINK_BACKLOG_MAX bytes frames are dropped, as the path
        itself might."""
        self._paused = True

    def resume_reading(self) -> None:
        """Undo `pause_reading`."""
        self._paused = False
        self._flush_soon()

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
        for timer in (self._timer, self._deadline):
            if timer is not None:
                timer.cancel()
        self._closer = self._loop.create_task(self._close_down(reason, linger))
        _closers.add(self._closer)
        self._closer.add_done_callback(_closers.discard)

    async def _close_down(self, reason: str, linger: bool) -> None:
        task, control, pc = self._task, self._control, self._pc
        if linger:
            end = self._loop.time() + limits.RTC_CLOSE_TIME
            while self.backlog and self._loop.time() < end:  # noqa: ASYNC110  # SCTP's queue has no such event
                await asyncio.sleep(0.01)
        if task is not None and not task.done():
            with contextlib.suppress(Exception):
                await self._carry(bytes((GOODBYE,)))
            task.cancel()
            await asyncio.wait([task])
        self._queue.clear()
        self._queued = 0
        if pc is not None:
            _stop_asking(pc)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._settled.wait(), limits.RTC_CLOSE_TIME)
            with contextlib.suppress(Exception):  # nothing is left that could be done about it
                async with asyncio.timeout(limits.LINK_CLOSE_TIMEOUT):
                    await pc.close()
        self._control = self._lossy = self._pc = None
        self._beside = self._can_beside = None
        del control, pc
        if self._opened:
            try:
                self._handler.link_closed(self, reason)
            except Exception as error:
                self._loop.call_exception_handler({"message": "link handler failed", "exception": error})
        self._ended(self, reason)


_closers: Final[set[asyncio.Task[None]]] = set()
"""Connections being closed: the loop itself keeps no hold of its tasks."""


class _Beside:
    """The DTLS transport under a connection's SCTP, where records that are not SCTP's are ours.

    aiortc has no public way to it; an implementation without these members is told by `of` returning None.
    """

    def __init__(self, dtls: Any, sctp: Any, heard: Callable[[bytes], None]) -> None:
        self._heard = heard
        self._sctp_data = sctp._handle_data
        self.send: Callable[[bytes], Awaitable[None]] = dtls._send_data
        dtls._data_receiver = self

    @classmethod
    def of(cls, pc: Any, heard: Callable[[bytes], None]) -> _Beside | None:
        """Return it for an open connection, or None."""
        dtls = getattr(getattr(pc, "sctp", None), "transport", None)
        sctp = getattr(dtls, "_data_receiver", None)
        if not inspect.iscoroutinefunction(getattr(dtls, "_send_data", None)):
            return None
        if not inspect.iscoroutinefunction(getattr(sctp, "_handle_data", None)):
            return None
        return cls(dtls, sctp, heard)

    async def _handle_data(self, data: bytes) -> None:
        if WHOLE <= data[0] <= GOODBYE:
            self._heard(data)
        else:
            await self._sctp_data(data)


def _stop_asking(pc: Any) -> None:
    """Take it that STUN servers which have not answered will not. Does nothing where the members are not aioice's."""
    with contextlib.suppress(AttributeError, ImportError):
        from aioice.stun import TransactionTimeout

        for protocol in pc.sctp.transport.transport._connection._protocols:
            for transaction in list(protocol.transactions.values()):
                future = transaction._Transaction__future
                if not future.done():
                    future.set_exception(TransactionTimeout())


def _remote_address(pc: Any) -> tuple[str, int]:
    """Return where ICE found the other end; unspecified where the implementation does not tell."""
    try:
        host, port = pc.sctp.transport.transport._connection._nominated[1].remote_addr
        return str(host), int(port)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError):
        return "0.0.0.0", 0
