"""From the outbox to the engine, as fast as the network takes it.

Lives here: flows that wait for room, and those that have more waiting than the loop takes at once. May not live here:
how callers post (outbox), what there is room for (engine).

Law: what does not fit stays in its flow, where it counts against the caller's budget. While a destination is not found,
a caller that has used its budget up waits for SEND_PATIENCE, and then the oldest for it go, as ARP has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Protocol

from ..address import Destination
from ..limits import (
    DRAIN_BURST,
    LANE_BEHIND,
    LANE_BURST,
    LANE_FEW,
    LANE_RATE,
    LANE_RUN,
    MAX_RESOLVING,
    PACKET_TARGET,
    SEND_PATIENCE,
    make_room,
)
from ..originals import time
from ..rate import TokenBucket
from .outbox import Flow, Outbox

if TYPE_CHECKING:
    from ..engine.engine import Engine


_COUNTED: Final = 4 * LANE_FEW
"""Datagrams that wait up to which their bytes are counted."""


def is_slow(flow: Flow, now: float) -> bool:
    """Return whether few datagrams wait, and its program sends no faster than a lane: else they are packed for the
    WebSocket, and stay there until it is slower."""
    waiting, spent = len(flow.waiting), flow.spent
    if spent is None:
        spent = flow.spent = TokenBucket(LANE_RATE, now, burst=LANE_RATE * LANE_BURST)
    size = sum(map(len, flow.waiting)) if waiting <= _COUNTED else PACKET_TARGET
    return spent.overdraw(now, size, LANE_RATE * LANE_BEHIND) and waiting <= LANE_FEW


class Fed(Protocol):
    """The driver, as feeding needs it."""

    @property
    def running_engine(self) -> Engine | None:
        """The engine; None before the start and after the end."""

    def transmit(self) -> None:
        """Send what the engine has ready."""

    def pump(self) -> None:
        """Send what the engine has ready, perform what it asks for."""


class Feeder:
    """The flows of one peer. Loop thread only."""

    def __init__(self, outbox: Outbox, loop: asyncio.AbstractEventLoop, driver: Fed) -> None:
        self._outbox = outbox
        self._loop = loop
        self._driver = driver
        self._blocked: dict[Destination, dict[Flow, None]] = {}
        """Flows for which there is no room, by destination; no more than callers have."""
        self._overflowing: dict[Destination, None] = {}
        """Destinations that were not found in time, for which the oldest go; forgotten with the first that is found."""
        self._unfinished: dict[Flow, None] = {}
        """Flows with more than DRAIN_BURST waiting, whose rest is taken when the loop has looked at its links."""

    @property
    def idle(self) -> bool:
        """Whether nothing waits."""
        return self._outbox.idle() and not self._blocked and not self._unfinished

    def drain(self) -> None:
        """Take what callers posted."""
        if self._driver.running_engine is not None:
            self.feed(self._outbox.take())

    def feed(self, flows: Iterable[Flow]) -> None:
        """Take what waits in `flows`."""
        engine = self._driver.running_engine
        if engine is not None:
            for flow in flows:
                self._feed(engine, flow)
            self._driver.pump()

    def writable(self, engine: Engine, destination: Destination) -> None:
        """There is room for `destination` again."""
        self._overflowing.pop(destination, None)
        flows = self._blocked.pop(destination, None)
        if flows is None:  # blocked under its short address, known by its id meanwhile, or the other way round
            found = [each for each in self._blocked if isinstance(each, tuple) or each == destination]
            flows = {flow: None for each in found for flow in self._blocked.pop(each)}
        for flow in flows:
            self._feed(engine, flow)

    def _feed(self, engine: Engine, flow: Flow) -> None:
        now = self._loop.time()
        if flow.group is not None:
            engine.clock(time.time(), now)
            group, relays = flow.group
            engine.broadcast(group, relays, flow.form, flow.source_port, flow.port, flow.take(DRAIN_BURST), now)
            return
        taken = 0
        few = engine.lanes.count > 0 and is_slow(flow, now)
        while flow.waiting:
            to = flow.destination
            few = few and engine.has_lane(to)
            room = LANE_RUN if few else engine.room(to)
            if room <= 0 and to in self._overflowing and engine.make_room(to, PACKET_TARGET):
                room = PACKET_TARGET
            if room <= 0:
                if flow.destination not in self._blocked:
                    self._loop.call_later(SEND_PATIENCE / 2, self._look_after, flow.destination)
                self._blocked.setdefault(flow.destination, {})[flow] = None
                return
            if taken >= DRAIN_BURST:
                self._unfinished[flow] = None
                self._loop.call_soon(self._feed_on, flow)
                return
            batch = flow.take(min(room, PACKET_TARGET))
            engine.send(flow.destination, flow.form, flow.source_port, flow.port, batch, now)
            taken += PACKET_TARGET
            if flow.waiting:
                self._driver.transmit()  # the wire works while the next packet is packed

    def _look_after(self, destination: Destination) -> None:
        """Nothing fits for `destination`: do not let it hold up callers, nor what they send elsewhere."""
        engine, flows = self._driver.running_engine, self._blocked.get(destination)
        if engine is None or flows is None:
            return
        if any(flow.holds_up for flow in flows) and engine.make_room(destination, PACKET_TARGET):
            make_room(self._overflowing, MAX_RESOLVING)
            self._overflowing[destination] = None
            self.feed(self._blocked.pop(destination))
        else:
            self._loop.call_later(SEND_PATIENCE / 2, self._look_after, destination)

    def _feed_on(self, flow: Flow) -> None:
        self._unfinished.pop(flow, None)
        self.feed((flow,))
