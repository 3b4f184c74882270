"""Links over WebSocket: `listen` for neighbours, `dial` one.

Lives here: the names that other rooms use. May not live here: anything else. One connection's life is connection.py,
how it begins inbound.py and outbound.py, the bytes frames.py, the way through proxies proxy.py.
"""

from __future__ import annotations

from .inbound import Listener, listen
from .link import Link, LinkError, LinkHandler
from .outbound import dial
from .versions import SUBPROTOCOL

__all__ = ["SUBPROTOCOL", "Link", "LinkError", "LinkHandler", "Listener", "dial", "listen"]
