"""Headers of the opening handshake.

Lives here: the one that is ours, and how any is read. May not live here: what their values mean (inbound.py,
outbound.py), and who is behind a proxy (forwarded.py).

Law: a header that comes twice is as none.
"""

from __future__ import annotations

from typing import Final

from websockets.datastructures import Headers

MEETING_HEADER: Final = "X-Peer-Relay-Meeting"
"""Carries the proofs of programs that meet by `meeting.Meeting`."""


def header(headers: Headers, name: str) -> str:
    """Return the value of a header; "" where there is none, and where there are several."""
    values = headers.get_all(name)
    return values[0] if len(values) == 1 else ""
