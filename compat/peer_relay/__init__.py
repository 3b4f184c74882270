"""The import name `peer_relay`: a look-alike of the standard library's `socket` module.

Every public name of `socket` is here, as the running Python has it, so ``import peer_relay as socket`` works. Other
than there: `socket` makes overlay UDP sockets unless asked for something else, the resolver functions know
``<40 hex>.peer`` names, and `AF_PEER`, `patch` and `unpatch` are new. What makes TCP or Unix sockets
(create_connection, create_server, socketpair) is the stdlib's own.

Law: importing this costs no more than importing `socket`; the overlay loads with the first use of what needs it.
"""

from __future__ import annotations

import socket as _stdlib
from importlib import import_module as _import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # here and below: of two definitions mypy takes the first, pyright the last
    from .sockets import SocketType as SocketType
    from .sockets import fromfd as fromfd
    from .sockets import socket as socket

from socket import *  # type: ignore[assignment]  # noqa: F403 - every public name, whichever Python runs

from peer_relay_socket.address import AF_PEER as AF_PEER
from peer_relay_socket.dependencies import unshadowed as _unshadowed

# Each ignore here: these stand in for the stdlib's, and take and give more.
from .names import getaddrinfo as getaddrinfo  # type: ignore[assignment]
from .names import getfqdn as getfqdn
from .names import gethostbyaddr as gethostbyaddr
from .names import gethostbyname as gethostbyname
from .names import gethostbyname_ex as gethostbyname_ex
from .names import getnameinfo as getnameinfo

if TYPE_CHECKING:
    from . import dgram as dgram
    from .patching import patch as patch
    from .patching import unpatch as unpatch
    from .sockets import SocketType as SocketType
    from .sockets import fromfd as fromfd
    from .sockets import socket as socket

_LAZY = {
    "dgram": ".dgram",
    "SocketType": ".sockets",
    "fromfd": ".sockets",
    "socket": ".sockets",
    "patch": ".patching",
    "unpatch": ".patching",
}

for _name in vars(_stdlib):  # names that the stdlib does not export but programs use: EAGAIN, EBADF, ...
    if not _name.startswith("_"):
        globals().setdefault(_name, getattr(_stdlib, _name))
for _name in _LAZY:
    globals().pop(_name, None)
del _name

__all__ = [*sorted({*_stdlib.__all__, *_LAZY, "AF_PEER"} - {"dgram"})]


def __getattr__(name: str) -> object:
    if name in _LAZY:
        with _unshadowed():
            module = _import_module(_LAZY[name], __name__)
        value = globals()[name] = module if name == "dgram" else getattr(module, name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
