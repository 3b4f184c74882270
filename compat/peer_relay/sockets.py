"""The classes that stand where `socket.socket` stands. Lives here: their defaults, what counts as their instance, and
who gets the kernel's sockets after all. May not live here: what a socket does (`peer_relay_socket.surface`).

Law: `Socket` already is both, an overlay UDP socket and the standard library's for everything else; the classes here
only make it pass for `socket.socket` in places where programs look closely.
"""

from __future__ import annotations

import _socket
import contextlib
import socket as _stdlib
import sys
from abc import ABCMeta
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, ClassVar, Final, Unpack

from peer_relay_socket.bridge.endpoint import endpoint_of
from peer_relay_socket.bridge.real_udp import KernelSocket
from peer_relay_socket.config import SocketSettings
from peer_relay_socket.originals import stdlib_socket
from peer_relay_socket.surface import peer as surface_peer
from peer_relay_socket.surface.udp_socket import Socket, is_overlay

from . import ioctls

Stdlib: Final = stdlib_socket
"""The standard library's class, as it was before any patch."""


_RELAYS: Final = ("asyncio", "aioice", "socket")
_load: Final[list[Callable[[], object]]] = []


class _AnySocket(ABCMeta):
    """Makes a stand-in count every stdlib socket as its instance, as `socket.socket` does (TLS sockets, for one).

    An ABCMeta, so a program's ``class S(socket.socket, SomeABC)`` still finds one metaclass that serves both.
    """

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, Stdlib) if "_stands_in" in vars(cls) else type.__instancecheck__(cls, instance)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, Stdlib) if "_stands_in" in vars(cls) else type.__subclasscheck__(cls, subclass)


class socket(Socket, metaclass=_AnySocket):  # noqa: N801 - the name it stands in for
    """A socket: overlay UDP over IPv4 unless asked for something else.

    The arguments are `socket.socket`'s; an overlay socket also takes the keywords of `peer_relay_socket.Socket`.
    """

    __slots__ = ()
    _stands_in: ClassVar = True

    def __init__(
        self,
        family: int = -1,
        type: int = -1,
        proto: int = -1,
        fileno: int | None = None,
        **settings: Unpack[SocketSettings],
    ) -> None:
        super().__init__(family, type, proto, fileno, **settings)
        if settings and self._endpoint is None:
            self.close()
            raise TypeError(f"not an overlay socket, so it takes no {', '.join(settings)}")
        if fileno is not None and self._endpoint is None:
            # The interpreter's own event says -1 where the kernel had to be asked what the descriptor is.
            try:
                sys.audit("peer_relay.adopt", self, *(int(fact) for fact in (self.family, self.type, self.proto)))
            except BaseException:
                self.detach()
                raise
        if _load and self._endpoint is not None:
            _load.pop()()

    @property
    def _wait_in_hub(self) -> Callable[..., None] | None:
        """Waits where another event loop runs: (seconds or None, writing=whether for room to send)."""
        library = _patched_by()
        if not library:
            return None
        return partial(wait_in_gevent if library == "gevent" else wait_in_eventlet, self)

    @classmethod
    def _sibling(cls) -> Callable[..., Socket]:
        return socket


class PatchedSocket(socket):
    """What `socket.socket` is while patched: the same with the stdlib's default, TCP over IPv4."""

    __slots__ = ()
    _stands_in: ClassVar = True
    _default_type: ClassVar[int] = int(_socket.SOCK_STREAM)

    def __new__(cls, *arguments: Any, **keywords: Any) -> PatchedSocket:
        if cls is PatchedSocket and is_for_the_relay(sys._getframe(1)):
            return Stdlib(*arguments, **keywords)  # type: ignore[return-value]  # not ours, so __init__ is not called
        return super().__new__(cls)

    @classmethod
    def _sibling(cls) -> Callable[..., Socket]:
        return PatchedSocket


# As the class it stands in for: repr, pickle's refusal and tracebacks then read as the program expects.
PatchedSocket.__module__, PatchedSocket.__name__, PatchedSocket.__qualname__ = "socket", "socket", "socket"
socket.__module__ = "peer_relay"
SocketType = socket
ioctls.install()


def fromfd(fd: int, family: int, type: int, proto: int = 0) -> socket:
    """Return a socket on a duplicate of `fd`, as `socket.fromfd`; one of an overlay socket shares its endpoint."""
    return socket(family, type, proto, _stdlib.dup(fd))


def wait_in_gevent(sock: Socket, timeout: float | None, *, writing: bool) -> None:
    """Wait in gevent's hub until `sock` may receive, or send, for at most `timeout` seconds."""
    waits = sys.modules["gevent.socket"]
    with contextlib.suppress(TimeoutError):
        (waits.wait_write if writing else waits.wait_read)(sock.fileno(), timeout)


def wait_in_eventlet(sock: Socket, timeout: float | None, *, writing: bool) -> None:
    """Wait in eventlet's hub until `sock` may receive, or send, for at most `timeout` seconds."""
    wait = sys.modules["eventlet.hubs"].trampoline
    with contextlib.suppress(TimeoutError):
        wait(sock, read=not writing, write=writing, timeout=timeout, timeout_exc=TimeoutError)


def would_be_overlay(
    family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None, **_settings: Any
) -> bool:
    """Return whether a socket made so by `PatchedSocket` is one of the overlay."""
    if fileno is not None:
        return endpoint_of(fileno) is not None
    return is_overlay(family, int(_socket.SOCK_STREAM) if type == -1 else type, proto)


def load_with_first_socket(load: Callable[[], object]) -> None:
    """Have `load` called when the first overlay socket has been made: once the program has changed its root, or its
    user, it may be too late for what the network needs."""
    _load.append(load)


def is_exempt(made: object, *, used: bool) -> bool:
    """Return whether what looks like a real UDP socket is harmless: an overlay socket's shell, the one beside it that
    sends to `real_udp` alone, or the relay's own.

    Args: used: it is no longer being constructed, so an overlay socket has its endpoint by now.
    """
    if isinstance(made, Socket) and (not used or made._endpoint is not None):
        return True
    return isinstance(made, KernelSocket) or on_relay_thread()


def is_for_the_relay(frame: FrameType | None) -> bool:
    """Return whether what makes a socket, in `frame`, is the relay: it reaches the network through asyncio and aioice,
    which look up `socket.socket` as programs do. A finaliser of the program's that happens to run there is not."""
    if not on_relay_thread():
        return False
    while frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "eventlet":
        frame = frame.f_back
    return frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in _RELAYS


def on_relay_thread() -> bool:
    """Return whether the caller is the relay, whose own sockets must be the kernel's."""
    runtime = sys.modules.get("peer_relay_socket.bridge.runtime")  # not imported: there is no such thread
    return runtime is not None and bool(runtime.on_relay_thread())


def _patched_by() -> str:
    """Return the event library that has monkey-patched this program, "" for none. Asked anew each time: a program may
    import us before it patches."""
    monkey, patcher = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    if monkey is not None and monkey.is_module_patched("socket"):
        return "gevent"
    return "eventlet" if patcher is not None and patcher.is_monkey_patched("socket") else ""


def _hub_sleep() -> Callable[[float], object] | None:
    library = _patched_by()
    sleep: Callable[[float], object] | None = sys.modules[library].sleep if library else None
    return sleep


surface_peer.hub_sleep = _hub_sleep
