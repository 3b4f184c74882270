"""UDP on eventlet, whose green sockets each hold a socket of a copy of `socket` that the patch does not reach.

Lives here: what green sockets hold instead, and what resolves names. May not live here: any other part of eventlet,
which stays as it is.

Law: while patched, a green UDP socket holds one of the overlay's, and other green threads run while one waits for it.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any, Final

from . import sockets
from .importing import WhenImported

_RESOLVER: Final = ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "getnameinfo")
_replaced: list[tuple[ModuleType, str, object, object]] = []


def patch() -> None:
    """Change eventlet, now if it is loaded, else when it is imported."""
    for each in _IMPORTS:
        each.begin()


def unpatch() -> None:
    """Undo `patch`."""
    for each in _IMPORTS:
        each.end()
    while _replaced:
        module, name, old, new = _replaced.pop()
        if vars(module).get(name) is new:
            setattr(module, name, old)


def stand_in_for(kind: object) -> object:
    """Return eventlet's own class if `kind` is that, since what it holds is the overlay's; None for any other."""
    module = sys.modules.get("eventlet.greenio.base")
    return kind if module is not None and kind is module.GreenSocket else None


def _replace(module: ModuleType, name: str, new: object) -> None:
    _replaced.append((module, name, vars(module)[name], new))
    setattr(module, name, new)


def _hold_ours(module: ModuleType) -> None:
    theirs = module._original_socket
    if not issubclass(theirs, _Held):
        _replace(module, "_original_socket", type(theirs.__name__, (_Held, theirs), {"__slots__": ()}))


class _Held:
    """Before the class of what green sockets hold: of UDP, it makes one of the overlay."""

    __slots__ = ()

    def __new__(cls, *arguments: Any, **keywords: Any) -> Any:
        theirs = cls.__mro__[2]
        ours = sockets.would_be_overlay(*arguments, **keywords) and not sockets.is_for_the_relay(sys._getframe(1))
        return (sockets.PatchedSocket if ours else theirs)(
            *arguments, **keywords
        )  # not of `cls`: __init__ is not called


def _resolve_as_the_system(module: ModuleType) -> None:
    """Its own resolver sends UDP to name servers."""
    system = sys.modules["eventlet.patcher"].original("socket")
    for name in _RESOLVER:
        _replace(module, name, getattr(system, name))


_IMPORTS: Final = (
    WhenImported("eventlet.greenio.base", _hold_ours),
    WhenImported("eventlet.green.socket", _resolve_as_the_system),
)
