"""The driver: feeds the engine what happens and performs what it asks for.

Lives here: what the engine is told of links, its timer, which effect goes where. May not live here: decisions about the
overlay (engine), bytes on connections (transport), what callers' threads touch (inbox, outbox, ports).

Law: after every input the driver sends what is to be sent, performs every effect, and re-arms the one timer if it is
late (one that is early finds nothing to do, which costs less than to move it). Nothing here waits without a limit, and
nothing that goes wrong on a connection reaches a caller as a traceback.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from errno import ECONNREFUSED, EHOSTUNREACH
from functools import partial
from typing import TYPE_CHECKING, Any

from ..address import Destination
from ..engine import effects
from ..engine.direct import Path
from ..engine.engine import Engine
from ..limits import HOPELESS_TIME
from ..originals import time
from ..transport.link import Link
from .backlogs import LINKS_BEHIND, LinkSending
from .dialler import EMBEDDED_URL, Dialler
from .feeding import Feeder
from .identity_changes import IdentityChanges
from .joining import Joining
from .link_pauses import LinkPauses
from .link_status import DriverStatus, driver_status, path_to, their_words
from .link_table import LinkTable
from .lists import ListWatch
from .log import log, log_to_stderr
from .make_engine import make_engine
from .outbox import LoopEnd
from .own_networks import OwnNetworks
from .probes import Probes
from .rtc_attempts import RtcAttempts
from .udp_port import UdpPort
from .uplink import Uplink

if TYPE_CHECKING:
    from ..identity import Identity
    from .events import Filling, Owner
    from .outbox import Flow
    from .runtime import Runtime


class Driver:
    """One peer on the loop; it is the transport's LinkHandler. Loop thread only, but for `__init__`."""

    def __init__(self, host: Owner, runtime: Runtime) -> None:
        self._host = host
        self._posted = host.outbox.posted
        self._deliver_to, self._deliver_lone = host.receiver.deliver, host.receiver.deliver_lone
        self._runtime = runtime
        self._loop = runtime.loop
        self._table = LinkTable()
        self._links = self._table.by_number
        self._numbers = self._table.numbers
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: float | None = None
        self.feeder = Feeder(host.outbox, self._loop, self)
        self._pauses = LinkPauses(self._loop)
        self._udp = UdpPort(self)
        self._sending = LinkSending(self._links, self._loop, self._udp.send)
        self._identity_changes = IdentityChanges(host, self._loop, self._change_identity)
        self._lists = ListWatch(host.admission, self._loop, self._recheck, host.report)
        self._filling: list[Filling] = []
        """Inboxes that what was just delivered filled by more than half."""
        self._own_networks = OwnNetworks(seen=lambda: () if self._engine is None else self._engine.seen_hosts)
        self._direct = RtcAttempts(self, host.config, self._own_networks)
        told = host.report, self._dial_failed, self._looked_up, self._embedded, lambda: bool(host.peers)
        self._dialling = Dialler(self, host.config, self._own_networks, *told)
        self._uplink = Uplink(self, self._loop, self._links, self._dialling)
        self._joining = Joining(self, host.config, host.report)
        self._refusals = 0
        """Datagrams that peers refused, since nothing listens on the port."""
        self.probes = Probes(self, host, self._loop)
        """Pings and traces."""
        self._closed = False
        self._engine: Engine | None = None
        self._perform: dict[type, Callable[[Any], None]] = {
            effects.Deliver: self._deliver,
            effects.DeliverBroadcast: lambda effect: host.receiver.deliver_group(*effect),
            effects.Segment: lambda effect: host.receiver.deliver_segment(effect),
            effects.Dial: self._dialling.start,
            effects.DialBack: self._dialling.start_back,
            effects.CloseLink: lambda effect: self._table.close(effect.link, effect.reason[:100]),
            effects.Throttle: self._throttle,
            effects.PeerUp: self._peer_up,
            effects.PeerDown: lambda effect: host.peer_down(effect.peer_id),
            effects.ConnectFailed: self._connect_failed,
            effects.Message: lambda effect: host.message(effect.source, effect.data),
            effects.Refused: self._refused,
            effects.Unreachable: lambda gone: host.receiver.unreachable_peer(gone.destination, EHOSTUNREACH, gone.why),
            effects.Writable: lambda effect: self.feeder.writable(self.engine, effect.destination),
            effects.AddressChecked: self._identity_changes.address_checked,
            effects.Found: self.probes.answered,
            effects.Echoed: self.probes.answered,
            effects.Traced: self.probes.answered,
            effects.EchoAsked: self.probes.asked,
            effects.Describe: self._direct.describe,
            effects.Accept: self._direct.accept,
            effects.AddCandidate: self._direct.candidate,
            effects.Abandon: self._direct.abandon,
            effects.NoRoom: self._identity_changes.no_room,
            effects.Note: self._note,
        }

    # --- life ------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Serve, if this peer serves, and begin to take part.

        Raises: OSError when the port cannot be served on.
        """
        config = self._host.config
        if config.log is not None:
            log_to_stderr(config.log)
        await self._dialling.serve()
        self._udp.serve(self._dialling.listening)
        self._lists.start()
        self._uplink.start()
        self._engine = self._make_engine()
        self._engine.start(self._loop.time())
        self._joining.start(self._engine)
        self.pump()
        runtime = self._runtime
        wake = partial(runtime.call, self.feeder.drain)
        self._host.outbox.open(LoopEnd(wake, self.send_now, self._send_later, runtime.leader, runtime.loop_lock))
        self.feeder.drain()

    def _make_engine(self) -> Engine:
        bootstrap = (EMBEDDED_URL,) if self._host.config.embedded and not self._dialling.serves else None
        places = self._dialling.urls, self._udp.port
        return make_engine(self._host, *places, bootstrap, self._own_networks, self._loop.time())

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
        self._lists.stop()
        self._uplink.stop()
        self._identity_changes.stop()
        await self._dialling.stop(limit)
        self._udp.close()
        await self._joining.stop(self._engine, limit)
        await self._table.end(limit)
        await self._direct.stop(limit)
        await self._dialling.close()

    async def flush(self, limit: float) -> bool:
        """Wait until all that callers sent has been given to the kernel, at most `limit` seconds."""
        end = self._loop.time() + limit
        while True:
            self.feeder.drain()
            if self._is_flushed():
                return True
            if self._loop.time() >= (end - limit + min(limit, HOPELESS_TIME) if self.is_cut_off() else end):
                return False
            await asyncio.sleep(0.002)

    def is_cut_off(self) -> bool:
        """Whether no neighbour is linked and none can be expected: every place we were told to join through has failed
        to answer, or we are ourselves the place through which other peers would join."""
        alone = self._host.config.embedded and self._dialling.serves
        return not self._links and (alone or self._dialling.all_failed)

    def _is_flushed(self) -> bool:
        idle = self.feeder.idle and (self._engine is None or self._engine.idle)
        return idle and not any(link.backlog for link in self._links.values())

    # --- from callers ----------------------------------------------------------------------------------------

    def send_now(self, flow: Flow, data: bytes, now: float) -> bool:
        """Send one datagram that is not in `flow` yet, if nothing posted waits and there is nothing else to do for it;
        arm `flow`, so that the next need not come here. In a thread that runs as the loop (inline_io)."""
        engine, armed, link = self._engine, flow.armed, flow.link
        if engine is None or self._closed or flow.waiting or self._posted:
            return False
        what = flow.form, flow.source_port, flow.port, data, now
        bundle = b"" if armed is None else armed.seal(*what)
        if not bundle:
            armed = flow.armed = engine.fast_path.arm(flow.destination, now)
            link = flow.link = None if armed is None else self._links[armed.number]
            bundle = b"" if armed is None or link is None or not link.prompt else armed.seal(*what)
        if bundle and armed and link and not link.send_now(bundle):
            self._send_later(armed.number, bundle)
        return bundle != b""

    def _send_later(self, number: int, bundle: bytes) -> None:
        self._runtime.call(self._write, number, bundle)

    @property
    def running_engine(self) -> Engine | None:
        """The engine; None before the start and after the end."""
        return None if self._closed else self._engine

    def run(self, act: Callable[[Engine, float], object]) -> None:
        """Call `act` with the engine and the time, if this peer takes part, and see to what comes of it."""
        if self._engine is not None and not self._closed:
            act(self._engine, self._loop.time())
            self.pump()

    async def advertised(self) -> tuple[str, ...]:
        """Return the URLs that neighbours are told to dial us at."""
        return () if self._engine is None or self._closed else self._engine.advertised

    async def path(self, destination: Destination) -> Path:
        """Return how a peer is reached."""
        return path_to(self.running_engine, self._links, destination, self._loop.time())

    def counters(self) -> dict[str, int]:
        """Return drops and refusals by reason. Any thread."""
        counters = Counter({} if self._engine is None else self._engine.counters)
        counters.update(self._table.losses())
        counters[LINKS_BEHIND] = self._sending.dropped
        counters["refused by the peer: nothing listens on the port"] = self._refusals
        return dict(+counters)

    @property
    def engine(self) -> Engine:
        """The engine of a peer that has started. Loop thread only."""
        assert self._engine is not None
        return self._engine

    async def status(self) -> DriverStatus | None:
        """Return what is known of the engine and its links."""
        certificate = self._dialling.certificate
        expires = None if certificate is None else certificate.expires
        return driver_status(self.running_engine, self._links, self._loop.time(), self._dialling.urls, expires)

    # --- from links (LinkHandler) ----------------------------------------------------------------------------

    def link_opened(self, link: Link) -> None:
        """A WebSocket stands."""
        if self._closed or self._engine is None:
            link.abort()
            return
        number = self._table.add(link)
        self._uplink.link_opened(link)
        if link.other_version is not None or not (link.ours or self._host.config.npm_peers):
            self._dialling.turn_away(link)
            return
        peer_id, unit = self._direct.peer_of(link)
        self._engine.link_opened(
            number,
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
            self._wait_for_readers(link)

    def fast_received(self, link: Link, bundle: bytes, taken: Callable[[], object]) -> bool:
        """The thread that has the loop's turn read a few small messages from a link. This is one of them."""
        number, engine = self._numbers.get(link), self._engine
        if number is None or engine is None or self._closed:
            return False
        heard = engine.fast_path.hear(number, bundle, time.monotonic())
        if heard is None:
            return False
        taken()
        if not heard:
            return True
        what, data = heard
        if isinstance(what, int):
            next_link = self._links.get(what)
            if next_link is None or not next_link.send_now(data):
                self._send_later(what, data)
        elif not self._deliver_lone(what, data):
            run, before = what.deliver(data), len(self._filling)
            if not self._deliver_to(run, self._filling):
                self._runtime.call(self._refuse, run)
            elif len(self._filling) > before:
                self._runtime.call(self._wait_for_readers, link)
        return True

    def _refuse(self, run: effects.Deliver) -> None:
        self.run(lambda engine, now: engine.refuse(run.source, run.port, run.source_port, now))

    def _wait_for_readers(self, link: Link) -> None:
        filling, self._filling = self._filling, []
        self._pauses.wait_for(link, filling)

    def text_received(self, link: Link, text: str) -> None:
        """The other end speaks text, as the legacy wire does."""
        number = self._numbers.get(link)
        if number is None or self._engine is None or self._closed:
            return
        self._engine.link_text(number, text, self._loop.time())
        self.pump()
        if self._filling:
            self._wait_for_readers(link)

    def link_writable(self, link: Link) -> None:
        """A link that was full takes bundles again."""
        number = self._numbers.get(link)
        if number is not None:
            self.run(lambda engine, now: engine.link_full(number, False, now))

    async def reload(self) -> None:
        """Read the lists and the certificate again.

        Raises: OSError for a certificate that is none; the old one stays in use.
        """
        self._lists.look(at_once=True)
        self._dialling.reload_certificate()

    def _recheck(self) -> None:
        self.run(lambda engine, now: engine.recheck(now))

    def _dial_failed(self, url: str, reason: str) -> None:
        self.run(lambda engine, now: engine.dial_failed(url, now, reason))

    def _looked_up(self, place: str, urls: list[str]) -> None:
        self.run(lambda engine, now: engine.looked_up(place, urls, now))

    def _embedded(self) -> None:
        """We have become the embedded node."""
        self.run(lambda engine, now: engine.serve(self._dialling.urls, now))

    def link_closed(self, link: Link, reason: str) -> None:
        """A link is gone."""
        number = self._table.closed(link)
        self._pauses.forget(link)
        self._sending.forget(link)
        if number is None:
            return
        log.debug("= link %d closed: %s", number, reason)
        ours = self._engine is not None and self._engine.has_another(number)  # a link of ours took this one's place
        if link.url is not None and not ours and self._dialling.is_rival(link.url, reason):
            own = self._host.peer_id.hex()[:8]
            self._host.report(f"{link.url}: another process uses our key (peer {own}); each needs one of its own")
        words = their_words(reason)
        self.run(lambda engine, now: engine.link_closed(number, now, words))

    # --- performing ------------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Send what is to be sent, perform what the engine asks for, see to its timer."""
        engine = self._engine
        if engine is None:
            return
        while True:
            self.transmit()
            asked = engine.take_effects()
            if not asked:
                break
            for effect in asked:
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

    def _write(self, number: int, bundle: bytes | memoryview) -> None:
        if self._engine is not None:
            self._sending.write(self._engine, number, bundle)

    def transmit(self) -> None:
        """Send what the engine has ready."""
        self._sending.transmit(self.engine)

    def _deliver(self, effect: effects.Deliver) -> None:
        if not self._deliver_to(effect, self._filling) and effect.port and self._engine is not None:
            self._engine.refuse(effect.source, effect.port, effect.source_port, self._loop.time())

    def _refused(self, effect: effects.Refused) -> None:
        self._refusals += 1
        self._host.receiver.unreachable(effect.source, effect.port, effect.source_port, ECONNREFUSED)

    def _peer_up(self, effect: effects.PeerUp) -> None:
        url = self.engine.url_of(effect.peer_id)
        if url is not None:
            self._dialling.answered(url)
        self._host.peer_up(effect.peer_id)

    def _connect_failed(self, effect: effects.ConnectFailed) -> None:
        log.warning("! no link to %s: %s; still trying", effect.peer_id.hex()[:8], effect.reason)

    def _change_identity(self, identity: Identity | None) -> None:
        """Leave under the old identity and come back under a new one."""
        self.engine.leave(self._loop.time())
        self.transmit()
        self._table.close_all()
        self._direct.forget()
        self._host.change_identity(identity)
        self._engine = self._make_engine()
        self._timer_at = None
        self._engine.start(self._loop.time())
        self._joining.start(self._engine)
        self._loop.call_soon(self.feeder.drain)

    def _note(self, effect: effects.Note) -> None:
        if effect.level >= logging.WARNING:
            self._host.report(effect.text)
        else:
            log.log(effect.level, "%s", effect.text)

    def _throttle(self, effect: effects.Throttle) -> None:
        link = self._links.get(effect.link)
        if link is not None:
            self._pauses.throttle(link, effect.seconds)
