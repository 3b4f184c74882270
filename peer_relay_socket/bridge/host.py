"""One peer as callers see it: an identity, a port table, an outbox, and a driver that starts when it is needed.

Lives here: what a peer's sockets and its handle share. May not live here: socket semantics (surface), routing (engine),
I/O (driver).

Law: everything here may be called from any thread and none of it waits, except where a docstring says how long. The
loop's side (driver, engine, transport) is imported only when the network is first needed: loopback never needs it.
"""

from __future__ import annotations

import contextlib
import errno
from collections import Counter
from collections.abc import Callable, Coroutine
from logging import DEBUG, WARNING
from os import environ
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import WeakSet

from ..address import Destination, PeerId, Spelling
from ..admission import Admission
from ..config import PeerConfig, unknown_settings
from ..dependencies import unshadowed
from ..errors import PeerClosedError, PeerRelayError
from ..limits import (
    EXIT_TIME,
    HOP_LIMIT,
    LATE_TIME,
    MAX_MESSAGE,
    PING_ANSWER,
    PING_INTERVAL,
    PROBE_TIME,
    START_TIME,
    TRACE_ANSWER,
)
from ..originals import os, thread, time
from ..setting_values import LOOKUP
from . import child_channel
from .callbacks import Listeners
from .host_key import fresh_identity, identity_of, own_key
from .log import log
from .outbox import Outbox
from .ports import INBOX_FULL, PortTable
from .runtime import Runtime, on_relay_thread
from .threads import BackgroundThread, in_background
from .waiting import Event, guard

if TYPE_CHECKING:
    from ..engine.direct import Path
    from ..engine.engine import Engine
    from ..identity import Identity
    from .driver import Driver
    from .events import Receiver
    from .probes import Hop, PingEnd, Pong, Probes, Trace
    from .status import PeerStatus

T = TypeVar("T")

_hosts: Final[WeakSet[Host]] = WeakSet()
_starting: Final[set[int]] = set()
"""Threads that start a host."""
_inherited: Final[list[Host]] = []
"""In a forked child: the parent's hosts."""


class Host:
    """A host of the overlay: one identity, many ports.

    Traffic between its own sockets (loopback) never needs the network, so nothing starts before `start`.
    """

    def __init__(self, config: PeerConfig, receiver: Receiver | None = None, identity: Identity | None = None) -> None:
        """Args: receiver: where all that comes from the network goes; None = to the port table, for sockets.
            identity: instead of that of the key file, or of a fresh one.

        Raises: IdentityError when the key file cannot be read or made; ConfigError for a list that is none.
        """
        self.config = config
        self.admission = Admission(config)
        self.spelling = Spelling(config.ipv4_network)
        others = [host.config.identity for host in _inherited]
        key_file = None if identity is not None else own_key(config.identity, others)
        self.identity = identity or (fresh_identity(self.spelling) if key_file is None else identity_of(key_file))
        self.outbox = Outbox()
        self.foreign_drops = 0
        """Datagrams that sockets sent to addresses outside the overlay."""
        self.ports = PortTable(self.spelling, lambda: self.identity.peer_id)
        self.receiver: Receiver = self.ports if receiver is None else receiver
        self.settled = Event()
        """Set once our short addresses are known to be ours alone."""
        self.linked = Event()
        """Set while at least one link is up."""
        self.peers: tuple[PeerId, ...] = ()
        """Who we are linked to."""
        self.closed = False
        self.began = time.monotonic()
        """When it was made."""
        self._pid = os.getpid()
        self._guard = guard()
        """Held while this host starts or ends; never taken on the relay's thread."""
        self._starts = False
        self._runtime: Runtime | None = None
        self._driver: Driver | None = None
        self._counts: Counter[str] = Counter()
        self.listeners = Listeners(self.count)
        _hosts.add(self)
        for complaint in unknown_settings(environ):
            log.warning("! %s", complaint)

    def forked(self) -> None:
        """This process is a fork, this its copy: whatever another thread had locked or half changed is made anew."""
        self._guard = guard()
        self.listeners.forked()
        self.outbox = Outbox()
        self.ports = PortTable(self.spelling, lambda: self.identity.peer_id)
        self.receiver = self.ports
        self.peers = ()

    @property
    def started(self) -> bool:
        """Whether `start` has been called and need not wait."""
        return self._driver is not None

    @property
    def driver(self) -> Driver:
        """This host on the loop, once started. What it does, it does on the relay thread only."""
        assert self._driver is not None
        return self._driver

    @property
    def runtime(self) -> Runtime:
        """The relay thread, once started."""
        assert self._runtime is not None
        return self._runtime

    @property
    def ours(self) -> bool:
        """Whether this process made it; a forked child's copy is of no use."""
        return self._pid == os.getpid()

    @property
    def peer_id(self) -> PeerId:
        """This host's id as it is now; one that is not pinned may change until `settle` has returned."""
        return self.identity.peer_id

    # --- life ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to take part in the network, if that has not begun. Waits until the peer listens, if it is to, and
        begins to dial: milliseconds, at most START_TIME seconds. What interrupts a thread that starts it (a signal
        handler, a finaliser) does not wait; what it sends leaves when the start is done.

        Raises: OSError: EADDRINUSE and the like, when this peer cannot serve where it is told to. TimeoutError: the
            name of where to serve is not found in time. PeerClosedError after `destroy`, and in a forked child.
        """
        if self._driver is not None and self._pid == os.getpid() and not self.closed:
            return
        self._check()
        me = thread.get_ident()
        if me in _starting:  # this interrupts a thread that starts this host, or another one
            if not self._starts:
                BackgroundThread(self._start_quietly)
            return
        _starting.add(me)
        try:
            with unshadowed():
                from .driver import Driver

                if any(place.startswith(LOOKUP) for place in self.config.bootstrap):
                    with contextlib.suppress(ImportError):  # which the first lookup tells of
                        from ..transport import lookup as lookup

            runtime = Runtime.current()  # not under the guard: it logs, and handlers may wait for who waits for us
            with self._guard:
                self._check()
                if self._driver is None:
                    self._starts = True
                    self._start(Driver(self, runtime), runtime)
        finally:
            self._starts = False
            _starting.discard(me)

    def _start_quietly(self) -> None:
        with contextlib.suppress(OSError):  # the next call that needs it says why
            self.start()

    def _start(self, driver: Driver, runtime: Runtime) -> None:
        self._runtime = runtime
        try:
            runtime.wait_for(driver.start(), START_TIME)
        except TimeoutError:  # a name to listen on whose servers do not answer
            where = self.config.host or "any address"
            raise TimeoutError(
                errno.ETIMEDOUT, f"{where}: cannot serve links there: not ready after {START_TIME:g} s"
            ) from None
        self._driver = driver
        runtime.at_exit(self._linger, self._end)
        runtime.call(runtime.show)

    def _check(self) -> None:
        if self.closed:
            raise PeerClosedError(errno.ENETDOWN, "this peer was destroyed")
        if self._pid != os.getpid():
            raise PeerClosedError(errno.ENETDOWN, "this peer belongs to the process that forked this one")

    def settle(self, timeout: float) -> PeerId:
        """Start, wait at most `timeout` seconds until the id's short addresses are known to be ours alone.

        Returns: the id as it is then.
        """
        self.start()
        self.settled.wait(timeout)
        return self.peer_id

    def flush(self, timeout: float) -> bool:
        """Wait until all that was sent is with the kernel, at most `timeout` seconds. Returns: whether it is."""
        self.collect(timeout)
        driver, runtime = self._driver, self._runtime
        if driver is None or runtime is None or self.closed or self._pid != os.getpid():
            return self.outbox.idle()
        try:
            return runtime.wait_for(driver.flush(timeout), timeout + 1.0)
        except TimeoutError:
            return False

    def collect(self, limit: float) -> None:
        """Wait until what forked children have handed back is on its way, at most `limit` seconds. Any thread."""
        child_channel.collect(limit)

    def destroy(self, timeout: float = EXIT_TIME) -> None:
        """Flush, say goodbye and close every link; then tell listeners of "close". Waits at most about `timeout`
        seconds; idempotent."""
        if self._end(timeout):
            self.emit("close")

    async def aclose(self) -> None:
        """As `destroy`, without blocking the caller's event loop; where that is not asyncio's it does block."""
        await in_background(self.destroy)

    def _end(self, timeout: float) -> bool:
        """Return whether this call, and no earlier one, has closed this host."""
        self.collect(timeout)  # before the guard, which starting takes
        with self._guard:
            if self.closed or self._pid != os.getpid():
                self.closed = True
                return False
            flushed = self.flush(timeout)
            self.closed = True
            driver, runtime = self._driver, self._runtime
        if driver is None or runtime is None:
            return True
        runtime.forget_exit(self._end)
        try:
            runtime.wait_for(driver.stop(min(timeout, 1.0) if flushed else 0.1), timeout + 1.0)
        except TimeoutError:
            level = DEBUG if runtime.ended else WARNING  # many peers share what is left at the end of the process
            log.log(level, "! the peer could not be closed within %.1f s", timeout)
        return True

    def _linger(self, timeout: float) -> None:
        self.flush(timeout)
        loop_end = self.outbox.loop_end
        if loop_end is None:
            return
        wake = loop_end.wake

        def flush() -> None:
            if on_relay_thread():  # what a forked child handed back
                wake()
            else:
                self.flush(LATE_TIME)

        self.outbox.open(loop_end._replace(wake=flush))

    # --- what the handle asks --------------------------------------------------------------------------------

    @property
    def port(self) -> int | None:
        """The TCP port links are served on."""
        driver = self._driver
        return None if driver is None else driver.port

    def connect(self, peer_id: PeerId) -> None:
        """Link to `peer_id` directly, if that can be had."""
        self._run(lambda engine, now: engine.connect(peer_id, now))

    def path(self, destination: Destination) -> Path:
        """Return how a peer is reached. Waits for the loop: milliseconds, at most START_TIME seconds.

        Raises: PeerClosedError after `destroy`, and in a forked child.
        """
        return self._ask(lambda driver: driver.path(destination))

    def advertised(self) -> tuple[str, ...]:
        """Return the URLs at which neighbours are told to dial us. Waits and raises as `path` does."""
        return self._ask(lambda driver: driver.advertised())

    def stun_servers(self) -> list[str]:
        """Return where neighbours answer STUN ("HOST:PORT"). Waits and raises as `path` does."""

        async def ask(driver: Driver) -> list[str]:
            return [] if driver.running_engine is None else driver.running_engine.stun_servers

        return self._ask(ask)

    def disconnect(self, peer_id: PeerId) -> None:
        """Drop the link to `peer_id`."""
        self._run(lambda engine, now: engine.disconnect(peer_id, now))

    def send_message(self, peer_id: PeerId, data: bytes) -> None:
        """Send JSON text to `peer_id`.

        Raises: OSError: EMSGSIZE above MAX_MESSAGE bytes.
        """
        if len(data) > MAX_MESSAGE:
            raise OSError(errno.EMSGSIZE, f"a message may have {MAX_MESSAGE} bytes of JSON, this one has {len(data)}")
        self._run(lambda engine, now: engine.send_message(peer_id, data, now))

    def _run(self, act: Callable[[Engine, float], object]) -> None:
        driver, runtime = self._running()
        runtime.call(driver.run, act)

    def counters(self) -> dict[str, int]:
        """Return drops and refusals by reason, as they were a moment ago."""
        driver = self._driver
        counters = Counter({} if driver is None else driver.counters())
        counters.update(self._counts)
        counters["dropped: no peer's address"] += self.foreign_drops
        counters[INBOX_FULL] += sum(each.inbox.dropped for each in self.ports.sockets())
        return dict(+counters)

    def count(self, reason: str, times: int = 1) -> None:
        """Count something that was dropped. Any thread."""
        self._counts[reason] += times

    def status(self) -> PeerStatus:
        """Return what there is to know about this peer now. Waits for the loop: milliseconds, at most START_TIME
        seconds. Starts nothing.

        Raises: PeerClosedError after `destroy`, and in a forked child.
        """
        from .status import status

        self._check()
        driver, runtime = self._driver, self._runtime
        if driver is None or runtime is None:
            return status(self, None)
        return status(self, runtime.submit(driver.status()).result(START_TIME))

    async def status_now(self) -> PeerStatus:
        """As `status`, on the relay thread."""
        from .status import status

        return status(self, None if self._driver is None else await self._driver.status())

    def reload(self) -> None:
        """Read the lists of peers and the certificate again. Waits at most START_TIME seconds.

        Raises: OSError for a certificate that is none; the old one stays in use.
        """
        self._ask(lambda driver: driver.reload())

    @property
    def probes(self) -> Probes | None:
        """Pings and traces; None while this host takes no part in the network. Loop thread only."""
        return None if self._driver is None or self.closed else self._driver.probes

    def ping(self, destination: Destination, port: int, count: int, emit: Callable[[Pong], object]) -> PingEnd:
        """Ping a peer, and call `emit` on the relay thread at each answer, as `Probes.ping`. Waits for all of it."""
        limit = START_TIME + PROBE_TIME + count * (PING_INTERVAL + PING_ANSWER)
        return self._ask(lambda driver: driver.probes.ping(destination, port, count, emit), limit)

    def trace(self, destination: Destination, emit: Callable[[Hop], object]) -> Trace:
        """Find the relays on the way to a peer, as `Probes.trace`, and call `emit` on the relay thread at each."""
        limit = START_TIME + PROBE_TIME + HOP_LIMIT * TRACE_ANSWER
        return self._ask(lambda driver: driver.probes.trace(destination, emit), limit)

    def _ask(self, question: Callable[[Driver], Coroutine[Any, Any, T]], limit: float = START_TIME) -> T:
        driver, runtime = self._running()
        return runtime.submit(question(driver)).result(limit)

    def _running(self) -> tuple[Driver, Runtime]:
        self.start()
        self._check()
        return self.driver, self.runtime

    # --- events ----------------------------------------------------------------------------------------------

    def listens(self, event_name: str) -> bool:
        """Return whether the program listens to such events. Any thread."""
        return self.listeners.any(event_name)

    def emit(self, event_name: str, *args: Any) -> None:
        """Have every listener called. Any thread."""
        self.listeners.emit(event_name, *args)

    def report(self, problem: str) -> None:
        """Log what the program should know of, and tell listeners of "error". Any thread."""
        log.warning("! %s", problem)
        self.listeners.error(PeerRelayError(problem))

    # --- what the driver tells (loop thread) -----------------------------------------------------------------

    def peer_up(self, peer_id: PeerId) -> None:
        """A link is up."""
        if peer_id not in self.peers:
            self.peers = (*self.peers, peer_id)
        self.linked.set()
        self.listeners.peer(peer_id)

    def peer_down(self, peer_id: PeerId) -> None:
        """A link is gone."""
        self.peers = tuple(other for other in self.peers if other != peer_id)
        if not self.peers:
            self.linked.clear()

    def message(self, source: PeerId, text: bytes) -> None:
        """A peer sent a message."""
        self.listeners.message(source, text)

    def change_identity(self, identity: Identity | None = None) -> None:
        """Take another identity: this one, or any."""
        self.identity = identity or fresh_identity(self.spelling)
        self.peers = ()
        self.linked.clear()
        self.receiver.identity_changed()

    def drop_foreign(self, host: str, datagrams: int) -> None:
        """Count `datagrams` that a socket sent to `host`, an IP address that is no peer's. Any thread."""
        if not self.foreign_drops:
            log.warning("! datagrams to %s and other addresses outside the overlay are dropped", host)
        self.foreign_drops += datagrams


def open_hosts() -> list[Host]:
    """Return the hosts of this process that are not closed."""
    return sorted((host for host in list(_hosts) if host.ours and not host.closed), key=lambda host: host.began)


def _in_child() -> None:
    for host in list(_hosts):
        if not host.closed:
            _inherited.append(host)
        host.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
