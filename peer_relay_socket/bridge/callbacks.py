"""The program's callbacks: who listens, what waits for them, what keeps the program alive meanwhile.

Lives here: `Listeners` (those of one peer), reading ahead for a callback, an open handle. May not live here: the thread
that callbacks run on (runtime.py).

Law: a callback may block for as long as it likes. What peers send meanwhile waits within LISTENER_BACKLOG, is dropped
and counted beyond, and costs the relay thread nothing but that: JSON is read on the callbacks' thread, and only where
something listens.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from ..address import PeerId
from ..errors import PeerRelayError
from ..limits import DATAGRAM_OVERHEAD, LISTENER_BACKLOG, UNHEARD_ERRORS
from ..originals import thread
from .log import log
from .runtime import Runtime
from .threads import BackgroundThread
from .waiting import guard

Listener = Callable[..., object]

BACKLOG_FULL = "dropped: messages and events that listeners were too slow for"


class Listeners:
    """Those of one peer. Any thread.

    Args: count: told of what is dropped, by reason.
    """

    def __init__(self, count: Callable[[str], object]) -> None:
        self._count = count
        self._guard = guard()
        self._by_event: dict[str, tuple[Listener, ...]] = {}
        self._waiting = 0
        """Bytes of what peers sent that wait for listeners, with DATAGRAM_OVERHEAD each; at most LISTENER_BACKLOG."""
        self._unheard: list[PeerRelayError] = []
        """Errors that came while nothing listened, at most UNHEARD_ERRORS."""

    def forked(self) -> None:
        """This process is a fork: whatever another thread had locked is made anew."""
        self._guard = guard()
        self._waiting = 0

    def on(self, event_name: str, listener: Listener) -> None:
        """Call `listener` at each such event, in order, on a thread of its own kind where it may block. The first
        listener of "error" hears of the latest ones from before, too: the first dial may fail before it is there."""
        unheard: list[PeerRelayError] = []
        with self._guard:
            self._by_event[event_name] = (*self._by_event.get(event_name, ()), listener)
            if event_name == "error":
                unheard, self._unheard = self._unheard, []
        for error in unheard:
            Runtime.current().announce(partial(listener, error))

    def any(self, event_name: str) -> bool:
        """Return whether there is one for such events."""
        return bool(self._by_event.get(event_name))

    def off(self, event_name: str, listener: Listener) -> None:
        """Undo one `on`; harmless if there was none."""
        with self._guard:
            rest = list(self._by_event.get(event_name, ()))
            if listener in rest:
                rest.remove(listener)
            self._by_event[event_name] = tuple(rest)

    def emit(self, event_name: str, *args: Any) -> None:
        """Have every listener called: for what happens at most a few times in a peer's life."""
        listeners = self._by_event.get(event_name, ())
        if listeners:
            Runtime.current().announce(partial(_call, listeners, args))

    def error(self, error: PeerRelayError) -> None:
        """Have listeners of "error" called, or keep `error` for the first one."""
        with self._guard:
            heard = bool(self._by_event.get("error"))
            if not heard:
                self._unheard = [*self._unheard, error][-UNHEARD_ERRORS:]
        if heard:
            self.emit("error", error)

    def peer(self, peer_id: PeerId) -> None:
        """Have listeners of "peer" called."""
        listeners = self._by_event.get("peer", ())
        if listeners:
            self._announce(0, partial(_call, listeners, (peer_id,)))

    def message(self, source: PeerId, text: bytes) -> None:
        """Have listeners of "message" called with what `text` means, unless it is no JSON."""
        listeners = self._by_event.get("message", ())
        if listeners:
            self._announce(len(text), partial(_call_with_json, listeners, source, text))

    def _announce(self, size: int, callback: Callable[[], object]) -> None:
        size += DATAGRAM_OVERHEAD
        with self._guard:
            full = self._waiting + size > LISTENER_BACKLOG
            if not full:
                self._waiting += size
        if full:
            self._count(BACKLOG_FULL)
        else:
            Runtime.current().announce(partial(self._relay, size, callback))

    def _relay(self, size: int, callback: Callable[[], object]) -> None:
        try:
            callback()
        finally:
            with self._guard:
                self._waiting -= size


def _call(listeners: tuple[Listener, ...], args: tuple[Any, ...]) -> None:
    for listener in listeners:
        try:
            listener(*args)
        except Exception:
            log.log(logging.ERROR, "a callback raised", exc_info=True)


def _call_with_json(listeners: tuple[Listener, ...], source: PeerId, text: bytes) -> None:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):  # the latter: nested too deeply
        log.debug("< %s: a message that is no JSON", source.hex()[:8])
        return
    _call(listeners, (data, source))


def read_aloud(take: Callable[[], Callable[[], object] | None], ahead: int) -> None:
    """Call `take`, which may wait, again and again on a daemon thread of its own, and have what it returns called where
    all callbacks are, until it returns None. At most `ahead` of them wait there."""
    slots = threading.BoundedSemaphore(ahead)

    def call(callback: Callable[[], object]) -> None:
        try:
            callback()
        finally:
            slots.release()

    def read() -> None:
        while True:
            slots.acquire()
            callback = take()
            if callback is None:
                return
            Runtime.current().announce(partial(call, callback))

    BackgroundThread(read)


class StayAlive:
    """Keeps the program from ending, as an open handle does in Node. Any thread; every method is idempotent."""

    def __init__(self) -> None:
        self._guard = thread.allocate_lock()
        self._wanted = False
        self._allowed = True
        self._over: threading.Event | None = None

    def ref(self) -> None:
        """From now on, if allowed."""
        self._change(wanted=True)

    def unref(self) -> None:
        """No more."""
        self._change(wanted=False)

    def allow(self, allowed: bool) -> None:
        """Say whether `ref` does anything."""
        self._change(allowed=allowed)

    def _change(self, *, wanted: bool | None = None, allowed: bool | None = None) -> None:
        with self._guard:
            self._wanted = self._wanted if wanted is None else wanted
            self._allowed = self._allowed if allowed is None else allowed
            if self._wanted and self._allowed:
                if self._over is None:  # a thread that is no daemon: the interpreter waits for it
                    self._over = threading.Event()
                    threading.Thread(target=self._over.wait, name="peer-relay-stay", daemon=False).start()
            elif self._over is not None:
                self._over.set()
                self._over = None
