"""The channel from forked children to the process that owns the sockets which they inherited.

Lives here: the socket pair, the messages on it, who reads it when. May not live here: what is done with a message
(fork.py).

Law: a message is one seqpacket, in each child's order, bounded by the kernel's buffer; the owner takes no more than it
can send on. A child may be anything by now (another user, another program's code): what is no message is counted and
dropped, and none costs more memory than its own bytes. A message, in network byte order:

    u64 serial number of the endpoint
    u8  kind: 0 local, 1 group, 2 peer
    u8  kind of place: 0 text, 1 an id, 2 the id of a peer without a key, 3 + bits a prefix of so many bits
    u16 port
    u8  form: 4, 6, or 0 for whole ids
    i16 and i16: mark (of a group: relays and loop); -1 and -1 for none
    u8  length of the place, u16 how many datagrams; the place; each datagram after its length in a u16
"""

from __future__ import annotations

import _socket
import contextlib
import errno
import struct
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias

from ..address import ID_BITS, ID_BYTES, Destination, Prefix, UnprovedId
from ..errors import PeerClosedError
from ..limits import HAND_BACK_BURST, HAND_BACK_MESSAGE, HAND_BACK_POLL, HAND_BACK_TIME
from ..originals import os, selectors, time
from ..system import AF_UNIX, KERNEL_DONTWAIT, MSG_NOSIGNAL, socketpair
from .log import log
from .runtime import Runtime, on_relay_thread

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

LOCAL: Final = 0
GROUP: Final = 1
PEER: Final = 2

_HEADER: Final = struct.Struct("!QBBHBhhBH")
_LENGTH: Final = struct.Struct("!H")
_TEXT, _ID, _UNPROVED, _PREFIX = range(4)

Place: TypeAlias = "str | Destination"


class Message(NamedTuple):
    """Datagrams that a child handed back."""

    serial: int
    """The endpoint's."""
    kind: int
    place: Place
    port: int
    form: int
    mark: tuple[int, int] | None
    """Of a group: relays, loop."""
    datagrams: list[bytes]


def encode(message: Message) -> bytes:
    """Return the bytes of `message`."""
    place, mark = message.place, message.mark or (-1, -1)
    if isinstance(place, str):
        kind, text = _TEXT, place.encode()
    elif isinstance(place, Prefix):
        kind, text = _PREFIX + place.bits, place.value
    else:
        kind, text = _UNPROVED if isinstance(place, UnprovedId) else _ID, bytes(place)
    head = _HEADER.pack(
        *(message.serial, message.kind, kind, message.port, message.form, *mark, len(text), len(message.datagrams))
    )
    return head + text + b"".join(_LENGTH.pack(len(data)) + data for data in message.datagrams)


def decode(data: bytes) -> Message:
    """Undo `encode`. Raises: ValueError for anything else."""
    try:
        serial, kind, place_kind, port, form, hops, traffic, size, count = _HEADER.unpack_from(data)
        at = _HEADER.size + size
        text = data[_HEADER.size : at]
        datagrams = []
        for _ in range(count):
            (length,) = _LENGTH.unpack_from(data, at)
            at += _LENGTH.size
            datagrams.append(data[at : at + length])
            at += length
    except struct.error:
        raise ValueError("cut short") from None
    if at != len(data) or kind not in (LOCAL, GROUP, PEER) or form not in (0, 4, 6):
        raise ValueError("no message of ours")
    mark = None if hops < 0 else (hops, traffic)
    return Message(serial, kind, _place(place_kind, text, kind), port, form, mark, datagrams)


def _place(place_kind: int, text: bytes, kind: int) -> Place:
    if (kind == PEER) != (place_kind != _TEXT) or place_kind > _PREFIX + ID_BITS:
        raise ValueError("no place of that kind")
    if place_kind == _TEXT:
        return text.decode()  # a UnicodeDecodeError is a ValueError
    if len(text) != ID_BYTES:
        raise ValueError("no id")
    if place_kind >= _PREFIX:
        return Prefix(place_kind - _PREFIX, text)
    return UnprovedId(text) if place_kind == _UNPROVED else text


class Sender(Protocol):
    """What the owner does with messages. Loop thread only, but for what is returned."""

    def unstarted(self, message: Message) -> Callable[[], object] | None:
        """Return what starts the network that `message` needs, and may wait; None if that runs or is not needed."""

    def send_on(self, message: Message) -> Callable[[], bool] | None:
        """Send what a child handed back. Returns: None when more may come, else what says whether it still may not."""


def _pair() -> tuple[_socket.socket, _socket.socket]:
    """Return two ends that keep messages whole. Raises: OSError."""
    try:
        pair: tuple[_socket.socket, _socket.socket] = socketpair(AF_UNIX, _socket.SOCK_SEQPACKET, 0)
    except OSError as error:
        if error.errno != errno.EPROTONOSUPPORT:
            raise
        pair = socketpair(AF_UNIX, _socket.SOCK_DGRAM, 0)  # macOS
        for end in pair:  # 2 kB there
            end.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, HAND_BACK_MESSAGE)
    return pair


class Channel:
    """From forked children to the process that forked them."""

    __slots__ = ("_collecting", "_ours", "_runtime", "_sender", "_start", "_theirs", "_waiting", "dropped")

    def __init__(self, sender: Sender) -> None:
        """Raises: OSError: EMFILE or ENFILE."""
        self._sender = sender
        ours, theirs = _pair()
        ours.setblocking(False)
        theirs.setblocking(False)
        self._ours, self._theirs = ours.detach(), theirs.detach()
        self._runtime: Runtime | None = None
        self._waiting: Message | None = None
        """What came first for a network that has yet to start."""
        self._start: Callable[[], object] | None = None
        """What starts it, left to a thread that collects."""
        self._collecting: list[asyncio.Future[None]] = []
        self.dropped = 0
        """What came and was no message."""

    # --- the child's end -----------------------------------------------------------------------------------------

    def leave(self) -> None:
        """Let go of the owner's end, so that the child notices when the owner has ended."""
        os.close(self._ours)

    def send(self, message: Message, timeout: float | None) -> None:
        """Hand one message back; waits at most `timeout` seconds (None = HAND_BACK_TIME) for there to be room.

        Raises: OSError: EAGAIN (timeout 0), ENOBUFS. TimeoutError. PeerClosedError once the owner has ended.
        """
        data = encode(message)
        end = time.monotonic() + (HAND_BACK_TIME if timeout is None else timeout)
        sock = _socket.socket(fileno=self._theirs)
        try:
            while True:
                try:
                    sock.send(data, MSG_NOSIGNAL | KERNEL_DONTWAIT)
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
                        OSError(errno.ENOBUFS, "the process that this socket was inherited from takes no more")
                        if timeout is None
                        else TimeoutError("timed out")
                    )
                with selectors.DefaultSelector() as selector:
                    selector.register(self._theirs, selectors.EVENT_WRITE)
                    selector.select(left)
        finally:
            sock.detach()

    # --- the owner's end -----------------------------------------------------------------------------------------

    def attend(self) -> None:
        """Have the relay thread take what children hand back."""
        if self._runtime is None:
            with contextlib.suppress(RuntimeError):  # the interpreter is ending: nothing is left to take it
                runtime = self._runtime = Runtime.current()
                runtime.first_at_exit(self.collect)
                runtime.call(runtime.loop.add_reader, self._ours, self._read)

    def collect(self, limit: float) -> None:
        """Wait until what children have handed back so far is on its way, at most `limit` seconds. Any thread."""
        if self._runtime is None or on_relay_thread():
            return
        with contextlib.suppress(RuntimeError, TimeoutError):  # the loop is closed; what there is takes longer
            while True:
                self._runtime.wait_for(self._collect(), limit)
                start, self._start = self._start, None
                if start is None:
                    return
                self._run(start)

    # Everything below is for the loop's thread alone, so that no two take turns and change the order.

    async def _collect(self) -> None:
        assert self._runtime is not None
        if self._start is not None:
            return
        done = self._runtime.loop.create_future()
        self._collecting.append(done)
        if self._waiting is None:
            self._read()
        await done

    def _read(self) -> None:
        if self._runtime is None or self._waiting is not None:
            return
        for _ in range(HAND_BACK_BURST):
            try:
                message = decode(os.read(self._ours, HAND_BACK_MESSAGE))
            except BlockingIOError:
                self._end_collecting()
                return
            except ValueError:
                self._drop()
                continue
            start = self._sender.unstarted(message)
            if start is not None:
                self._wait_for_start(message, start)
                return
            full = self._sender.send_on(message)
            if full is not None and not self._collecting:
                self._runtime.loop.remove_reader(self._ours)
                self._wait_for_room(full)
                return
        if self._collecting:
            self._runtime.loop.call_soon(self._read)

    def _drop(self) -> None:
        if not self.dropped:
            log.warning("! a forked child sent what is no message of ours; it is dropped")
        self.dropped += 1

    def _end_collecting(self) -> None:
        for done in self._collecting:
            if not done.done():  # its limit has passed
                done.set_result(None)
        self._collecting.clear()

    def _wait_for_room(self, full: Callable[[], bool]) -> None:
        """Leave what comes next in the channel, and then in the child, while the endpoint's budget is used up."""
        assert self._runtime is not None
        if full() and not self._collecting:
            self._runtime.loop.call_later(HAND_BACK_POLL, self._wait_for_room, full)
        else:
            self._runtime.loop.add_reader(self._ours, self._read)

    def _wait_for_start(self, message: Message, start: Callable[[], object]) -> None:
        assert self._runtime is not None
        self._waiting = message
        self._runtime.loop.remove_reader(self._ours)
        try:
            self._runtime.announce(partial(self._run, start))  # where it may be waited for
        except RuntimeError:  # at the interpreter's end there are no new threads: the one that collects starts it
            self._start = start
            self._end_collecting()

    def _run(self, start: Callable[[], object]) -> None:
        assert self._runtime is not None
        with contextlib.suppress(OSError):
            start()
        with contextlib.suppress(RuntimeError):
            self._runtime.call(self._started)

    def _started(self) -> None:
        assert self._runtime is not None
        message, self._waiting = self._waiting, None
        if message is not None:
            self._sender.send_on(message)
        self._runtime.loop.add_reader(self._ours, self._read)
        self._read()


_channel: Channel | None = None
"""Where this process's forked children hand back; made when there is first something to inherit."""


def channel() -> Channel | None:
    """Return where this process's forked children hand back, if there is anything to inherit."""
    return _channel


def open_channel(sender: Sender) -> None:
    """Make that channel if there is none. Raises: OSError: EMFILE or ENFILE."""
    global _channel
    if _channel is None:
        _channel = Channel(sender)


def take_channel() -> Channel | None:
    """In a forked child: return its parent's channel; its own children get another."""
    global _channel
    inherited, _channel = _channel, None
    return inherited


def collect(limit: float) -> None:
    """Wait until what this process's forked children have handed back so far is on its way, at most `limit` seconds."""
    if _channel is not None:
        _channel.collect(limit)
