"""UDP on gevent, whose sockets are of a class of its own, which can neither see the patch nor be audited.

Lives here: what stands for `gevent.socket.socket`, and waiting for an overlay socket in gevent's hub. May not live
here: any other part of gevent, which stays as it is.

Law: while patched, a UDP socket of gevent's is the overlay's, and other greenlets run while one waits for it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, ClassVar, Final

from peer_relay_socket.system import MSG_DONTWAIT

from . import sockets
from .importing import WhenImported

_replaced: list[tuple[ModuleType, str, object, object]] = []


def patch() -> None:
    """Replace the class in gevent, now if it is loaded, else when it is imported."""
    _import.begin()


def unpatch() -> None:
    """Undo `patch`."""
    _import.end()
    while _replaced:
        module, name, old, new = _replaced.pop()
        if vars(module).get(name) is new:
            setattr(module, name, old)


def _patch_module(module: ModuleType) -> None:
    if _replaced:
        return
    theirs = module.socket
    ours = _stand_in(theirs)
    for name, holder in list(sys.modules.items()):
        if name.partition(".")[0] != "gevent" or not isinstance(holder, ModuleType):
            continue
        for attribute, value in list(vars(holder).items()):
            if value is theirs:
                _replaced.append((holder, attribute, theirs, ours))
                setattr(holder, attribute, ours)


class _NotWaiting:
    """An overlay socket that never waits for a datagram."""

    def __init__(self, sock: Any) -> None:
        self._socket = sock

    def recvfrom(self, size: int) -> Any:
        """As the socket's, raising BlockingIOError where that would wait."""
        return self._socket.recvfrom(size, MSG_DONTWAIT)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


def stand_in_for(kind: object) -> object:
    """Return what stands for class `kind` of gevent's, None for any other."""
    return next((new for _, _, old, new in _replaced if old is kind), None)


def _stand_in(theirs: type) -> type:
    class socket(sockets.PatchedSocket):  # noqa: N801 - the name it stands in for
        """A gevent socket; of UDP, one of the overlay."""

        __slots__ = ()
        _stands_in: ClassVar = True

        def __new__(cls, *arguments: Any, **keywords: Any) -> Any:
            if cls is socket and sockets.is_for_the_relay(sys._getframe(1)):
                return sockets.Stdlib(*arguments, **keywords)
            if cls is socket and not sockets.would_be_overlay(*arguments, **keywords):
                return theirs(*arguments, **keywords)  # not ours, so __init__ is not called
            return sockets.PatchedSocket.__new__(cls)

        @property
        def _sock(self) -> _NotWaiting:
            """What gevent's servers read from in the hub itself, where nothing may wait."""
            return _NotWaiting(self)

        @property
        def _wait_in_hub(self) -> Callable[..., None]:
            return partial(sockets.wait_in_gevent, self)

    socket._gevent_sock_class = theirs._gevent_sock_class  # type: ignore[attr-defined]  # gevent.ssl derives from it
    socket.__module__, socket.__qualname__ = theirs.__module__, theirs.__qualname__
    return socket


_import: Final = WhenImported("gevent.socket", _patch_module)
