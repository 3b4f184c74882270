"""`patch()` and `unpatch()`: the standard library's `socket` module with the overlay behind it.

Lives here: which names of which modules are replaced, and by what. May not live here: what the replacements do.

Law: `unpatch()` puts back exactly what `patch()` replaced, unless other code has replaced it since.
"""

from __future__ import annotations

import contextlib
import importlib
import socket as _stdlib
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Final

from . import eventlet_udp, gevent_udp, names, sockets, uvloop_udp

_REPLACED: Final[dict[str, object]] = {
    "socket": sockets.PatchedSocket,
    "getaddrinfo": names.getaddrinfo,
    "gethostbyname": names.gethostbyname,
    "gethostbyname_ex": names.gethostbyname_ex,
    "gethostbyaddr": names.gethostbyaddr,
    "getnameinfo": names.getnameinfo,
}
"""What the rest of the stdlib's module (create_connection, fromfd, accept, getfqdn, ...) looks up when it is called."""
_OURS: Final = frozenset({"peer_relay", "peer_relay_socket"})

_undo: list[tuple[ModuleType, str, object, object]] = []
"""(module, name, what was there, what is there now), in the order of replacing."""


def patch() -> None:
    """Put the overlay's socket class and resolver into `socket`, for the whole process. A second call does nothing.

    Modules of the program that already imported those names from `socket` get the new ones too; the standard
    library's own, and classes already derived from the old one, stay as they are: RuntimeWarning names such classes.
    """
    if _undo:
        return
    # ssl derives from whatever `socket.socket` is when it is first imported: TLS stays the stdlib's.
    with contextlib.suppress(ImportError):
        importlib.import_module("ssl")
    gevent_udp.patch()
    eventlet_udp.patch()
    was = {name: getattr(_stdlib, name) for name in _REPLACED}
    kind = was["socket"]
    kind = gevent_udp.stand_in_for(kind) or eventlet_udp.stand_in_for(kind) or _REPLACED["socket"]
    replaced = _REPLACED | {"socket": kind}
    for name, new in replaced.items():
        _replace(_stdlib, name, new)
    now = {id(old): replaced[name] for name, old in was.items()}
    for module in _of_the_program():
        for name, value in list(vars(module).items()):
            if id(value) in now:
                _replace(module, name, now[id(value)])
    uvloop_udp.patch()
    late = [kind for kind in sockets.Stdlib.__subclasses__() if not _is_spared(kind.__module__)]
    if late:
        named = ", ".join(sorted(f"{kind.__module__}.{kind.__qualname__}" for kind in late))
        warnings.warn(
            f"peer_relay.patch() came too late for {named}: derived from the unpatched socket, still real UDP",
            RuntimeWarning,
            stacklevel=2,
        )


def unpatch() -> None:
    """Put back what `patch()` replaced. Sockets that exist stay what they are; without a patch nothing happens."""
    gevent_udp.unpatch()
    eventlet_udp.unpatch()
    uvloop_udp.unpatch()
    while _undo:
        module, name, old, new = _undo.pop()
        if vars(module).get(name) is new:
            setattr(module, name, old)


def _replace(module: ModuleType, name: str, new: object) -> None:
    _undo.append((module, name, vars(module)[name], new))
    setattr(module, name, new)


def _of_the_program() -> Iterator[ModuleType]:
    for name, module in list(sys.modules.items()):
        if isinstance(module, ModuleType) and not _is_spared(name):
            yield module


def _is_spared(name: str) -> bool:
    root = name.partition(".")[0]
    return root in _OURS or (root in sys.stdlib_module_names and root != "__main__")
