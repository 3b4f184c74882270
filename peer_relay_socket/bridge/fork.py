"""What fork does to sockets: a child's copies hand back what they send, and refuse everything else.

Lives here: the channel from forked children to the process that owns an endpoint, and the hooks around fork. May not
live here: what fork does to the relay thread (runtime.py).

Law: an endpoint stays with the process that made it. A child's datagrams leave as the owner's, in the order the child
sent them; nothing that the child or its end does can stop the owner.
"""

from __future__ import annotations

import _socket
import contextlib
import errno
import marshal
import select
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from ..address import Prefix
from ..errors import PeerClosedError
from ..limits import HAND_BACK_BURST, HAND_BACK_MESSAGE, HAND_BACK_POLL, HAND_BACK_TIME
from ..originals import os, time
from .endpoint import Endpoint, Group, HandBack, Local, Nowhere, endpoint_by_serial, open_endpoints
from .groups import spread
from .outbox import Flow
from .runtime import Event, Runtime, event, on_relay_thread

if TYPE_CHECKING:
    from .host import Host

Place: TypeAlias = "str | bytes | tuple[int, bytes]"
Message: TypeAlias = "tuple[int, int, Place, int, int, tuple[int, int] | None, list[bytes]]"
"""Serial number of the endpoint, kind of way, place, port, form, mark (of a group: relays, loop), datagrams."""

_LOCAL: Final = 0
_GROUP: Final = 1
_FLOW: Final = 2

_channel: Channel | None = None
"""Where this process's forked children hand back; made when there is first something to inherit."""


class Channel:
    """From forked children to the process that forked them: whole messages, in each child's order, bounded by the
    kernel's buffer. Marshalled, not parsed: whoever holds an end of it is this process's own copy."""

    __slots__ = ("_collecting", "_held", "_ours", "_runtime", "_theirs", "_unstarted")

    def __init__(self) -> None:
        """Raises: OSError: EMFILE or ENFILE."""
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0)
        ours.setblocking(False)
        theirs.setblocking(False)
        self._ours, self._theirs = ours.detach(), theirs.detach()
        self._runtime: Runtime | None = None
        self._held: Message | None = None
        """What came first for a host that has yet to start."""
        self._collecting: list[Event] = []
        self._unstarted: Host | None = None

    # --- the child's end -----------------------------------------------------------------------------------------

    def leave(self) -> None:
        """Let go of the owner's end, so that the child notices when the owner has ended."""
        os.close(self._ours)

    def send(self, message: Message, timeout: float | None) -> None:
        """Hand one message back; waits at most `timeout` seconds (None = HAND_BACK_TIME) for there to be room.

        Raises: OSError: EAGAIN (timeout 0), ENOBUFS. TimeoutError. PeerClosedError once the owner has ended.
        """
        data = marshal.dumps(message)
        end = time.monotonic() + (HAND_BACK_TIME if timeout is None else timeout)
        sock = _socket.socket(fileno=self._theirs)
        try:
            while True:
                try:
                    sock.send(data, _socket.MSG_NOSIGNAL | _socket.MSG_DONTWAIT)
                    return
                except BlockingIOError:
                    if timeout == 0:
                        raise
                except OSError:
                    raise PeerClosedError(
                        errno.ENETDOWN, "the process that this socket was inherited from has ended"
                    ) from None
                left = end - time.monotonic()
                if left <= 0:
                    raise (
                        OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
                        if timeout is None
                        else TimeoutError("timed out")
                    )
                poll = select.poll()
                poll.register(self._theirs, select.POLLOUT)
                poll.poll(left * 1000)
        finally:
            sock.detach()

    # --- the owner's end -----------------------------------------------------------------------------------------

    def attend(self) -> None:
        """Have the relay thread take what children hand back."""
        if self._runtime is None:
            with contextlib.suppress(RuntimeError):  # the interpreter is ending: nobody is left to take it
                runtime = self._runtime = Runtime.current()
                runtime.first_at_exit(self.collect)
                runtime.call(runtime.loop.add_reader, self._ours, self._read)

    def collect(self, limit: float) -> None:
        """Wait until what children have handed back so far is on its way, at most `limit` seconds. Any thread."""
        if self._runtime is None or on_relay_thread():
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed
            while True:
                done = event()
                self._runtime.call(self._collect, done)
                done.wait(limit)
                host, self._unstarted = self._unstarted, None
                if host is None:
                    return
                self._start(host)

    # Everything below is for the loop's thread alone, so that no two take turns and change the order.

    def _collect(self, done: Event) -> None:
        self._collecting.append(done)
        if self._unstarted is not None:
            self._tell()
        elif self._held is None:
            self._read()

    def _read(self) -> None:
        if self._runtime is None or self._held is not None:
            return
        for _ in range(HAND_BACK_BURST):
            try:
                message: Message = marshal.loads(os.read(self._ours, HAND_BACK_MESSAGE))
            except BlockingIOError:
                self._tell()
                return
            endpoint = endpoint_by_serial(message[0])
            if endpoint is None:
                continue
            if message[1] != _LOCAL and not endpoint.host.started:
                self._held = message
                self._runtime.loop.remove_reader(self._ours)
                try:
                    self._runtime.announce(partial(self._start, endpoint.host))  # where it may be waited for
                except RuntimeError:  # at the interpreter's end there are no new threads: who collects starts it
                    self._unstarted = endpoint.host
                    self._tell()
                return
            _send_on(endpoint, message)
            if endpoint.overfull() and not self._collecting:
                self._runtime.loop.remove_reader(self._ours)
                self._wait(endpoint)
                return
        if self._collecting:
            self._runtime.loop.call_soon(self._read)

    def _tell(self) -> None:
        for done in self._collecting:
            done.set()
        self._collecting.clear()

    def _wait(self, endpoint: Endpoint) -> None:
        """Leave what comes next in the channel, and then in the child, while the endpoint's budget is used up."""
        assert self._runtime is not None
        if endpoint.overfull() and not self._collecting:
            self._runtime.loop.call_later(HAND_BACK_POLL, self._wait, endpoint)
        else:
            self._runtime.loop.add_reader(self._ours, self._read)

    def _start(self, host: Host) -> None:
        assert self._runtime is not None
        with contextlib.suppress(OSError):
            host.start()
        with contextlib.suppress(RuntimeError):
            self._runtime.call(self._started)

    def _started(self) -> None:
        assert self._runtime is not None
        message, self._held = self._held, None
        endpoint = None if message is None else endpoint_by_serial(message[0])
        if message is not None and endpoint is not None:
            _send_on(endpoint, message)
        self._runtime.loop.add_reader(self._ours, self._read)
        self._read()


def hand_back(way: HandBack, datagrams: list[bytes], mark: tuple[int, int] | None, timeout: float | None) -> None:
    """Have the owner of an inherited endpoint send `datagrams`.

    Raises: as `Channel.send`; PeerClosedError where the fork could not make a channel.
    """
    where = way.way
    channel = way.endpoint.channel
    if isinstance(where, Nowhere):
        way.endpoint.host.drop_foreign(where.host, len(datagrams))
        return
    if channel is None:
        way.endpoint.check()
        return
    place: Place
    if isinstance(where, Flow):
        to = where.destination
        kind, place = _FLOW, (to.bits, to.value) if isinstance(to, Prefix) else to
    elif isinstance(where, Local):
        kind, place = _LOCAL, where.place
    else:
        kind, place = _GROUP, where.host  # and `mark` says how far
    channel.send((way.endpoint.serial, kind, place, where.port, where.form, mark, datagrams), timeout)


def _send_on(endpoint: Endpoint, message: Message) -> None:
    """Send what a child handed back."""
    _, kind, place, port, form, mark, datagrams = message
    host = endpoint.host
    try:
        host.ports.autobind(endpoint)
        if kind == _LOCAL:
            host.ports.send_local(endpoint, str(place), port, form, datagrams, mark)
        elif kind == _GROUP:
            relays, loop = mark or (0, 1)
            spread(endpoint, _group(endpoint, str(place), port, form), datagrams, relays, loop)
        elif host.started:
            _flow(endpoint, place, port, form).accept(datagrams)
        else:
            host.count("dropped: a forked child's, the network could not start")
    except OSError:  # no free port
        host.count("dropped: a forked child's")


def _group(endpoint: Endpoint, place: str, port: int, form: int) -> Group:
    key = (f"fork {place}", port, form)
    group = endpoint.flows.get(key)
    if not isinstance(group, Group):
        group = Group(place, port, form)
        endpoint.remember(key, group)
    return group


def _flow(endpoint: Endpoint, place: Place, port: int, form: int) -> Flow:
    assert not isinstance(place, str)
    destination = Prefix(*place) if isinstance(place, tuple) else place
    key = (f"fork {destination!r}", port, form)  # no host that a caller could name
    flow = endpoint.flows.get(key)
    if not isinstance(flow, Flow):
        flow = Flow(endpoint, destination, endpoint.port, port, form)
        endpoint.remember(key, flow)
    return flow


def collect(limit: float) -> None:
    """Wait until what this process's forked children have handed back so far is on its way, at most `limit` seconds."""
    if _channel is not None:
        _channel.collect(limit)


def _before() -> None:
    global _channel
    if _channel is None and any(not endpoint.inbox.inherited for endpoint in open_endpoints()):
        with contextlib.suppress(OSError):
            _channel = Channel()


def _in_parent() -> None:
    if _channel is not None:
        _channel.attend()


def _in_child() -> None:
    global _channel
    channel, _channel = _channel, None
    if channel is not None:
        channel.leave()
    for endpoint in open_endpoints():
        endpoint.forked(channel)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
