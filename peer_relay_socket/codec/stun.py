"""STUN's binding requests (RFC 8489), "where do you see me?", and their answers. Pure functions.

Law: an answer is at most twice as long as its request, or there is none; nothing of a request but its transaction is
repeated.
"""

from __future__ import annotations

import ipaddress
from struct import pack, unpack_from
from typing import Final

_COOKIE: Final = 0x2112A442
_REQUEST, _SUCCESS = 0x0001, 0x0101
_XOR_MAPPED_ADDRESS: Final = 0x0020
_HEAD: Final = 20
MAX_REQUEST: Final = 548
"""Bytes of a request that is read: the most over IPv4 where the path's MTU is not known (RFC 8489 §6.1)."""


def binding_answer(request: bytes, host: str, port: int) -> bytes | None:
    """Return the answer to a request that came from an IP literal and a port; None for what is no binding request, and
    where the answer would have more than twice its bytes (a request without attributes, over IPv6)."""
    if not _HEAD <= len(request) <= MAX_REQUEST:
        return None
    kind, length, cookie = unpack_from(">HHI", request)
    if (kind, length, cookie) != (_REQUEST, len(request) - _HEAD, _COOKIE) or length % 4:
        return None
    ip = ipaddress.ip_address(host)
    mask = request[4:_HEAD][: len(ip.packed)]
    hidden = bytes(one ^ other for one, other in zip(ip.packed, mask, strict=True))
    mapped = pack(">BBH", 0, 1 if ip.version == 4 else 2, port ^ _COOKIE >> 16) + hidden
    answer = pack(">HH", _SUCCESS, 4 + len(mapped)) + request[4:_HEAD] + pack(">HH", _XOR_MAPPED_ADDRESS, len(mapped))
    return answer + mapped if len(answer) + len(mapped) <= 2 * len(request) else None
