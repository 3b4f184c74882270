"""Links over WebRTC: two peers that cannot dial each other, connected by descriptions that a third party carries.

Lives here: what travels over a connection between two of us, and finding out that it does no more. May not live here:
how a connection begins and ends (rtc_connection.py), the bytes of frames (rtc_frames.py).

Law: what must arrive (the link handshake, LINK packets) takes a reliable, ordered data channel; everything else goes as
frames that the path may lose, in DTLS records beside SCTP where both ends can, else over an unreliable data channel. A
link that is open has carried a frame of the size it uses, one that hears nothing for RTC_MISSED_PROBES ticks is dead.

Why beside SCTP (400 datagrams/s of 1200 bytes between two hosts of tests/lab/test_impairment.py; median one way, lost;
plain UDP at the same time): 25 ms of delay with 10 ms of jitter: 26.5 ms, 0 % (26.1 ms, 0 %); over the unreliable
channel 495 ms, 78 %. 50 ms with 1 % of loss: 50.6 ms, 0.8 % (50.2 ms, 1.3 %); over the channel 430 ms, 70 %.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Final, Unpack

from .. import limits
from ..codec.packet import LINK_HANDSHAKE, must_arrive
from .link import LinkError, LinkHandler
from .rtc_connection import RtcConnection, RtcOptions
from .rtc_frames import GOODBYE, PART, PING, PONG, WHOLE, Rejoiner, ping, pong, read_pong, split
from .rtc_implementation import DataChannel, DtlsFrames, PeerConnection

_HELLO: Final = 0xB5
"""First byte of the first message each end sends over the reliable channel; the second says what it can: bit 0, take
frames beside SCTP."""
_BUNDLE_COST: Final = 128
"""Bytes that a bundle which waits counts for beside its own: empty ones cost memory, too."""
_SEND_BURST: Final = 32
"""Frames sent before the loop looks at something else."""


class RtcLink(RtcConnection):
    """One WebRTC connection between two of us; a `Link` once it is open. Loop thread only."""

    def __init__(
        self, handler: LinkHandler, ended: Callable[[RtcConnection, str], object], **options: Unpack[RtcOptions]
    ) -> None:
        super().__init__(handler, ended, **options)
        self.full = False
        self.dropped = 0
        self._undelivered = 0
        self._unit = limits.RTC_UNIT_SMALL
        self.rtt: float | None = None
        """Seconds, of the last ping that was answered."""
        self._control: DataChannel | None = None
        self._lossy: DataChannel | None = None
        self._dtls: DtlsFrames | None = None
        """Where frames go; None = over the unreliable channel."""
        self._can_dtls: DtlsFrames | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._wake = asyncio.Event()
        self._number = 0
        self._rejoiner = Rejoiner()
        self._inbox: list[bytes] = []
        """What is to be delivered in the next turn; at most LINK_BACKLOG_MAX bytes while it may not be."""
        self._inbox_size = 0
        self._gated: list[bytes] | None = None if self.outbound else []
        """Bundles that overtook the end of the link handshake, MAX_BUNDLE bytes at most; None when it is over."""
        self._gated_size = 0
        self._paused = False
        self._flushing = False
        self._pings: dict[int, float] = {}
        self._stamp = 0
        self._probes = 0
        self._small_passes = False
        self._heard = False
        self._missed_probes = 0
        self._ticks = 0

    @property
    def unit(self) -> int:
        """Largest frame the path has carried."""
        return self._unit

    # --- opening -------------------------------------------------------------------------------------------------

    def _prepare(self, pc: PeerConnection) -> None:
        control = self._control = pc.createDataChannel("peer-relay", negotiated=True, id=0, ordered=True)
        lossy = self._lossy = pc.createDataChannel(
            "peer-relay frames", negotiated=True, id=1, ordered=False, maxRetransmits=0
        )
        control.on("open", self._control_opened)
        control.on("message", self._control_heard)
        control.on("close", lambda: self._end("closed by the other end"))
        lossy.on("message", self._frame_heard)

    def _control_opened(self) -> None:
        if self._closing or self._control is None:
            return
        self._can_dtls = DtlsFrames.of(self._pc, self._frame_heard)
        self._control.send(bytes((_HELLO, int(self._can_dtls is not None))))

    def _greeted(self, abilities: int) -> None:
        if abilities & 1:
            self._dtls = self._can_dtls
        self._task = self._loop.create_task(self._send_frames())
        self._probe()

    def _probe(self) -> None:
        """Find out what passes, then open."""
        if self._small_passes and self._probes >= limits.RTC_PROBES_LARGE:
            self._open(limits.RTC_UNIT_SMALL)
            return
        self._probes += 1
        self._ping(limits.RTC_UNIT_SMALL)
        if self._dtls is not None:
            self._ping(limits.RTC_UNIT)
        self._timer = self._loop.call_later(limits.RTC_PROBE, self._probe)

    def _proven(self, size: int) -> None:
        if size >= limits.RTC_UNIT or (self._dtls is None and size >= limits.RTC_UNIT_SMALL):
            self._open(size)
        elif size >= limits.RTC_UNIT_SMALL:
            self._small_passes = True

    def _open(self, unit: int) -> None:
        self._unit = unit
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(limits.RTC_TICK, self._tick)
        self._established()
        self._flush_soon()

    # --- keepalive -----------------------------------------------------------------------------------------------

    def _ping(self, size: int = 0) -> None:
        self._stamp = self._stamp + 1 & 0xFFFFFFFF
        limits.make_room(self._pings, 16)
        self._pings[self._stamp] = self._loop.time()
        self._put(ping(self._stamp, size))

    def _tick(self) -> None:
        if self._heard:
            self._heard = False
            self._missed_probes = 0
            self._ticks += 1
            if self._ticks % limits.RTC_RTT_TICKS == 0:
                self._ping()
        else:
            self._missed_probes += 1
            if self._missed_probes >= limits.RTC_MISSED_PROBES:
                self._end(f"nothing heard for {limits.RTC_MISSED_PROBES * limits.RTC_TICK:.0f} s")
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
            if self._gated_size + len(bundle) + _BUNDLE_COST <= limits.MAX_BUNDLE:
                self._gated.append(bundle)
                self._gated_size += len(bundle) + _BUNDLE_COST
            return
        if self._inbox_size + len(bundle) <= limits.LINK_BACKLOG_MAX:
            self._got(bundle)
        else:
            self._undelivered += 1

    def _got(self, bundle: bytes) -> None:
        self._inbox.append(bundle)
        self._inbox_size += len(bundle) + _BUNDLE_COST
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

    # --- sending -------------------------------------------------------------------------------------------------

    @property
    def backlog(self) -> int:
        """Bytes that `send` accepted and that have not left."""
        return self._queued + (self._control.bufferedAmount if self._control is not None else 0)

    @property
    def missed(self) -> int:
        """Bundles that came in part only, or while no more were delivered."""
        return self._undelivered + self._rejoiner.given_up

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

    prompt = False
    """asyncio's own machinery encrypts and sends, in its time."""

    def send_now(self, bundle: bytes, /) -> bool:
        """Return False: this link is never `prompt`."""
        return False

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
        if self._dtls is not None:
            await self._dtls.send(frame)
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

    def _end(self, reason: str, *, linger: bool = False) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super()._end(reason, linger=linger)

    async def _part(self) -> None:
        task = self._task
        if task is not None and not task.done():
            with contextlib.suppress(Exception):
                await self._carry(bytes((GOODBYE,)))
            task.cancel()
            await asyncio.wait([task])
        self._queue.clear()
        self._queued = 0

    def _release(self) -> None:
        self._control = self._lossy = None
        self._dtls = self._can_dtls = None
