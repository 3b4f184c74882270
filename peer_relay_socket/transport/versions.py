"""Versions of the wire, as WebSocket's subprotocols name them.

Lives here: what is offered, selected and recognized. May not live here: what becomes of a link that speaks another
version (bridge/dialler.py).

Law: our client offers a version and our server selects one. A legacy client offers none; a legacy server echoes any
offer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

SUBPROTOCOL: Final = Subprotocol("peer-relay.3")
OLDER: Final = Subprotocol("peer-relay.2")
"""Offered behind ours, so that a node which speaks nothing else can say so."""
_FAMILY: Final = "peer-relay."


def select(_core: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """Ours where it is offered, else another version of it, which is then told why it is closed; a client that offers
    neither (a legacy one) is accepted without."""
    versions = [name for name in offered if name.startswith(_FAMILY)]
    return SUBPROTOCOL if SUBPROTOCOL in versions else next(iter(versions), None)


def judged(name: str) -> tuple[bool, str | None]:
    """Return whether the subprotocol `name` is ours, and the name if it is another version of ours."""
    ours = name == SUBPROTOCOL
    return ours, name if name.startswith(_FAMILY) and not ours else None
