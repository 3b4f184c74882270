"""What is said of a connection that ended.

Lives here: the words, and who is named as the one that ended it. May not live here: ending one (connection.py).

Law: what another end said appears in one line, and short.
"""

from __future__ import annotations

from websockets.protocol import Protocol

from .link import LinkError


def why_closed(core: Protocol, exc: Exception | None) -> str:
    """Return why an open connection ended, if no decision of this end did it. Args: exc: what asyncio said."""
    if core.parser_exc is not None and core.close_sent is not None:
        return f"refused what the other end sent: {core.close_sent}"
    if core.close_rcvd is not None:
        return f"closed by the other end: {core.close_rcvd}"
    if exc is not None:
        return f"connection lost: {exc}"
    return "connection ended without a goodbye"


def why_not_opened(exc: Exception | None) -> OSError:
    """Return what is raised for a connection that ended before it was open. Args: exc: what asyncio said."""
    if isinstance(exc, OSError):
        return exc
    return LinkError("the connection ended before the WebSocket handshake was done")
