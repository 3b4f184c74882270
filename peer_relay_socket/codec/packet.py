"""Our wire: what one WebSocket binary message holds. Pure functions from bytes to meaning and back.

Lives here: headers, records, and the drawing of everything. The bodies of control packets are in control.py.

Law: nothing here raises anything but `PacketError`, and nothing here knows a link, a key or a route.

Every integer is big-endian. A *bundle* (one WebSocket message after the link handshake) is

    one or more packets || counter (8) || tag (16)          or one LINK packet and nothing else, which seals itself

The tag is BLAKE2b's, of 16 bytes, under a key of the link's handshake (links.py); it vouches for the counter and every
packet, but of a SEALED one only for header, index, counter and own tag: the ciphertext has that tag to vouch for it, at
the far end. Of a LINK packet its body is all that is read. So no attacker on the way can add, change or repeat a packet
on a link, and a relay's work does not grow with what it carries. A bundle whose tag is wrong, or that came before, is
dropped, and nothing else happens.
A packet::

     0               1               2               3
    +---------------+---------------+---------------+---------------+
    |     kind      |   hop limit   |     flags     |   0 reserved  |
    +---------------+---------------+---------------+---------------+
    |                          body length                          |
    +---------------------------------------------------------------+
    |                                                               |
    +                        to: peer id (20)                       +
    |                                                               |
    +---------------------------------------------------------------+
    |                                                               |
    +                       from: peer id (20)                      +
    |                                                               |
    +---------------------------------------------------------------+
    |                       body (body length) ...                  |

    flags   bits 0-1  alternate: 0 takes the best next hop, v > 0 the v-th best that is still closer (disjoint retry)
            bits 2-3  scan: how often the packet stepped past the closest relay in search of the peer's other relays
            bits 4-5  of a RESOLVE: how many relays that passed it on have answered it

A relay reads these 48 bytes and nothing else, and rewrites only hop limit and flags.

What is unknown is skipped, so that later versions may add without another subprotocol: packet kinds (a relay carries
them all the same), operations of LINK, records, fields of a hello, and bytes behind the end of any body whose length
is not given by its parts.
All else needs another name than `peer-relay.3`: the 48 bytes, the order and width of what is drawn here, what a number
stands for, what is signed, hashed or sealed and under which words, and the link's handshake. Recorded bytes of this
version are in tests/codec/vectors/wire.json: a change of the code that needs one of them changed needs another name.

Bodies by kind::

    LINK       counter (8) || AEAD(link key; operation (1) || operand)        between neighbours only, never forwarded;
                                                                              alone in its bundle
    HANDSHAKE  step (1: 1, 2, 3) || sender's index (4) || receiver's index (4, zero in step 1) || Noise message
               whose payload in steps 1 and 2 is the sender's index again: there it is authenticated
    SEALED     receiver's index (4) || counter (8) || AEAD(session key; records)
    NO_SESSION receiver's index (4)                              "you sealed to an index that I do not know"
    RESOLVE    token (4) || bits (1) || 0 (1) || 11 bytes        to = the prefix, zero-padded: "who is that?"
               or with count (1: 2 or more) || ids (20 each)     "for how long have you known that each has its key?"
    RESOLVED   token (4) || bit 0: final, bits 1-7: n (1) || count (1) || ids (20 each); the last n of them are of peers
                                                                 without a key behind the sender
               || where that was asked, for each other id: seconds (4), 0 = not at all
    FIND       token (4) || 32 bytes                             to = a target id: "which dialable peers are near?"
    FOUND      token (4) || count (1) || contacts                at most 5 times as long as the FIND
    NO_ROUTE   id (20)                                           "I know no way to that peer"
    DISCOVER   token (4) || bits (1) || stamp (8: microseconds since 1970, growing) || public key (32)
               || Ed25519 signature (64) over "peer-relay.3 search" || to || token || bits || stamp
                                                                 flooded in search of `to`; from = the key's hash
    DISCOVERED token (4) || bit 0: behind (1) || unless behind: public key (32) || Ed25519 signature (64) over
               "peer-relay.3 found" || to || token               goes back the way DISCOVER came; from = the key's hash.
                                                                 Behind: a relay answers for a peer behind it
    DENIED     sender's index (4), of its HANDSHAKE step 1       "I do not talk to you"; a hint: relays can say so, too
    TRACE      token (4)                                         answered by the peer, or where the hop limit ends
    TRACED     token (4)                                         from = what answered
    BROADCAST  public key (32) || stamp (8: microseconds since 1970, no two alike) || nonce (12, zero if not sealed)
               || Ed25519 signature (64) over "peer-relay.3 broadcast" || public key || stamp || nonce || content
               || content, which a network key seals: AES-256-GCM under HMAC-SHA-256(PSK, "peer-relay.3 broadcast"),
               associated data public key || stamp. to = zeros, from = the hash of the public key, hop limit = relays
               that it may still pass
    LEGACY     an envelope of the legacy network                 to, from = its; to the relay that `to` is behind

    content of a broadcast := form (1: 4 or 6) || source port (2) || destination port (2) || group (4 or 16)
                              || one datagram
    contact := id (20) || URL count (1) || { length (1) || URL (ASCII) }

Operations of LINK, and their operands::

    1 READY       nothing; with a network key a hello      the first packet of the Noise responder
    2 PING        3 PONG                                   PONG: nothing, or n (1) as in LOAD and m (1) as in
                                                           ORDINARY
    4 GOODBYE     nothing, or 1: "the program ended this link: it stays ended until a program asks"
    5 NEIGHBOURS  count (1) || contacts                    dialable peers that the neighbour may want to know
    6 LIMITS      packets/s (8) || bytes/s (8)             "I read no more than this from you, so you may be waiting"
    7 HELLO       hello                                    what was said in the handshake has changed
    8 DIAL_BACK   nonce (8) || flags (1: bit 0 TLS) || port (2)   "dial me where you see me, and say the nonce"
    9 DIALLING    nonce (8) || URL (ASCII)                 "that is where"; no URL: "I do not"
    10 NEAR       token (4) || id (20)                     "is that neighbour of yours, as you see it, where I am?"
    11 NEARNESS   token (4) || 1: it is, 0: it is not
    12 CHECKING   nonce (8)                                "I dial a URL of your hello, and say the nonce there"
    13 CHECKED    nonce (8)                                "that came to me"
    14 LANE       index (4)                                of the dialler: "may I have a datagram lane?", of the other
                                                           end: "you may"; zeros: "there is none" (lane.py)

Records, the plaintext of SEALED::

    type (1) || length (4) || content (length)                   unknown types are skipped

    DATAGRAMS  form (1: 4, 6, 0 = how the sender spells itself) || source port (2) || destination port (2)
               || count (2) || count lengths (2 each) || the datagrams, end to end
    MESSAGE    JSON (UTF-8)
    ACK        highest counter received (8)
    PING       (empty; answered with ACK)
    REFUSED    destination port (2) || source port (2)           no such port is bound (ICMP type 3, code 3)
    JOIN       (empty) "please link to me: I cannot reach you"
    CONNECT    token (8)     "my program asks for a link", with another token each time it asks
    ECHO       token (8) || port (2, 0 = none)                   "do you hear me, and is that port bound?"
    ECHOED     token (8) || 0 or, if the port is not bound, 1 (2)
    SIGNAL     step (1: 1 offer, 2 answer, 3 refusal) || token (8) || session description or reason (UTF-8)
    ROUND_TRIPS  count (1) || { relay's id (20) || 0.1 ms (2) }  "so far I am from these relays", to friends only
    TRY        token (8) || relay's id (20, zero: none)          "does this arrive?"; by a link to the relay, if one is
                                                                 named, and so is the answer
    TRIED      token (8)                                         the answer
    SEGMENT    form (1: 4 or 6) || TCP segment (RFC 9293)        between programs that both have TCP here; its addresses
                                                                 are those of the two peers

Before any bundle a link carries its handshake, one WebSocket message each, the acceptor first::

    0xF2 || Noise message                                        XX, or XXpsk3 when a network key is set

    the encrypted payload of each side, *hello* :=
    flags (2: bit 0 "I serve links") || IPv4 network (4) || prefix length (1) || URL count (1) || { length (1) || URL }
    || fields: kind (1) || length (1) || content, where kind is
    1 MACHINE     proof that both ends are on one machine
    2 UDP         port (2), or port and IPv4 address (4)    "my UDP port, for STUN and datagram lanes"; no address:
                                                            where you dialled me
    3 SEEN        IP address (4 or 16)                      "where I see you", to the end that dialled
    4 LOAD        n (1)                                     "I pass on less than 2**n packets a second for others";
                                                            absent: next to none; 255: near its limits
    5 ORDINARY    m (1)                                     "I am linked to m peers that do not relay"; absent: to
                                                            none; 255: to that many or more

A peer that was asked to dial back lets the acceptor begin its handshake, and says instead of its own part

    0xF3 || nonce (8)

and closes. A URL whose host is "*" stands for "the address you see me at" (a peer that serves on all interfaces).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum, unique
from itertools import accumulate, pairwise
from struct import Struct, pack, unpack_from
from struct import error as struct_error
from typing import Final, NamedTuple

from ..address import PeerId
from ..errors import PacketError
from ..limits import HOP_LIMIT, MAX_BODY, MAX_DATAGRAM

HEADER_BYTES: Final = 48
TAG_BYTES: Final = 16
BUNDLE_TAG: Final = 8 + TAG_BYTES
"""Bytes behind the packets of a bundle: counter and tag. `is_tagged` tells which bundles have them."""
SEALED_LEAST: Final = 4 + 8 + TAG_BYTES
"""Bytes that the body of a SEALED packet has at least."""
COVERED_FRONT: Final = HEADER_BYTES + 4 + 8
"""Of a SEALED packet: header, index and counter, for which the tag of its bundle vouches."""
LINK_HANDSHAKE: Final = 0xF2
"""First byte of a link handshake message: not a packet kind, and not the beginning of UTF-8 text or JSON."""
DIALLED_BACK: Final = 0xF3
"""First byte of the proof of a peer that was asked to dial back."""
ALTERNATES: Final = 3
MAX_SCAN: Final = 3
ECHO_TOKEN: Final = 8
TRY_TOKEN: Final = 8
TRACE_TOKEN: Final = 4

_FORMS: Final = frozenset((0, 4, 6))
_HEADER: Final = Struct(">BBBxI20s20s")
_KIND_AND_LENGTH: Final = Struct(">BxxxI")
_RUN: Final = Struct(">BIBHHH")
LONE: Final = Struct(">BIBHHHH")
"""What is before the only datagram of a DATAGRAMS record."""
FRONT: Final = Struct(">BBBxI44sQ")
"""The first COVERED_FRONT bytes of a SEALED packet: header, index, counter; both ids and the index in one piece."""
_RECORD: Final = Struct(">BI")


@unique
class Kind(IntEnum):
    """What a packet is."""

    LINK = 0x01
    HANDSHAKE = 0x10
    SEALED = 0x11
    NO_SESSION = 0x12
    RESOLVE = 0x13
    RESOLVED = 0x14
    FIND = 0x15
    FOUND = 0x16
    NO_ROUTE = 0x17
    DISCOVER = 0x18
    DISCOVERED = 0x19
    LEGACY = 0x1A
    BROADCAST = 0x1B
    DENIED = 0x1C
    TRACE = 0x1D
    TRACED = 0x1E


_MUST_ARRIVE: Final = (bytes((LINK_HANDSHAKE,)), bytes((Kind.LINK,)))


@unique
class Record(IntEnum):
    """What a record inside SEALED is."""

    DATAGRAMS = 1
    MESSAGE = 2
    ACK = 3
    PING = 4
    REFUSED = 5
    JOIN = 6
    SIGNAL = 7
    ECHO = 9
    ECHOED = 10
    CONNECT = 8
    ROUND_TRIPS = 11
    TRY = 12
    TRIED = 13
    SEGMENT = 14


_DATAGRAMS: Final = int(Record.DATAGRAMS)
_SEALED: Final = int(Kind.SEALED)


class Signal(IntEnum):
    """What a SIGNAL record carries."""

    OFFER = 1
    ANSWER = 2
    REFUSAL = 3


BY_PROGRAM: Final = b"\x01"
"""The operand of a GOODBYE that the program asked for."""


class LinkOp(IntEnum):
    """What a LINK packet asks or tells."""

    READY = 1
    PING = 2
    PONG = 3
    GOODBYE = 4
    NEIGHBOURS = 5
    LIMITS = 6
    HELLO = 7
    DIAL_BACK = 8
    DIALLING = 9
    NEAR = 10
    NEARNESS = 11
    CHECKING = 12
    CHECKED = 13
    LANE = 14


class Header(NamedTuple):
    """The 48 bytes a relay reads. `end` is where the packet ends in its bundle."""

    kind: int
    hop_limit: int
    flags: int
    to: PeerId
    sender: PeerId
    body: int
    end: int


class Datagrams(NamedTuple):
    """A run of datagrams between one pair of ports."""

    form: int
    source_port: int
    port: int
    datagrams: list[bytes]


# --- packets ---------------------------------------------------------------------------------------------------


def packet(kind: Kind, to: PeerId, sender: PeerId, body: bytes, *, flags: int = 0, hop_limit: int = HOP_LIMIT) -> bytes:
    """Return one packet."""
    return _HEADER.pack(kind, hop_limit, flags, len(body), to, sender) + body


def sealed(to: PeerId, sender: PeerId, index: bytes, content: bytes, alternate: int) -> bytes:
    """Return a SEALED packet: `content` is counter and ciphertext, `index` the receiver's."""
    return b"".join((_HEADER.pack(Kind.SEALED, HOP_LIMIT, alternate, 4 + len(content), to, sender), index, content))


def read_header(bundle: bytes, offset: int) -> Header:
    """Return the header of the packet at `offset`.

    Raises: PacketError when the bundle is cut short or the body is longer than MAX_BODY.
    """
    try:
        kind, hop_limit, flags, length, to, sender = _HEADER.unpack_from(bundle, offset)
    except struct_error:
        raise PacketError("packet header cut short") from None
    body = offset + HEADER_BYTES
    end = body + length
    if length > MAX_BODY or end > len(bundle):
        raise PacketError(f"packet body of {length} bytes does not fit its bundle")
    return Header(kind, hop_limit, flags, to, sender, body, end)


def covered(bundle: bytes, end: int) -> bytes:
    """Return what the tag of a bundle vouches for, whose packets are bundle[:end].

    Raises: PacketError unless whole packets fill bundle[:end].
    """
    parts = []
    offset = 0
    while offset < end:
        if end - offset < HEADER_BYTES:
            raise PacketError("packet header cut short")
        kind, length = _KIND_AND_LENGTH.unpack_from(bundle, offset)
        stop = offset + HEADER_BYTES + length
        if stop > end:
            raise PacketError(f"packet body of {length} bytes does not fit its bundle")
        if kind == _SEALED and length >= SEALED_LEAST:
            parts.append(bundle[offset : offset + COVERED_FRONT])
            parts.append(bundle[stop - TAG_BYTES : stop])
        else:
            parts.append(bundle[offset:stop])
        offset = stop
    if not parts:
        raise PacketError("empty bundle")
    return b"".join(parts)


def is_tagged(message: bytes) -> bool:
    """Return whether what a link carries ends in counter and tag: all but handshake messages and LINK packets."""
    return message[:1] not in _MUST_ARRIVE


def must_arrive(bundle: bytes) -> bool:
    """Return whether a bundle is a handshake message or a LINK packet: what a transport that loses some
    must carry another way, because no sender repeats it."""
    return bundle[:1] in _MUST_ARRIVE


def split(body: bytes, *sizes: int) -> tuple[bytes, ...]:
    """Cut `body` into parts of `sizes` bytes and the rest.

    Raises: PacketError when it is too short.
    """
    if len(body) < sum(sizes):
        raise PacketError("body cut short")
    parts, offset = [], 0
    for size in sizes:
        parts.append(body[offset : offset + size])
        offset += size
    parts.append(body[offset:])
    return tuple(parts)


# --- records ---------------------------------------------------------------------------------------------------


def datagrams_record(form: int, source_port: int, port: int, datagrams: Sequence[bytes]) -> bytes:
    """Return a DATAGRAMS record; the caller keeps count (<= 65535) and total size within a packet."""
    count = len(datagrams)
    if count == 1:  # the lone datagram, where latency counts
        size = len(datagrams[0])
        return LONE.pack(Record.DATAGRAMS, 9 + size, form, source_port, port, 1, size) + datagrams[0]
    lengths = list(map(len, datagrams))
    content = 7 + 2 * count + sum(lengths)
    return b"".join(
        (
            _RUN.pack(Record.DATAGRAMS, content, form, source_port, port, count),
            pack(f">{count}H", *lengths),
            *datagrams,
        )
    )


def record(kind: Record, content: bytes = b"") -> bytes:
    """Return any other record."""
    return _RECORD.pack(kind, len(content)) + content


def read_records(plaintext: bytes) -> Iterable[tuple[int, int, int]]:
    """Yield (type, start, end) of each record.

    Raises: PacketError when one is cut short.
    """
    offset, size = 0, len(plaintext)
    while offset < size:
        if offset + 5 > size:
            raise PacketError("record header cut short")
        kind, length = _RECORD.unpack_from(plaintext, offset)
        start = offset + 5
        offset = start + length
        if offset > size:
            raise PacketError("record cut short")
        yield kind, start, offset


def only_datagram(plaintext: bytes) -> tuple[int, int, int, bytes] | None:
    """Return form, source port, port and the datagram if `plaintext` is one DATAGRAMS record of one datagram and
    nothing else, and `read_datagrams` would not refuse it."""
    size = len(plaintext) - LONE.size
    if size < 0:
        return None
    kind, content, form, source_port, port, count, length = LONE.unpack_from(plaintext)
    if kind != _DATAGRAMS or count != 1 or length != size or content != 9 + size or length > MAX_DATAGRAM:
        return None
    if form not in _FORMS or not source_port or not port:
        return None
    return form, source_port, port, plaintext[LONE.size :]


def read_datagrams(plaintext: bytes, start: int, end: int) -> Datagrams:
    """Return the run whose content lies at plaintext[start:end].

    Raises: PacketError unless the lengths add up, fit UDP, and the form, the ports and the count mean something.
    """
    if end - start < 7:
        raise PacketError("datagram run cut short")
    form, source_port, port, count = unpack_from(">BHHH", plaintext, start)
    first = start + 7 + 2 * count
    if first > end or not source_port or not port or not count or form not in _FORMS:
        raise PacketError("datagram run malformed")
    if count == 1:  # the lone datagram, where latency counts
        if not first + unpack_from(">H", plaintext, start + 7)[0] == end <= first + MAX_DATAGRAM:
            raise PacketError("datagram lengths do not add up")
        return Datagrams(form, source_port, port, [plaintext[first:end]])
    lengths = unpack_from(f">{count}H", plaintext, start + 7)
    edges = list(accumulate(lengths, initial=first))
    if edges[-1] != end or max(lengths) > MAX_DATAGRAM:
        raise PacketError("datagram lengths do not add up")
    return Datagrams(form, source_port, port, [plaintext[a:b] for a, b in pairwise(edges)])
