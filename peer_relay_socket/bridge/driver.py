"""The driver: feeds the engine what happens and performs what it asks for.

Lives here: everything of one peer that runs on the loop; all logging. May not live here: decisions about the overlay
(engine), bytes on connections (transport), what callers' threads touch (inbox, outbox, ports).

Law: after every input the driver sends what is to be sent, performs every effect, and re-arms the one timer if it is
late (one that is early finds nothing to do, which costs less than to move it). Nothing here waits without a limit, and
nothing that goes wrong on a connection reaches a caller as a traceback.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from ..address import Destination, PeerId
from ..engine.authentication import network_psk
from ..engine.core import EngineConfig
from ..engine.direct import Path
from ..engine.effects import (
    Abandon,
    Accept,
    AddCandidate,
    AddressChecked,
    CloseLink,
    ConnectFailed,
    Deliver,
    DeliverBroadcast,
    Describe,
    Dial,
    DialBack,
    EchoAsked,
    Echoed,
    Found,
    Message,
    NoRoom,
    Note,
    PeerDown,
    PeerUp,
    Refused,
    Throttle,
    Traced,
    Unreachable,
    Writable,
)
from ..engine.engine import Engine
from ..limits import (
    ADDRESS_MOVES,
    DRAIN_BURST,
    HOPELESS_TIME,
    LIST_POLL,
    PACKET_TARGET,
    READER_PATIENCE,
    READER_POLL,
    RENEWAL_BITS,
)
from ..originals import os, time
from ..transport.link import Link
from .dialler import EMBEDDED_URL, Dialler
from .log import log
from .outbox import LoopEnd
from .own_networks import OwnNetworks
from .probes import Probes
from .rtc_attempts import RtcAttempts
from .status import DriverStatus

if TYPE_CHECKING:
    from ..identity import Identity
    from .events import Filling, Owner
    from .outbox import Flow
    from .probes import Hop, PingEnd, Pong, Trace
    from .runtime import Runtime


class Driver:
    """One peer on the loop; it is the transport's LinkHandler. Loop thread only, but for `__init__`."""

    def __init__(self, host: Owner, runtime: Runtime) -> None:
        self._host = host
        self._posted = host.outbox.posted
        self._deliver_to = host.receiver.deliver
        self._runtime = runtime
        self._loop = runtime.loop
        self._links: dict[int, Link] = {}
        self._numbers: dict[Link, int] = {}
        self._made = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: float | None = None
        self._blocked: dict[Destination, dict[Flow, None]] = {}
        self._unfinished: dict[Flow, None] = {}
        """Flows with more than DRAIN_BURST waiting, whose rest is taken when the loop has looked at its links."""
        self._throttled: dict[Link, float] = {}
        """Links that are not read, and until when."""
        self._filling: list[Filling] = []
        """Inboxes that what was just delivered filled by more than half."""
        self._own_networks = OwnNetworks()
        self._direct = RtcAttempts(self, host.config, self._own_networks)
        self._dialling = Dialler(self, host.config, self._own_networks, host.report, self._dial_failed, self._embedded)
        self._past: Counter[str] = Counter()
        """What links lost that are gone."""
        self._probes: Probes | None = None
        self._moves = 0
        """Identities taken because the IPv4 address of the last was another peer's; at most len(ADDRESS_MOVES)."""
        self._renewals = 0
        self._renewing: asyncio.Task[None] | None = None
        self._closed = False
        self._all_closed: asyncio.Event | None = None
        self._engine: Engine | None = None
        self._perform: dict[type, Callable[[Any], None]] = {
            Deliver: self._deliver,
            DeliverBroadcast: self._deliver_broadcast,
            Dial: self._dialling.start,
            DialBack: self._dialling.start_back,
            CloseLink: self._close_link,
            Throttle: self._throttle,
            PeerUp: self._peer_up,
            PeerDown: self._peer_down,
            ConnectFailed: self._connect_failed,
            Message: self._message,
            Refused: self._refused,
            Unreachable: self._unreachable,
            Writable: self._writable,
            AddressChecked: self._address_checked,
            Found: self._probed,
            Echoed: self._probed,
            Traced: self._probed,
            EchoAsked: self._echo_asked,
            Describe: self._direct.describe,
            Accept: self._direct.accept,
            AddCandidate: self._direct.candidate,
            Abandon: self._direct.abandon,
            NoRoom: self._no_room,
            Note: self._note,
        }

    # --- life ------------------------------------------------------------------------------------------------

    def _log_to_stderr(self, level: int) -> None:
        logger = log.logger
        logger.setLevel(level)
        if not logger.handlers:
            handler = logging.StreamHandler()
            handler.setFormatter(logging.Formatter("%(asctime)s peer-relay %(levelname)s %(message)s"))
            logger.addHandler(handler)
            logger.propagate = False

    async def start(self) -> None:
        """Serve, if this peer serves, and begin to take part.

        Raises: OSError when the port cannot be served on.
        """
        config = self._host.config
        if config.log is not None:
            self._log_to_stderr(config.log)
        await self._dialling.serve()
        if self._host.admission:
            self._loop.call_later(LIST_POLL, self._look_at_lists)
        self._engine = self._make_engine()
        self._engine.start(self._loop.time())
        self.pump()
        send_now = partial(self._runtime.loop_lock.run_as_loop, self.send_now)
        self._host.outbox.open(LoopEnd(partial(self._runtime.call, self.drain), send_now, self._runtime.leader))
        self.drain()

    def _make_engine(self) -> Engine:
        config = self._host.config
        bootstrap = config.bootstrap
        if config.embedded and not self._dialling.serves:
            bootstrap = (EMBEDDED_URL,)
        public = () if config.public_url is None or not self._dialling.serves else (config.public_url,)
        settings = EngineConfig(
            bootstrap=bootstrap,
            serves=bool(public),
            urls=public,
            listens=() if public else self._dialling.urls,
            ipv4_network=config.ipv4_network,
            psk=None if config.network_key is None else network_psk(config.network_key),
            direct=True,
            webrtc=config.wrtc is not False,
            text_hint=": peer-relay of npm, which npm_peers turns on",
            is_nearby=self._own_networks.holds,
            broadcast_hops=config.broadcast_hops,
            may_link=self._host.admission.may_link,
            may_talk=self._host.admission.may_talk,
        )
        now = self._loop.time()
        kind: type[Engine] = Engine
        if config.npm_peers:
            from ..engine.npm.engine import GatewayEngine

            kind = GatewayEngine
        engine = kind(self._host.identity, settings, random=random.Random(), entropy=os.urandom, now=now)
        engine.clock(time.time(), now)
        return engine

    def _look_at_lists(self) -> None:
        """Part from those whom the lists, if they changed, admit no more."""
        if self._closed:
            return
        admission = self._host.admission
        if admission.reload():
            self.request("recheck")
        problems, admission.problems = admission.problems, []
        for problem in problems:
            self._host.report(problem)
        self._loop.call_later(LIST_POLL, self._look_at_lists)

    @property
    def port(self) -> int | None:
        """The TCP port served on."""
        return self._dialling.port

    async def stop(self, limit: float) -> None:
        """Say goodbye, flush and close every link, stop serving. Takes at most `limit` seconds."""
        if self._closed:
            return
        self._host.outbox.close()
        if self._engine is not None:
            self._engine.leave(self._loop.time())
            self.pump()
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._renewing is not None:
            self._renewing.cancel()
        await self._dialling.stop(limit)
        for link in list(self._links.values()):
            link.close()
        self._all_closed = asyncio.Event()
        if self._links:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_closed.wait(), limit)
        for link in list(self._links.values()):
            link.abort()
        await self._direct.stop(limit)
        await self._dialling.close()

    async def flush(self, limit: float) -> bool:
        """Wait until all that callers sent has been given to the kernel, at most `limit` seconds."""
        end = self._loop.time() + limit
        while True:
            self.drain()
            if self._is_flushed():
                return True
            if self._loop.time() >= (end - limit + min(limit, HOPELESS_TIME) if self.is_cut_off() else end):
                return False
            await asyncio.sleep(0.002)

    def is_cut_off(self) -> bool:
        """Whether nobody is linked, and every place we were told to join through has failed to answer, or we are the
        one through which others would join."""
        alone = self._host.config.embedded and self._dialling.serves
        return not self._links and (alone or self._dialling.all_failed)

    def _is_flushed(self) -> bool:
        engine = self._engine
        return (
            self._host.outbox.idle()
            and not self._blocked
            and not self._unfinished
            and (engine is None or engine.idle)
            and not any(link.backlog for link in self._links.values())
        )

    # --- from callers ----------------------------------------------------------------------------------------

    def send_now(self, flow: Flow, data: bytes) -> bool:
        """Send one datagram that is not in `flow` yet, if nothing posted waits and there is nothing else to do for it.
        In a caller's thread, which has borrowed the turn; a signal handler may raise into it at any point."""
        engine = self._engine
        if engine is None or self._closed or flow.waiting or self._posted:
            return False
        ready = engine.fast_path.ready(flow.destination, len(data), time.monotonic())
        if ready is None:
            return False
        session, number = ready
        link = self._links.get(number)
        if link is None or not link.prompt:
            return False
        bundle = engine.fast_path.seal(session, flow.form, flow.source_port, flow.port, data)
        if bundle:
            link.send_now(bundle)
        return True

    def drain(self) -> None:
        """Take what callers posted."""
        if self._closed or self._engine is None:
            return
        for flow in self._host.outbox.take():
            self._feed(flow)
        self.pump()

    def feed(self, flows: Iterable[Flow]) -> None:
        """Take what waits in `flows`."""
        if not self._closed and self._engine is not None:
            for flow in flows:
                self._feed(flow)
            self.pump()

    def _feed(self, flow: Flow) -> None:
        """Give the engine what waits in `flow`, as far as there is room."""
        engine = self._engine
        assert engine is not None
        now = self._loop.time()
        if flow.group is not None:
            engine.clock(time.time(), now)
            group, relays = flow.group
            engine.broadcast(group, relays, flow.form, flow.source_port, flow.port, flow.take(DRAIN_BURST), now)
            return
        taken = 0
        while flow.waiting:
            room = engine.room(flow.destination)
            if room <= 0:
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
                self._transmit()  # the wire works while the next packet is packed

    def _feed_on(self, flow: Flow) -> None:
        self._unfinished.pop(flow, None)
        if not self._closed:
            self._feed(flow)
            self.pump()

    def request(self, name: str, *args: object) -> None:
        """Call the engine's input `name`, and see to what comes of it."""
        if self._engine is not None and not self._closed:
            getattr(self._engine, name)(*args, now=self._loop.time())
            self.pump()

    async def advertised(self) -> tuple[str, ...]:
        """Return the URLs that neighbours are told to dial us at."""
        return () if self._engine is None or self._closed else self._engine.advertised

    async def path(self, destination: Destination) -> Path:
        """Return how a peer is reached."""
        if self._engine is None or self._closed:
            return Path("unknown", None, None, None, None, "this peer is closed")
        peer_id = self._engine.known(destination)
        if peer_id is None:
            return Path("unknown", None, None, None, None, "no peer is known by this address yet")
        path, number = self._engine.path(peer_id)
        link = self._links.get(number)
        if path.since is not None:
            path = path._replace(since=round(time.time() - (self._loop.time() - path.since), 3))
        if path.reached != "direct":
            return path
        rtt = getattr(link, "rtt", None)
        return path._replace(rtt=path.rtt if rtt is None else rtt, turn=getattr(link, "turn", None))

    def counters(self) -> dict[str, int]:
        """Return drops and refusals by reason. Any thread."""
        counters = Counter({} if self._engine is None else self._engine.counters)
        counters.update(self._past)
        for link in list(self._links.values()):
            _count_losses(link, counters)
        return dict(+counters)

    @property
    def engine(self) -> Engine:
        """The engine of a peer that has started. Loop thread only."""
        assert self._engine is not None
        return self._engine

    @property
    def probes(self) -> Probes:
        """Pings and traces."""
        if self._probes is None:
            self._probes = Probes(self, self._host)
        return self._probes

    async def ping(self, destination: Destination, port: int, count: int, emit: Callable[[Pong], object]) -> PingEnd:
        """As `Probes.ping`."""
        return await self.probes.ping(destination, port, count, emit)

    async def trace(self, destination: Destination, emit: Callable[[Hop], object]) -> Trace:
        """As `Probes.trace`."""
        return await self.probes.trace(destination, emit)

    async def status(self) -> DriverStatus | None:
        """Return what is known of the engine and its links."""
        if self._engine is None or self._closed:
            return None
        now = self._loop.time()
        rtts = {number: rtt for number, link in self._links.items() if (rtt := getattr(link, "rtt", None)) is not None}
        return DriverStatus(self._engine.status(now), self._engine.advertised, time.time() - now, now, rtts)

    # --- from links (LinkHandler) ----------------------------------------------------------------------------

    def link_opened(self, link: Link) -> None:
        """A WebSocket stands."""
        if self._closed or self._engine is None:
            link.abort()
            return
        self._made += 1
        self._links[self._made] = link
        self._numbers[link] = self._made
        if not link.ours and not self._host.config.npm_peers:
            link.close(1008, "this peer speaks peer-relay.2; npm_peers, which admits peers of the npm package, is off")
            if link.url is not None:
                self._dialling.failed(link.url, "does not speak peer-relay.2")
            return
        peer_id, unit = self._direct.peer_of(link)
        self._engine.link_opened(
            self._made,
            url=link.url,
            remote_host=link.remote_host,
            now=self._loop.time(),
            peer_id=peer_id,
            unit=unit,
            native=link.ours,
        )
        self.pump()

    def bundles_received(self, link: Link, bundles: list[bytes]) -> None:
        """A link was read from."""
        number = self._numbers.get(link)
        engine = self._engine
        if number is None or engine is None or self._closed:
            return
        now = self._loop.time()
        for bundle in bundles:
            engine.receive(number, bundle, now)
        self.pump()
        if self._filling:
            self._hold_back(link)

    def fast_received(self, link: Link, bundle: bytes, taken: Callable[[], object]) -> bool:
        """A link was read from, by whoever has the turn, and had a few small messages, of which this is one."""
        number = self._numbers.get(link)
        engine = self._engine
        if number is None or engine is None or self._closed:
            return False
        heard = engine.fast_path.hear(number, bundle, time.monotonic())
        if heard is None:
            return False
        if len(heard) == 2:
            onward, data = heard
            way = self._links.get(onward)
            if way is None or not way.prompt:
                return False
            taken()
            way.send_now(data)
            return True
        taken()
        source, source_port, port, form, datagrams, address_conflict = heard
        filling: list[Filling] = []
        if not self._deliver_to(source, source_port, port, form, datagrams, filling, address_conflict):
            self._runtime.call(partial(self.request, "refuse", source, port, source_port))
        elif filling:
            self._filling += filling
            self._runtime.call(self._hold_back, link)
        return True

    def _hold_back(self, link: Link) -> None:
        """Do not read `link` while those who read what came over it catch up; a reader that does not read is not
        waited for twice, and nobody is for longer than READER_PATIENCE."""
        inboxes, self._filling = self._filling, []
        link.pause_reading()
        self._loop.call_later(READER_POLL, self._read_on, link, inboxes, self._loop.time() + READER_PATIENCE)

    def _read_on(self, link: Link, inboxes: list[Filling], end: float) -> None:
        if self._loop.time() < end and not all(inbox.has_drained() for inbox in inboxes):
            self._loop.call_later(READER_POLL, self._read_on, link, inboxes, end)
        elif link not in self._throttled:
            link.resume_reading()

    def text_received(self, link: Link, text: str) -> None:
        """The other end speaks text, as the legacy wire does."""
        number = self._numbers.get(link)
        if number is None or self._engine is None or self._closed:
            return
        self._engine.link_text(number, text, self._loop.time())
        self.pump()
        if self._filling:
            self._hold_back(link)

    def link_writable(self, link: Link) -> None:
        """A link that was full takes bundles again."""
        number = self._numbers.get(link)
        if number is not None and self._engine is not None and not self._closed:
            self._engine.link_full(number, False, self._loop.time())
            self.pump()

    def _dial_failed(self, url: str, reason: str) -> None:
        if self._engine is not None and not self._closed:
            self._engine.dial_failed(url, self._loop.time(), reason)
            self.pump()

    def _embedded(self) -> None:
        """We have become the embedded node."""
        if self._engine is not None and not self._closed:
            self._engine.serve(self._dialling.urls, self._loop.time())
            self.pump()

    def link_closed(self, link: Link, reason: str) -> None:
        """A link is gone."""
        number = self._numbers.pop(link, None)
        self._throttled.pop(link, None)
        _count_losses(link, self._past)
        if number is None:
            return
        del self._links[number]
        if self._all_closed is not None and not self._links:
            self._all_closed.set()
        log.debug("= link %d closed: %s", number, reason)
        if link.url is not None and self._dialling.is_rival(link.url, reason):
            own = self._host.peer_id.hex()[:8]
            self._host.report(f"{link.url}: another process uses our key (peer {own}); each needs one of its own")
        if self._engine is not None and not self._closed:
            self._engine.link_closed(number, self._loop.time())
            self.pump()

    # --- performing ------------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Send what is to be sent, perform what the engine asks for, see to its timer."""
        engine = self._engine
        if engine is None:
            return
        while True:
            self._transmit()
            effects = engine.take_effects()
            if not effects:
                break
            for effect in effects:
                self._perform[type(effect)](effect)
            if engine is not self._engine:  # a collision gave us a new identity, and it a new engine
                return
        due = engine.next_timer()
        if due is not None and (self._timer_at is None or due < self._timer_at) and not self._closed:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = due
            self._timer = self._loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = self._timer_at = None
        if self._engine is not None and not self._closed:
            self._engine.clock(time.time(), self._loop.time())
            self._engine.handle_timer(self._loop.time())
            self.pump()

    def _transmit(self) -> None:
        engine = self._engine
        assert engine is not None
        for number, chunks in engine.take_bundles():
            link = self._links.get(number)
            if link is None:
                continue
            was_full = link.full
            link.send(chunks[0] if len(chunks) == 1 else b"".join(chunks))
            if link.full and not was_full:
                engine.link_full(number, True, self._loop.time())
        for number, text in engine.take_texts():
            link = self._links.get(number)
            if link is None:
                continue
            was_full = link.full
            link.send_text(text)
            if link.full and not was_full:
                engine.link_full(number, True, self._loop.time())

    def _deliver(self, effect: Deliver) -> None:
        source, source_port, port, form, datagrams, address_conflict = effect
        known = self._deliver_to(source, source_port, port, form, datagrams, self._filling, address_conflict)
        if not known and port and self._engine is not None:
            self._engine.refuse(source, port, source_port, self._loop.time())

    def _deliver_broadcast(self, effect: DeliverBroadcast) -> None:
        self._host.receiver.deliver_group(*effect)

    def _writable(self, effect: Writable) -> None:
        flows = self._blocked.pop(effect.destination, None)
        if flows is None:  # blocked under its short address, known by its id meanwhile, or the other way round
            destinations = [d for d in self._blocked if isinstance(d, tuple) or d == effect.destination]
            flows = {flow: None for d in destinations for flow in self._blocked.pop(d)}
        for flow in flows:
            self._feed(flow)

    def _probed(self, effect: Found | Echoed | Traced) -> None:
        if self._probes is not None:
            self._probes.answered(effect)

    def _echo_asked(self, effect: EchoAsked) -> None:
        self.probes.asked(effect)

    def _refused(self, effect: Refused) -> None:
        self._host.receiver.unreachable(effect.source, effect.port, effect.source_port, errno.ECONNREFUSED)

    def _unreachable(self, effect: Unreachable) -> None:
        self._host.receiver.unreachable_peer(effect.destination, errno.EHOSTUNREACH)

    def _peer_up(self, effect: PeerUp) -> None:
        self._host.peer_up(effect.peer_id)

    def _peer_down(self, effect: PeerDown) -> None:
        self._host.peer_down(effect.peer_id)

    def _connect_failed(self, effect: ConnectFailed) -> None:
        log.warning("! no link to %s: %s; still trying", effect.peer_id.hex()[:8], effect.reason)

    def _message(self, effect: Message) -> None:
        self._host.message(effect.source, effect.data)

    def _address_checked(self, effect: AddressChecked) -> None:
        other = None if effect.other is None else effect.other.hex()[:8]
        may_move = not self._host.identity.pinned and not self._host.settled.is_set()  # then programs may have seen it
        if other and may_move and self._moves < len(ADDRESS_MOVES):
            log.info("= another peer (%s) has our IPv4 address: taking a new identity", other)
            self._loop.call_later(ADDRESS_MOVES[self._moves], self._move, self._engine)
            self._moves += 1
            return
        if other:
            self._host.report(f"another peer ({other}) has our IPv4 address too: reach us by id, name or IPv6")
        self._host.settled.set()

    def _no_room(self, effect: NoRoom) -> None:
        """The only legacy node that answers us has no room for our id: come back under one for which it has."""
        tried, name = self._renewals, self._host.peer_id.hex()[:8]
        if self._host.identity.pinned or tried >= len(RENEWAL_BITS):
            hint = "; without a key file we would take another" if self._host.identity.pinned else ""
            self._host.report(f"npm peer at {effect.url} has no room for our id ({name}...){hint}; still trying")
            return
        log.info("= npm peer at %s has no room for our id (%s...): taking another", effect.url, name)
        self._renewals += 1
        self._renewing = self._loop.create_task(self._renew(effect.peer_id, RENEWAL_BITS[tried]))

    async def _renew(self, near: PeerId, bits: int) -> None:
        from ..identity import Identity

        engine = self._engine
        identity = await self._loop.run_in_executor(None, Identity.near, near, bits)
        if engine is self._engine and not self._closed and not self._host.peers:
            self._rebirth(identity)

    def _move(self, engine: Engine | None) -> None:
        if engine is self._engine and not self._closed:
            self._rebirth()

    def _rebirth(self, identity: Identity | None = None) -> None:
        """Leave under the old identity and come back under a new one."""
        assert self._engine is not None
        self._engine.leave(self._loop.time())
        self._transmit()
        for link in list(self._links.values()):
            link.close()
        self._direct.forget()
        self._numbers.clear()
        self._links.clear()
        self._host.change_identity(identity)
        self._engine = self._make_engine()
        self._timer_at = None
        self._engine.start(self._loop.time())
        self._loop.call_soon(self.drain)

    def _note(self, effect: Note) -> None:
        if effect.level >= logging.WARNING:
            self._host.report(effect.text)
        else:
            log.log(effect.level, "%s", effect.text)

    def _throttle(self, effect: Throttle) -> None:
        link = self._links.get(effect.link)
        if link is not None:
            link.pause_reading()
            self._throttled[link] = self._loop.time() + effect.seconds
            self._loop.call_later(effect.seconds, self._read_again, link)

    def _read_again(self, link: Link) -> None:
        """A Throttle is over, unless a later one still holds."""
        if self._loop.time() >= self._throttled.get(link, 0.0) - 0.001:
            self._throttled.pop(link, None)
            link.resume_reading()

    def _close_link(self, effect: CloseLink) -> None:
        link = self._links.pop(effect.link, None)
        if link is not None:
            del self._numbers[link]
            link.close(1000, effect.reason[:100])


def _count_losses(link: Link, counters: Counter[str]) -> None:
    """Add to `counters` what `link` did not carry."""
    counters["dropped: a link took no more"] += link.dropped
    counters["dropped: a WebRTC link lost parts"] += getattr(link, "missed", 0)
