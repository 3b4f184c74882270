"""UDP sockets over a peer-to-peer relay network: the public names, nothing else.

Each loads what it needs when it is first used, so that importing this is cheap.
"""

from __future__ import annotations

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

from . import meeting as _meeting  # noqa: F401  # chosen before a program drops its rights or changes its root

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .address import AF_PEER as AF_PEER
    from .address import is_authenticated as is_authenticated
    from .config import Settings as Settings
    from .config import SocketSettings as SocketSettings
    from .engine.direct import Path as Path
    from .errors import ConfigError as ConfigError
    from .errors import IdentityError as IdentityError
    from .errors import PeerClosedError as PeerClosedError
    from .errors import PeerRelayError as PeerRelayError
    from .surface.peer import Peer as Peer
    from .surface.udp_socket import Socket as Socket

_HOMES = {
    "AF_PEER": ".address",
    "ConfigError": ".errors",
    "IdentityError": ".errors",
    "Path": ".engine.direct",
    "Peer": ".surface.peer",
    "PeerClosedError": ".errors",
    "PeerRelayError": ".errors",
    "Settings": ".config",
    "Socket": ".surface.udp_socket",
    "SocketSettings": ".config",
    "is_authenticated": ".address",
}

__all__ = [
    "AF_PEER",
    "ConfigError",
    "IdentityError",
    "Path",
    "Peer",
    "PeerClosedError",
    "PeerRelayError",
    "Settings",
    "Socket",
    "SocketSettings",
    "__version__",
    "is_authenticated",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(_import_module(_HOMES[name], __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
