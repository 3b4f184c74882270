"""DNS answers for programs in a namespace: `.peer` names, and nothing else. Pure bytes (RFC 1035 §4).

Law: any bytes get an answer or None, in time linear in their number; a name that is not ours is refused, never guessed.
"""

from __future__ import annotations

import socket
import struct
from typing import Final, NamedTuple

from ..address import PEER_SUFFIX, Spelling, parse_id

_A: Final = 1
_AAAA: Final = 28
_ANY: Final = 255
_NAME_ERROR: Final = 3
_REFUSED: Final = 5
_TTL: Final = 60
"""Seconds; a name is its own answer, and that never changes."""


class Question(NamedTuple):
    """What a DNS message asks."""

    message_id: bytes
    flags: int
    name: str
    kind: int
    raw: bytes
    """The question section as it came."""

    @property
    def is_peer(self) -> bool:
        """Whether it asks about a `.peer` name."""
        return self.name.endswith(PEER_SUFFIX) or self.name == PEER_SUFFIX[1:]


def read_question(message: bytes) -> Question | None:
    """Return what a query with one question asks; None for anything else."""
    if len(message) < 12:
        return None
    flags, questions = struct.unpack_from("!HH", message, 2)
    if flags & 0xF800 or questions != 1:  # an answer, or no standard query
        return None
    labels, at = [], 12
    while at < len(message) and message[at]:
        length = message[at]
        if length > 63 or at - 12 > 255:  # compressed, or too long: no client writes a question so
            return None
        labels.append(message[at + 1 : at + 1 + length].decode("ascii", "replace"))
        at += 1 + length
    if at + 5 > len(message):
        return None
    kind, family = struct.unpack_from("!HH", message, at + 1)
    if family not in (1, _ANY):
        return None
    return Question(message[:2], flags, ".".join(labels).lower(), kind, message[12 : at + 5])


def answer(question: Question, spelling: Spelling) -> bytes:
    """Return the answer: addresses of a `.peer` name, "no such name" for one that is no id, else a refusal."""
    code, records = _REFUSED, []
    if question.is_peer:
        peer = parse_id(question.name)
        code = _NAME_ERROR if peer is None else 0
        if peer is not None and question.kind in (_A, _ANY):
            records.append((_A, socket.inet_aton(spelling.ipv4(peer))))
        if peer is not None and question.kind in (_AAAA, _ANY):
            records.append((_AAAA, socket.inet_pton(socket.AF_INET6, spelling.ipv6(peer))))
    flags = 0x8080 | (question.flags & 0x0100) | code | (0x0400 if question.is_peer else 0)
    head = question.message_id + struct.pack("!HHHHH", flags, 1, len(records), 0, 0) + question.raw
    return head + b"".join(struct.pack("!HHHIH", 0xC00C, kind, 1, _TTL, len(data)) + data for kind, data in records)
