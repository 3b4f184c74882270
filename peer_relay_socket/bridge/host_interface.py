"""A host without sockets: whatever comes for it, on any port, goes to one receiver, which sends from any port.

Lives here: `HostInterface`, the sending side for a receiver that is no port table. May not live here: what a receiver
does with what comes.

Law: everything is on the relay thread, but for `__init__`, `start`, `call`, `counters` and `close`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from ..address import Destination, PeerId, Spelling
from ..limits import EXIT_TIME, GATEWAY_FLOW_DATAGRAMS, GATEWAY_ROOM, GATEWAY_SEND_BUDGET, JOIN_TIME
from ..originals import time
from .events import Receiver
from .host import Host
from .inbox import cost
from .outbox import Flow

if TYPE_CHECKING:
    import asyncio

    from ..config import PeerConfig
    from ..engine.engine import Engine


class _NothingCame:
    """The one thing that a flow asks of its owner's inbox, for an owner without one."""

    came: Final = 0


class HostInterface:
    """One host of the overlay, its datagrams sent and received by the program that holds this."""

    def __init__(self, config: PeerConfig, receiver: Receiver) -> None:
        """Raises: IdentityError when the key file cannot be read or made; ConfigError for a list that is none."""
        self.host = Host(config, receiver)
        self.starved = False
        """Whether a sender waits for room."""
        self._room: Callable[[], object] = lambda: None
        self.pending = 0
        """What waits in all flows, in `cost` units; at most GATEWAY_SEND_BUDGET."""
        self._inbox = _NothingCame()

    @property
    def spelling(self) -> Spelling:
        """How this network spells ids."""
        return self.host.spelling

    @property
    def peer_id(self) -> PeerId:
        """This host's id as it is now. Any thread."""
        return self.host.peer_id

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The relay thread's loop; of use on that thread, and after `start`."""
        return self.host.runtime.loop

    def start(self, timeout: float = JOIN_TIME) -> PeerId:
        """Take part in the network; wait at most `timeout` seconds until our short addresses are known to be ours
        alone. Raises as `Host.start`."""
        return self.host.settle(timeout)

    def call(self, callback: Callable[..., object], *args: object) -> None:
        """Run callback(*args) on the relay thread, soon. After `start`."""
        self.host.runtime.call(callback, *args)

    def run(self, callback: Callable[..., Any], *args: object, timeout: float = 5.0) -> Any:
        """Return what callback(*args), run on the relay thread, returns; at most `timeout` seconds later."""

        async def called() -> Any:
            return callback(*args)

        return self.host.runtime.submit(called()).result(timeout)

    def counters(self) -> dict[str, int]:
        """Return drops and refusals by reason."""
        return self.host.counters()

    def close(self, timeout: float = EXIT_TIME) -> None:
        """Flush, say goodbye and close every link, in about `timeout` seconds."""
        self.host.destroy(timeout)

    # --- sending (relay thread) --------------------------------------------------------------------------------

    def flow(self, destination: Destination, source_port: int, port: int, form: int) -> Flow:
        """Return a way to a port of a peer from one of ours; it may be kept, and thrown away."""
        return Flow(self.host.outbox, self._inbox, self, destination, source_port, port, form)

    def group_flow(self, group: str, relays: int, source_port: int, port: int, form: int) -> Flow:
        """Return a way to all that hear the broadcast or multicast address `group`, past so many relays."""
        flow = self.flow(b"", source_port, port, form)
        flow.group = (group, relays)
        return flow

    def offer(self, flow: Flow, datagrams: list[bytes]) -> bool:
        """Let `datagrams` wait in `flow`, to leave at the next `send`.

        Returns: False when what waits there, or in all flows together, leaves no room; they are dropped and counted.
        """
        size = cost(datagrams)
        if self.pending + size > GATEWAY_SEND_BUDGET or not self.has_room(flow):
            self.host.count("dropped: send budget used up", len(datagrams))
            return False
        flow.waiting += datagrams
        self.pending += size
        return True

    def has_room(self, flow: Flow) -> bool:
        """Return whether one more datagram may wait in `flow`."""
        return len(flow.waiting) < GATEWAY_FLOW_DATAGRAMS

    def when_room(self, callback: Callable[[], object]) -> None:
        """Call `callback`, which lets programs send more: now, or once little of what they sent still waits. It may be
        called amid a send, and neither sends nor waits. Of several that wait only the last is called."""
        if self.pending > GATEWAY_ROOM:
            self.starved, self._room = True, callback
        else:
            callback()

    def send(self, flows: Iterable[Flow]) -> None:
        """Send what waits in `flows`, as far as there is room on the way; the rest follows by itself."""
        self.host.driver.feeder.feed(flows)

    def send_now(self, flow: Flow, datagram: bytes) -> bool:
        """Send one datagram, before which nothing waits in `flow`, by the shortest way.

        Returns: False when there is none: then `offer` it.
        """
        return flow.group is None and self.host.driver.send_now(flow, datagram, time.monotonic())

    def send_segments(self, segments: list[tuple[Destination, int, bytes]]) -> None:
        """Send TCP segments, each with its destination and IP version; those for which there is no room are lost."""

        def send(engine: Engine, now: float) -> None:
            for destination, form, data in segments:
                engine.send_segment(destination, form, data, now)

        self.host.driver.run(send)

    def refuse(self, source: PeerId, port: int, source_port: int) -> None:
        """Tell `source` that nothing hears `port`, to which it sent from `source_port`."""
        self.host.driver.run(lambda engine, now: engine.refuse(source, port, source_port, now))

    def sent(self, size: int) -> None:
        """A flow's datagrams left; `size` is in `cost` units."""
        self.pending = max(0, self.pending - size)
        if self.starved and self.pending <= GATEWAY_ROOM // 2:
            self.starved = False
            self._room()
